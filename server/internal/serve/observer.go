package serve

import (
	"errors"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/metrics"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
	"github.com/holdfast-dev/holdfast/server/internal/waiters"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

// observers hands what happens in the log to all who want to know: first the proposer, which
// parks the calls whose requests were queued, then the waiters, which the events of the same entry
// may end, then those who watch.
type observers struct {
	proposer *proposer.Proposer
	waiters  *waiters.Waiters
	hub      *watch.Hub
	metrics  *metrics.Metrics
	epoch    atomic.Uint32
	leading  func(leads bool)
}

func (o *observers) Applied(a raftnode.Applied) {
	if a.Restored {
		o.epoch.Store(a.Epoch)
		o.waiters.Restored()
		o.hub.Restored(watch.History{ClusterID: a.ClusterID, Epoch: a.Epoch}, a.Effects.Index)
		return
	}
	for i, command := range a.Commands {
		if raise, ok := command.(*locktable.RaiseEpoch); ok && a.Effects.Results[i].Outcome == locktable.Done {
			o.epoch.Store(raise.Epoch)
		}
	}
	applied := proposer.Applied{Proposal: a.Proposal, Commands: a.Commands, Effects: a.Effects}
	o.proposer.Applied(applied)
	o.waiters.Applied(applied)
	o.hub.Applied(applied)
	o.metrics.Applied(len(a.Commands))
}

func (o *observers) Leading(term uint64) {
	o.proposer.Leading(term)
	o.waiters.Leading(term)
	o.hub.Leading(term)
	o.leading(true)
}

func (o *observers) Following() {
	o.proposer.Following()
	o.waiters.Following()
	o.hub.Following()
	o.leading(false)
}

// raftLog is the Raft node as the proposer sees it.
type raftLog struct{ node *raftnode.Node }

func (l raftLog) Propose(e proposer.Entry) proposer.Future {
	return future{l.node.Propose(raftnode.Entry(e))}
}

func (l raftLog) View(f func(proposer.Table)) {
	l.node.View(func(t *locktable.Table) { f(t) })
}

func (l raftLog) Leader() (id, addr string) { return l.node.Leader() }

// future says in the proposer's words what became of an entry.
type future struct{ of *raftnode.Future }

func (f future) Err() error {
	err := f.of.Err()
	switch {
	case errors.Is(err, raftnode.ErrNotLeader):
		return proposer.ErrLogNotLeader
	case errors.Is(err, raftnode.ErrNotDone):
		return proposer.ErrLogNotDone
	}
	return err
}
