package peerport

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, node, cluster string) *Port {
	t.Helper()
	p, err := Listen(Config{Listen: "127.0.0.1:0", NodeID: node, ClusterID: cluster,
		HandshakeTimeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// echo accepts connections and sends back what comes.
func echo(t *testing.T, l net.Listener) {
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
}

func roundTrip(c net.Conn, s string) error {
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, s); err != nil {
		return err
	}
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != s {
		return errors.New("got " + string(got))
	}
	return nil
}

func TestBothKindsOfConnectionsShareThePort(t *testing.T) {
	a, b := listen(t, "a", "c1"), listen(t, "b", "c1")
	echo(t, a.Raft())
	echo(t, a.HTTP())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			c, err := b.Raft().Dial("", a.Addr(), time.Minute)
			if err == nil {
				err = roundTrip(c, "an entry")
			}
			if err != nil {
				t.Errorf("raft: %v", err)
			}
		})
		all.Go(func() {
			c, err := b.DialContext(t.Context(), "tcp", a.Addr())
			if err == nil {
				err = roundTrip(c, "a request")
			}
			if err != nil {
				t.Errorf("http: %v", err)
			}
		})
	}
	all.Wait()
}

func TestHTTP2WithoutTLSGoesThroughThePort(t *testing.T) {
	a, b := listen(t, "a", "c1"), listen(t, "b", "c1")
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &protocols, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(a.HTTP()) }()
	transport := &http.Transport{Protocols: &protocols, DialContext: b.DialContext}
	res, err := (&http.Client{Transport: transport}).Get("http://" + a.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(body) != "HTTP/2.0" {
		t.Errorf("got %q, %v", body, err)
	}
	transport.CloseIdleConnections()
	_ = server.Close()
	<-done
}

func TestForeignClusterIsRefusedByName(t *testing.T) {
	a, b := listen(t, "a", "c1"), listen(t, "b", "c2")
	for kind, dial := range map[string]func() (net.Conn, error){
		"raft": func() (net.Conn, error) { return b.Raft().Dial("", a.Addr(), time.Minute) },
		"http": func() (net.Conn, error) { return b.DialContext(t.Context(), "tcp", a.Addr()) },
	} {
		_, err := dial()
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != codeForeign || refused.Theirs != "c1" || refused.Ours != "c2" {
			t.Errorf("%s: got %v", kind, err)
			continue
		}
		want := "node a at " + a.Addr() + " belongs to cluster c1, this node to cluster c2"
		if err.Error() != want || refused.Hint() == "" {
			t.Errorf("%s: got %q, want %q", kind, err, want)
		}
	}
}

