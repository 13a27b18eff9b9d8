package holdfast

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

const (
	marginLeast = 50 * time.Millisecond
	// ratio is how many nanoseconds of the client's clock a millisecond of cluster time lasts at
	// least: 0.99 of one, since the clocks may differ by 1 % (HF-2.9).
	ratio        = 990_000
	watchAtLeast = time.Second // how often deadlines are looked at, in case the machine slept
)

// session is one session: its life, what it holds and what it asks for. Everything behind mu may
// be touched by any goroutine; the goroutines of its own are keepAlive, watch, listen and send.
type session struct {
	c     *Client
	t     *transport
	clock clock
	id    uint64
	ttl   time.Duration
	epoch uint32
	start time.Time

	ctx    context.Context // ends with the session
	cancel context.CancelFunc

	mu        sync.Mutex
	ended     error       // why the session is over; nil while it lives
	over      atomic.Bool // whether it is
	lost      LostReason
	anchor    time.Duration // the greatest of sent - T x 0.99 over all anchors
	expires   int64         // deadline in cluster time, ms
	renewed   time.Duration // when the last command was sent that is known to have renewed it
	trip      time.Duration // smoothed round trip
	atRisk    chan struct{} // closed while a renewal is overdue
	risky     bool
	look      time.Duration // when watch looks at the deadlines next
	lookTicks time.Duration // the same by ticks
	nudge     chan struct{} // wakes watch when one is nearer than that

	owners atomic.Uint64
	holds  map[int64]*hold
	timed  map[*hold]struct{} // those with deadlines of their own
	early  map[int64]*v1.EventsResponse

	batcher
	stream
}

