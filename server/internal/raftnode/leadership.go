package raftnode

import (
	"github.com/hashicorp/raft"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// runLeadership tells the observer when the node leads. Raft blocks when notify is full, so
// nothing here may wait for Raft's main loop while changes pile up: a barrier ends at the latest
// when the leadership that it belongs to does.
func (n *Node) runLeadership() {
	leading := false
	for {
		select {
		case won := <-n.notify:
			switch {
			case won && !leading && n.takeOver():
				leading = true
			case !won && leading:
				leading = false
				n.observer.Following()
			}
		case <-n.stopped:
			if leading {
				n.observer.Following()
			}
			return
		}
	}
}

// takeOver makes sure that everything committed before is applied, and that the history has begun.
func (n *Node) takeOver() bool {
	if err := n.raft.Barrier(0).Error(); err != nil {
		n.log.Debug("leadership lost before it began", "error", err)
		return false
	}
	if !n.beginHistory() {
		return false
	}
	n.moved()
	n.observer.Leading(n.raft.CurrentTerm())
	return true
}

// beginHistory writes the first command of the log, if nobody has: it names the cluster.
func (n *Node) beginHistory() bool {
	begun := false
	n.View(func(t *locktable.Table) { begun = t.ClusterID() != "" })
	if begun {
		return true
	}
	err := n.Propose(Entry{
		Version:  SemanticsMax,
		Commands: []locktable.Command{&locktable.Bootstrap{ClusterID: n.ClusterID()}},
	}).Err()
	if err != nil {
		n.log.Warn("cannot begin the history of the cluster", "error", err)
	}
	return err == nil
}

// moved tells the others if this node's address has changed since it last led.
func (n *Node) moved() {
	s, ok := n.member(n.ID())
	if !ok || s.Address == n.trans.LocalAddr() || s.Suffrage != raft.Voter {
		return
	}
	n.log.Warn("the address of this node has changed", "from", s.Address, "to", n.trans.LocalAddr())
	n.raft.AddVoter(s.ID, n.trans.LocalAddr(), 0, memberTimeout)
}

// diskIsSlow hands leadership over, if the disk comes back to let it.
func (n *Node) diskIsSlow() {
	n.log.Error("a write to the disk hangs", "for", n.timing.DiskSlow)
	if n.trans.leads.Load() == nil {
		return // Raft has not started yet
	}
	if n.raft.State() == raft.Leader {
		n.raft.LeadershipTransfer() // nobody waits for it
	}
}
