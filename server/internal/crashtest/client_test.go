package crashtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// attemptLimit bounds one attempt beyond the time it is meant to wait; the next goes elsewhere.
const attemptLimit = 3 * time.Second

// endpoint is the services of one node.
type endpoint struct {
	locks    holdfastv1connect.LockServiceClient
	sessions holdfastv1connect.SessionServiceClient
	cluster  holdfastv1connect.ClusterServiceClient
}

func newEndpoints(urls []string) []*endpoint {
	client := &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
	}}
	all := make([]*endpoint, len(urls))
	for i, u := range urls {
		all[i] = &endpoint{
			locks:    holdfastv1connect.NewLockServiceClient(client, u),
			sessions: holdfastv1connect.NewSessionServiceClient(client, u),
			cluster:  holdfastv1connect.NewClusterServiceClient(client, u),
		}
	}
	return all
}

// rawClient is the simplest client that keeps the rules: one session, one request at a time, each
// repeated under its id at one node after the other until it has an answer.
type rawClient struct {
	endpoints []*endpoint
	at        int
	session   uint64
	request   uint64
	retries   int
}

// persist repeats a call until it is answered, by success or by a refusal.
func persist[Res any](ctx context.Context, c *rawClient, wait time.Duration,
	do func(context.Context, *endpoint) (Res, error),
) (Res, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, wait+attemptLimit)
		res, err := do(attempt, c.endpoints[c.at%len(c.endpoints)])
		cancel()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return res, err
		}
		c.at++
		c.retries++
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// passing says whether a failure is one that the next attempt may not meet.
func passing(err error) bool {
	switch reason(err) {
	case v1.ErrorReason_ERROR_REASON_NOT_LEADER, v1.ErrorReason_ERROR_REASON_NO_QUORUM,
		v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		v1.ErrorReason_ERROR_REASON_RATE_LIMITED:
		return true
	case v1.ErrorReason_ERROR_REASON_UNSPECIFIED: // the connection broke, or the attempt took too long
		code := connect.CodeOf(err)
		return code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded ||
			code == connect.CodeCanceled || code == connect.CodeUnknown
	default:
		return false
	}
}

func reason(err error) v1.ErrorReason {
	var ce *connect.Error
	if errors.As(err, &ce) {
		for _, d := range ce.Details() {
			if v, err := d.Value(); err == nil {
				if e, ok := v.(*v1.Error); ok {
					return e.GetReason()
				}
			}
		}
	}
	return v1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

func (c *rawClient) open(ctx context.Context, metadata string) error {
	request := &v1.OpenSessionRequest{Ttl: durationpb.New(sessionTTL), Metadata: metadata, Nonce: rand.Text()}
	res, err := persist(ctx, c, 0, func(ctx context.Context, e *endpoint) (*v1.OpenSessionResponse, error) {
		return e.sessions.OpenSession(ctx, request)
	})
	c.session = res.GetSessionId()
	return err
}

func (c *rawClient) close(ctx context.Context) error {
	_, err := persist(ctx, c, 0, func(ctx context.Context, e *endpoint) (*v1.CloseSessionResponse, error) {
		return e.sessions.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: c.session})
	})
	if reason(err) == v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED {
		return nil // an earlier attempt closed it
	}
	return err
}

// next numbers a request. All before it have had their answers.
func (c *rawClient) next() (id, acked uint64) {
	c.request++
	return c.request, c.request - 1
}

func (c *rawClient) acquire(ctx context.Context, names []string, mode v1.Mode, wait time.Duration,
) (*v1.AcquireResponse, error) {
	request := &v1.AcquireRequest{SessionId: c.session, Wait: durationpb.New(wait)}
	request.RequestId, request.Acked = c.next()
	for _, n := range names {
		request.Claims = append(request.Claims, &v1.Claim{Name: n, Mode: mode})
	}
	return persist(ctx, c, wait, func(ctx context.Context, e *endpoint) (*v1.AcquireResponse, error) {
		return e.locks.Acquire(ctx, request)
	})
}

func (c *rawClient) release(ctx context.Context, grant int64) (*v1.ReleaseResponse, error) {
	request := &v1.ReleaseRequest{SessionId: c.session, GrantId: grant}
	request.RequestId, request.Acked = c.next()
	return persist(ctx, c, 0, func(ctx context.Context, e *endpoint) (*v1.ReleaseResponse, error) {
		return e.locks.Release(ctx, request)
	})
}

func (c *rawClient) renew(ctx context.Context) error {
	_, err := persist(ctx, c, 0, func(ctx context.Context, e *endpoint) (*v1.RenewSessionResponse, error) {
		return e.sessions.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: c.session})
	})
	return err
}

func (c *rawClient) get(ctx context.Context, name string) (*v1.Lock, error) {
	res, err := persist(ctx, c, 0, func(ctx context.Context, e *endpoint) (*v1.GetLockResponse, error) {
		return e.locks.GetLock(ctx, &v1.GetLockRequest{Name: name})
	})
	return res.GetLock(), err
}

// list reads all locks at and below a prefix, currently.
func (c *rawClient) list(ctx context.Context, prefix string) (map[string]*v1.Lock, error) {
	all := make(map[string]*v1.Lock)
	request := &v1.ListLocksRequest{Prefix: prefix, PageSize: 1000}
	for {
		res, err := persist(ctx, c, 0, func(ctx context.Context, e *endpoint) (*v1.ListLocksResponse, error) {
			return e.locks.ListLocks(ctx, request)
		})
		if err != nil {
			return nil, err
		}
		for _, l := range res.GetLocks() {
			all[l.GetName()] = l
		}
		if request.PageToken = res.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

// heldBy finds a grant among a lock's holders.
func heldBy(l *v1.Lock, grant, token int64) error {
	for _, h := range l.GetHolders() {
		if h.GetGrant().GetId() == grant {
			if h.GetGrant().GetToken() != token || h.GetGrant().GetDepth() != 1 {
				return fmt.Errorf("grant %d has token %d and depth %d, not %d and 1",
					grant, h.GetGrant().GetToken(), h.GetGrant().GetDepth(), token)
			}
			return nil
		}
	}
	return fmt.Errorf("grant %d is not among the %d holders of %s", grant, l.GetHoldersTotal(), l.GetName())
}