// openSession opens a session. It is retried with one nonce until ctx ends, so that a lost answer
// leaves no second session behind.
func openSession(ctx context.Context, c *Client) (*session, error) {
	req := &v1.OpenSessionRequest{Namespace: c.cfg.namespace, Ttl: durationOut(c.cfg.ttl),
		Metadata: c.cfg.metadata, Nonce: newNonce()}
	kind := callKind{control: true, timeout: attemptTimeout}
	answer, at, err := retrying(ctx, c.transport, kind, "open session",
		func(ctx context.Context, n *clients) (*v1.OpenSessionResponse, error) {
			return n.session().OpenSession(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	s := &session{c: c, t: c.transport, clock: c.cfg.clock,
		id: answer.GetSessionId(), ttl: answer.GetTtl().AsDuration(),
		epoch:  answer.GetCluster().GetEpoch(),
		atRisk: make(chan struct{}), nudge: make(chan struct{}, 1),
		holds: make(map[int64]*hold), timed: make(map[*hold]struct{}),
		early: make(map[int64]*v1.EventsResponse)}
	s.batcher.init()
	s.start = time.Now()
	if s.ttl <= 0 {
		s.ttl = c.cfg.ttl
	}
	s.ctx, s.cancel = context.WithCancel(c.ctx)
	s.trip = at.took
	s.anchorLocked(at, answer.GetStamp(), answer.GetDeadlines())
	c.wg.Go(s.keepAlive) // Close waits for the goroutines of every session there was
	c.wg.Go(s.watch)
	c.wg.Go(s.listen)
	return s, nil
}

// anchorLocked takes an answer to a command as an anchor: at the instant it was sent, cluster time
// had not passed its stamp (HF-2.9). Every anchor bounds every deadline from below, so only the
// greatest is kept.
func (s *session) anchorLocked(at timing, stamp *v1.Stamp, d *v1.Deadlines) {
	if stamp == nil {
		return
	}
	anchor := at.sent - time.Duration(stamp.GetTimeMs()*ratio)
	if s.anchor == 0 || anchor > s.anchor {
		s.anchor = anchor
	}
	s.trip += (at.took - s.trip) / 8
	s.raiseLocked(d)
	if d.GetSessionMs() > 0 && at.sent >= s.renewed {
		s.renewed = at.sent
		s.calmLocked()
	}
}

// raiseLocked notes a deadline of the session; deadlines only rise.
func (s *session) raiseLocked(d *v1.Deadlines) { s.expires = max(s.expires, d.GetSessionMs()) }

// usableLocked is until when a deadline in cluster time may be relied on.
func (s *session) usableLocked(deadlineMS int64) time.Duration {
	margin := max(marginLeast, 2*s.trip) + s.c.cfg.safetyMargin
	return s.anchor + time.Duration(deadlineMS*ratio) - margin
}

func (s *session) hasEnded() bool {
	s.lock()
	defer s.unlock()
	return s.ended != nil
}

// overdueLocked is when a renewal counts as overdue.
func (s *session) overdueLocked() time.Duration { return s.renewed + s.ttl/2 }

func (s *session) calmLocked() {
	if s.risky {
		s.risky = false
		s.atRisk = make(chan struct{})
	}
}

// keepAlive renews the session at a third of its ttl after the last command that renewed it, with
// 10 % of jitter, and sooner again after a failure (HF-11.1).
func (s *session) keepAlive() {
	timeout := max(100*time.Millisecond, min(attemptTimeout, s.ttl/6))
	kind := callKind{control: true, bypass: true, timeout: timeout}
	req := &v1.RenewSessionRequest{SessionId: s.id}
	for failures := 0; ; {
		if !sleep(s.ctx, s.untilRenewal(failures)) {
			return
		}
		if s.untilRenewal(failures) > s.ttl/10 {
			continue // another command has renewed it meanwhile
		}
		answer, at, err := once(s.ctx, s.t, kind,
			func(ctx context.Context, n *clients) (*v1.RenewSessionResponse, error) {
				return n.session().RenewSession(ctx, req)
			})
		if s.ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
			s.refused(err)
			continue
		}
		failures = 0
		s.lock()
		s.anchorLocked(at, answer.GetStamp(), answer.GetDeadlines())
		s.unlock()
		s.sameHistory(answer.GetCluster())
	}
}

// untilRenewal is how long to wait before the next renewal.
func (s *session) untilRenewal(failures int) time.Duration {
	if failures > 0 {
		return min(backoff(failures), time.Duration(rand.Int64N(int64(s.ttl/10))))
	}
	s.lock()
	defer s.unlock()
	jitter := 0.9 + 0.2*rand.Float64()
	due := s.renewed + time.Duration(float64(s.ttl/3)*jitter)
	return due - s.clock.Now()
}

// watch raises the alarm when a renewal is overdue, and ends what has passed its deadline. It looks
// at least every second, because timers stand still while the machine sleeps.
func (s *session) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.nudge:
		case <-s.ctx.Done():
			return
		}
		timer.Reset(s.inspect())
	}
}

// inspect does what watch is for, once, and says when to look again.
func (s *session) inspect() time.Duration {
	s.lock()
	defer s.unlock()
	now := s.clock.Now()
	if s.ended != nil {
		return watchAtLeast
	}
	if s.usableLocked(s.expires) <= now {
		s.loseLocked(LostExpired, "no renewal got through in time", true)
		return watchAtLeast
	}
	if !s.risky && s.overdueLocked() <= now {
		s.risky = true
		close(s.atRisk)
		s.c.log.Warn("renewal is overdue; locks are at risk", "session", s.id,
			"last", now-s.renewed, "err", s.t.lastError())
	}
	next := min(now+watchAtLeast, s.usableLocked(s.expires))
	if !s.risky {
		next = min(next, s.overdueLocked())
	}
	for h := range s.timed {
		if h.checkLocked() == nil {
			next = min(next, h.usableLocked())
		}
	}
	s.look = max(next, now+time.Millisecond)
	wait := s.look - now
	at := s.ticks()
	if next := s.impatientLocked(at); next > 0 {
		wait = min(wait, max(next-at, time.Millisecond))
	}
	s.lookTicks = at + wait
	return wait
}

