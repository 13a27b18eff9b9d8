package holdfast

import (
	"context"
	"iter"
)

// Election elects one leader among those who campaign under a name. The leader is the holder of the
// lock of that name; what it announces is the metadata of its grant.
type Election struct {
	c    *Client
	name string
	opts []AcquireOption
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
// handle's context, which ends when leadership is lost.
func (e *Election) Campaign(ctx context.Context, value string) (*Handle, error) {
	panic("pending")
}

// Resign gives leadership up, if this client has it through this Election; the next candidate leads.
func (e *Election) Resign(ctx context.Context) error { panic("pending") }

// Leader tells who leads; ok is false if nobody does.
func (e *Election) Leader(ctx context.Context, opts ...ReadOption) (leader Leader, ok bool, err error) {
	panic("pending")
}

// Observe yields the present leader and then each new one, until ctx ends or the loop is left. While
// nobody leads it yields nothing. It may skip leaders that led for a very short time.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Leader, error] { panic("pending") }
