package holdfast

import (
	"context"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// This file is the lock table of the fake.

func (f *fake) Execute(_ context.Context, r *v1.ExecuteRequest) (*v1.ExecuteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	f.executed = append(f.executed, proto.CloneOf(r))
	s, err := f.live(r.GetSessionId())
	if err != nil {
		return nil, err
	}
	for i, o := range r.GetOperations() {
		for _, c := range o.GetAcquire().GetClaims() {
			if c.GetName() == "" {
				return nil, wireError(connect.CodeInvalidArgument, &v1.Error{
					Reason:  v1.ErrorReason_ERROR_REASON_INVALID_NAME,
					Field:   fmt.Sprintf("operations[%d].acquire.claims[0].name", i),
					Message: fmt.Sprintf("operations[%d].acquire.claims[0].name: empty", i)})
			}
		}
	}
	out := &v1.ExecuteResponse{Cluster: f.ref(), Deadlines: &v1.Deadlines{SessionMs: s.deadline}}
	for _, o := range r.GetOperations() {
		out.Results = append(out.Results, f.operate(r.GetSessionId(), s, o, stamp))
	}
	return out, nil
}

func (f *fake) operate(session uint64, s *fakeSession, o *v1.Operation, stamp *v1.Stamp) *v1.OperationResult {
	if c := o.GetCancel(); c != nil {
		return f.cancel(s, c.GetRequestId(), stamp)
	}
	id := max(o.GetAcquire().GetRequestId(), o.GetRelease().GetRequestId(),
		o.GetConvert().GetRequestId(), o.GetRenew().GetRequestId())
	if kept := s.answers[id]; kept != nil {
		return f.replay(kept)
	}
	if w := s.waits[id]; w != nil {
		return queued(o, f.position(w), stamp)
	}
	answer := f.first(session, s, id, o, stamp)
	if a := answer.GetAcquire(); a.GetOutcome() != v1.Outcome_OUTCOME_QUEUED &&
		answer.GetConvert().GetOutcome() != v1.Outcome_OUTCOME_QUEUED {
		s.answers[id] = answer
	}
	return answer
}

// replay is an answer as it is given again: of a grant that has ended only the ids are told.
func (f *fake) replay(kept *v1.OperationResult) *v1.OperationResult {
	again := proto.CloneOf(kept)
	if g := again.GetAcquire().GetGrant(); g != nil && f.grants[g.GetId()] == nil {
		again.GetAcquire().Grant = &v1.Grant{Id: g.GetId(), Token: g.GetToken()}
		again.GetAcquire().Ended = v1.EndReason_END_REASON_REVOKED
	}
	if g := again.GetConvert().GetGrant(); g != nil && f.grants[g.GetId()] == nil {
		again.GetConvert().Grant = &v1.Grant{Id: g.GetId(), Token: g.GetToken()}
		again.GetConvert().Ended = v1.EndReason_END_REASON_REVOKED
	}
	return again
}

// first does an operation that was not done before.
func (f *fake) first(session uint64, s *fakeSession, id uint64, o *v1.Operation, stamp *v1.Stamp) *v1.OperationResult {
	w := &fakeWait{session: session, request: id, acquire: o.GetAcquire(), convert: o.GetConvert()}
	switch {
	case o.GetAcquire() != nil:
		for gid, g := range f.grants {
			if g.session == session && g.owner == o.GetAcquire().GetOwner() && f.covered(g, o.GetAcquire()) {
				g.depth++
				return f.granted(w, gid, stamp)
			}
		}
		return f.queueOrGrant(s, w, o, o.GetAcquire().GetWait(), stamp)
	case o.GetConvert() != nil:
		if g := f.grants[o.GetConvert().GetGrantId()]; g == nil || g.session != session {
			return notHolder()
		}
		return f.queueOrGrant(s, w, o, o.GetConvert().GetWait(), stamp)
	case o.GetRelease() != nil:
		g := f.grants[o.GetRelease().GetGrantId()]
		if g == nil || g.session != session {
			return notHolder()
		}
		g.depth--
		if g.depth == 0 {
			delete(f.grants, o.GetRelease().GetGrantId())
			f.grantNext()
		}
		return &v1.OperationResult{Result: &v1.OperationResult_Release{
			Release: &v1.ReleaseResponse{Depth: g.depth, Stamp: stamp}}}
	}
	g := f.grants[o.GetRenew().GetGrantId()]
	if g == nil || g.session != session {
		return notHolder()
	}
	if g.lease > 0 {
		g.until = f.now() + g.lease.Milliseconds()
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Renew{
		Renew: &v1.RenewResponse{Grant: f.show(o.GetRenew().GetGrantId()), Stamp: stamp}}}
}

func notHolder() *v1.OperationResult {
	return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: &v1.Error{
		Reason: v1.ErrorReason_ERROR_REASON_NOT_HOLDER, Message: "not held",
		Ended: v1.EndReason_END_REASON_REVOKED}}}
}

