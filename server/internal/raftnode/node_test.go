package raftnode

import (
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

func TestOneNodeKeepsWhatItAcknowledged(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	const entries = 200
	for i := uint64(1); i <= entries; i++ {
		if err := m.propose(i); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.seen.find(i); !ok {
			t.Fatalf("proposal %d is answered before its results", i)
		}
	}
	before := m.StateHash()
	m.kill()
	m.mustStart(true)
	m.waitLeading()
	if after := m.StateHash(); after != before {
		t.Fatalf("state %+v after the restart, %+v before", after, before)
	}
	m.View(func(table *locktable.Table) {
		if table.ClusterID() != m.ClusterID() {
			t.Errorf("table is of cluster %q, node of %q", table.ClusterID(), m.ClusterID())
		}
	})
}

func TestFollowerRefusesProposals(t *testing.T) {
	members := threeNodes(t, nil)
	err := members[1].propose(7)
	if !errors.Is(err, ErrNotLeader) || !errors.Is(err, ErrNotDone) {
		t.Fatalf("got %v", err)
	}
}

func TestFailOverAndRestart(t *testing.T) {
	members := threeNodes(t, nil)
	next := uint64(1)
	write := func(n int) {
		t.Helper()
		for range n {
			next++
			eventually(t, "proposal", func() bool { return leaderOf(t, members).propose(next) == nil })
		}
	}
	write(50)
	agree(t, members)
	for range 3 {
		old := leaderOf(t, members)
		old.kill()
		write(20)
		old.mustStart(false)
		write(20)
		agree(t, members)
	}
}

// Raft reports the same shutdown whether the node was closed or removed as the leader.
func TestClosedNodeWasNotRemoved(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	for range 5 {
		m.waitLeading()
		m.kill()
		m.mustStart(false)
	}
}

func TestShutdownAfterCloseIsNoRemoval(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	m.end(nil)
	m.leaveForGood()
	m.kill()
	m.mustStart(false)
}
