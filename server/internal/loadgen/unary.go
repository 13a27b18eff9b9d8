package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// Protocols of Unary.
const (
	ProtocolJSON    = "json"    // Connect with JSON, as curl would
	ProtocolConnect = "connect" // Connect with protobuf
	ProtocolGRPC    = "grpc"
)

// UnaryReport is of one call per operation.
type UnaryReport struct {
	Protocol  string  `json:"protocol"`
	HTTP      int     `json:"http"`
	PerSecond float64 `json:"calls_per_second"`
}

// version is the version of HTTP to use: HTTP/1.1, but for gRPC, which has no choice.
func (c Config) version() int {
	if c.HTTP != 0 {
		return c.HTTP
	}
	if c.Protocol == ProtocolGRPC {
		return 2
	}
	return 1
}

// plain are the clients of a node without the SDK.
type plain struct {
	locks    holdfastv1connect.LockServiceClient
	sessions holdfastv1connect.SessionServiceClient
}

func newPlain(c Config, rt http.RoundTripper, endpoint string) plain {
	h := &http.Client{Transport: rt}
	opts := []connect.ClientOption{connect.WithAcceptCompression("gzip", nil, nil)}
	switch c.Protocol {
	case ProtocolJSON:
		opts = append(opts, connect.WithProtoJSON())
	case ProtocolGRPC:
		opts = append(opts, connect.WithGRPC())
	}
	endpoint = strings.TrimRight(endpoint, "/")
	return plain{holdfastv1connect.NewLockServiceClient(h, endpoint, opts...),
		holdfastv1connect.NewSessionServiceClient(h, endpoint, opts...)}
}

// unarySession is a session without the SDK. Its one worker makes one call at a time, so that request
// ids need no bookkeeping: what went before has its answer.
type unarySession struct {
	plain
	id      uint64
	request uint64
	name    string
}

// runUnary is a steady load of single calls, each worker with a session of its own. The calls go to
// the leader, as those of a client do that has been told where it is.
func runUnary(ctx context.Context, c Config) (*Report, error) {
	if err := enoughFiles(c, openFilesLimit()); err != nil {
		return nil, err
	}
	observer, err := c.Connect()
	if err != nil {
		return nil, err
	}
	cs := &clients{observer: observer}
	defer cs.close()
	rt := newTransport(c.version())
	defer rt.CloseIdleConnections()
	leader, err := leaderURL(ctx, observer)
	if err != nil {
		return nil, err
	}
	if leader == "" {
		leader = c.Endpoints[0] // which forwards
	}
	bad := &violations{}
	c.Clients, c.Outstanding = c.Clients*c.Outstanding, 1
	ns := newNames(c, bad)
	all := make([]*unarySession, c.Clients)
	began := time.Now()
	err = each(ctx, len(all), func(ctx context.Context, i int) error {
		all[i] = &unarySession{plain: newPlain(c, rt, leader), name: ns.own(i, 0)}
		return all[i].open(ctx, c)
	})
	defer closeUnary(all)
	if err != nil {
		return nil, err
	}
	c.tell(Ready{Event: "open", Sessions: c.Clients, OpenSeconds: round3(time.Since(began).Seconds())})
	r := newLoad(ctx, c, bad, func(client, _ int) *worker {
		s := all[client]
		return &worker{client: client, name: ns.lock(s.name), acquire: s.acquire}
	}).run(ctx)
	r.Depth = c.Depth
	r.Unary = &UnaryReport{Protocol: c.Protocol, HTTP: c.version(), PerSecond: r.PerSecond}
	ns.leftHeld(r, observer)
	r.judged(bad)
	return r, nil
}

// open opens a session that outlives the run: its calls renew it, but nothing else does.
func (s *unarySession) open(ctx context.Context, c Config) error {
	res, err := s.sessions.OpenSession(ctx, &v1.OpenSessionRequest{Namespace: c.Namespace,
		Ttl: durationpb.New(c.TTL + c.WarmUp + c.Duration + drainMost), Metadata: "holdfast bench unary"})
	if err != nil {
		return err
	}
	s.id = res.GetSessionId()
	return nil
}

func closeUnary(all []*unarySession) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	_ = each(ctx, len(all), func(ctx context.Context, i int) error {
		if all[i] != nil && all[i].id != 0 {
			_, _ = all[i].sessions.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: all[i].id}) // or it ends with its ttl
		}
		return nil
	})
}

func (s *unarySession) acquire(ctx context.Context) (held, error) {
	s.request++
	res, err := s.locks.Acquire(ctx, &v1.AcquireRequest{Name: s.name, SessionId: s.id, RequestId: s.request, Acked: s.request - 1})
	if err != nil {
		return nil, unaryError{err}
	}
	if res.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
		return nil, unaryError{fmt.Errorf("%s: %s", s.name, res.GetOutcome())}
	}
	return &unaryGrant{s: s, id: res.GetGrant().GetId(), token: res.GetGrant().GetToken()}, nil
}

// unaryGrant is a lock that was acquired with a call of its own.
type unaryGrant struct {
	s     *unarySession
	id    int64
	token int64
}

func (g *unaryGrant) Token() int64 { return g.token }

// Check is always nil: the session outlives the run.
func (g *unaryGrant) Check() error { return nil }

func (g *unaryGrant) Release(ctx context.Context) error {
	g.s.request++
	_, err := g.s.locks.Release(ctx, &v1.ReleaseRequest{GrantId: g.id, SessionId: g.s.id, RequestId: g.s.request,
		Acked: g.s.request - 1})
	if err != nil {
		return unaryError{err}
	}
	return nil
}

// unaryError names the reason of a failed call.
type unaryError struct{ error }

func (e unaryError) Unwrap() error { return e.error }

// ReasonName is the name in the catalogue of errors, or else the code of the call.
func (e unaryError) ReasonName() string {
	var ce *connect.Error
	if !errors.As(e.error, &ce) {
		return "OTHER"
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if detail, ok := v.(*v1.Error); ok {
				return strings.TrimPrefix(detail.GetReason().String(), "ERROR_REASON_")
			}
		}
	}
	return strings.ToUpper(ce.Code().String())
}