// nudgeLocked makes watch look at once.
func (s *session) nudgeLocked() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// refused looks at the error of any call of the session: some say that the session is over.
func (s *session) refused(err error) {
	e := asError(err)
	if e == nil {
		return
	}
	s.lock()
	defer s.unlock()
	switch e.Reason {
	case ReasonSessionExpired:
		s.loseLocked(lostByEnd(e.Ended), e.Message, false)
	case ReasonSessionNotFound:
		s.loseLocked(LostForked, e.Message, false)
	}
}

// sameHistory ends the session if the cluster was restored since it was opened (HF-6.2).
func (s *session) sameHistory(ref *v1.ClusterRef) {
	if ref.GetClusterId() == "" || ref.GetEpoch() <= s.epoch {
		return
	}
	s.lock()
	defer s.unlock()
	s.loseLocked(LostForked, fmt.Sprintf("epoch %d began", ref.GetEpoch()), false)
}

// lostByEnd is why what the session held was lost, by the reason of its end.
func lostByEnd(ended EndReason) LostReason {
	return lostReasonIn(v1.EndReason(v1.EndReason_value["END_REASON_"+string(ended)]))
}

// loseLocked ends the session for good: what it held is lost, what it asked for fails, and if the
// server may not know yet it is told, so that the next in line need not wait for the deadline.
func (s *session) loseLocked(reason LostReason, detail string, tell bool) {
	if s.ended != nil {
		return
	}
	s.lost = reason
	s.endLocked(&Error{Reason: ReasonSessionExpired,
		Message: fmt.Sprintf("session %d is lost: %s: %s", s.id, reason, detail)}, reason, detail)
	if reason != LostClosed {
		s.c.log.Error("session is lost", "session", s.id, "reason", reason, "detail", detail)
	}
	if tell {
		s.c.wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.c.ctx, releaseGrace)
			defer cancel()
			_ = s.closeAtServer(ctx, true) // it ends by its deadline otherwise
		})
	}
}

// endLocked stops everything of the session in this process.
func (s *session) endLocked(err error, reason LostReason, detail string) {
	s.ended = err
	s.over.Store(true)
	for _, h := range s.holds {
		h.loseLocked(reason, detail)
	}
	s.failAllLocked(err)
	s.cancel()
}

// close ends the session and gives everything back.
func (s *session) close(ctx context.Context) error {
	s.lock()
	over := s.ended != nil
	if !over {
		s.endLocked(errClosed(), LostClosed, "the client was closed")
	}
	s.unlock()
	if over {
		return nil
	}
	ctx, cancel := graceful(ctx, s.c.cfg.callTimeout)
	defer cancel()
	return s.closeAtServer(ctx, false)
}

func (s *session) closeAtServer(ctx context.Context, abandon bool) error {
	kind := callKind{control: true, bypass: true, timeout: attemptTimeout}
	req := &v1.CloseSessionRequest{SessionId: s.id, Abandon: abandon}
	_, _, err := retrying(ctx, s.t, kind, fmt.Sprintf("close session %d", s.id),
		func(ctx context.Context, n *clients) (*v1.CloseSessionResponse, error) {
			return n.session().CloseSession(ctx, req)
		})
	switch reasonOf(err) {
	case ReasonSessionExpired, ReasonSessionNotFound:
		return nil // it is over, which is what was wanted
	}
	return err
}

// graceful is the context of a release: the caller's; but if that ends sooner, 5 s from now (HF-11.9).
func graceful(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(most, releaseGrace))
	start := time.Now()
	stop := context.AfterFunc(ctx, func() {
		if !sleep(grace, releaseGrace-time.Since(start)) {
			return
		}
		cancel()
	})
	return grace, func() {
		stop()
		cancel()
	}
}
