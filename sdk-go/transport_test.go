package holdfast

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// HF-11.7: NOT_LEADER with an address is followed at once, to an address that was not given.
func TestLeaderIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.serve("n3")
		asked := map[string]int{}
		f.on(func(k call) fault {
			asked[k.host]++
			if k.host == "n1" && k.method != "Events" {
				return fault{err: notLeader("http://n3")}
			}
			return fault{}
		})
		start := time.Now()
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		_ = h.Release(t.Context())
		if d := time.Since(start); d > 0 {
			t.Errorf("took %v", d)
		}
		if asked["n1"] != 1 {
			t.Errorf("n1 was asked %d times", asked["n1"])
		}
	})
}

// Answers tell the leader's address too, so that the next call goes there.
func TestLeaderInAnAnswerIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.serve("n2")
		f.leader = "http://n2"
		asked := map[string]int{}
		f.on(func(k call) fault { asked[k.host]++; return fault{} })
		for range 10 {
			_ = must[*Handle](t)(c.Lock("a").Acquire(t.Context())).Release(t.Context())
		}
		if asked["n1"] > 2 || asked["n2"] < 20 {
			t.Errorf("%v", asked)
		}
	})
}

func TestLeaderFollowingCanBeTurnedOff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.leader = "http://unreachable"
		for range 10 {
			_ = must[*Handle](t)(c.Lock("a").Acquire(t.Context())).Release(t.Context())
		}
	}, WithLeaderFollowing(false))
}

// A leader whose address cannot be reached from here is not tried again and again.
func TestUnreachableLeaderIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.leader = "http://unreachable"
		start := time.Now()
		for range 100 {
			_ = must[*Handle](t)(c.Lock("a").Acquire(t.Context())).Release(t.Context())
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("took %v", d)
		}
		if n := f.dialled("unreachable"); n == 0 || n > 3 {
			t.Errorf("it was dialled %d times", n)
		}
	})
}

// HF-11.8: renewals and releases pass the breakers, and still go where a breaker is closed if they can.
func TestBypassPrefersAClosedBreaker(t *testing.T) {
	c, err := New(context.Background(), Endpoints("n1", "n2"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	open := func(n *node) {
		for range breakerFailures {
			report, _ := n.breaker.allow()
			report(verdictFailure)
		}
	}
	nodes := c.transport.nodes
	open(nodes[0])
	if n, _, err := c.transport.pick(true); err != nil || n != nodes[1] {
		t.Fatal("it went to the sick node")
	}
	open(nodes[1])
	if n, _, err := c.transport.pick(true); err != nil || n == nil {
		t.Fatal("with all breakers open it must go somewhere", err)
	}
	_, _, err = c.transport.pick(false)
	wantErr(t, err, ErrCircuitOpen)
}

// With nobody left who wants a session, none is asked for.
func TestNobodyWantsASession(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.setDown("n1", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Lock("a").Acquire(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		before := f.dialled("n1")
		time.Sleep(time.Minute)
		if n := f.dialled("n1"); n != before {
			t.Fatalf("dialled %d times for nobody", n-before)
		}
	})
}

func TestAnotherEndpointIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client([]string{"n1", "n2", "n3"})
		defer f.stop(c)
		f.setDown("n3", true)
		f.setDown("n2", true)
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.setDown("n2", false)
		f.setDown("n1", true)
		f.breakStreams()
		time.Sleep(time.Minute)
		if h.Check() != nil {
			t.Fatal(h.Check())
		}
	})
}

// HF-11.7: an answer of an older epoch, or of another cluster, is refused.
func TestFallingEpochIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.epoch = 5
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.mu.Lock()
		f.epoch = 4
		f.mu.Unlock()
		_, ok, err := c.Lock("b").TryAcquire(t.Context())
		if ok {
			t.Fatal("an answer of an older epoch was believed")
		}
		wantErr(t, err, ErrUnavailable)
		wantErr(t, err, ErrForked)
		f.mu.Lock()
		f.epoch = 5
		f.mu.Unlock()
		if h.Check() != nil {
			t.Fatal(h.Check())
		}
	})
}

func TestForeignClusterIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.mu.Lock()
		f.clusterID = "c2"
		f.mu.Unlock()
		_, _, err := c.Lock("b").TryAcquire(t.Context())
		wantErr(t, err, ErrForked)
		f.mu.Lock()
		f.clusterID = "c1"
		f.mu.Unlock()
	})
}

// HF-11.1: calls that hang do not stand in the way of renewals.
func TestRenewalsPassHangingCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.on(func(k call) fault { return fault{hang: k.method == "Execute"} })
		acquireLater(c, "b")
		time.Sleep(2 * time.Minute)
		if h.Check() != nil || isClosed(h.AtRisk()) {
			t.Fatal(h.Check())
		}
		f.on(nil)
	})
}

// A node that fails is skipped, and asked again with one probe after a while.
func TestBreakerSkipsASickNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client([]string{"n1"})
		defer f.stop(c)
		f.on(func(k call) fault {
			if k.method == "OpenSession" {
				return fault{err: wireError(connect.CodeUnavailable, &v1.Error{
					Reason: v1.ErrorReason_ERROR_REASON_NO_QUORUM, Message: "no quorum"})}
			}
			return fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Lock("a").Acquire(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		wantErr(t, err, ErrUnavailable)
		// 5 to open it, then one probe every 2 s and a little
		if n := f.count("OpenSession"); n < 20 || n > 36 {
			t.Fatalf("%d attempts in a minute", n)
		}
	})
}

func TestEndpoints(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:7480":          "http://127.0.0.1:7480",
		"http://n1:7480/":         "http://n1:7480",
		"https://locks.example/h": "https://locks.example/h",
		" n1 ":                    "http://n1",
	} {
		if got, err := parseEndpoint(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "ftp://n1", "http://", "http://n1?x=1", "http://u:p@n1", "http://%zz"} {
		_, err := parseEndpoint(bad)
		if !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, err := New(context.Background())
	wantErr(t, err, ErrInvalidArgument)
	_, err = New(context.Background(), Endpoints("n1"), WithTTL(10*time.Second),
		WithSafetyMargin(6*time.Second))
	wantErr(t, err, ErrInvalidArgument)
}

func TestNoDowngradeFromTLS(t *testing.T) {
	c, err := New(context.Background(), Endpoints("https://n1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	if c.transport.heard("http://n2", c.transport.nodes[0]) {
		t.Fatal("an answer led from https to http")
	}
	if !c.transport.heard("https://n2", c.transport.nodes[0]) {
		t.Fatal("an address of the same kind is followed")
	}
}

func TestErrorsReadWell(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("orders/42").Acquire(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Lock("orders/42").Acquire(ctx)
		const want = "orders/42 is held by session 7 (exclusive): context deadline exceeded"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatal(err)
		}
	})
}

// Without TLS batches go over HTTP/1.1, on no more connections than there are batches in flight, and the
// rest over HTTP/2.
func TestBatchesHaveConnectionsOfTheirOwn(t *testing.T) {
	f := newFake(t)
	mux := http.NewServeMux()
	mux.Handle(holdfastv1connect.NewLockServiceHandler(f))
	mux.Handle(holdfastv1connect.NewSessionServiceHandler(f))
	var mu sync.Mutex
	versions, addresses := map[string]int{}, map[string]bool{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		mu.Lock()
		versions[method] = r.ProtoMajor
		if method == "Execute" {
			addresses[r.RemoteAddr] = true
		}
		mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	c, err := New(t.Context(), Endpoints(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop(c)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			for range 5 {
				h, err := c.Lock(name(i)).Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				_ = h.Release(t.Context())
			}
		})
	}
	wg.Wait()
	if _, err := c.GetLock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{"Execute": 1, "OpenSession": 2, "Events": 2, "GetLock": 2}
	if !maps.Equal(versions, want) || len(addresses) > inFlightMost {
		t.Errorf("%v, batches from %d addresses", versions, len(addresses))
	}
}
