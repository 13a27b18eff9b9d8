package holdfast

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// hold is one grant of the session. Several handles may share it: an owner that acquires what it
// holds already gets another handle of the same hold. Everything but the first group is guarded by
// the session's mutex.
type hold struct {
	s       *session
	owner   *owner
	id      int64
	name    string          // of its claims when it was granted, for messages
	loss    context.Context // ends when the lock is lost, and only then
	lose    context.CancelCauseFunc
	convert chan struct{} // holds one token: who takes it may convert

	token      int64
	claims     []Claim
	uses       int // handles that are not released
	depth      int // how many releases the server expects; never more than uses
	converting bool
	leaseMS    int64 // deadlines in cluster time; 0 means none
	maxHoldMS  int64
	grantedAt  uint64 // index
	untold     uint64 // index up to which its end may not have been told; 0 means it was looked at
	gone       bool   // given back, as far as this process is concerned
	lost       *LostError
}

// grantLocked takes a grant that an answer or event brought: a new hold, or one more use of one.
func (s *session) grantLocked(o *op, g *v1.Grant, at *v1.Stamp) *hold {
	if h := s.holds[g.GetId()]; h != nil {
		h.uses++
		h.depth++
		h.updateLocked(g)
		return h
	}
	h := &hold{s: s, owner: o.owner, id: g.GetId(), name: o.label,
		claims: claimsIn(o.acquire.GetClaims()), // a grant that has ended since comes without
		uses:   1, depth: 1, grantedAt: at.GetIndex(), convert: make(chan struct{}, 1)}
	h.loss, h.lose = context.WithCancelCause(context.Background())
	h.convert <- struct{}{}
	h.updateLocked(g)
	s.holds[h.id] = h
	o.owner.holds = append(o.owner.holds, h)
	if e := s.early[h.id]; e != nil {
		delete(s.early, h.id)
		h.loseLocked(lostReasonIn(e.GetEnded()), e.GetDetail())
	}
	return h
}

// updateLocked takes what an answer says about the grant as it is now.
func (h *hold) updateLocked(g *v1.Grant) {
	if g == nil {
		return
	}
	h.token = max(h.token, g.GetToken())
	if len(g.GetClaims()) > 0 {
		h.claims = claimsIn(g.GetClaims())
	}
	h.leaseMS = max(h.leaseMS, g.GetDeadlines().GetLeaseMs())
	h.maxHoldMS = max(h.maxHoldMS, g.GetDeadlines().GetMaxHoldMs())
	h.s.raiseLocked(g.GetDeadlines())
	if h.leaseMS > 0 || h.maxHoldMS > 0 {
		h.s.timed[h] = struct{}{}
		if h.usableLocked() < h.s.look {
			select {
			case h.s.nudge <- struct{}{}:
			default:
			}
		}
	}
}

// coversLocked says whether the hold makes every one of the claims superfluous.
func (h *hold) coversLocked(claims []Claim) bool {
	for _, want := range claims {
		covered := false
		for _, have := range h.claims {
			covered = covered || have.Name == want.Name && have.Mode.covers(want.Mode)
		}
		if !covered {
			return false
		}
	}
	return true
}

// namesLocked says whether a name is one of those held.
func (h *hold) namesLocked(name string) bool {
	return slices.ContainsFunc(h.claims, func(c Claim) bool { return c.Name == name })
}

// usableLocked is until when the hold may be relied on: the earliest of its session, lease and
// longest hold.
func (h *hold) usableLocked() time.Duration {
	until := h.s.usableLocked(h.s.expires)
	for _, ms := range []int64{h.leaseMS, h.maxHoldMS} {
		if ms > 0 {
			until = min(until, h.s.usableLocked(ms))
		}
	}
	return until
}

// checkLocked is nil while the hold may be relied on; it looks at the clock, and a hold that has
// passed its deadline is lost from that moment (HF-11.2).
func (h *hold) checkLocked() error {
	if h.lost == nil && !h.gone && h.s.ended == nil {
		now := h.s.clock.Now()
		switch {
		case h.s.usableLocked(h.s.expires) <= now:
			h.s.loseLocked(LostExpired, "no renewal got through in time", true)
		case h.usableLocked() <= now:
			h.loseLocked(LostExpired, "its lease or longest hold ran out")
		}
	}
	if h.lost != nil {
		return h.lost
	}
	return nil
}

// loseLocked makes the hold lost, for good.
func (h *hold) loseLocked(reason LostReason, detail string) {
	if h.lost != nil || h.gone {
		return
	}
	h.lost = &LostError{Name: h.name, Token: h.token, Reason: reason, Detail: detail}
	h.forgetLocked()
	h.lose(h.lost)
	h.s.c.telemetry.lost(reason)
}

// forgetLocked takes the hold out of the session.
func (h *hold) forgetLocked() {
	delete(h.s.holds, h.id)
	delete(h.s.timed, h)
	for i, other := range h.owner.holds {
		if other == h {
			h.owner.holds = append(h.owner.holds[:i], h.owner.holds[i+1:]...)
			break
		}
	}
}

// newHandle makes a handle of a hold. Its context has the values of ctx and ends with the hold, or
// with that of a handle within whose context it was acquired.
func newHandle(ctx context.Context, hd *hold, sc *scope) *Handle {
	h := &Handle{hold: hd, acquired: time.Now()}
	inner := &scope{c: hd.s.c, own: hd.owner, handle: h}
	if sc != nil {
		h.enclosing, inner.run = sc.handle, sc.run
	}
	base, span := hd.s.c.telemetry.hold(context.WithoutCancel(ctx), hd)
	h.ctx, h.end = context.WithCancelCause(withScope(base, inner))
	if span.IsRecording() {
		context.AfterFunc(h.ctx, func() {
			span.SetAttributes(attribute.String("holdfast.end", context.Cause(h.ctx).Error()))
			span.End()
		})
	}
	h.follow(hd)
	for outer := h.enclosing; outer != nil; outer = outer.enclosing {
		if outer.hold != hd {
			h.follow(outer.hold)
		}
	}
	if inner.run != nil {
		inner.run.add(h)
	}
	return h
}

