package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// retryPause is how long the commands wait when every endpoint has failed, before they go round
// again. A fail-over takes about a second, so that a few rounds get over it.
const retryPause = 200 * time.Millisecond

// node is the four services at one endpoint.
type node struct {
	url      string
	locks    holdfastv1connect.LockServiceClient
	sessions holdfastv1connect.SessionServiceClient
	cluster  holdfastv1connect.ClusterServiceClient
	admin    holdfastv1connect.AdminServiceClient
}

// service calls whichever endpoint answers. It is made for one command line: no breaker, no
// batching, no session of its own; `lock` and `bench` use the SDK, which has all that.
type service struct {
	nodes []*node
	http  *http.Client
}

// connectTo checks the endpoints and makes a service of them.
func (a *app) connectTo() (*service, error) {
	if err := checkEndpoints(a.endpoints); err != nil {
		return nil, err
	}
	s := &service{http: &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 4,
	}}}
	for _, e := range a.endpoints {
		s.nodes = append(s.nodes, newNode(s.http, e))
	}
	return s, nil
}

func newNode(client *http.Client, endpoint string) *node {
	endpoint = strings.TrimRight(endpoint, "/")
	return &node{
		url:      endpoint,
		locks:    holdfastv1connect.NewLockServiceClient(client, endpoint),
		sessions: holdfastv1connect.NewSessionServiceClient(client, endpoint),
		cluster:  holdfastv1connect.NewClusterServiceClient(client, endpoint),
		admin:    holdfastv1connect.NewAdminServiceClient(client, endpoint),
	}
}

func checkEndpoints(endpoints []string) error {
	if len(endpoints) == 0 {
		return usageError("for example --endpoints "+defaultEndpoint, "no endpoints")
	}
	for _, e := range endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return usageError("endpoints are base URLs, for example "+defaultEndpoint,
				"endpoint %q is not a URL", e)
		}
	}
	return nil
}

func (s *service) close() { s.http.CloseIdleConnections() }

// call tries a call at one endpoint after the other until one answers, going round for as long as
// the --timeout lasts. Only failures that say that nothing was done, or calls that may be
// repeated, are tried again.
func call[Res any](ctx context.Context, s *service, timeout time.Duration, repeatable bool,
	do func(context.Context, *node) (Res, error),
) (Res, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return callUntilDone(ctx, s, repeatable, do)
}

// callUntilDone is call without a time limit of its own, for calls that wait at the server.
func callUntilDone[Res any](ctx context.Context, s *service, repeatable bool,
	do func(context.Context, *node) (Res, error),
) (Res, error) {
	var zero Res
	var last error
	for {
		for _, n := range slices.Clone(s.nodes) {
			res, err := do(ctx, n)
			if err == nil {
				return res, nil
			}
			if ctx.Err() != nil {
				return zero, ctxError(ctx, last, err)
			}
			if !mayRetry(err, repeatable) {
				return zero, err
			}
			last = err
			s.follow(err)
		}
		select {
		case <-ctx.Done():
			return zero, ctxError(ctx, last, ctx.Err())
		case <-time.After(retryPause):
		}
	}
}

// ctxError prefers the failure that was seen before the time ran out: it says more.
func ctxError(ctx context.Context, last, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if last != nil {
		return last
	}
	return err
}

// mayRetry says whether to try elsewhere. A refused connection and the reasons that promise that
// nothing was done are always safe; an unknown outcome only for calls that may be repeated.
func mayRetry(err error, repeatable bool) bool {
	if detail := errorDetail(err); detail != nil {
		switch detail.GetReason() {
		case holdfastv1.ErrorReason_ERROR_REASON_NOT_LEADER,
			holdfastv1.ErrorReason_ERROR_REASON_NO_QUORUM,
			holdfastv1.ErrorReason_ERROR_REASON_RATE_LIMITED,
			holdfastv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN:
			return true
		case holdfastv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:
			return repeatable
		default:
			return false
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) || isDialError(err) {
		return true
	}
	return repeatable && connect.CodeOf(err) == connect.CodeUnavailable
}

func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// follow puts the leader that an answer named at the head of the endpoints.
func (s *service) follow(err error) {
	leader := errorDetail(err).GetLeader()
	if leader == "" {
		return
	}
	for i, n := range s.nodes {
		if n.url == leader {
			s.nodes = slices.Insert(slices.Delete(s.nodes, i, i+1), 0, n)
			return
		}
	}
	s.nodes = slices.Insert(s.nodes, 0, newNode(s.http, leader))
}

// nonce makes a name for a request that no other request has.
func nonce() string { return rand.Text() }

// requestID makes a request id for a grant that was acquired without a session: nobody else
// numbers requests there, so a random id protects a repeated call from counting twice.
func requestID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])>>2 | 1<<32
}

// untilInterrupted ends a context at the first Ctrl-C or TERM; a second one ends the process.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// processMetadata is what others see of this program's sessions and requests.
func processMetadata(what string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return strings.Join([]string{"holdfast " + what, host, "pid " + itoa(os.Getpid())}, ", ")
}