func (f *fake) covered(g *fakeGrant, r *v1.AcquireRequest) bool {
	for _, want := range r.GetClaims() {
		ok := false
		for _, have := range g.claims {
			ok = ok || have.GetName() == want.GetName() &&
				(have.GetMode() == v1.Mode_MODE_EXCLUSIVE || have.GetMode() == want.GetMode())
		}
		if !ok {
			return false
		}
	}
	return true
}

// grantable says whether nobody else holds any of the names in an incompatible mode.
func (f *fake) grantable(w *fakeWait) bool {
	claims := w.acquire.GetClaims()
	owner := w.acquire.GetOwner()
	if w.convert != nil {
		g := f.grants[w.convert.GetGrantId()]
		if g == nil || w.convert.GetDrop() {
			return g != nil
		}
		owner = g.owner
		claims = []*v1.Claim{{Name: w.convert.GetName(), Mode: w.convert.GetMode()}}
	}
	for _, g := range f.grants {
		if g.session == w.session && g.owner == owner {
			continue
		}
		for _, have := range g.claims {
			for _, want := range claims {
				if have.GetName() == want.GetName() && (have.GetMode() != v1.Mode_MODE_SHARED ||
					want.GetMode() != v1.Mode_MODE_SHARED) {
					return false
				}
			}
		}
	}
	return true
}

func (f *fake) queueOrGrant(s *fakeSession, w *fakeWait, o *v1.Operation, wait *durationpb.Duration, stamp *v1.Stamp) *v1.OperationResult {
	if f.grantable(w) && len(f.queue) == 0 || f.grantable(w) && f.unrelated(w) {
		return f.grant(w, stamp)
	}
	if wait.AsDuration() == 0 {
		return f.result(w, v1.Outcome_OUTCOME_HELD, stamp)
	}
	w.deadline = f.now() + wait.AsDuration().Milliseconds()
	f.queue = append(f.queue, w)
	s.waits[w.request] = w
	return queued(o, f.position(w), stamp)
}

// unrelated says whether no waiter names what the request names.
func (f *fake) unrelated(w *fakeWait) bool {
	if w.convert != nil {
		return true
	}
	for _, other := range f.queue {
		for _, a := range other.acquire.GetClaims() {
			for _, b := range w.acquire.GetClaims() {
				if a.GetName() == b.GetName() {
					return false
				}
			}
		}
	}
	return true
}

func (f *fake) position(w *fakeWait) uint32 {
	for i, other := range f.queue {
		if other == w {
			return uint32(i + 1)
		}
	}
	return 0
}

func queued(o *v1.Operation, position uint32, stamp *v1.Stamp) *v1.OperationResult {
	blockers := []*v1.Blocker{{Name: "orders/42", Mode: v1.Mode_MODE_EXCLUSIVE, SessionId: 7,
		Kind: v1.BlockerKind_BLOCKER_KIND_HOLDER}}
	if o.GetConvert() != nil {
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: &v1.ConvertResponse{
			Outcome: v1.Outcome_OUTCOME_QUEUED, Position: position, Stamp: stamp,
			Blockers: blockers, BlockersTotal: 1}}}
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Acquire{Acquire: &v1.AcquireResponse{
		Outcome: v1.Outcome_OUTCOME_QUEUED, Position: position, Stamp: stamp,
		Blockers: blockers, BlockersTotal: 1}}}
}

// grant gives a request what it asks for.
func (f *fake) grant(w *fakeWait, stamp *v1.Stamp) *v1.OperationResult {
	f.lastGrant++
	if w.convert != nil {
		g := f.grants[w.convert.GetGrantId()]
		if w.convert.GetDrop() {
			g.claims = slices.DeleteFunc(g.claims,
				func(c *v1.Claim) bool { return c.GetName() == w.convert.GetName() })
		}
		for _, c := range g.claims {
			if c.GetName() == w.convert.GetName() {
				if c.GetMode() != v1.Mode_MODE_EXCLUSIVE {
					g.token = f.lastGrant
				}
				c.Mode = w.convert.GetMode()
			}
		}
		return f.granted(w, w.convert.GetGrantId(), stamp)
	}
	g := &fakeGrant{session: w.session, owner: w.acquire.GetOwner(), token: f.lastGrant, depth: 1,
		lease: w.acquire.GetLease().AsDuration(), metadata: w.acquire.GetMetadata()}
	for _, c := range w.acquire.GetClaims() {
		g.claims = append(g.claims, proto.CloneOf(c))
	}
	if g.lease > 0 {
		g.until = f.now() + g.lease.Milliseconds()
	}
	f.grants[f.lastGrant] = g
	return f.granted(w, f.lastGrant, stamp)
}

