package holdfast

import (
	"context"
	"iter"
)

// GetLock shows one lock: who holds it, who waits, what unclean ends left behind.
func (c *Client) GetLock(ctx context.Context, name string, opts ...ReadOption) (*LockInfo, error) {
	panic("pending")
}

// ListLocks lists the locks at and below a prefix in order of their names; an empty prefix lists
// all. Pages are fetched as the loop goes on. An error ends the sequence.
func (c *Client) ListLocks(ctx context.Context, prefix string, opts ...ReadOption) iter.Seq2[LockInfo, error] {
	panic("pending")
}

// ListSessions lists the sessions of the namespace in order of their ids.
func (c *Client) ListSessions(ctx context.Context, opts ...ReadOption) iter.Seq2[SessionInfo, error] {
	panic("pending")
}

// WatchLocks streams what happens to the locks at and below a prefix until ctx ends or the loop is
// left. It reconnects and resumes by itself and misses nothing, or says so: it yields ErrCompacted
// once and goes on from the present if the loop does. The first event is a PROGRESS event, after which
// nothing is missed. Other errors end the sequence.
func (c *Client) WatchLocks(ctx context.Context, prefix string, opts ...ReadOption) iter.Seq2[LockEvent, error] {
	panic("pending")
}

// ExplainLock tells what the last waiter in the lock's queue waits for.
func (c *Client) ExplainLock(ctx context.Context, name string, opts ...ReadOption) (*Explanation, error) {
	panic("pending")
}

// ExplainRequest tells what one waiting request waits for.
func (c *Client) ExplainRequest(ctx context.Context, sessionID, requestID uint64, opts ...ReadOption) (*Explanation, error) {
	panic("pending")
}
