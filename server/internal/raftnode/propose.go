package raftnode

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// SemanticsMax is the highest semantics version that this program can apply.
const SemanticsMax = 1

// proposalsMax bounds the entries that wait for Raft to take them.
const proposalsMax = 64

// Future is the fate of a proposed entry.
type Future struct {
	entry    []byte
	deadline time.Time
	done     chan struct{}
	once     sync.Once
	err      error
}

// Err blocks until the entry was applied (nil), surely has no effect (ErrNotDone, ErrNotLeader),
// or its fate is unknown (ErrUnknown), which it is at the latest after Timing.Propose.
func (f *Future) Err() error {
	<-f.done
	return f.err
}

// Done is closed when Err does not block any more.
func (f *Future) Done() <-chan struct{} { return f.done }

func (f *Future) resolve(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

func resolved(err error) *Future {
	f := &Future{done: make(chan struct{})}
	f.resolve(err)
	return f
}

// Propose puts an entry into the log, after those proposed before it. It does not block. Results
// come through Observer.Applied, before Err returns.
func (n *Node) Propose(e Entry) *Future {
	frame, err := Encode(e)
	if err != nil {
		return resolved(fmt.Errorf("%w: %w", ErrNotDone, err))
	}
	if n.raft.State() != raft.Leader {
		return resolved(ErrNotLeader)
	}
	f := &Future{entry: frame, deadline: time.Now().Add(n.timing.Propose), done: make(chan struct{})}
	select {
	case <-n.stopped:
		f.resolve(fmt.Errorf("%w: %w", ErrNotDone, ErrStopped))
	case n.proposals <- f:
		select {
		case <-n.stopped: // nobody may be left to take it
			n.refuseProposals()
		default:
		}
	default:
		f.resolve(fmt.Errorf("%w: %d entries are waiting", ErrNotDone, proposalsMax))
	}
	return f
}

// runProposals hands entries to Raft one after the other, which keeps their order, and lets
// somebody else wait for each.
func (n *Node) runProposals() {
	for {
		select {
		case f := <-n.proposals:
			n.hand(f)
		case <-n.stopped:
			n.refuseProposals()
			return
		}
	}
}

func (n *Node) hand(f *Future) {
	left := time.Until(f.deadline)
	if left <= 0 {
		f.resolve(fmt.Errorf("%w: %w", ErrNotDone, raft.ErrEnqueueTimeout))
		return
	}
	applying := n.raft.Apply(f.entry, left)
	f.entry = nil
	go func() {
		err := applying.Error()
		if _, ok := applying.Response().(done); err == nil && !ok {
			err = ErrStopped // committed, but this node stopped before it applied it
		}
		f.resolve(classify(err))
	}()
	n.running.Go(func() {
		late := time.NewTimer(time.Until(f.deadline))
		defer late.Stop()
		select {
		case <-f.done:
		case <-late.C:
			f.resolve(fmt.Errorf("%w: not committed within %v", ErrUnknown, n.timing.Propose))
		case <-n.stopped:
			f.resolve(fmt.Errorf("%w: %w", ErrUnknown, ErrStopped))
		}
	})
}

func (n *Node) refuseProposals() {
	for {
		select {
		case f := <-n.proposals:
			f.resolve(fmt.Errorf("%w: %w", ErrNotDone, ErrStopped))
		default:
			return
		}
	}
}
