package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
)

// readyBehind is how many entries a node may be behind the leader and still be ready.
const readyBehind = 1024

// runTasks starts what the node does by itself.
func (s *Server) runTasks() {
	s.tasks.Go(func() { s.pollMembers(s.background) })
	s.tasks.Go(func() { s.node.CheckHashes(s.background, hashEvery, s.askHashes) })
	s.tasks.Go(func() { s.becomeVoter(s.background) })
	go s.watchOver() // not a task: it ends the node, which waits for the tasks
}

// watchOver stops the node when it cannot go on.
func (s *Server) watchOver() {
	var err error
	select {
	case err = <-s.failed:
	case <-s.node.Done():
		if err = s.node.Err(); errors.Is(err, raftnode.ErrRemoved) {
			s.log.Info("this node was removed from its cluster and stops; its data directory is of no more use")
			// In order: whoever asked for it may have asked here, and waits for the answer.
			ctx, cancel := context.WithTimeout(context.Background(), transferLimit)
			defer cancel()
			s.Stop(ctx)
			return
		}
	case <-s.ended:
	}
	if err != nil {
		s.log.Error("the node stops", "error", err)
		s.abort(err)
	}
}

// pollMembers keeps asking the other members who and how they are.
func (s *Server) pollMembers(ctx context.Context) {
	for {
		s.poll(ctx)
		s.raiseSemantics(ctx)
		pause := pollEvery
		if !s.Ready() {
			pause = pollEvery / 20 // the leader is to be found
		}
		select {
		case <-time.After(pause):
		case <-s.pollNow:
		case <-ctx.Done():
			return
		}
	}
}

// pollSoon makes the next poll come at once.
func (s *Server) pollSoon() {
	select {
	case s.pollNow <- struct{}{}:
	default:
	}
}

// poll asks all other members at once.
func (s *Server) poll(ctx context.Context) {
	present := map[string]bool{}
	var all sync.WaitGroup
	for _, m := range s.node.Members() {
		present[m.ID] = true
		if m.ID == s.node.ID() {
			continue
		}
		all.Go(func() {
			answer, err := s.peers.ask(ctx, m.Address)
			s.peers.note(m.ID, answer, err)
		})
	}
	all.Wait()
	s.peers.forget(func(id string) bool { return present[id] })
}

// askHashes asks another member for its checkpoints (HF-10.5).
func (s *Server) askHashes(ctx context.Context, m raftnode.Member) ([]raftnode.Checkpoint, error) {
	answer, err := s.peers.Client(m.Address).StateHash(ctx, &peerv1.StateHashRequest{})
	if err != nil {
		return nil, err
	}
	points := make([]raftnode.Checkpoint, len(answer.GetCheckpoints()))
	for i, p := range answer.GetCheckpoints() {
		points[i] = raftnode.Checkpoint{Index: p.GetIndex(), Hash: p.GetHash()}
	}
	return points, nil
}

// raiseSemantics switches on the highest semantics version that every member can apply (HF-10.7).
// The leader does, and only when it has heard from all.
func (s *Server) raiseSemantics(ctx context.Context) {
	if !s.proposer.Leads() {
		return
	}
	var present uint32
	s.node.View(func(t *locktable.Table) { present = t.SemanticsVersion() })
	var others []*peerv1.DescribeResponse
	for _, m := range s.node.Members() {
		if m.ID == s.node.ID() {
			continue
		}
		known, ok := s.peers.get(m.ID)
		if !ok || !known.reachable {
			return
		}
		others = append(others, known.DescribeResponse)
	}
	version := commonSemantics(raftnode.SemanticsMax, others)
	if version <= present {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	_, err := s.proposer.Submit(ctx, proposer.Batch{
		Commands: []locktable.Command{&locktable.SetSemantics{Version: version}},
	})
	s.log.Info("semantics version", "from", present, "to", version, "error", err)
}

// commonSemantics is the highest version that all can apply.
func commonSemantics(own uint32, others []*peerv1.DescribeResponse) uint32 {
	for _, o := range others {
		own = min(own, o.GetSemanticsVersionMax())
	}
	return own
}
