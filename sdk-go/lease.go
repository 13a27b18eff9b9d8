package holdfast

import (
	"context"
	"time"
)

// Handle is a lock that is held. It says when the lock is at risk and when it is lost, and it is
// how the lock is given back. Its methods may be called by many goroutines.
type Handle struct {
	hold      *hold
	parent    context.Context // of the acquire, for its values
	enclosing *Handle         // within whose context this one was acquired
	run       *runScope
	acquired  time.Time // zero if nobody wants to know

	// What follows is guarded by the session's mutex.
	ctx      context.Context // nil until asked for
	end      context.CancelCauseFunc
	detach   []func() bool
	released bool
	endedBy  error // the loss before the release, if the context was not asked for by then
}

// Name is the first name that the handle holds.
func (h *Handle) Name() string { return h.Claims()[0].Name }

// Claims are the names and modes that are held.
func (h *Handle) Claims() []Claim {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	return append([]Claim(nil), h.hold.claims...)
}

// Token is the fencing token: hand it to the resource with every access, which refuses those that
// are too old (package fence). It is greater than that of every earlier grant in the namespace. A
// raised conversion brings a new one.
func (h *Handle) Token() int64 {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	return h.hold.token
}

// GrantID is the id of the grant, which never changes.
func (h *Handle) GrantID() int64 { return h.hold.id }

// SessionID is the id of the session that holds the lock.
func (h *Handle) SessionID() uint64 { return h.hold.s.id }

// Lost is closed when the lock is lost. A release is no loss. Err and LostReason tell why.
func (h *Handle) Lost() <-chan struct{} {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	return h.hold.lossLocked().Done()
}

// LostReason is why the lock was lost; empty if it was not.
func (h *Handle) LostReason() LostReason {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	if h.hold.lost == nil {
		return ""
	}
	return h.hold.lost.Reason
}

// AtRisk is closed while a renewal is overdue: half of the session's ttl has passed since the last
// one. When renewals succeed again the next call returns a channel that is open again.
func (h *Handle) AtRisk() <-chan struct{} {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	return h.hold.s.atRisk
}

// Context ends when the lock is lost (its cause is then a *LostError) or released (ErrReleased). It
// has the values of the context given to Acquire, but not its deadline, which was for the wait.
// Acquires within it are made for the same owner.
func (h *Handle) Context() context.Context {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	return h.contextLocked()
}

// Bind is Context as a child of ctx: it also ends when ctx ends.
func (h *Handle) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	own := h.Context()
	child, cancel := context.WithCancelCause(withScope(ctx, scopeOf(own, h.hold.s.c)))
	stop := context.AfterFunc(own, func() { cancel(context.Cause(own)) })
	return child, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Check returns nil while the lock may be relied on: it looks at the clock at the time of the call,
// so that a program that was stopped for a while finds out before its next write. Otherwise it
// returns a *LostError, or ErrReleased.
func (h *Handle) Check() error {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	if h.released {
		return releasedError(h.hold)
	}
	return h.hold.checkLocked()
}

// Err is why the handle does not hold the lock any more, as far as is known already; nil while it
// does. Check looks closer.
func (h *Handle) Err() error {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	if h.hold.lost != nil {
		return h.hold.lost
	}
	if h.released {
		return releasedError(h.hold)
	}
	return nil
}

// Remaining is how long the lock may be relied on without another renewal; 0 if it is lost.
func (h *Handle) Remaining() time.Duration {
	h.hold.s.lock()
	defer h.hold.s.unlock()
	if h.released || h.hold.checkLocked() != nil {
		return 0
	}
	return h.hold.usableLocked() - h.hold.s.clock.Now()
}

// Release gives the lock back. It may be called again, and on a lock that is lost: both do nothing.
// If ctx has ended already, it is still tried, for up to 5 s. When it returns an error the
// release goes on in the background until it succeeds or the session ends.
func (h *Handle) Release(ctx context.Context) error { return h.release(ctx) }

// Renew raises the deadline of the lease (WithLease) to now + lease. Locks without a lease need no
// Renew: their session is renewed by itself.
func (h *Handle) Renew(ctx context.Context) error { return h.renew(ctx) }

// Upgrade makes every name of the handle exclusive, waiting for the others to leave. Two holders of
// a shared lock who both upgrade are a deadlock; one of them gets ErrDeadlockVictim and stays shared.
func (h *Handle) Upgrade(ctx context.Context, opts ...AcquireOption) error {
	return h.convertAll(ctx, Exclusive, opts)
}

// Downgrade makes every name of the handle shared, at once, and lets other readers in.
func (h *Handle) Downgrade(ctx context.Context) error { return h.convertAll(ctx, Shared, nil) }

// Convert changes the mode of one of the handle's names. It waits if others are in the way, keeping
// the old mode meanwhile; WithWaitLimit, WithPriority and WithDeadlockAction apply.
func (h *Handle) Convert(ctx context.Context, name string, mode Mode, opts ...AcquireOption) error {
	return h.convert(ctx, name, mode, false, opts)
}

// Drop gives up one of several names of the handle and keeps the others.
func (h *Handle) Drop(ctx context.Context, name string) error {
	return h.convert(ctx, name, Exclusive, true, nil)
}
