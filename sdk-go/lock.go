package holdfast

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// waitLimitMax is the longest wait the service allows; a longer one is asked for again.
const waitLimitMax = 24 * time.Hour

// Lock is one or more names to acquire together, each in a mode. It is a value to acquire with:
// making one costs nothing and asks nobody. It may be used by many goroutines.
type Lock struct {
	c      *Client
	claims []Claim
	opts   []AcquireOption
}

// Lock names a lock, exclusive unless Shared or Mode say otherwise. The options are the defaults of
// its acquires.
func (c *Client) Lock(name string, defaults ...AcquireOption) *Lock {
	return &Lock{c: c, claims: []Claim{{Name: name}}, opts: defaults}
}

// All puts several locks together: they are granted all at once or not at all, so that no order of
// names can deadlock. The options of the locks are joined in order.
func (c *Client) All(locks ...*Lock) *Lock {
	all := &Lock{c: c}
	for _, l := range locks {
		all.claims = append(all.claims, l.claims...)
		all.opts = append(all.opts, l.opts...)
	}
	return all
}

// LockAll acquires several locks, all at once or not at all. It is All(locks...).Acquire(ctx).
func (c *Client) LockAll(ctx context.Context, locks ...*Lock) (*Handle, error) {
	return c.All(locks...).Acquire(ctx)
}

// Claims are the names and modes that an acquire asks for.
func (l *Lock) Claims() []Claim { return append([]Claim(nil), l.claims...) }

// Shared is the same lock for reading together with others.
func (l *Lock) Shared() *Lock { return l.Mode(Shared) }

// Exclusive is the same lock for oneself alone.
func (l *Lock) Exclusive() *Lock { return l.Mode(Exclusive) }

// Mode is the same lock in another mode.
func (l *Lock) Mode(m Mode) *Lock {
	other := &Lock{c: l.c, claims: l.Claims(), opts: l.opts}
	for i := range other.claims {
		other.claims[i].Mode = m
	}
	return other
}

// Acquire waits until the lock is held, its context ends or its wait limit passes (ErrWaitLimit).
// When the context ends first the wait is cancelled, and a grant that came meanwhile is released.
// While nobody can be reached it goes on trying; but if there is no session yet and none can be
// opened within the call timeout, it fails (ErrUnavailable).
//
// Within the context of a Handle (Handle.Context, Handle.Bind) it acquires for the same owner: what
// that owner holds already is re-entered without a call, and the two never wait for each other.
// Anywhere else it is a new owner, so acquiring a lock twice without that context waits for oneself.
func (l *Lock) Acquire(ctx context.Context, opts ...AcquireOption) (*Handle, error) {
	return l.acquire(ctx, l.config(opts))
}

// TryAcquire takes the lock if it is free. ok is false if it is held; err is for everything else.
func (l *Lock) TryAcquire(ctx context.Context, opts ...AcquireOption) (h *Handle, ok bool, err error) {
	cfg := *l.config(opts)
	cfg.waitLimit, cfg.hasLimit = 0, true
	h, err = l.acquire(ctx, &cfg)
	if reasonOf(err) == ReasonHeld {
		return nil, false, nil
	}
	return h, err == nil, err
}

// Do acquires the lock, runs fn with the handle and its context, and releases the lock. The context
// is a child of ctx that ends when the lock is lost. If it was lost while fn ran, Do returns that
// even if fn returned nil.
func (l *Lock) Do(ctx context.Context, fn func(ctx context.Context, h *Handle) error,
	opts ...AcquireOption) (err error) {
	h, err := l.Acquire(ctx, opts...)
	if err != nil {
		return err
	}
	defer func() {
		lost := h.Check()
		released := h.Release(ctx)
		if err == nil {
			err = lost
		}
		if err == nil {
			err = released
		}
	}()
	bound, cancel := h.Bind(ctx)
	defer cancel()
	return fn(bound, h)
}

// noOptions is what an acquire without options has; nobody changes it.
var noOptions acquireConfig

