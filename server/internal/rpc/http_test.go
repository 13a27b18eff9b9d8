package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"go.uber.org/goleak"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const acquirePath = "/holdfast.v1.LockService/Acquire"

// What a person with curl is told who calls the wrong thing, or calls it wrongly.
func TestWrongCalls(t *testing.T) {
	server := unreachableServer(t)
	const json = "application/json"
	for _, c := range []struct {
		what, method, path, contentType, body string
		status                                int
		want                                  string
	}{
		{"no content type", "POST", acquirePath, "", `{"name":"a"}`, 415,
			`send -H 'content-type: application/json'`},
		{"curl's own content type", "POST", acquirePath, "application/x-www-form-urlencoded", `{}`, 415,
			`\"application/x-www-form-urlencoded\" is not understood`},
		{"XML", "POST", acquirePath, "text/xml", `<a/>`, 415, `\"text/xml\" is not understood`},
		{"an unknown codec", "POST", acquirePath, "application/connect+xml", `<a/>`, 200, `"error":{"code":"invalid_argument"`},
		{"another charset", "POST", acquirePath, "application/json; charset=latin1", `{}`, 415, ``},
		{"upper case charset", "POST", acquirePath, "application/json; charset=UTF-8", `{`, 400, `not JSON at line 1`},
		{"GET", "GET", acquirePath, "", "", 405, `hint: use POST`},
		{"PUT", "PUT", acquirePath, json, `{}`, 405, `hint: use POST`},
		{"no such method", "POST", "/holdfast.v1.LockService/Lock", json, `{}`, 404, `is no method of this server`},
		{"no such service", "POST", "/nothing", json, `{}`, 404, `is no method of this server`},
		{"the root", "GET", "/", "", "", 404, `try POST ` + acquirePath},
		{"the peer service", "POST", "/holdfast.peer.v1.PeerService/Describe", json, `{}`, 404, `is no method`},
		{"a path that climbs", "POST", "/../../etc/passwd", json, `{}`, 404, `is no method`},
		{"a huge body", "POST", acquirePath, json, `{"name":"` + long(2<<20) + `"}`, 413, `at most 1048576 bytes`},
		{"many headers", "POST", acquirePath, json, `headers`, 431, ``},
	} {
		t.Run(c.what, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", c.contentType)
			if c.body == "headers" {
				for i := range 200 {
					request.Header.Set(fmt.Sprintf("X-%d", i), long(200))
				}
			}
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != c.status || !strings.Contains(string(body), c.want) {
				t.Errorf("%d %s", response.StatusCode, body)
			}
		})
	}
}

// A body that does not tell its length is not read to its end either.
func TestEndlessBody(t *testing.T) {
	server := unreachableServer(t)
	for _, contentType := range []string{"application/json", "application/proto", "application/grpc"} {
		var read counter
		endless := io.TeeReader(endless{}, &read)
		response, err := server.Client().Post(server.URL+acquirePath, contentType, endless)
		if err == nil {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode == http.StatusOK && contentType != "application/grpc" {
				t.Errorf("%s: %d %s", contentType, response.StatusCode, body)
			}
		}
		if n := read.Load(); n > 16<<20 {
			t.Errorf("%s: %d bytes were taken", contentType, n)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{'a'}, len(p))), nil }

type counter struct{ atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.Add(int64(len(p)))
	return len(p), nil
}

// A connection whose headers do not come is given up.
func TestSlowHeaders(t *testing.T) {
	server := NewHTTPServer(http.NotFoundHandler())
	server.ReadHeaderTimeout = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(Buffered(listener)) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST "+acquirePath+" HTTP/1.1\r\nHost: a\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection was kept: %v", err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// A panic is an internal error to its caller, who is not told more, and to nobody else anything.
func TestPanic(t *testing.T) {
	server := unreachableServer(t)
	client := holdfastv1connect.NewLockServiceClient(server.Client(), server.URL)
	_, err := client.Release(t.Context(), &v1.ReleaseRequest{GrantId: 1})
	if got := detailOf(t, err); connect.CodeOf(err) != connect.CodeInternal ||
		got.GetReason() != v1.ErrorReason_ERROR_REASON_INTERNAL || strings.Contains(err.Error(), "command") {
		t.Errorf("got %v", err)
	}
}

// Compression is not spoken: what is packed is refused, and nothing is packed.
func TestNoCompression(t *testing.T) {
	server := unreachableServer(t)
	for header, options := range map[string][]connect.ClientOption{
		"content-encoding": {connect.WithSendGzip()},
		"grpc-encoding":    {connect.WithSendGzip(), connect.WithGRPCWeb()},
	} {
		client := holdfastv1connect.NewLockServiceClient(server.Client(), server.URL, options...)
		_, err := client.Release(t.Context(), &v1.ReleaseRequest{GrantId: 1})
		want := header + ` "gzip" is not unpacked here (hint: send the body as it is)`
		if connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", header, err)
		}
	}
}

// Load balancers and tools find their services.
func TestHealthAndReflection(t *testing.T) {
	ready := true
	s := New(Config{Ready: func() bool { return ready }, Observer: silent{}, Logger: slog.New(slog.DiscardHandler)})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer(s.Handler())
	served := make(chan error, 1)
	go func() { served <- server.Serve(Buffered(listener)) }()
	defer func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	client, url := &http.Client{Transport: transport}, "http://"+listener.Addr().String()

	health := grpchealth.NewClient(client, url, connect.WithGRPC())
	for _, want := range []grpchealth.Status{grpchealth.StatusServing, grpchealth.StatusNotServing} {
		ready = want == grpchealth.StatusServing
		got, err := health.Check(t.Context(), &grpchealth.CheckRequest{Service: holdfastv1connect.LockServiceName})
		if err != nil || got.Status != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if _, err := health.Check(t.Context(), &grpchealth.CheckRequest{Service: "nothing"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("got %v", err)
	}
	stream := grpcreflect.NewClient(client, url, connect.WithGRPC()).NewStream(t.Context())
	services, err := stream.ListServices()
	if err != nil || len(services) != len(serviceNames)+1 {
		t.Errorf("got %v, %v", services, err)
	}
	if _, err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// JSON that is sent reads well: one line, tokens as texts, durations in seconds, enums by name.
func TestJSONReadsWell(t *testing.T) {
	response := &v1.AcquireResponse{
		Outcome: v1.Outcome_OUTCOME_GRANTED,
		Grant:   &v1.Grant{Id: 7, Token: 7, ExpiresIn: duration(29_700)},
	}
	got, err := (jsonCodec{"json"}).Marshal(response)
	want := `{"outcome":"OUTCOME_GRANTED","grant":{"id":"7","token":"7","expiresIn":"29.700s"}}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}
