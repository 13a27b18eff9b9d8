package holdfast

import (
	"strings"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// This file is the only place where the messages of the contract become the types of the package.

var modesOut = [...]v1.Mode{
	Exclusive:                v1.Mode_MODE_EXCLUSIVE,
	Shared:                   v1.Mode_MODE_SHARED,
	IntentionShared:          v1.Mode_MODE_INTENTION_SHARED,
	IntentionExclusive:       v1.Mode_MODE_INTENTION_EXCLUSIVE,
	SharedIntentionExclusive: v1.Mode_MODE_SHARED_INTENTION_EXCLUSIVE,
}

// modeOut lets a mode that is none reach the server as a number it refuses.
func modeOut(m Mode) v1.Mode {
	if int(m) < len(modesOut) {
		return modesOut[m]
	}
	return v1.Mode(100 + int32(m))
}

func modeIn(m v1.Mode) Mode {
	for in, out := range modesOut {
		if out == m {
			return Mode(in)
		}
	}
	return Exclusive
}

func claimsOut(claims []Claim) []*v1.Claim {
	out := make([]*v1.Claim, 0, len(claims))
	for _, c := range claims {
		out = append(out, &v1.Claim{Name: c.Name, Mode: modeOut(c.Mode)})
	}
	return out
}

// claimsIn copies names, which may be kept for longer than the answer that they were cut from.
func claimsIn(claims []*v1.Claim) []Claim {
	in := make([]Claim, 0, len(claims))
	for _, c := range claims {
		in = append(in, Claim{Name: strings.Clone(c.GetName()), Mode: modeIn(c.GetMode())})
	}
	return in
}

func deadlockActionOut(a DeadlockAction) v1.DeadlockAction {
	switch a {
	case AbortWait:
		return v1.DeadlockAction_DEADLOCK_ACTION_UNSPECIFIED
	case ReleaseOwner:
		return v1.DeadlockAction_DEADLOCK_ACTION_RELEASE_OWNER
	}
	return v1.DeadlockAction(100 + int32(a))
}

func endReasonIn(r v1.EndReason) EndReason {
	if r == v1.EndReason_END_REASON_UNSPECIFIED {
		return ""
	}
	return EndReason(strings.TrimPrefix(r.String(), "END_REASON_"))
}

// lostReasonIn is what the end of a grant or session means to the one who held it.
func lostReasonIn(r v1.EndReason) LostReason {
	switch r {
	case v1.EndReason_END_REASON_REVOKED:
		return LostRevoked
	case v1.EndReason_END_REASON_DEADLOCK_VICTIM:
		return LostVictim
	case v1.EndReason_END_REASON_CLOSED, v1.EndReason_END_REASON_RELEASED:
		return LostClosed
	case v1.EndReason_END_REASON_RESTORED:
		return LostForked
	}
	return LostExpired
}

func reasonIn(r v1.ErrorReason) Reason {
	return Reason(strings.TrimPrefix(r.String(), "ERROR_REASON_"))
}

func outcomeIn(o v1.Outcome) Reason { return Reason(strings.TrimPrefix(o.String(), "OUTCOME_")) }

func stampIn(s *v1.Stamp) Stamp {
	return Stamp{Index: s.GetIndex(), Offset: s.GetOffset(),
		Time: time.Duration(s.GetTimeMs()) * time.Millisecond}
}

func blockersIn(blockers []*v1.Blocker) []Blocker {
	in := make([]Blocker, 0, len(blockers))
	for _, b := range blockers {
		in = append(in, blockerIn(b))
	}
	return in
}

func blockerIn(b *v1.Blocker) Blocker {
	kind := strings.TrimPrefix(b.GetKind().String(), "BLOCKER_KIND_")
	return Blocker{Kind: BlockerKind(strings.ToLower(kind)), Name: b.GetName(),
		Mode: modeIn(b.GetMode()), SessionID: b.GetSessionId(), Owner: b.GetOwner(),
		GrantID: b.GetGrantId(), RequestID: b.GetRequestId()}
}

func cycleIn(c *v1.Cycle) []CycleStep {
	var in []CycleStep
	for _, s := range c.GetSteps() {
		in = append(in, stepIn(s))
	}
	return in
}

func stepIn(s *v1.CycleStep) CycleStep {
	return CycleStep{SessionID: s.GetSessionId(), Owner: s.GetOwner(), RequestID: s.GetRequestId(),
		Claim: Claim{Name: s.GetName(), Mode: modeIn(s.GetMode())}}
}

func grantIn(g *v1.Grant) GrantInfo {
	return GrantInfo{ID: g.GetId(), Token: g.GetToken(), Claims: claimsIn(g.GetClaims()),
		Depth: int(g.GetDepth()), ExpiresIn: g.GetExpiresIn().AsDuration()}
}

func lockIn(l *v1.Lock) LockInfo {
	in := LockInfo{Name: l.GetName(), HoldersTotal: int(l.GetHoldersTotal()),
		WaitersTotal: int(l.GetWaitersTotal())}
	for _, h := range l.GetHolders() {
		in.Holders = append(in.Holders, HolderInfo{SessionID: h.GetSessionId(), Owner: h.GetOwner(),
			Mode: modeIn(h.GetMode()), Implied: h.GetImplied(), Grant: grantIn(h.GetGrant()),
			Metadata: h.GetMetadata(), SessionMetadata: h.GetSessionMetadata(),
			Age: h.GetAge().AsDuration()})
	}
	for _, w := range l.GetWaiters() {
		in.Waiters = append(in.Waiters, waiterIn(w))
	}
	for _, g := range l.GetGhosts() {
		in.Ghosts = append(in.Ghosts, GhostInfo{GrantID: g.GetGrantId(), Mode: modeIn(g.GetMode()),
			ExpiresIn: g.GetExpiresIn().AsDuration()})
	}
	return in
}

func waiterIn(w *v1.Waiter) WaiterInfo {
	return WaiterInfo{SessionID: w.GetSessionId(), Owner: w.GetOwner(), RequestID: w.GetRequestId(),
		Mode: modeIn(w.GetMode()), Claims: claimsIn(w.GetClaims()), Position: int(w.GetPosition()),
		Priority: int(w.GetPriority()), Age: w.GetAge().AsDuration(),
		WaitLeft: w.GetWaitLeft().AsDuration(), Metadata: w.GetMetadata(), Converts: w.GetConverts()}
}

func sessionIn(s *v1.SessionInfo) SessionInfo {
	return SessionInfo{ID: s.GetSessionId(), Namespace: s.GetNamespace(), Metadata: s.GetMetadata(),
		TTL: s.GetTtl().AsDuration(), ExpiresIn: s.GetExpiresIn().AsDuration(),
		Age: s.GetAge().AsDuration(), Grants: int(s.GetGrants()), Waiting: int(s.GetWaiting()),
		Implicit: s.GetImplicit()}
}

func lockEventIn(e *v1.WatchLocksResponse) LockEvent {
	in := LockEvent{Kind: LockEventKind(strings.TrimPrefix(e.GetKind().String(), "LOCK_EVENT_KIND_")),
		Claims: claimsIn(e.GetClaims()), SessionID: e.GetSessionId(), Owner: e.GetOwner(),
		RequestID: e.GetRequestId(), GrantID: e.GetGrantId(), Token: e.GetToken(),
		Ended: endReasonIn(e.GetEnded()), Cycle: cycleIn(e.GetCycle()), Detail: e.GetDetail(),
		Stamp: stampIn(e.GetStamp()), Cursor: e.GetCursor()}
	if e.GetOutcome() != v1.Outcome_OUTCOME_UNSPECIFIED {
		in.Outcome = outcomeIn(e.GetOutcome())
	}
	return in
}

func explanationIn(r *v1.ExplainWaitResponse) *Explanation {
	in := &Explanation{Waiting: r.GetWaiting(), Waiter: waiterIn(r.GetWaiter()),
		Stamp: stampIn(r.GetStamp())}
	for _, s := range r.GetSteps() {
		in.Steps = append(in.Steps, WaitStep{Distance: int(s.GetDistance()),
			Blocker: blockerIn(s.GetBlocker()), Age: s.GetAge().AsDuration(),
			SessionMetadata:  s.GetSessionMetadata(),
			SessionExpiresIn: s.GetSessionExpiresIn().AsDuration(),
			SessionAtRisk:    s.GetSessionAtRisk()})
	}
	return in
}
