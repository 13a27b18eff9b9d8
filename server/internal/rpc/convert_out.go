package rpc

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// modes, outcomes and the other enums of the contract, by those of the lock table.
var (
	modes = [...]v1.Mode{
		locktable.None: v1.Mode_MODE_UNSPECIFIED,
		locktable.IS:   v1.Mode_MODE_INTENTION_SHARED,
		locktable.IX:   v1.Mode_MODE_INTENTION_EXCLUSIVE,
		locktable.S:    v1.Mode_MODE_SHARED,
		locktable.SIX:  v1.Mode_MODE_SHARED_INTENTION_EXCLUSIVE,
		locktable.X:    v1.Mode_MODE_EXCLUSIVE,
	}
	outcomes = [...]v1.Outcome{
		locktable.OutcomeNone:      v1.Outcome_OUTCOME_UNSPECIFIED,
		locktable.Done:             v1.Outcome_OUTCOME_UNSPECIFIED,
		locktable.Refused:          v1.Outcome_OUTCOME_UNSPECIFIED,
		locktable.Granted:          v1.Outcome_OUTCOME_GRANTED,
		locktable.Queued:           v1.Outcome_OUTCOME_QUEUED,
		locktable.Held:             v1.Outcome_OUTCOME_HELD,
		locktable.WaitLimitReached: v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED,
		locktable.Cancelled:        v1.Outcome_OUTCOME_CANCELLED,
		locktable.DeadlockVictim:   v1.Outcome_OUTCOME_DEADLOCK_VICTIM,
		locktable.SessionEnded:     v1.Outcome_OUTCOME_SESSION_ENDED,
		locktable.Revoked:          v1.Outcome_OUTCOME_REVOKED,
	}
	endReasons = [...]v1.EndReason{
		locktable.NotEnded:          v1.EndReason_END_REASON_UNSPECIFIED,
		locktable.Released:          v1.EndReason_END_REASON_RELEASED,
		locktable.Closed:            v1.EndReason_END_REASON_CLOSED,
		locktable.Abandoned:         v1.EndReason_END_REASON_ABANDONED,
		locktable.SessionTTLPassed:  v1.EndReason_END_REASON_SESSION_EXPIRED,
		locktable.LeasePassed:       v1.EndReason_END_REASON_LEASE_EXPIRED,
		locktable.MaxHoldPassed:     v1.EndReason_END_REASON_MAX_HOLD_REACHED,
		locktable.RevokedByOperator: v1.EndReason_END_REASON_REVOKED,
		locktable.VictimReleased:    v1.EndReason_END_REASON_DEADLOCK_VICTIM,
		locktable.Restored:          v1.EndReason_END_REASON_RESTORED,
	}
	blockerKinds = [...]v1.BlockerKind{
		locktable.Holder:      v1.BlockerKind_BLOCKER_KIND_HOLDER,
		locktable.GhostLeft:   v1.BlockerKind_BLOCKER_KIND_GHOST,
		locktable.WaiterAhead: v1.BlockerKind_BLOCKER_KIND_WAITER,
	}
)

func duration(ms locktable.Millis) *durationpb.Duration {
	return durationpb.New(time.Duration(ms) * time.Millisecond)
}

func stamp(at locktable.Index, time locktable.Millis) *v1.Stamp {
	return &v1.Stamp{Index: at.Entry, Offset: at.Offset, TimeMs: time}
}

func deadlines(d locktable.Deadlines) *v1.Deadlines {
	if d == (locktable.Deadlines{}) {
		return nil
	}
	return &v1.Deadlines{SessionMs: d.Session, LeaseMs: d.Lease, MaxHoldMs: d.MaxHold}
}

// earliest gives the first of some deadlines, 0 if there is none.
func earliest(d locktable.Deadlines) locktable.Millis {
	least := locktable.Millis(0)
	for _, at := range [...]locktable.Millis{d.Session, d.Lease, d.MaxHold} {
		if at != 0 && (least == 0 || at < least) {
			least = at
		}
	}
	return least
}

// left gives how long a deadline may be relied on from now on: less one percent, by which the
// clocks of leader and client may differ in rate (HF-2.6).
func left(deadline, now locktable.Millis) *durationpb.Duration {
	if deadline == 0 {
		return nil
	}
	return duration(max(deadline-now, 0) * 99 / 100)
}

func claims(claims []locktable.Claim) []*v1.Claim {
	if len(claims) == 0 {
		return nil
	}
	backing := make([]v1.Claim, len(claims))
	out := make([]*v1.Claim, len(claims))
	for i, c := range claims {
		out[i] = &backing[i]
		out[i].Name, out[i].Mode = c.Name, modes[c.Mode]
	}
	return out
}

// grant shows a grant; nil if there is none.
func grant(g locktable.GrantInfo) *v1.Grant {
	if g.ID == 0 {
		return nil
	}
	return &v1.Grant{
		Id:        int64(g.ID),
		Token:     int64(g.Token),
		Claims:    claims(g.Claims),
		Depth:     g.Depth,
		Deadlines: deadlines(g.Deadlines),
	}
}

