package rpc

import (
	"context"
	"sync"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// A current read waits for an index that was committed after the read arrived, and is then
// answered from this node's own table (HF-9.1). The index comes from a marker that went through
// the log, and one marker serves many reads: while it is under way, the reads that arrive gather
// for the next one.

// currentReads gathers reads round by round.
type currentReads struct {
	fetch func(context.Context) (uint64, *v1.Error)

	mu      sync.Mutex
	running bool
	next    *readRound // those who arrived while a round was under way
}

type readRound struct {
	done  chan struct{}
	index uint64
	err   *v1.Error
}

// index gives an index that was committed after the call.
func (c *currentReads) index(ctx context.Context) (uint64, *v1.Error) {
	c.mu.Lock()
	round := c.next
	if round == nil {
		round = &readRound{done: make(chan struct{})}
		c.next = round
	}
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-round.done:
		return round.index, round.err
	case <-ctx.Done():
		return 0, noQuorum()
	}
}

func (c *currentReads) run() {
	for {
		c.mu.Lock()
		round := c.next
		c.next = nil
		c.running = round != nil
		c.mu.Unlock()
		if round == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		round.index, round.err = c.fetch(ctx)
		cancel()
		close(round.done)
	}
}

// fetchIndex gets an index by a marker of our own, or from the leader.
func (s *Services) fetchIndex(ctx context.Context) (uint64, *v1.Error) {
	r := s.retry(nil)
	for {
		index, detail := s.tryIndex(ctx)
		if detail == nil {
			return index, nil
		}
		if !r.again(ctx, detail) {
			if detail.GetReason() == v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN {
				detail = noQuorum() // a read has no outcome
			}
			return 0, detail
		}
	}
}

func (s *Services) tryIndex(ctx context.Context) (uint64, *v1.Error) {
	if s.Proposer.Leads() {
		return s.marker(ctx)
	}
	_, addr := s.otherLeader()
	if addr == "" {
		return 0, noQuorum()
	}
	response, err := s.Peers.Client(addr).ReadIndex(s.whileLeading(ctx, addr), &peerv1.ReadIndexRequest{})
	if err != nil {
		return 0, s.peerError(err)
	}
	return response.GetIndex(), nil
}

// marker sends a marker through the log.
func (s *Services) marker(ctx context.Context) (uint64, *v1.Error) {
	answer, err := s.Proposer.Submit(ctx, proposer.Batch{})
	if err != nil {
		return 0, s.submitError(err)
	}
	return answer.Index, nil
}

// view reads the table: as it is now if stale, else once it holds everything that was committed
// before the call.
func (s *Services) view(ctx context.Context, stale bool, read func(*locktable.Table)) error {
	if !stale {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		index, detail := s.reads.index(ctx)
		if detail != nil {
			return &Failure{detail}
		}
		if err := s.Node.WaitApplied(ctx, index); err != nil {
			return &Failure{noQuorum()}
		}
	}
	s.Node.View(read)
	return nil
}