// follow ends the handle's context when the hold is lost.
func (h *Handle) follow(hd *hold) {
	h.detach = append(h.detach, context.AfterFunc(hd.loss, func() { h.end(context.Cause(hd.loss)) }))
}

func releasedError(h *hold) error {
	return &Error{Reason: ReasonReleased, Message: h.name + " was released"}
}

// release gives up this handle's use of the hold, and with the last use the grant.
func (h *Handle) release(ctx context.Context) error {
	s := h.hold.s
	s.mu.Lock()
	if h.released {
		s.mu.Unlock()
		return nil
	}
	h.released = true
	o := h.hold.dropUseLocked()
	s.mu.Unlock()

	h.end(releasedError(h.hold))
	for _, stop := range h.detach {
		stop()
	}
	s.c.telemetry.released(h.ctx, time.Since(h.acquired))
	if o == nil {
		return nil
	}
	if err := s.submit(o); err != nil {
		return nil // the session is over, and the grant with it
	}
	ctx, cancel := graceful(ctx, s.c.cfg.callTimeout)
	defer cancel()
	select {
	case <-o.done:
	case <-ctx.Done():
		return callerGone(ctx, "release "+o.label, s.t.lastError())
	}
	switch reasonOf(o.err) {
	case ReasonSessionExpired, ReasonSessionNotFound, ReasonClosed:
		return nil
	}
	return o.err
}

// dropUseLocked takes one use from the hold. It returns the release to send; nil if none is due,
// because the grant is lost or because another handle of the same grant was counted here alone.
func (h *hold) dropUseLocked() *op {
	h.uses--
	if h.uses >= h.depth || h.lost != nil {
		return nil
	}
	h.depth--
	if h.uses == 0 {
		h.gone = true
		h.forgetLocked()
	}
	return releaseOp(h.owner, h.id, h.name)
}

func releaseOp(own *owner, grantID int64, name string) *op {
	return &op{kind: opRelease, owner: own, label: name, done: make(chan struct{}),
		release: &v1.ReleaseRequest{GrantId: grantID}}
}

// renew renews the lease.
func (h *Handle) renew(ctx context.Context) error {
	if err := h.Check(); err != nil {
		return err
	}
	o, s := renewOp(h.hold), h.hold.s
	if err := s.submit(o); err != nil {
		return err
	}
	if err := s.wait(ctx, o, s.c.patience(ctx, acquireConfig{hasLimit: true})); err != nil {
		return err
	}
	if o.err != nil {
		return o.err
	}
	return h.Check()
}

func renewOp(hd *hold) *op {
	return &op{kind: opRenew, owner: hd.owner, label: hd.name, done: make(chan struct{}),
		hold: hd, renew: &v1.RenewRequest{GrantId: hd.id}}
}

// convertAll converts every name whose mode is another.
func (h *Handle) convertAll(ctx context.Context, mode Mode, opts []AcquireOption) error {
	for _, c := range h.Claims() {
		if c.Mode == mode {
			continue
		}
		if err := h.convert(ctx, c.Name, mode, false, opts); err != nil {
			return err
		}
	}
	return nil
}

// convert changes one claim. Conversions of one hold go one after the other: the next begins when
// the outcome of the one before is known, even if its caller has gone.
func (h *Handle) convert(ctx context.Context, name string, mode Mode, drop bool,
	opts []AcquireOption) error {
	hd, s := h.hold, h.hold.s
	if err := h.Check(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return callerGone(ctx, "convert "+name, nil)
	}
	select {
	case <-hd.convert:
	case <-hd.loss.Done():
		return h.Check()
	case <-ctx.Done():
		return callerGone(ctx, "convert "+name, nil)
	}
	var cfg acquireConfig
	for _, opt := range opts {
		opt(&cfg)
	}
	o := convertOp(hd, name, mode, drop, cfg, wireWait(ctx, cfg))
	s.mu.Lock()
	hd.converting = true
	for _, c := range hd.claims {
		if c.Name == name {
			o.before = c.Mode
		}
	}
	s.mu.Unlock()
	if err := s.submit(o); err != nil {
		return h.Check()
	}
	if err := s.wait(ctx, o, s.c.patience(ctx, cfg)); err != nil {
		return err
	}
	if lost := h.Check(); lost != nil {
		return lost
	}
	if reasonOf(o.err) == ReasonWaitLimitReached && !cfg.hasLimit && ctx.Err() == nil {
		return h.convert(ctx, name, mode, drop, opts) // the longest wait the service allows has passed
	}
	return o.err
}

func convertOp(hd *hold, name string, mode Mode, drop bool, cfg acquireConfig, wait time.Duration) *op {
	req := &v1.ConvertRequest{GrantId: hd.id, Name: name, Mode: modeOut(mode), Drop: drop,
		Wait: durationOut(wait), Priority: cfg.priority,
		OnDeadlock: deadlockActionOut(cfg.onDeadlock)}
	if drop {
		req.Mode = v1.Mode_MODE_UNSPECIFIED
	}
	return &op{kind: opConvert, owner: hd.owner, hold: hd, convert: req, done: make(chan struct{}),
		label: fmt.Sprintf("%s to %s", name, mode)}
}