// grantAt shows a grant to one who reads it at cluster time now.
func grantAt(g locktable.GrantInfo, now locktable.Millis) *v1.Grant {
	out := grant(g)
	if out != nil {
		out.ExpiresIn = left(earliest(g.Deadlines), now)
	}
	return out
}

func blocker(b locktable.Blocker) *v1.Blocker {
	return &v1.Blocker{
		Name:      b.Name,
		Mode:      modes[b.Mode],
		Kind:      blockerKinds[b.Kind],
		SessionId: uint64(b.Session),
		Owner:     b.Owner,
		GrantId:   int64(b.Grant),
		RequestId: b.Request,
	}
}

func blockers(list []locktable.Blocker) []*v1.Blocker {
	if len(list) == 0 {
		return nil
	}
	out := make([]*v1.Blocker, len(list))
	for i, b := range list {
		out[i] = blocker(b)
	}
	return out
}

func cycleStep(s locktable.CycleStep) *v1.CycleStep {
	return &v1.CycleStep{
		SessionId: uint64(s.Session),
		Owner:     s.Owner,
		Name:      s.Name,
		Mode:      modes[s.Mode],
		RequestId: s.Request,
	}
}

func cycle(steps []locktable.CycleStep) *v1.Cycle {
	if len(steps) == 0 {
		return nil
	}
	out := &v1.Cycle{Steps: make([]*v1.CycleStep, len(steps))}
	for i, s := range steps {
		out.Steps[i] = cycleStep(s)
	}
	return out
}

// answer is what one command was answered, with the cluster time of the entry it travelled in.
type answer struct {
	locktable.Result
	time locktable.Millis
}

func (a *answer) stamp() *v1.Stamp { return stamp(a.At, a.time) }

func (a *answer) acquire() *v1.AcquireResponse {
	return &v1.AcquireResponse{
		Outcome:       outcomes[a.Outcome],
		Grant:         grant(a.Grant),
		Position:      uint32(a.Position),
		Blockers:      blockers(a.Blockers),
		BlockersTotal: uint32(a.BlockersTotal),
		Cycle:         cycle(a.Cycle),
		Ended:         endReasons[a.Ended],
		Detail:        a.Detail,
		Stamp:         a.stamp(),
		FirstIndex:    a.First,
	}
}

func (a *answer) convert() *v1.ConvertResponse {
	return &v1.ConvertResponse{
		Outcome:       outcomes[a.Outcome],
		Grant:         grant(a.Grant),
		Position:      uint32(a.Position),
		Blockers:      blockers(a.Blockers),
		BlockersTotal: uint32(a.BlockersTotal),
		Cycle:         cycle(a.Cycle),
		Ended:         endReasons[a.Ended],
		Detail:        a.Detail,
		Stamp:         a.stamp(),
		FirstIndex:    a.First,
	}
}

func (a *answer) release() *v1.ReleaseResponse {
	return &v1.ReleaseResponse{Depth: a.Grant.Depth, Stamp: a.stamp(), FirstIndex: a.First}
}

func (a *answer) renew() *v1.RenewResponse {
	return &v1.RenewResponse{Grant: grant(a.Grant), Stamp: a.stamp(), FirstIndex: a.First}
}

func (a *answer) cancel() *v1.CancelResponse {
	return &v1.CancelResponse{
		Outcome:    outcomes[a.Outcome],
		Grant:      grant(a.Grant),
		Cycle:      cycle(a.Cycle),
		Ended:      endReasons[a.Ended],
		Stamp:      a.stamp(),
		FirstIndex: a.First,
	}
}

// sessionDeadlines shows the deadline that a session has after a command of it.
func (a *answer) sessionDeadlines() *v1.Deadlines {
	return deadlines(locktable.Deadlines{Session: a.SessionDeadline})
}

// operation is the answer to one operation of a batch; an error of the catalogue if refused.
func (a *answer) operation(command locktable.Command) *v1.OperationResult {
	if a.Outcome == locktable.Refused {
		return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: refusal(command, a)}}
	}
	switch c := command.(type) {
	case *locktable.Acquire:
		response := a.acquire()
		if c.Session == 0 {
			response.SessionId = uint64(a.Session)
		}
		return &v1.OperationResult{Result: &v1.OperationResult_Acquire{Acquire: response}}
	case *locktable.Release:
		return &v1.OperationResult{Result: &v1.OperationResult_Release{Release: a.release()}}
	case *locktable.Convert:
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: a.convert()}}
	case *locktable.Renew:
		return &v1.OperationResult{Result: &v1.OperationResult_Renew{Renew: a.renew()}}
	default:
		return &v1.OperationResult{Result: &v1.OperationResult_Cancel{Cancel: a.cancel()}}
	}
}
