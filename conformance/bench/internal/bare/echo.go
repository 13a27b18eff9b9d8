package bare

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/load"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// echo answers an acquire, in the messages of the product, and does nothing else.
type echo struct {
	holdfastv1connect.UnimplementedLockServiceHandler
	grants atomic.Int64
}

func (e *echo) Acquire(_ context.Context, r *v1.AcquireRequest) (*v1.AcquireResponse, error) {
	return &v1.AcquireResponse{
		Outcome: v1.Outcome_OUTCOME_GRANTED,
		Grant: &v1.Grant{Id: e.grants.Add(1), Token: 1, Depth: 1, Claims: []*v1.Claim{{Name: r.GetName(),
			Mode: v1.Mode_MODE_EXCLUSIVE}}},
		Stamp: &v1.Stamp{Index: 1},
	}, nil
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// EchoChild serves the echo until its stdin ends. Compression is off, as in the product.
func EchoChild(args []string, in io.Reader) error {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	address := flags.String("listen", "", "address")
	if err := flags.Parse(args); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(holdfastv1connect.NewLockServiceHandler(&echo{}, connect.WithCompression("gzip", nil, nil)))
	server := &http.Server{Addr: *address, Handler: mux, Protocols: protocols(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Echo is the echo server in a process of its own.
type Echo struct {
	process *proc.Process
	url     string
}

// StartEcho starts it; self is our own executable.
func StartEcho(ctx context.Context, g *proc.Group, self, dir string) (*Echo, error) {
	port, err := proc.FreePorts(1)
	if err != nil {
		return nil, err
	}
	p, err := g.Start(proc.Command{Name: "echo", Path: self, Talk: true, LogFile: filepath.Join(dir, "echo.log"),
		Args: []string{"child", "echo", "--listen", proc.Address(port)}})
	if err != nil {
		return nil, err
	}
	e := &Echo{process: p, url: "http://" + proc.Address(port)}
	for range 100 {
		conn, err := net.Dial("tcp", proc.Address(port))
		if err == nil {
			return e, conn.Close()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.Exited():
			return nil, errors.New(p.How())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, errors.New("the echo does not answer")
}

// Stop ends the process.
func (e *Echo) Stop() { e.process.Stop(time.Second) }

// Protocol is a way to make unary calls.
type Protocol string

// Protocols, by the names that the load generator has for them.
const (
	JSON    Protocol = "json"    // Connect, HTTP/1.1
	Connect Protocol = "connect" // Connect binary, HTTP/1.1
	GRPC    Protocol = "grpc"    // gRPC, HTTP/2 without TLS
	// Connect2 is Connect binary over HTTP/2 without TLS.
	Connect2 Protocol = "connect2"
)

// About is how the protocol is named to people.
func (p Protocol) About() string {
	switch p {
	case JSON:
		return "Connect JSON, HTTP/1.1"
	case GRPC:
		return "gRPC, HTTP/2"
	case Connect2:
		return "Connect binary, HTTP/2"
	case Connect:
	}
	return "Connect binary, HTTP/1.1"
}

func (p Protocol) client(http *http.Client, url string) holdfastv1connect.LockServiceClient {
	options := []connect.ClientOption{connect.WithAcceptCompression("gzip", nil, nil)}
	switch p {
	case JSON:
		options = append(options, connect.WithProtoJSON())
	case GRPC:
		options = append(options, connect.WithGRPC())
	case Connect, Connect2:
	}
	return holdfastv1connect.NewLockServiceClient(http, url, options...)
}

func (p Protocol) transport(callers int) *http.Transport {
	speaks := new(http.Protocols)
	speaks.SetHTTP1(p == JSON || p == Connect)
	speaks.SetUnencryptedHTTP2(p == GRPC || p == Connect2)
	return &http.Transport{Protocols: speaks, MaxIdleConns: callers, MaxIdleConnsPerHost: callers,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}
}

// callersPerTransport share connections: with HTTP/2 that is one connection, with HTTP/1.1 each
// caller has one anyway.
const callersPerTransport = 16

// Measure makes calls from so many callers; each with a connection of its own, if apart.
func (e *Echo) Measure(ctx context.Context, p Protocol, callers int, apart bool, warmUp, duration time.Duration,
) (load.Result, error) {
	per := callersPerTransport
	if apart {
		per = 1
	}
	clients := make([]holdfastv1connect.LockServiceClient, (callers+per-1)/per)
	transports := make([]*http.Transport, len(clients))
	for i := range clients {
		transports[i] = p.transport(per)
		clients[i] = p.client(&http.Client{Transport: transports[i]}, e.url)
	}
	defer func() {
		for _, t := range transports {
			t.CloseIdleConnections()
		}
	}()
	if err := e.connect(ctx, clients); err != nil {
		return load.Result{}, err
	}
	names := make([]string, callers)
	for i := range names {
		names[i] = fmt.Sprintf("bench/%d/lock", i)
	}
	r := load.Run(ctx, callers, warmUp, duration, func(ctx context.Context, worker int) (time.Duration, error) {
		began := time.Now()
		_, err := clients[worker/per].Acquire(ctx, request(names[worker]))
		return time.Since(began), err
	})
	if r.Rounds == 0 {
		return r, errors.Join(errors.New("no call to the echo came back"), r.Err)
	}
	return r, nil
}

func request(name string) *v1.AcquireRequest {
	return &v1.AcquireRequest{Name: name, SessionId: 1, RequestId: 1, Wait: durationpb.New(time.Second)}
}

// connect makes one call on each connection, a few at a time.
func (e *Echo) connect(ctx context.Context, clients []holdfastv1connect.LockServiceClient) error {
	const together = 64
	var all sync.WaitGroup
	failed := make(chan error, len(clients))
	for i := range together {
		all.Go(func() {
			for c := i; c < len(clients); c += together {
				if _, err := clients[c].Acquire(ctx, request("bench/connect")); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return fmt.Errorf("connect to the echo: %w (%s)", err, strings.TrimSpace(e.process.LastWords()))
	}
	return nil
}
