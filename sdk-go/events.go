package holdfast

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// streamSilenceMax is how long a stream may be silent before it is taken for dead; the server sends
// its state more often than that.
const streamSilenceMax = 45 * time.Second

// streamFirst is how long the first message may take: a stream that hangs must not keep its node's
// breaker from another probe.
const streamFirst = 5 * time.Second

// stream is how far the events of a session have been read.
type stream struct {
	begun   bool   // a stream was begun, and what happened after from will be told
	from    uint64 // index from which the present chain of cursors goes on
	cursor  string
	looking bool // somebody looks at the timed grants
}

// listen reads the events of the session, one stream after the other, each from where the last one
// broke off.
func (s *session) listen() {
	for failures := 0; s.ctx.Err() == nil; {
		heard, err := s.readEvents()
		if s.ctx.Err() != nil {
			return
		}
		if reasonOf(err) == ReasonCompacted {
			s.lock()
			s.cursor = ""
			s.unlock()
		}
		s.refused(err)
		failures++
		if heard {
			failures = 1
		}
		if !sleep(s.ctx, pause(failures, err)) {
			return
		}
	}
}

// readEvents reads one stream until it breaks. heard says whether anything came.
func (s *session) readEvents() (heard bool, err error) {
	s.lock()
	req := &v1.EventsRequest{SessionId: s.id, Cursor: s.cursor}
	s.unlock()
	anew := req.GetCursor() == ""
	err = streaming(s.ctx, s.t, s.c.cfg.streamSilence,
		func(ctx context.Context, n *clients) (*connect.ServerStreamForClient[v1.EventsResponse], error) {
			return n.lockEvents(ctx, req)
		},
		func(e *v1.EventsResponse) bool {
			heard = true
			s.sameHistory(e.GetCluster())
			s.take(e, anew)
			anew = false
			return true
		})
	return heard, err
}

func (c *clients) lockEvents(ctx context.Context, req *v1.EventsRequest) (
	*connect.ServerStreamForClient[v1.EventsResponse], error) {
	return c.session().Events(ctx, req)
}

// take does what an event says.
func (s *session) take(e *v1.EventsResponse, anew bool) {
	s.lock()
	defer s.unlock()
	if s.ended != nil {
		return
	}
	if e.GetCursor() != "" {
		s.cursor = e.GetCursor()
	}
	if anew {
		s.beginLocked(e.GetStamp().GetIndex())
	}
	switch e.GetKind() {
	case v1.SessionEventKind_SESSION_EVENT_KIND_STATE:
		s.raiseLocked(e.GetDeadlines())
	case v1.SessionEventKind_SESSION_EVENT_KIND_OUTCOME:
		if o := s.byID(e.GetRequestId()); o != nil {
			s.answeredLocked(o)
			s.outcomeLocked(o, outcome{kind: e.GetOutcome(), grant: e.GetGrant(),
				ended: e.GetEnded(), cycle: e.GetCycle(), detail: e.GetDetail(), stamp: e.GetStamp()})
		}
	case v1.SessionEventKind_SESSION_EVENT_KIND_LOST:
		if h := s.holds[e.GetGrant().GetId()]; h != nil {
			h.loseLocked(lostReasonIn(e.GetEnded()), e.GetDetail())
		} else if s.unfinished.len > 0 {
			s.early[e.GetGrant().GetId()] = e // its grant may be in an answer under way
		}
	case v1.SessionEventKind_SESSION_EVENT_KIND_ENDED:
		s.loseLocked(lostReasonIn(e.GetEnded()), e.GetDetail(), false)
	}
	if s.unfinished.len == 0 {
		clear(s.early)
	}
}

// beginLocked is called when events begin anew at an index: whatever happened up to there was not
// told. Requests that wait are repeated, which tells their outcome; grants are looked at with a
// renewal, which an ended one refuses. A lease is for its holder alone to renew, so grants that have
// one are looked at with a read.
func (s *session) beginLocked(index uint64) {
	s.begun, s.from = true, index
	for o := s.unfinished.first; o != nil; o = s.unfinished.next(o) {
		if o.waiting && o.queuedAt <= index {
			s.enqueueLocked(o)
		}
	}
	for _, h := range s.holds {
		switch {
		case h.grantedAt >= index:
		case h.leaseMS > 0:
			h.untold = index
		default:
			s.enqueueLocked(renewOp(h))
		}
	}
	s.pumpLocked()
	if !s.looking {
		s.looking = true
		s.c.wg.Go(s.lookAtLeases)
	}
}