func TestNodeWithoutClusterMayAskToJoin(t *testing.T) {
	member, joiner := listen(t, "a", "c1"), listen(t, "b", "")
	echo(t, member.HTTP())
	echo(t, member.Raft())
	echo(t, joiner.Raft())
	c, err := joiner.DialContext(t.Context(), "tcp", member.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(c, "may I?"); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if _, err := joiner.Raft().Dial("", member.Addr(), time.Minute); !errors.As(err, &refused) || refused.Code != codeNone {
		t.Errorf("raft of a node without cluster: got %v", err)
	}
	if _, err := member.Raft().Dial("", joiner.Addr(), time.Minute); !errors.As(err, &refused) || refused.Code != codeNone {
		t.Errorf("raft to a node without cluster: got %v", err)
	}
	joiner.SetClusterID("c1")
	c, err = member.Raft().Dial("", joiner.Addr(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(c, "an entry"); err != nil {
		t.Fatal(err)
	}
}

// What node b has stored must not be counted for node c because c's address is now b's.
func TestAnotherNodeAtTheAddressIsAnError(t *testing.T) {
	a, b := listen(t, "a", "c1"), listen(t, "b", "c1")
	echo(t, b.Raft())
	_, err := a.Raft().Dial("c", b.Addr(), time.Minute)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != codeNode || refused.Hint() == "" {
		t.Fatalf("got %v", err)
	}
	if want := "node b is at " + b.Addr() + ", not node c"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	c, err := a.Raft().Dial("b", b.Addr(), time.Minute)
	if err == nil {
		err = roundTrip(c, "an entry")
	}
	if err != nil {
		t.Error(err)
	}
}

func TestOtherVersionIsRefusedByName(t *testing.T) {
	a := listen(t, "a", "c1")
	c, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ours := hello{version: 9, kind: byte(kindRaft), cluster: "c1", node: "b"}
	err = greet(c, "", a.Addr(), ours, time.Now().Add(time.Minute))
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != codeVersion || refused.Theirs != "1" || refused.Ours != "9" {
		t.Fatalf("got %v", err)
	}
}

func TestUnknownKindIsRefused(t *testing.T) {
	a := listen(t, "a", "c1")
	c, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	err = greet(c, "", a.Addr(), hello{version: version, kind: 7, cluster: "c1"}, time.Now().Add(time.Minute))
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != codeKind {
		t.Fatalf("got %v", err)
	}
}

// answer sends bytes to a port and returns what it says before it hangs up.
func answer(t *testing.T, p *Port, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the port does not hang up")
	}
	return string(got)
}

func TestStrangersAreSentAway(t *testing.T) {
	p, err := Listen(Config{Listen: "127.0.0.1:0", NodeID: "a", ClusterID: "c1",
		HandshakeTimeout: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if got := answer(t, p, "GET / HTTP/1.1\r\n\r\n"); !strings.Contains(got, "clients use the client port") {
		t.Errorf("curl is told %q", got)
	}
	for name, send := range map[string]string{
		"silence":       "",
		"half a hello":  magic + "\x01",
		"noise":         strings.Repeat("\xff", 100),
		"an id too big": magic + "\x01\x01\xff",
	} {
		if got := answer(t, p, send); got != "" {
			t.Errorf("%s is told %q", name, got)
		}
	}
}

func TestDialerSaysThatItMetNoPeerPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err == nil {
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	_, err = listen(t, "a", "c1").DialContext(t.Context(), "tcp", l.Addr().String())
	if !errors.Is(err, errNotPeer) || !strings.Contains(err.Error(), "is not the peer port") {
		t.Errorf("got %v", err)
	}
	<-done
	_ = l.Close()
}

func TestDialerDoesNotWaitForAMutePeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // its backlog accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := listen(t, "a", "c1")
	if _, err := p.Raft().Dial("", l.Addr().String(), 20*time.Millisecond); err == nil {
		t.Error("connected")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.DialContext(ctx, "tcp", l.Addr().String()); err == nil {
		t.Error("connected")
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	a := listen(t, "a", "c1")
	_, err := Listen(Config{Listen: a.Addr(), NodeID: "b"})
	var taken *ListenError
	if !errors.As(err, &taken) || !taken.Taken || taken.Hint() == "" {
		t.Fatalf("got %v", err)
	}
	if want := "peer port " + a.Addr() + " is taken by another process"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if _, err = Listen(Config{Listen: "256.0.0.1:x", NodeID: "b"}); !errors.As(err, &taken) || taken.Taken {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsEveryConnection(t *testing.T) {
	a, b := listen(t, "a", "c1"), listen(t, "b", "c1")
	c, err := b.Raft().Dial("", a.Addr(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := a.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := b.DialContext(t.Context(), "tcp", a.Addr()) // nobody accepts this one
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{c, accepted, waiting} {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("still open")
		}
		_ = conn.Close()
	}
	if _, err := a.HTTP().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if err := b.Raft().Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Raft().Dial("", a.Addr(), time.Minute); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial after close: %v", err)
	}
}

func TestAdvertisedAddressIsTheOneToldToOthers(t *testing.T) {
	p, err := Listen(Config{Listen: "127.0.0.1:0", Advertise: "db1.example:7481", NodeID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if got := p.Raft().Addr().String(); got != "db1.example:7481" || p.ListenAddr().String() == got {
		t.Errorf("advertises %s, listens on %s", got, p.ListenAddr())
	}
}

// A node is asked what it has noticed of a third one.
func TestQuestionAboutAThirdNode(t *testing.T) {
	a, b := listen(t, "n-a", "c-1"), listen(t, "n-b", "c-1")
	ask := func(from *Port, about string) (bool, error) {
		return from.Raft().Ask("n-b", b.Addr(), about, 5*time.Second)
	}
	if gone, err := ask(a, "n-c"); gone || err != nil {
		t.Errorf("nobody answers there yet: %v, %v", gone, err)
	}
	b.Raft().Answer(func(node string) bool { return node == "n-c" })
	for about, want := range map[string]bool{"n-c": true, "n-d": false} {
		if gone, err := ask(a, about); gone != want || err != nil {
			t.Errorf("%s: %v, %v", about, gone, err)
		}
	}
	var refused *RefusedError
	if _, err := ask(listen(t, "n-x", "c-2"), "n-c"); !errors.As(err, &refused) || refused.Code != codeForeign {
		t.Errorf("a stranger asks: %v", err)
	}
	if _, err := a.Raft().Ask("n-other", b.Addr(), "n-c", 5*time.Second); !errors.As(err, &refused) {
		t.Errorf("another node is there: %v", err)
	}
}
