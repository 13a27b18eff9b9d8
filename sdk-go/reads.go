package holdfast

import (
	"context"
	"iter"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

func readConfigOf(opts []ReadOption) readConfig {
	var cfg readConfig
	for _, o := range opts {
		o(&cfg)
	}
	return cfg
}

// GetLock shows one lock: who holds it, who waits, what unclean ends left behind.
func (c *Client) GetLock(ctx context.Context, name string, opts ...ReadOption) (*LockInfo, error) {
	cfg := readConfigOf(opts)
	req := &v1.GetLockRequest{Name: name, Namespace: c.cfg.namespace, Stale: cfg.stale}
	answer, _, err := retrying(ctx, c.transport, readCall, "get "+name,
		func(ctx context.Context, n *clients) (*v1.GetLockResponse, error) {
			return n.lock().GetLock(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	lock := lockIn(answer.GetLock())
	return &lock, nil
}

// ListLocks lists the locks at and below a prefix in order of their names; an empty prefix lists
// all. Pages are fetched as the loop goes on. An error ends the sequence.
func (c *Client) ListLocks(ctx context.Context, prefix string, opts ...ReadOption) iter.Seq2[LockInfo, error] {
	cfg := readConfigOf(opts)
	return pages(func(token string) ([]LockInfo, string, error) {
		req := &v1.ListLocksRequest{Prefix: prefix, Namespace: c.cfg.namespace, Stale: cfg.stale,
			PageSize: uint32(max(0, cfg.pageSize)), PageToken: token}
		answer, _, err := retrying(ctx, c.transport, readCall, "list "+prefix,
			func(ctx context.Context, n *clients) (*v1.ListLocksResponse, error) {
				return n.lock().ListLocks(ctx, req)
			})
		if err != nil {
			return nil, "", err
		}
		return each(answer.GetLocks(), lockIn), answer.GetNextPageToken(), nil
	})
}

// ListSessions lists the sessions of the namespace in order of their ids.
func (c *Client) ListSessions(ctx context.Context, opts ...ReadOption) iter.Seq2[SessionInfo, error] {
	cfg := readConfigOf(opts)
	return pages(func(token string) ([]SessionInfo, string, error) {
		req := &v1.ListSessionsRequest{Namespace: c.cfg.namespace, Stale: cfg.stale,
			PageSize: uint32(max(0, cfg.pageSize)), PageToken: token}
		answer, _, err := retrying(ctx, c.transport, readCall, "list sessions",
			func(ctx context.Context, n *clients) (*v1.ListSessionsResponse, error) {
				return n.session().ListSessions(ctx, req)
			})
		if err != nil {
			return nil, "", err
		}
		return each(answer.GetSessions(), sessionIn), answer.GetNextPageToken(), nil
	})
}

// pages makes one sequence of pages that are fetched when they are needed.
func pages[T any](fetch func(token string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := ""; ; {
			page, next, err := fetch(token)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			token = next
		}
	}
}

func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, a := range list {
		out = append(out, f(a))
	}
	return out
}

// WatchLocks streams what happens to the locks at and below a prefix until ctx ends or the loop is
// left. It reconnects and resumes by itself and misses nothing, or says so: it yields ErrCompacted
// once and goes on from the present if the loop does. The first event is a PROGRESS event, after
// which nothing is missed. Other errors end the sequence.
func (c *Client) WatchLocks(ctx context.Context, prefix string, opts ...ReadOption) iter.Seq2[LockEvent, error] {
	return func(yield func(LockEvent, error) bool) {
		req := &v1.WatchLocksRequest{Prefix: prefix, Namespace: c.cfg.namespace,
			Cursor: readConfigOf(opts).cursor}
		more := true
		for failures := 0; more; {
			err := streaming(ctx, c.transport, c.cfg.streamSilence,
				func(ctx context.Context, n *clients) (*connect.ServerStreamForClient[v1.WatchLocksResponse], error) {
					return n.lock().WatchLocks(ctx, req)
				},
				func(e *v1.WatchLocksResponse) bool {
					failures = 0
					if e.GetCursor() != "" {
						req.Cursor = e.GetCursor()
					}
					more = yield(lockEventIn(e), nil)
					return more
				})
			switch {
			case !more:
				return
			case ctx.Err() != nil:
				yield(LockEvent{}, callerGone(ctx, "watch "+prefix, nil))
				return
			case reasonOf(err) == ReasonCompacted && req.GetCursor() != "":
				req.Cursor = ""
				more = yield(LockEvent{}, err)
				continue
			case err != nil && !retryable(err):
				yield(LockEvent{}, err)
				return
			}
			failures++
			sleep(ctx, pause(failures, err))
		}
	}
}

// ExplainLock tells what the last waiter in the lock's queue waits for.
func (c *Client) ExplainLock(ctx context.Context, name string, opts ...ReadOption) (*Explanation, error) {
	return c.explain(ctx, &v1.ExplainWaitRequest{Name: name, Namespace: c.cfg.namespace}, opts)
}

// ExplainRequest tells what one waiting request waits for.
func (c *Client) ExplainRequest(ctx context.Context, sessionID, requestID uint64,
	opts ...ReadOption) (*Explanation, error) {
	return c.explain(ctx, &v1.ExplainWaitRequest{SessionId: sessionID, RequestId: requestID}, opts)
}

func (c *Client) explain(ctx context.Context, req *v1.ExplainWaitRequest,
	opts []ReadOption) (*Explanation, error) {
	req.Stale = readConfigOf(opts).stale
	answer, _, err := retrying(ctx, c.transport, readCall, "explain",
		func(ctx context.Context, n *clients) (*v1.ExplainWaitResponse, error) {
			return n.lock().ExplainWait(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	return explanationIn(answer), nil
}