func (f *fake) show(id int64) *v1.Grant {
	g := f.grants[id]
	out := &v1.Grant{Id: id, Token: g.token, Depth: g.depth, Deadlines: &v1.Deadlines{
		SessionMs: f.sessions[g.session].deadline, LeaseMs: g.until}}
	for _, c := range g.claims {
		out.Claims = append(out.Claims, proto.CloneOf(c))
	}
	return out
}

func (f *fake) granted(w *fakeWait, id int64, stamp *v1.Stamp) *v1.OperationResult {
	if w.convert != nil {
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: &v1.ConvertResponse{
			Outcome: v1.Outcome_OUTCOME_GRANTED, Grant: f.show(id), Stamp: stamp}}}
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Acquire{Acquire: &v1.AcquireResponse{
		Outcome: v1.Outcome_OUTCOME_GRANTED, Grant: f.show(id), Stamp: stamp}}}
}

func (f *fake) result(w *fakeWait, out v1.Outcome, stamp *v1.Stamp) *v1.OperationResult {
	if w.convert != nil {
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{
			Convert: &v1.ConvertResponse{Outcome: out, Stamp: stamp}}}
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Acquire{
		Acquire: &v1.AcquireResponse{Outcome: out, Stamp: stamp}}}
}

// grantNext grants whom it can, in order.
func (f *fake) grantNext() {
	for i := 0; i < len(f.queue); i++ {
		w := f.queue[i]
		if !f.grantable(w) {
			continue
		}
		f.finish(w, f.grant(w, f.stamp()))
		i = -1
	}
}

// finish takes a wait out of the queue and tells its outcome.
func (f *fake) finish(w *fakeWait, r *v1.OperationResult) {
	var rest []*fakeWait
	for _, other := range f.queue {
		if other != w {
			rest = append(rest, other)
		}
	}
	f.queue = rest
	s := f.sessions[w.session]
	delete(s.waits, w.request)
	s.answers[w.request] = r
	e := &v1.EventsResponse{Kind: v1.SessionEventKind_SESSION_EVENT_KIND_OUTCOME, RequestId: w.request}
	if c := r.GetConvert(); c != nil {
		e.Outcome, e.Grant, e.Cycle = c.GetOutcome(), c.GetGrant(), c.GetCycle()
	} else {
		a := r.GetAcquire()
		e.Outcome, e.Grant, e.Cycle = a.GetOutcome(), a.GetGrant(), a.GetCycle()
	}
	f.event(w.session, e)
}

// endWaits ends every wait of a name with an outcome.
func (f *fake) endWaits(out v1.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	for _, w := range append([]*fakeWait(nil), f.queue...) {
		f.finish(w, f.result(w, out, stamp))
	}
}

func (f *fake) cancel(s *fakeSession, id uint64, stamp *v1.Stamp) *v1.OperationResult {
	if f.stale {
		return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: &v1.Error{
			Reason: v1.ErrorReason_ERROR_REASON_STALE_REQUEST, Message: "not kept"}}}
	}
	out := &v1.CancelResponse{Outcome: v1.Outcome_OUTCOME_CANCELLED, Stamp: stamp}
	if w := s.waits[id]; w != nil {
		f.finish(w, f.result(w, v1.Outcome_OUTCOME_CANCELLED, stamp))
	} else if kept := s.answers[id]; kept != nil {
		out.Outcome = max(kept.GetAcquire().GetOutcome(), kept.GetConvert().GetOutcome())
		out.Grant = kept.GetAcquire().GetGrant()
		if kept.GetConvert() != nil {
			out.Grant = kept.GetConvert().GetGrant()
		}
	} else {
		s.answers[id] = f.result(&fakeWait{}, v1.Outcome_OUTCOME_CANCELLED, stamp)
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Cancel{Cancel: out}}
}

// held is how many grants there are.
func (f *fake) held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.grants)
}
