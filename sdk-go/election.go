package holdfast

import (
	"context"
	"iter"
	"sync"
)

// Election elects one leader among those who campaign under a name. The leader is the holder of the
// lock of that name; what it announces is the metadata of its grant.
type Election struct {
	c    *Client
	name string
	opts []AcquireOption

	mu   sync.Mutex
	lead *Handle // held through this Election; nil if it is not
}

// Leader is who leads an election.
type Leader struct {
	Value     string // what the leader gave to Campaign
	Token     int64  // its fencing token; a later leader has a greater one
	SessionID uint64
}

// Election names an election. The options are those of its acquires.
func (c *Client) Election(name string, opts ...AcquireOption) *Election {
	return &Election{c: c, name: name, opts: opts}
}

// Campaign waits until this client leads, and announces value. Do the leader's work within the
// handle's context, which ends when leadership is lost. Every Campaign is a candidate of its own,
// so one that is called while it leads waits for itself to resign.
func (e *Election) Campaign(ctx context.Context, value string) (*Handle, error) {
	opts := append(append([]AcquireOption(nil), e.opts...), WithMetadata(value))
	h, err := e.c.Lock(e.name).Acquire(ctx, opts...)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lead = h
	return h, nil
}

// Resign gives leadership up, if this client has it through this Election; the next candidate leads.
func (e *Election) Resign(ctx context.Context) error {
	e.mu.Lock()
	h := e.lead
	e.lead = nil
	e.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.Release(ctx)
}

// Leader tells who leads; ok is false if nobody does.
func (e *Election) Leader(ctx context.Context, opts ...ReadOption) (leader Leader, ok bool, err error) {
	info, err := e.c.GetLock(ctx, e.name, opts...)
	if err != nil {
		return Leader{}, false, err
	}
	for _, h := range info.Holders {
		if h.Mode == Exclusive && !h.Implied {
			return Leader{Value: h.Metadata, Token: h.Grant.Token, SessionID: h.SessionID}, true, nil
		}
	}
	return Leader{}, false, nil
}

// Observe yields the present leader and then each new one, until ctx ends or the loop is left. While
// nobody leads it yields nothing. It may skip leaders that led for a very short time.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		var last int64
		for event, err := range e.c.WatchLocks(ctx, e.name) {
			if err != nil && reasonOf(err) != ReasonCompacted {
				yield(Leader{}, err)
				return
			}
			if !e.mayChange(event) {
				continue
			}
			leader, ok, err := e.Leader(ctx)
			if err != nil {
				yield(Leader{}, err)
				return
			}
			if !ok || leader.Token <= last {
				continue
			}
			last = leader.Token
			if !yield(leader, nil) {
				return
			}
		}
	}
}

// mayChange says whether somebody else may lead after an event: a grant of the name, or a place in
// the stream before which events may have been missed.
func (e *Election) mayChange(event LockEvent) bool {
	switch event.Kind {
	case EventProgress, "":
		return true
	case EventGranted, EventConverted:
		for _, c := range event.Claims {
			if c.Name == e.name {
				return true
			}
		}
	}
	return false
}
