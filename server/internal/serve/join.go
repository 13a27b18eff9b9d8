package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
)

// A node joins a cluster in three steps, each of which is found again after a restart: it learns
// the id of the cluster from a member and notes it, asks the leader to add it as a learner, and,
// once it has caught up, to make it a voter.

// JoinError says that no member of the cluster to join answered.
type JoinError struct{ Err error }

func (e *JoinError) Error() string {
	return fmt.Sprintf("the cluster to join does not answer: %v", e.Err)
}

func (e *JoinError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *JoinError) Hint() string {
	return "check that the addresses given with --join are peer addresses (client port + 1) of running nodes"
}

// findCluster learns which cluster the node joins, if it has none.
func (s *Server) findCluster(ctx context.Context, dir *raftnode.Dir) error {
	if dir.ClusterID() != "" || len(s.config.Join) == 0 {
		return nil
	}
	for pause := joinEvery; ; pause = min(2*pause, joinPauseMost) {
		var errs []error
		for _, addr := range s.config.Join {
			answer, err := s.peers.ask(ctx, addr)
			if err == nil && answer.GetClusterId() == "" {
				err = fmt.Errorf("the node at %s belongs to no cluster itself", addr)
			}
			if err == nil {
				if err := dir.Join(answer.GetClusterId()); err != nil {
					return err
				}
				s.port.SetClusterID(answer.GetClusterId())
				s.log.Info("joining", "cluster", answer.GetClusterId(), "through", addr)
				return nil
			}
			errs = append(errs, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return &JoinError{errors.Join(errs...)}
		}
	}
}

// becomeVoter asks to be a member and then a voter until the node is.
func (s *Server) becomeVoter(ctx context.Context) {
	for pause := joinEvery; ; {
		done, err := s.nextStep(ctx)
		if done {
			return
		}
		if err != nil {
			s.log.Debug("not a voter yet", "error", err)
			pause = min(2*pause, joinPauseMost)
		} else {
			pause = joinEvery
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// nextStep takes the next step towards being a voter.
func (s *Server) nextStep(ctx context.Context) (done bool, err error) {
	request := &peerv1.AdminRequest{Call: &peerv1.AdminRequest_AddMember{
		AddMember: &v1.AddMemberRequest{NodeId: s.node.ID(), PeerAddress: s.port.Addr()},
	}}
	for _, m := range s.node.Members() {
		if m.ID != s.node.ID() || m.Address != s.port.Addr() {
			continue // as if it were new: that makes its new address known
		}
		if m.Voter {
			return true, nil
		}
		request.Call = &peerv1.AdminRequest_PromoteMember{
			PromoteMember: &v1.PromoteMemberRequest{NodeId: s.node.ID()},
		}
	}
	leader, err := s.findLeader(ctx)
	if err != nil {
		return false, err
	}
	response, err := s.peers.Client(leader).Admin(ctx, request)
	if err != nil {
		return false, err
	}
	if detail := response.GetError(); detail != nil {
		return false, errors.New(detail.GetMessage())
	}
	return false, nil
}

// findLeader finds the peer address of the leader: what Raft knows, else what members say.
func (s *Server) findLeader(ctx context.Context) (string, error) {
	if id, addr := s.node.Leader(); id != "" && id != s.node.ID() {
		return addr, nil
	}
	addrs := s.config.Join
	for _, m := range s.node.Members() {
		if m.ID != s.node.ID() {
			addrs = append(addrs[:len(addrs):len(addrs)], m.Address)
		}
	}
	errs := []error{errors.New("no leader is known")}
	for _, addr := range addrs {
		answer, err := s.peers.ask(ctx, addr)
		if err == nil && answer.GetLeaderAddress() != "" {
			return answer.GetLeaderAddress(), nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