func (l *Lock) config(opts []AcquireOption) *acquireConfig {
	if len(l.opts) == 0 && len(opts) == 0 {
		return &noOptions
	}
	cfg := &acquireConfig{}
	for _, o := range l.opts {
		o(cfg)
	}
	for _, o := range opts {
		o(cfg)
	}
	return cfg
}

// label names the lock in messages.
func (l *Lock) label() string { return label(l.claims) }

func label(claims []Claim) string {
	if len(claims) == 1 {
		return claims[0].Name
	}
	names := make([]string, 0, len(claims))
	for _, c := range claims {
		names = append(names, c.Name)
	}
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func (l *Lock) acquire(ctx context.Context, cfg *acquireConfig) (*Handle, error) {
	if !l.c.telemetry.listens(ctx) {
		return l.acquireUntold(ctx, cfg)
	}
	finish := l.c.telemetry.acquire(ctx, l.claims)
	h, err := l.acquireUntold(ctx, cfg)
	finish(h, err)
	return h, err
}

func (l *Lock) acquireUntold(ctx context.Context, cfg *acquireConfig) (*Handle, error) {
	if len(l.claims) == 0 {
		return nil, &Error{Reason: ReasonInvalidArgument, Field: "claims",
			Message: "claims: a lock needs at least one name"}
	}
	if err := ctx.Err(); err != nil {
		return nil, callerGone(ctx, l.label(), nil)
	}
	room := &grantRoom{}
	sc := scopeOf(ctx, l.c)
	own, err := l.owner(ctx, sc, room)
	if err != nil {
		return nil, err
	}
	if sc != nil && !cfg.noReentry && cfg.lease == 0 {
		if hold := own.reenter(l.claims); hold != nil {
			return newHandle(ctx, hold, sc, room), nil
		}
	}
	for {
		o := &op{kind: opAcquire, owner: own, label: l.label(), claims: l.claims, cfg: cfg,
			wait: wireWait(ctx, cfg), hold: &room.hold}
		hold, err := l.await(ctx, o)
		if reasonOf(err) == ReasonWaitLimitReached && !cfg.hasLimit && ctx.Err() == nil {
			continue // the longest wait the service allows has passed, not one of the caller's
		}
		if err != nil {
			return nil, err
		}
		return newHandle(ctx, hold, sc, room), nil
	}
}

// owner finds on whose behalf a request is made: the owner in the context, or a new one.
func (l *Lock) owner(ctx context.Context, sc *scope, room *grantRoom) (*owner, error) {
	if sc != nil {
		return sc.ownerFor(ctx)
	}
	s, err := l.c.session(ctx)
	if err != nil {
		return nil, err
	}
	s.begin(&room.owner)
	return &room.owner, nil
}

// await submits an acquire and waits for its outcome, or for the caller to go.
func (l *Lock) await(ctx context.Context, o *op) (*hold, error) {
	s := o.owner.s
	wake, err := s.submit(o, l.c.patience(ctx, o.cfg))
	if err != nil {
		return nil, err
	}
	if err := s.wait(ctx, o, wake); err != nil {
		return nil, err
	}
	return o.hold, o.err
}

// patience is how long a caller waits for the answer: a request with a wait limit must not hang
// because no node can be reached; 0 means for ever.
func (c *Client) patience(ctx context.Context, cfg *acquireConfig) time.Duration {
	if _, ok := ctx.Deadline(); ok || !cfg.hasLimit {
		return 0
	}
	return cfg.waitLimit + c.cfg.callTimeout
}

// wireWait is the wait limit that is sent: the caller's, or as long as its context can last.
func wireWait(ctx context.Context, cfg *acquireConfig) time.Duration {
	if cfg.hasLimit {
		return cfg.waitLimit
	}
	if deadline, ok := ctx.Deadline(); ok {
		return min(time.Until(deadline)+time.Second, waitLimitMax)
	}
	return waitLimitMax
}

func durationOut(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func reentrantOut(noReentry bool) *bool {
	if !noReentry {
		return nil
	}
	no := false
	return &no
}

// clampInt32 keeps a priority that does not fit from turning into one that does.
func clampInt32(n int) int32 {
	return int32(max(math.MinInt32, min(math.MaxInt32, n)))
}
