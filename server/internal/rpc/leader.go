package rpc

import (
	"context"
	"errors"
	"strings"
	"time"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// This file carries out calls at the leader, whether a client called it or a follower forwarded.

// commandsOf gives the commands of a call.
func commandsOf(call *peerv1.Call) ([]locktable.Command, *v1.Error) {
	one := func(command locktable.Command, err *v1.Error) ([]locktable.Command, *v1.Error) {
		return []locktable.Command{command}, err
	}
	who := call.GetPrincipal()
	switch c := call.GetCall().(type) {
	case *peerv1.Call_Execute:
		return execute(c.Execute, who)
	case *peerv1.Call_Operation:
		return one(operation(alone, c.Operation, locktable.Caller{Principal: who}, new(commandRoom)))
	case *peerv1.Call_OpenSession:
		command, err := openSession(c.OpenSession, who)
		return one(command, err)
	case *peerv1.Call_RenewSession:
		command, err := renewSession(c.RenewSession, who)
		return one(command, err)
	case *peerv1.Call_CloseSession:
		command, err := closeSession(c.CloseSession, who)
		return one(command, err)
	case *peerv1.Call_RevokeGrant:
		return one(revokeGrant(c.RevokeGrant))
	case *peerv1.Call_RevokeSession:
		return one(revokeSession(c.RevokeSession))
	}
	return nil, place{}.invalid("call", "empty", "")
}

// carry carries out a call, whose commands were made before, here. It tries once.
func (s *Services) carry(
	ctx context.Context, call *peerv1.Call, commands []locktable.Command,
) *peerv1.Reply {
	start := time.Now()
	answer, err := s.Proposer.Submit(ctx, proposer.Batch{Session: sessionOf(commands[0]), Commands: commands})
	if err != nil {
		return errorReply(s.submitError(err))
	}
	s.Observer.Committed(time.Since(start))
	return s.replyTo(call, commands, answer)
}

// sessionOf tells in whose line a batch stands.
func sessionOf(command locktable.Command) locktable.SessionID { return subjectOf(command).session }

// replyTo makes the reply to a call out of the results of its commands.
func (s *Services) replyTo(
	call *peerv1.Call, commands []locktable.Command, from proposer.Answer,
) *peerv1.Reply {
	answers := make([]answer, len(commands))
	counts := make(tally, 0, 8)
	for i := range commands {
		answers[i] = answer{Result: &from.Results[i], time: from.TimeOf(i)}
		counts.count(commands[i], &answers[i])
	}
	counts.tell(s.Observer)
	cluster := s.ownCluster()
	first := &answers[0]
	switch call.GetCall().(type) {
	case *peerv1.Call_Execute:
		response := &v1.ExecuteResponse{
			Results:   make([]*v1.OperationResult, len(answers)),
			Deadlines: answers[len(answers)-1].sessionDeadlines(),
			Cluster:   cluster,
		}
		var room resultRoom
		for i := range answers {
			room.left = len(answers) - i
			response.Results[i] = answers[i].operation(commands[i], &room)
		}
		return &peerv1.Reply{Reply: &peerv1.Reply_Execute{Execute: response}}
	case *peerv1.Call_Operation:
		result := first.operation(commands[0], new(resultRoom))
		setCluster(result, cluster)
		return &peerv1.Reply{Reply: &peerv1.Reply_Operation{Operation: result}}
	}
	if first.Outcome == locktable.Refused {
		return errorReply(refusal(commands[0], first))
	}
	switch call.GetCall().(type) {
	case *peerv1.Call_OpenSession:
		return &peerv1.Reply{Reply: &peerv1.Reply_OpenSession{OpenSession: &v1.OpenSessionResponse{
			SessionId: uint64(first.Session),
			Ttl:       duration(first.TTL),
			Deadlines: first.sessionDeadlines(),
			Stamp:     first.stamp(),
			Cluster:   cluster,
		}}}
	case *peerv1.Call_RenewSession:
		return &peerv1.Reply{Reply: &peerv1.Reply_RenewSession{RenewSession: &v1.RenewSessionResponse{
			Deadlines: first.sessionDeadlines(), Stamp: first.stamp(), Cluster: cluster,
		}}}
	case *peerv1.Call_CloseSession:
		return &peerv1.Reply{Reply: &peerv1.Reply_CloseSession{CloseSession: &v1.CloseSessionResponse{
			Stamp: first.stamp(), Cluster: cluster,
		}}}
	case *peerv1.Call_RevokeGrant:
		return &peerv1.Reply{Reply: &peerv1.Reply_RevokeGrant{RevokeGrant: &v1.RevokeGrantResponse{
			Stamp: first.stamp(), Cluster: cluster,
		}}}
	default:
		return &peerv1.Reply{Reply: &peerv1.Reply_RevokeSession{RevokeSession: &v1.RevokeSessionResponse{
			Stamp: first.stamp(), Cluster: cluster,
		}}}
	}
}

// setCluster says in the result of a single call which history it belongs to.
func setCluster(result *v1.OperationResult, cluster *v1.ClusterRef) {
	switch r := result.GetResult().(type) {
	case *v1.OperationResult_Acquire:
		r.Acquire.Cluster = cluster
	case *v1.OperationResult_Release:
		r.Release.Cluster = cluster
	case *v1.OperationResult_Convert:
		r.Convert.Cluster = cluster
	case *v1.OperationResult_Renew:
		r.Renew.Cluster = cluster
	case *v1.OperationResult_Cancel:
		r.Cancel.Cluster = cluster
	}
}

func errorReply(detail *v1.Error) *peerv1.Reply {
	return &peerv1.Reply{Reply: &peerv1.Reply_Error{Error: detail}}
}

// errStopping ends the contexts of waits and streams when the node shuts down.
var errStopping = errors.New("the node is shutting down")

// submitError gives the error for a submit that has no answer. It is of one of three kinds
// (HF-7.3): surely not done, unknown, or refused.
func (s *Services) submitError(err error) *v1.Error {
	var limited *proposer.RateLimitedError
	switch {
	case errors.Is(err, proposer.ErrOutcomeUnknown):
		return unknownOutcome(err)
	case errors.Is(err, proposer.ErrNotLeader):
		return s.notLeader()
	case errors.Is(err, proposer.ErrNoQuorum):
		return noQuorum()
	case errors.Is(err, proposer.ErrShuttingDown):
		return fail(v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, s.NodeID)
	case errors.As(err, &limited):
		return fail(v1.ErrorReason_ERROR_REASON_RATE_LIMITED, limited.Error())
	}
	s.Logger.Error("a command failed in a way that has no name", "error", err)
	return unknownOutcome(err)
}

func unknownOutcome(err error) *v1.Error {
	why := "it was proposed and not answered in time"
	mark := proposer.ErrOutcomeUnknown.Error() + ": "
	if err != nil && strings.HasPrefix(err.Error(), mark) {
		why = strings.ReplaceAll(err.Error(), mark, "") // the log says it, too
	}
	return fail(v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, why)
}

func (s *Services) notLeader() *v1.Error {
	detail := fail(v1.ErrorReason_ERROR_REASON_NOT_LEADER, s.NodeID)
	detail.Leader = s.leaderURL()
	if detail.Leader != "" {
		detail.Hint = "the leader is at " + detail.Leader
	}
	return detail
}

func noQuorum() *v1.Error {
	return fail(v1.ErrorReason_ERROR_REASON_NO_QUORUM, short(patience))
}
