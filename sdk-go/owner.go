package holdfast

import (
	"context"
	"sync"
)

// owner is one line of work within a session. It never waits for itself.
type owner struct {
	s      *session
	number uint64  // its key, from a counter
	holds  []*hold // guarded by s.mu
	room   [1]*hold
}

// newOwner makes an owner with a key from a counter, which is never given twice (HF-11.5).
func (s *session) newOwner() *owner {
	o := &owner{}
	s.begin(o)
	return o
}

func (s *session) begin(o *owner) {
	o.s, o.number = s, s.owners.Add(1)
	o.holds = o.room[:0]
}

// reenter counts one more use of a grant that covers the claims, if the owner has one that may be
// relied on. A grant that is being converted is left to the server to judge.
func (o *owner) reenter(claims []Claim) *hold {
	o.s.lock()
	defer o.s.unlock()
	var best *hold
	for _, h := range o.holds {
		if h.converting || !h.coversLocked(claims) || h.checkLocked() != nil {
			continue
		}
		if best == nil || h.id < best.id {
			best = h
		}
	}
	if best != nil {
		best.uses++
	}
	return best
}

// scope is what a context says about the owner that acquires within it.
type scope struct {
	c      *Client
	own    *owner  // nil within Run until the first acquire
	handle *Handle // the innermost handle; nil if there is none
	run    *runScope
}

// runScope is one attempt of Run: its owner and what was acquired within it.
type runScope struct {
	cancel context.CancelCauseFunc
	parent *runScope // of a Run within a Run that has acquired nothing yet; nil for the outermost

	mu      sync.Mutex
	own     *owner
	handles []*Handle
}

type scopeKey struct{}

func withScope(ctx context.Context, sc *scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, sc)
}

// scopeOf returns the scope of ctx; nil if there is none, or if it belongs to another client.
func scopeOf(ctx context.Context, c *Client) *scope {
	sc, _ := ctx.Value(scopeKey{}).(*scope)
	if sc == nil || sc.c != c {
		return nil
	}
	return sc
}

// ownerFor returns the owner of the scope, making it with the first acquire within Run.
func (sc *scope) ownerFor(ctx context.Context) (*owner, error) {
	if sc.own != nil {
		return sc.own, nil
	}
	run := sc.run
	for run.parent != nil {
		run = run.parent
	}
	s, err := sc.c.session(ctx)
	if err != nil {
		return nil, err
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.own == nil || len(run.handles) == 0 && run.own.s != s {
		run.own = s.newOwner()
	}
	return run.own, nil
}

// add notes a handle that was acquired within the run.
func (r *runScope) add(h *Handle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handles = append(r.handles, h)
	s := h.hold.s
	s.lock()
	defer s.unlock()
	loss := h.hold.lossLocked()
	h.detach = append(h.detach, context.AfterFunc(loss, func() { r.cancel(context.Cause(loss)) }))
}
