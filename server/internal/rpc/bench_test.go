package rpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/metrics"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

// prompt is a leader whose log is applied by whoever proposes.
type prompt struct {
	follower
	results []locktable.Result
}

func (*prompt) Leads() bool { return true }

func (p *prompt) Submit(_ context.Context, b proposer.Batch) (proposer.Answer, error) {
	return proposer.Answer{Results: p.results[:len(b.Commands)], Index: 7, Time: 1000}, nil
}

func newPrompt(session locktable.SessionID) *prompt {
	p := &prompt{results: make([]locktable.Result, 1024)}
	for i := range p.results {
		p.results[i] = locktable.Result{
			At: locktable.Index{Entry: 7, Offset: uint32(i)}, Outcome: locktable.Granted,
			Session: session, SessionDeadline: 31_000,
			Grant: locktable.GrantInfo{
				ID: 42, Token: 42, Depth: 1, Deadlines: locktable.Deadlines{Session: 31_000},
				Claims: []locktable.Claim{{Name: "orders/42", Mode: locktable.X}},
			},
		}
	}
	return p
}

// response takes an answer and forgets it.
type response struct{ header http.Header }

func (r *response) Header() http.Header         { return r.header }
func (r *response) Write(p []byte) (int, error) { return len(p), nil }
func (r *response) WriteHeader(int)             {}
func (r *response) Flush()                      {}

// BenchmarkCall is what a call costs between the HTTP server and the proposer and back, per call,
// beside an echo that does nothing.
func BenchmarkCall(b *testing.B) {
	p := newPrompt(3)
	m := metrics.New("n1", "bench", func() metrics.State { return metrics.State{} })
	s := New(Config{
		NodeID: "n1", Node: p, Proposer: p, Peers: p, Watch: watch.New(watch.Config{}), Observer: m,
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Cluster: func() (string, uint32) { return "0123456789abcdef", 1 },
		Ready:   func() bool { return true },
	})
	echo := http.NewServeMux()
	echo.Handle("/echo", connect.NewUnaryHandler("/echo",
		func(context.Context, *connect.Request[v1.ReleaseRequest]) (*connect.Response[v1.ReleaseResponse], error) {
			return connect.NewResponse(&v1.ReleaseResponse{}), nil
		}, connect.WithCompression("gzip", nil, nil)))
	acquire := &v1.AcquireRequest{Name: "orders/42", SessionId: 3, RequestId: 9, Acked: 8}
	batch := &v1.ExecuteRequest{SessionId: 3, Acked: 8}
	for i := range 64 {
		batch.Operations = append(batch.Operations, &v1.Operation{Operation: &v1.Operation_Acquire{
			Acquire: &v1.AcquireRequest{Name: fmt.Sprintf("orders/%d", i), RequestId: uint64(9 + i), Owner: "worker"},
		}})
	}
	for _, c := range []struct {
		name    string
		handler http.Handler
		path    string
		message proto.Message
	}{
		{"echo", echo, "/echo", &v1.ReleaseRequest{}},
		{"acquire", s.Handler(), holdfastv1connect.LockServiceAcquireProcedure, acquire},
		{"execute=64", s.Handler(), holdfastv1connect.LockServiceExecuteProcedure, batch},
	} {
		for _, form := range []string{"application/json", "application/proto", "application/grpc"} {
			b.Run(c.name+"/"+strings.TrimPrefix(form, "application/"), func(b *testing.B) {
				benchmarkCall(b, c.handler, c.path, form, c.message)
			})
		}
	}
}

func benchmarkCall(b *testing.B, handler http.Handler, path, form string, message proto.Message) {
	data, err := proto.Marshal(message)
	if form == "application/json" {
		data, err = protojson.Marshal(message)
	}
	if err != nil {
		b.Fatal(err)
	}
	if form == "application/grpc" {
		data = append([]byte{0, byte(len(data) >> 24), byte(len(data) >> 16), byte(len(data) >> 8), byte(len(data))}, data...)
	}
	body := bytes.NewReader(data)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(data)
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, path, io.NopCloser(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Proto, r.ProtoMajor, r.ProtoMinor, r.ContentLength = "HTTP/2.0", 2, 0, int64(len(data))
		r.Header.Set("Content-Type", form)
		handler.ServeHTTP(&response{header: http.Header{}}, r)
	}
}