// lookAtLeases looks, one by one, whether the grants with a lease whose end may not have been told
// are still held. One that is not is renewed: that cannot succeed any more, and tells why it ended.
func (s *session) lookAtLeases() {
	for failures := 0; ; {
		h, index, name := s.untoldHold()
		if h == nil {
			return
		}
		held, err := s.looksHeld(name, h.id)
		s.lock()
		switch {
		case err != nil && retryable(err), !held && (h.converting || !h.namesLocked(name)):
			failures++ // no answer; or the name may have been dropped, and not the grant
		default:
			failures = 0
			if h.untold == index {
				h.untold = 0
			}
			if err == nil && !held {
				s.enqueueLocked(renewOp(h))
				s.pumpLocked()
			}
		}
		s.unlock()
		if failures > 0 && !sleep(s.ctx, pause(failures, err)) {
			return
		}
	}
}

// untoldHold is a hold to look at, with the index up to which its end may not have been told and
// one of its names; nil if there is none, and then nobody looks any more.
func (s *session) untoldHold() (h *hold, index uint64, name string) {
	s.lock()
	defer s.unlock()
	for h := range s.timed {
		if h.untold > 0 {
			return h, h.untold, h.claims[0].Name
		}
	}
	s.looking = false
	return nil, 0, ""
}

// looksHeld reads whether a grant holds a name. Where more hold it than are shown it may, and its
// deadline decides.
func (s *session) looksHeld(name string, grant int64) (bool, error) {
	req := &v1.GetLockRequest{Name: name, Namespace: s.c.cfg.namespace}
	answer, _, err := once(s.ctx, s.t, callKind{timeout: attemptTimeout},
		func(ctx context.Context, n *clients) (*v1.GetLockResponse, error) {
			return n.lock().GetLock(ctx, req)
		})
	lock := answer.GetLock()
	for _, holder := range lock.GetHolders() {
		if holder.GetGrant().GetId() == grant {
			return true, err
		}
	}
	return int(lock.GetHoldersTotal()) > len(lock.GetHolders()), err
}

// streaming reads one stream from one node until it breaks, goes silent, or each returns false.
func streaming[T any](ctx context.Context, t *transport, silence time.Duration,
	open func(context.Context, *clients) (*connect.ServerStreamForClient[T], error),
	each func(*T) bool) error {
	n, report, err := t.pick(false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(min(silence, streamFirst), func() {
		cancel(errSilence)
	})
	defer quiet.Stop()

	str, err := open(ctx, n.clients(callKind{}))
	first := true
	for err == nil && str.Receive() {
		quiet.Reset(silence)
		if first {
			report(verdictSuccess)
			first = false
		}
		msg := str.Msg()
		if c, ok := any(msg).(interface{ GetCluster() *v1.ClusterRef }); ok {
			if err = t.accept(c.GetCluster()); err != nil {
				break
			}
			t.heard(c.GetCluster().GetLeader(), n)
		}
		if !each(msg) {
			break
		}
	}
	if err == nil && str != nil {
		err = str.Err()
	}
	if str != nil {
		_ = str.Close()
	}
	return t.broken(ctx, n, err, first, report)
}

// errSilence ends a stream that says nothing any more.
var errSilence = errors.New("nothing was heard on the stream for too long")

// broken says what the end of a stream means for its node. report is called if the breaker has not
// been told yet.
func (t *transport) broken(ctx context.Context, n *node, err error, untold bool,
	report func(verdict)) error {
	stalled := errors.Is(context.Cause(ctx), errSilence)
	gone := ctx.Err() != nil && !stalled
	var broke error
	switch {
	case stalled:
		broke = &Error{Reason: ReasonUnavailable, Message: "the stream broke", cause: errSilence}
		n.failed(t.clock.Now())
	case err != nil:
		e := callError(err)
		if !gone && unreached(e) {
			n.failed(t.clock.Now())
		}
		broke = e
	}
	if untold {
		report(judge(broke, gone))
	}
	e := asError(broke)
	if e != nil && !gone && retryable(e) && !(e.Reason == ReasonNotLeader && t.heard(e.leader, n)) {
		t.advance(n, e)
	}
	return broke
}
