package rpc

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/wire"
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

// grantRoom is a grant with room for what is in it, as most have one claim.
type grantRoom struct {
	grant     v1.Grant
	deadlines v1.Deadlines
	claim     v1.Claim
	claims    [1]*v1.Claim
}

// grant shows a grant; nil if there is none.
func grant(g locktable.GrantInfo) *v1.Grant {
	if g.ID == 0 {
		return nil
	}
	return new(grantRoom).show(&g)
}

func (r *grantRoom) show(g *locktable.GrantInfo) *v1.Grant {
	if g.ID == 0 {
		return nil
	}
	out := &r.grant
	out.Id, out.Token, out.Depth = int64(g.ID), int64(g.Token), g.Depth
	if g.Deadlines != (locktable.Deadlines{}) {
		out.Deadlines = &r.deadlines
		r.deadlines.SessionMs, r.deadlines.LeaseMs = g.Deadlines.Session, g.Deadlines.Lease
		r.deadlines.MaxHoldMs = g.Deadlines.MaxHold
	}
	if len(g.Claims) == 1 {
		r.claim.Name, r.claim.Mode = g.Claims[0].Name, modes[g.Claims[0].Mode]
		r.claims[0] = &r.claim
		out.Claims = r.claims[:]
	} else {
		out.Claims = claims(g.Claims)
	}
	return out
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
	*locktable.Result
	time locktable.Millis
}

func (a *answer) stamp() *v1.Stamp { return stamp(a.At, a.time) }

// resultRoom is the memory for the results of a batch. The zero value is room for one.
type resultRoom struct {
	left     int // results that are still to be made
	acquires wire.Slab[acquireResult]
	releases wire.Slab[releaseResult]
}

// acquireResult and releaseResult are a result with what is in it.
type acquireResult struct {
	result   v1.OperationResult
	choice   v1.OperationResult_Acquire
	response v1.AcquireResponse
	stamp    v1.Stamp
	grant    grantRoom
}

type releaseResult struct {
	result   v1.OperationResult
	choice   v1.OperationResult_Release
	response v1.ReleaseResponse
	stamp    v1.Stamp
}

func (a *answer) setStamp(s *v1.Stamp) *v1.Stamp {
	s.Index, s.Offset, s.TimeMs = a.At.Entry, a.At.Offset, a.time
	return s
}

// acquire gives the result of an acquire, in which withSession names the session that it opened.
func (a *answer) acquire(out *acquireResult, withSession bool) *v1.OperationResult {
	r := &out.response
	r.Outcome = outcomes[a.Outcome]
	r.Grant = out.grant.show(&a.Grant)
	r.Position = uint32(a.Position)
	r.Blockers = blockers(a.Blockers)
	r.BlockersTotal = uint32(a.BlockersTotal)
	r.Cycle = cycle(a.Cycle)
	r.Ended = endReasons[a.Ended]
	r.Detail = a.Detail
	r.Stamp = a.setStamp(&out.stamp)
	r.FirstIndex = a.First
	if withSession {
		r.SessionId = uint64(a.Session)
	}
	out.choice.Acquire, out.result.Result = r, &out.choice
	return &out.result
}

func (a *answer) release(out *releaseResult) *v1.OperationResult {
	r := &out.response
	r.Depth, r.Stamp, r.FirstIndex = a.Grant.Depth, a.setStamp(&out.stamp), a.First
	out.choice.Release, out.result.Result = r, &out.choice
	return &out.result
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
func (a *answer) operation(command locktable.Command, room *resultRoom) *v1.OperationResult {
	if a.Outcome == locktable.Refused {
		return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: refusal(command, a)}}
	}
	switch c := command.(type) {
	case *locktable.Acquire:
		return a.acquire(room.acquires.One(room.left), c.Session == 0)
	case *locktable.Release:
		return a.release(room.releases.One(room.left))
	case *locktable.Convert:
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: a.convert()}}
	case *locktable.Renew:
		return &v1.OperationResult{Result: &v1.OperationResult_Renew{Renew: a.renew()}}
	default:
		return &v1.OperationResult{Result: &v1.OperationResult_Cancel{Cancel: a.cancel()}}
	}
}
