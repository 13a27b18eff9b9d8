package holdfast

import (
	"cmp"
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
	s     *session
	owner *owner
	id    int64
	name  string // of its claims when it was granted, for messages

	loss    context.Context // ends when the lock is lost, and only then; nil until asked for
	lose    context.CancelCauseFunc
	convert chan struct{} // holds one token: who takes it may convert; nil until asked for

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

// grantRoom is what one acquire makes if it is granted, in one piece. If it is not a new grant, or
// not for a new owner, some of it stays empty.
type grantRoom struct {
	owner  owner
	hold   hold
	handle Handle
}

// grantLocked takes a grant that an answer or event brought: a new hold, or one more use of one.
func (s *session) grantLocked(o *op, g *v1.Grant, at *v1.Stamp) *hold {
	if h := s.holds[g.GetId()]; h != nil {
		h.uses++
		h.depth++
		h.updateLocked(g)
		return h
	}
	h := o.hold
	h.s, h.owner, h.id, h.name = s, o.owner, g.GetId(), o.label
	h.claims = o.claims // a grant that has ended since comes without
	h.uses, h.depth, h.grantedAt = 1, 1, at.GetIndex()
	h.updateLocked(g)
	s.holds[h.id] = h
	o.owner.holds = append(o.owner.holds, h)
	if len(s.early) > 0 {
		if e := s.early[h.id]; e != nil {
			delete(s.early, h.id)
			h.loseLocked(lostReasonIn(e.GetEnded()), e.GetDetail())
		}
	}
	return h
}

// lossLocked is the context that ends when the lock is lost.
func (h *hold) lossLocked() context.Context {
	if h.loss == nil {
		h.loss, h.lose = context.WithCancelCause(context.Background())
		if h.lost != nil {
			h.lose(h.lost)
		}
	}
	return h.loss
}

// conversionsLocked is the channel whose one token allows to convert.
func (h *hold) conversionsLocked() chan struct{} {
	if h.convert == nil {
		h.convert = make(chan struct{}, 1)
		h.convert <- struct{}{}
	}
	return h.convert
}

// updateLocked takes what an answer says about the grant as it is now.
func (h *hold) updateLocked(g *v1.Grant) {
	if g == nil {
		return
	}
	h.token = max(h.token, g.GetToken())
	if len(g.GetClaims()) > 0 && !sameClaims(h.claims, g.GetClaims()) {
		h.claims = claimsIn(g.GetClaims())
	}
	h.leaseMS = max(h.leaseMS, g.GetDeadlines().GetLeaseMs())
	h.maxHoldMS = max(h.maxHoldMS, g.GetDeadlines().GetMaxHoldMs())
	h.s.raiseLocked(g.GetDeadlines())
	if h.leaseMS > 0 || h.maxHoldMS > 0 {
		h.s.timed[h] = struct{}{}
		if h.usableLocked() < h.s.look {
			h.s.nudgeLocked()
		}
	}
}

func sameClaims(have []Claim, told []*v1.Claim) bool {
	return slices.EqualFunc(have, told, func(h Claim, t *v1.Claim) bool {
		return h.Name == t.GetName() && modeOut(h.Mode) == t.GetMode()
	})
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
	if h.lose != nil {
		h.lose(h.lost)
	}
	h.s.c.telemetry.lost(reason)
}

// forgetLocked takes the hold out of the session.
func (h *hold) forgetLocked() {
	delete(h.s.holds, h.id)
	if h.leaseMS > 0 || h.maxHoldMS > 0 {
		delete(h.s.timed, h)
	}
	for i, other := range h.owner.holds {
		if other == h {
			h.owner.holds = append(h.owner.holds[:i], h.owner.holds[i+1:]...)
			break
		}
	}
}

// newHandle makes a handle of a hold in its room.
func newHandle(ctx context.Context, hd *hold, sc *scope, room *grantRoom) *Handle {
	h := &room.handle
	h.hold, h.parent = hd, ctx
	if sc != nil {
		h.enclosing, h.run = sc.handle, sc.run
	}
	if t := hd.s.c.telemetry; t.listens(ctx) {
		h.acquired = time.Now()
		h.tell(t)
	}
	if h.run != nil {
		h.run.add(h)
	}
	return h
}

// tell begins the span of the hold, which ends with the handle's context.
func (h *Handle) tell(t *telemetry) {
	base, span := t.hold(context.WithoutCancel(h.parent), h.hold)
	h.parent = base
	if !span.IsRecording() {
		return
	}
	ctx := h.Context()
	context.AfterFunc(ctx, func() {
		span.SetAttributes(attribute.String("holdfast.end", context.Cause(ctx).Error()))
		span.End()
	})
}

// contextLocked makes the handle's context when it is asked for: most handles are never asked. It has
// the values of the acquire's context and ends with the hold, or with that of a handle within whose
// context it was acquired.
func (h *Handle) contextLocked() context.Context {
	if h.ctx != nil {
		return h.ctx
	}
	inner := &scope{c: h.hold.s.c, own: h.hold.owner, handle: h, run: h.run}
	h.ctx, h.end = context.WithCancelCause(withScope(context.WithoutCancel(h.parent), inner))
	if h.released {
		h.end(cmp.Or(h.endedBy, releasedError(h.hold)))
		return h.ctx
	}
	h.eachHold(func(hd *hold) {
		if loss := hd.lossLocked(); hd.lost != nil {
			h.end(hd.lost)
		} else {
			h.detach = append(h.detach, context.AfterFunc(loss, func() { h.end(context.Cause(loss)) }))
		}
	})
	return h.ctx
}

// eachHold visits the hold of the handle and those of the handles around it.
func (h *Handle) eachHold(visit func(*hold)) {
	visit(h.hold)
	for outer := h.enclosing; outer != nil; outer = outer.enclosing {
		if outer.hold != h.hold {
			visit(outer.hold)
		}
	}
}

// endLocked ends the handle's context, or that which is asked for later, at a release.
func (h *Handle) endLocked() {
	h.released = true
	for _, stop := range h.detach {
		stop()
	}
	h.detach = nil
	if h.ctx != nil {
		h.end(releasedError(h.hold))
		return
	}
	h.eachHold(func(hd *hold) {
		if hd.lost != nil {
			h.endedBy = hd.lost
		}
	})
}

func releasedError(h *hold) error {
	return &Error{Reason: ReasonReleased, Message: h.name + " was released"}
}

// release gives up this handle's use of the hold, and with the last use the grant.
func (h *Handle) release(ctx context.Context) error {
	s := h.hold.s
	patience := max(s.c.cfg.callTimeout, releaseGrace)
	s.lock()
	if h.released {
		s.unlock()
		return nil
	}
	h.endLocked()
	o := h.hold.dropUseLocked()
	var wake chan struct{}
	if o != nil {
		wake, _ = s.submitLocked(o, patience) // fails if the session is over, and the grant with it
	}
	s.unlock()

	if !h.acquired.IsZero() {
		s.c.telemetry.released(h.parent, time.Since(h.acquired))
	}
	if wake == nil {
		return nil
	}
	if cause := s.awaitRelease(ctx, o, wake, patience); cause != nil {
		return givenUp(cause, cause, "release "+o.label, s.t.lastError())
	}
	switch reasonOf(o.err) {
	case ReasonSessionExpired, ReasonSessionNotFound, ReasonClosed:
		return nil
	}
	return o.err
}

// awaitRelease waits for the outcome of a release. If the caller goes, it waits until 5 s after the
// beginning (HF-11.9). It returns nil if the outcome is known.
func (s *session) awaitRelease(ctx context.Context, o *op, wake chan struct{}, patience time.Duration) error {
	cause := context.DeadlineExceeded
	select {
	case <-wake:
	case <-ctx.Done():
		grace := time.NewTimer(o.until - patience + releaseGrace - s.ticks())
		defer grace.Stop()
		select {
		case <-wake:
		case <-grace.C:
			if !s.leave(o, wake) {
				s.c.wakeUps.put(wake)
				return context.Canceled
			}
		}
	}
	s.c.wakeUps.put(wake)
	if o.overdue {
		return cause
	}
	return nil
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
	return &op{kind: opRelease, owner: own, label: name, grant: grantID}
}

// renew renews the lease.
func (h *Handle) renew(ctx context.Context) error {
	if err := h.Check(); err != nil {
		return err
	}
	o, s := renewOp(h.hold), h.hold.s
	wake, err := s.submit(o, s.c.patience(ctx, &acquireConfig{hasLimit: true}))
	if err != nil {
		return err
	}
	if err := s.wait(ctx, o, wake); err != nil {
		return err
	}
	if o.err != nil {
		return o.err
	}
	return h.Check()
}

func renewOp(hd *hold) *op {
	return &op{kind: opRenew, owner: hd.owner, label: hd.name, hold: hd, grant: hd.id}
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
	s.lock()
	mayConvert, loss := hd.conversionsLocked(), hd.lossLocked()
	s.unlock()
	select {
	case <-mayConvert:
	case <-loss.Done():
		return h.Check()
	case <-ctx.Done():
		return callerGone(ctx, "convert "+name, nil)
	}
	var cfg acquireConfig
	for _, opt := range opts {
		opt(&cfg)
	}
	o := convertOp(hd, name, mode, drop, cfg, wireWait(ctx, &cfg))
	s.lock()
	hd.converting = true
	for _, c := range hd.claims {
		if c.Name == name {
			o.before = c.Mode
		}
	}
	s.unlock()
	wake, err := s.submit(o, s.c.patience(ctx, &cfg))
	if err != nil {
		return h.Check()
	}
	if err := s.wait(ctx, o, wake); err != nil {
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
	return &op{kind: opConvert, owner: hd.owner, hold: hd, convert: req,
		label: fmt.Sprintf("%s to %s", name, mode)}
}
