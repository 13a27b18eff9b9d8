package rpc

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/waiters"
)

// Waiters park calls that wait, at the leader.
type Waiters interface {
	Await(ctx context.Context, call waiters.Call) (waiters.Answer, error)
}

// parks tells whether an operation may wait. An acquire without a session counts as one that does:
// if its call breaks off the node must cancel it, and those who wait are looked after.
func parks(op *v1.Operation) bool {
	acquire := op.GetAcquire()
	return waits(op) || acquire != nil && acquire.GetSessionId() == 0
}

// waits tells whether an operation has time to wait.
func waits(op *v1.Operation) bool {
	return op.GetAcquire().GetWait().AsDuration() > 0 || op.GetConvert().GetWait().AsDuration() > 0
}

// withNonce gives an acquire without a session a nonce if it has none, so that it can be tried
// again, at another node too, without being done twice (HF-4.12).
func withNonce(op *v1.Operation) (_ *v1.Operation, nodeNonce bool) {
	acquire := op.GetAcquire()
	if acquire == nil || acquire.GetSessionId() != 0 || acquire.GetNonce() != "" {
		return op, false
	}
	acquire = proto.CloneOf(acquire)
	acquire.Nonce = rand.Text()
	return &v1.Operation{Operation: &v1.Operation_Acquire{Acquire: acquire}}, true
}

// await brings an operation that may wait to the leader, and gives its final outcome. The wait
// belongs to the state: if the leader goes, the same request is found again at the next one.
func (s *Services) await(ctx context.Context, op *v1.Operation) (*v1.OperationResult, error) {
	op, nodeNonce := withNonce(op)
	command, invalid := operation(alone, op, locktable.Caller{Principal: principal(ctx)}, new(commandRoom))
	if invalid != nil {
		return nil, &Failure{invalid}
	}
	r := s.retry([]locktable.Command{command})
	for {
		start := time.Now()
		result := s.tryAwait(ctx, op, command, nodeNonce)
		detail := result.GetError()
		if detail == nil {
			return result, nil
		}
		if waits(op) && detail.GetReason() == v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN &&
			time.Since(start) > pauseMost {
			// It waited for some time before it broke: patience begins anew.
			r.until = time.Now().Add(patience)
		}
		if s.stopping.Err() != nil || !r.again(ctx, detail) {
			return nil, &Failure{r.verdict(detail)}
		}
	}
}

// tryAwait parks an operation at whoever leads at this moment.
func (s *Services) tryAwait(
	ctx context.Context, op *v1.Operation, command locktable.Command, nodeNonce bool,
) *v1.OperationResult {
	if s.Proposer.Leads() {
		return s.park(ctx, command, nodeNonce)
	}
	_, addr := s.otherLeader()
	if addr == "" {
		return errorResult(noQuorum())
	}
	ctx, cancel := s.untilStop(ctx)
	defer cancel()
	request := &peerv1.AwaitRequest{Principal: principal(ctx), NodeNonce: nodeNonce}
	switch o := op.GetOperation().(type) {
	case *v1.Operation_Acquire:
		request.Call = &peerv1.AwaitRequest_Acquire{Acquire: o.Acquire}
	case *v1.Operation_Convert:
		request.Call = &peerv1.AwaitRequest_Convert{Convert: o.Convert}
	}
	response, err := s.Peers.Client(addr).Await(ctx, request)
	switch {
	case err != nil && ctx.Err() != nil:
		return errorResult(unknownOutcome(fmt.Errorf("%w: %w", proposer.ErrOutcomeUnknown, context.Cause(ctx))))
	case err != nil:
		return errorResult(s.peerError(err))
	}
	switch reply := response.GetReply().(type) {
	case *peerv1.AwaitResponse_Acquire:
		return &v1.OperationResult{Result: &v1.OperationResult_Acquire{Acquire: reply.Acquire}}
	case *peerv1.AwaitResponse_Convert:
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: reply.Convert}}
	}
	return errorResult(response.GetError())
}

// park parks an operation here.
func (s *Services) park(ctx context.Context, command locktable.Command, nodeNonce bool) *v1.OperationResult {
	s.Observer.Parked(1)
	defer s.Observer.Parked(-1)
	given, err := s.Waiters.Await(ctx, waiters.Call{Command: command, NodeNonce: nodeNonce})
	if err != nil {
		return errorResult(s.submitError(err))
	}
	a := answer{Result: &given.Result, time: given.Time}
	var counts tally
	counts.count(command, &a)
	counts.tell(s.Observer)
	result := a.operation(command, new(resultRoom))
	setCluster(result, s.ownCluster())
	return result
}

func errorResult(detail *v1.Error) *v1.OperationResult {
	return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: detail}}
}

// untilStop gives a context that ends also when the node shuts down.
func (s *Services) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(s.stopping, func() { cancel(errStopping) })
	return ctx, func() {
		unhook()
		cancel(nil)
	}
}

// do carries out an operation that was called by itself, and gives its result as a caller of this
// node sees it.
func (s *Services) do(ctx context.Context, op *v1.Operation) (*v1.OperationResult, error) {
	result, err := s.attend(ctx, op)
	if err != nil {
		return nil, err
	}
	if detail := result.GetError(); detail != nil {
		return nil, &Failure{detail}
	}
	s.addressed(result)
	return result, nil
}

func (s *Services) attend(ctx context.Context, op *v1.Operation) (*v1.OperationResult, error) {
	if parks(op) {
		return s.await(ctx, op)
	}
	reply, err := s.bring(ctx, &peerv1.Call{
		Principal: principal(ctx), Call: &peerv1.Call_Operation{Operation: op},
	})
	return reply.GetOperation(), err
}

// ownCluster names the history that the table of this node belongs to.
func (s *Services) ownCluster() *v1.ClusterRef {
	id, epoch := s.Cluster()
	return &v1.ClusterRef{ClusterId: id, Epoch: epoch}
}

// addressed completes a result for a caller of this node: where the leader is, and how long a
// grant may be relied on.
func (s *Services) addressed(result *v1.OperationResult) {
	switch r := result.GetResult().(type) {
	case *v1.OperationResult_Acquire:
		s.address(r.Acquire.GetCluster())
		expires(r.Acquire.GetGrant(), r.Acquire.GetStamp())
	case *v1.OperationResult_Release:
		s.address(r.Release.GetCluster())
	case *v1.OperationResult_Convert:
		s.address(r.Convert.GetCluster())
		expires(r.Convert.GetGrant(), r.Convert.GetStamp())
	case *v1.OperationResult_Renew:
		s.address(r.Renew.GetCluster())
		expires(r.Renew.GetGrant(), r.Renew.GetStamp())
	case *v1.OperationResult_Cancel:
		s.address(r.Cancel.GetCluster())
		expires(r.Cancel.GetGrant(), r.Cancel.GetStamp())
	}
}

// address tells the caller where the leader is.
func (s *Services) address(cluster *v1.ClusterRef) {
	if cluster != nil {
		cluster.Leader = s.leaderURL()
	}
}

// expires tells how long a grant may be relied on, as of an answer that was stamped just now.
func expires(g *v1.Grant, at *v1.Stamp) {
	d := g.GetDeadlines()
	if d == nil {
		return
	}
	least := earliest(locktable.Deadlines{
		Session: d.GetSessionMs(), Lease: d.GetLeaseMs(), MaxHold: d.GetMaxHoldMs(),
	})
	g.ExpiresIn = left(least, at.GetTimeMs())
}
