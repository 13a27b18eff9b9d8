package rpc

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// patience is how long a command may take, and how long nobody may lead before calls are refused at
// once (HF-10.2). A call that comes while nobody leads is held for what is left of it.
const patience = 2 * time.Second

// Between two tries of a call, while an election is on.
const (
	pauseFirst = 5 * time.Millisecond
	pauseMost  = 100 * time.Millisecond
)

// bring checks a call, brings it to the leader, wherever that is, and gives its reply. A call that
// may be repeated without a second effect is tried again also when the outcome of a try is not
// known.
func (s *Services) bring(ctx context.Context, call *peerv1.Call) (*peerv1.Reply, error) {
	commands, invalid := commandsOf(call)
	if invalid != nil {
		return nil, &Failure{invalid}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := s.retry(commands)
	for {
		reply := s.tryOnce(ctx, call, commands)
		detail := reply.GetError()
		if detail == nil {
			return reply, nil
		}
		if !r.again(ctx, detail) {
			return nil, &Failure{r.verdict(detail)}
		}
	}
}

// tryOnce brings a call to whoever leads at this moment.
func (s *Services) tryOnce(
	ctx context.Context, call *peerv1.Call, commands []locktable.Command,
) *peerv1.Reply {
	if s.Proposer.Leads() {
		return s.carry(ctx, call, commands)
	}
	if _, addr := s.otherLeader(); addr == "" {
		return errorReply(noQuorum())
	}
	if _, renewal := call.GetCall().(*peerv1.Call_RenewSession); renewal {
		return s.renewals.forward(ctx, call)
	}
	return s.commands.forward(ctx, call)
}

// otherLeader tells which other node leads; the address is empty if none is known.
func (s *Services) otherLeader() (id, addr string) {
	id, addr = s.Node.Leader()
	if id == s.NodeID {
		return "", ""
	}
	return id, addr
}

// retry decides whether to try a call again.
type retry struct {
	node     Node
	until    time.Time
	commands []locktable.Command
	pause    time.Duration
	unsure   *v1.Error // what an earlier try said whose outcome is not known
}

// retry begins the tries of a call.
func (s *Services) retry(commands []locktable.Command) retry {
	return retry{node: s.Node, until: time.Now().Add(patience), commands: commands}
}

// left is how long the call may still be held.
func (r *retry) left() time.Duration {
	return min(time.Until(r.until), patience-r.node.Leaderless())
}

// again tells, after a pause, whether to try again after an error.
func (r *retry) again(ctx context.Context, detail *v1.Error) bool {
	switch detail.GetReason() {
	case v1.ErrorReason_ERROR_REASON_NOT_LEADER,
		v1.ErrorReason_ERROR_REASON_NO_QUORUM,
		v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN:
	case v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:
		r.unsure = detail
		if slices.ContainsFunc(r.commands, hasSecondEffect) {
			return false
		}
	default:
		return false
	}
	r.pause = min(max(2*r.pause, pauseFirst), pauseMost)
	pause := r.pause/2 + rand.N(r.pause/2) //nolint:gosec // no secret
	if pause > r.left() {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// hasSecondEffect tells whether a command that is given again could be done twice (HF-7.1).
func hasSecondEffect(command locktable.Command) bool {
	switch c := command.(type) {
	case *locktable.OpenSession:
		return c.Nonce == ""
	case *locktable.Acquire:
		return c.Request == 0 && (c.Session != 0 || c.Nonce == "")
	case *locktable.Release:
		return c.Request == 0
	case *locktable.Convert:
		return c.Request == 0
	case *locktable.RenewSession, *locktable.Renew, *locktable.Cancel:
		return false
	}
	return true
}

// verdict is what to say at the end. What may have been done is never called not done (HF-7.3).
func (r *retry) verdict(last *v1.Error) *v1.Error {
	switch last.GetReason() {
	case v1.ErrorReason_ERROR_REASON_NOT_LEADER,
		v1.ErrorReason_ERROR_REASON_NO_QUORUM,
		v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN:
		if r.unsure != nil {
			return r.unsure
		}
	}
	return last
}
