package holdfast

import (
	"fmt"
	"strings"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// outcome is what an answer or an event says about an acquire or a conversion: the fields that
// AcquireResponse, ConvertResponse, CancelResponse and EventsResponse have in common.
type outcome struct {
	kind     v1.Outcome
	grant    *v1.Grant
	ended    v1.EndReason
	cycle    *v1.Cycle
	detail   string
	stamp    *v1.Stamp
	position uint32
	blockers []*v1.Blocker
	blocking uint32
}

// answerLocked takes the result of one operation of a batch.
func (s *session) answerLocked(o *op, r *v1.OperationResult) {
	s.answeredLocked(o)
	o.failure = nil
	if o.final {
		return // an event was faster
	}
	switch o.kind {
	case opAcquire:
		a := r.GetAcquire()
		s.outcomeLocked(o, outcome{kind: a.GetOutcome(), grant: a.GetGrant(), ended: a.GetEnded(),
			cycle: a.GetCycle(), detail: a.GetDetail(), stamp: a.GetStamp(),
			position: a.GetPosition(), blockers: a.GetBlockers(), blocking: a.GetBlockersTotal()})
	case opConvert:
		c := r.GetConvert()
		s.outcomeLocked(o, outcome{kind: c.GetOutcome(), grant: c.GetGrant(), ended: c.GetEnded(),
			cycle: c.GetCycle(), detail: c.GetDetail(), stamp: c.GetStamp(),
			position: c.GetPosition(), blockers: c.GetBlockers(), blocking: c.GetBlockersTotal()})
	case opCancel:
		c := r.GetCancel()
		s.finishLocked(o, nil)
		if !o.target.final {
			s.outcomeLocked(o.target, outcome{kind: c.GetOutcome(), grant: c.GetGrant(),
				ended: c.GetEnded(), cycle: c.GetCycle(), stamp: c.GetStamp()})
		}
	case opRenew:
		o.hold.updateLocked(r.GetRenew().GetGrant())
		s.finishLocked(o, nil)
	case opRelease:
		s.finishLocked(o, nil)
	}
}

// outcomeLocked takes an outcome of an acquire or a conversion, final or not.
func (s *session) outcomeLocked(o *op, out outcome) {
	switch out.kind {
	case v1.Outcome_OUTCOME_QUEUED:
		o.waiting, o.queuedAt = true, out.stamp.GetIndex()
		s.waits[o.id] = o
		o.position, o.blockers, o.blocking = int(out.position), out.blockers, out.blocking
		if s.begun && o.queuedAt <= s.from {
			s.enqueueLocked(o) // its outcome may lie before the place where the events begin
		}
	case v1.Outcome_OUTCOME_GRANTED:
		s.grantedLocked(o, out)
	case v1.Outcome_OUTCOME_SESSION_ENDED:
		s.loseLocked(lostReasonIn(out.ended), "the session ended while "+o.label+" waited", false)
	default:
		s.finishLocked(o, o.refusal(out))
	}
}

// grantedLocked takes a grant; one whose caller has gone is given back.
func (s *session) grantedLocked(o *op, out outcome) {
	if o.kind == opConvert {
		s.convertedLocked(o, out)
		return
	}
	if o.abandoned {
		s.finishLocked(o, &Error{Reason: ReasonCancelled, Message: o.label})
		if out.ended == v1.EndReason_END_REASON_UNSPECIFIED {
			s.enqueueLocked(releaseOp(o.owner, out.grant.GetId(), o.label))
			s.pumpLocked()
		}
		return
	}
	o.hold = s.grantLocked(o, out.grant, out.stamp)
	if out.ended != v1.EndReason_END_REASON_UNSPECIFIED {
		o.hold.loseLocked(lostReasonIn(out.ended), out.detail)
	}
	s.finishLocked(o, nil)
}

// convertedLocked takes a conversion. A raised one whose caller has gone is undone, before the next
// conversion of the same hold may begin.
func (s *session) convertedLocked(o *op, out outcome) {
	o.hold.updateLocked(out.grant)
	if out.ended != v1.EndReason_END_REASON_UNSPECIFIED {
		o.hold.loseLocked(lostReasonIn(out.ended), out.detail)
	}
	raised := !o.convert.GetDrop() && !o.before.covers(modeIn(o.convert.GetMode()))
	if !o.abandoned || !raised || o.hold.lost != nil || o.hold.gone {
		s.finishLocked(o, nil)
		return
	}
	o.handsOver = true
	s.finishLocked(o, &Error{Reason: ReasonCancelled, Message: o.label})
	s.enqueueLocked(convertOp(o.hold, o.convert.GetName(), o.before, false, acquireConfig{}, 0))
	s.pumpLocked()
}

// refusal is the error of an outcome that brought no grant.
func (o *op) refusal(out outcome) *Error {
	if len(out.blockers) > 0 {
		o.position, o.blockers, o.blocking = int(out.position), out.blockers, out.blocking
	}
	e := &Error{Reason: outcomeIn(out.kind), Message: o.label, Ended: endReasonIn(out.ended)}
	switch out.kind {
	case v1.Outcome_OUTCOME_HELD, v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED:
		o.describe(e)
		if out.kind == v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED {
			e.Message += ", and the wait limit has passed"
		}
	case v1.Outcome_OUTCOME_DEADLOCK_VICTIM:
		e.Cycle = cycleIn(out.cycle)
		e.Message = o.label + " was given up to resolve a deadlock: " + cycleText(e.Cycle)
		e.Hint = "release what you hold, and begin anew"
	case v1.Outcome_OUTCOME_REVOKED:
		e.Message = o.label + ": the wait was ended by an operator"
		if out.detail != "" {
			e.Message += ": " + out.detail
		}
	case v1.Outcome_OUTCOME_CANCELLED:
		e.Message = o.label + ": the wait was cancelled"
	}
	return e
}

// describe says who is in the way, as far as the last answer told.
func (o *op) describe(e *Error) {
	e.Position, e.Blockers, e.BlockersTotal = o.position, blockersIn(o.blockers), int(o.blocking)
	if len(e.Blockers) == 0 {
		e.Message = o.label + " is held"
		return
	}
	b := e.Blockers[0]
	switch b.Kind {
	case BlockerHolder:
		e.Message = fmt.Sprintf("%s is held by session %d (%s)", b.Name, b.SessionID, b.Mode)
	case BlockerGhost:
		e.Message = fmt.Sprintf("%s is shut for its lock delay", b.Name)
	case BlockerWaiter:
		e.Message = fmt.Sprintf("%s: session %d waits ahead (%s)", b.Name, b.SessionID, b.Mode)
	}
	if more := e.BlockersTotal - 1; more > 0 {
		e.Message += fmt.Sprintf(" and %d more", more)
	}
}

func cycleText(cycle []CycleStep) string {
	var steps []string
	for _, s := range cycle {
		steps = append(steps, fmt.Sprintf("session %d owner %q waits for %s (%s)",
			s.SessionID, s.Owner, s.Claim.Name, s.Claim.Mode))
	}
	return strings.Join(steps, ", ")
}

// withoutPath drops the place in the batch from the field of a refusal: the caller sees no batch.
func withoutPath(err error) error {
	e := asError(err)
	if e == nil || !strings.HasPrefix(e.Field, "operations[") {
		return err
	}
	clean := *e
	if _, rest, ok := strings.Cut(e.Field, "]."); ok {
		if _, field, ok := strings.Cut(rest, "."); ok {
			rest = field
		}
		clean.Message = strings.Replace(e.Message, e.Field, rest, 1)
		clean.Field = rest
	}
	return &clean
}
