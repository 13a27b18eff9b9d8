package raftnode

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// HF-7.3 What may still happen is never called failed.
func TestFatesOfAProposalAreOfThreeKinds(t *testing.T) {
	if err := classify(nil); err != nil {
		t.Errorf("nil: %v", err)
	}
	for _, c := range []struct {
		from error
		want error
	}{
		{raft.ErrNotLeader, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader},
		{raft.ErrEnqueueTimeout, ErrNotDone},
		{raft.ErrAbortedByRestore, ErrNotDone},
		{raft.ErrLeadershipLost, ErrUnknown},
		{raft.ErrRaftShutdown, ErrUnknown},
		{errDisk, ErrUnknown},
		{fmt.Errorf("something else"), ErrUnknown},
	} {
		got := classify(c.from)
		if !errors.Is(got, c.want) || !errors.Is(got, c.from) {
			t.Errorf("%v became %v", c.from, got)
		}
		if errors.Is(got, ErrNotDone) == errors.Is(got, ErrUnknown) {
			t.Errorf("%v is of two kinds or none", got)
		}
	}
}

// HF-10.2 Without a majority the fate is unknown soon, and nothing hangs.
func TestWithoutAMajorityTheFateIsUnknownInTime(t *testing.T) {
	members := threeNodes(t, func(c *Config) { c.Timing.Propose = time.Second })
	if alone := members[0].Leaderless(); alone != 0 {
		t.Errorf("it leads, and knows no leader for %v", alone)
	}
	start := time.Now()
	members[1].kill()
	members[2].kill()
	if err := members[0].propose(1); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	eventually(t, "it ceases to lead", func() bool { return !members[0].seen.isLeading() })
	if err := members[0].propose(2); !errors.Is(err, ErrNotLeader) {
		t.Errorf("got %v", err)
	}
	if alone := members[0].Leaderless(); alone <= 0 || alone > time.Since(start) {
		t.Errorf("leaderless for %v, and leading until %v ago", alone, time.Since(start))
	}
	members[1].mustStart(false)
	eventually(t, "both know a leader", func() bool {
		return members[0].Leaderless() == 0 && members[1].Leaderless() == 0
	})
}

func TestEntriesAreAppliedInTheOrderInWhichTheyWereProposed(t *testing.T) {
	members := threeNodes(t, nil)
	const entries = 300
	var last *Future
	for i := uint64(1); i <= entries; i++ {
		f := members[0].Propose(Entry{Proposal: i, Version: 1, Stamp: int64(i), Commands: open(i)})
		if i%32 == 0 || i == entries {
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
		}
		last = f
	}
	if err := last.Err(); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
	for _, m := range members {
		next, index := uint64(1), uint64(0)
		m.seen.mu.Lock()
		for _, a := range m.seen.applied {
			if a.Proposal == 0 {
				continue // the first command of the history
			}
			if a.Proposal != next || a.Effects.Index <= index || len(a.Effects.Results) != 1 {
				t.Fatalf("node %s: proposal %d at %d after %d at %d", m.ID(), a.Proposal, a.Effects.Index, next-1, index)
			}
			next, index = next+1, a.Effects.Index
		}
		m.seen.mu.Unlock()
		if next != entries+1 {
			t.Errorf("node %s has seen %d of %d", m.ID(), next-1, entries)
		}
	}
}

func TestProposalAfterCloseIsNotDone(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	node := m.Node
	m.kill()
	err := node.Propose(Entry{Proposal: 1, Version: 1, Commands: open(1)}).Err()
	if !errors.Is(err, ErrNotDone) {
		t.Errorf("got %v", err)
	}
	if err := node.Snapshot(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("snapshot: %v", err)
	}
	if err := node.snapshot(); !errors.Is(err, ErrStopped) {
		t.Errorf("snapshot, if Raft is the one that says it: %v", err)
	}
	if err := node.WaitApplied(t.Context(), 1<<40); !errors.Is(err, ErrStopped) {
		t.Errorf("wait: %v", err)
	}
	if node.State() != Stopped || node.Err() != nil {
		t.Errorf("state %v, error %v", node.State(), node.Err())
	}
}

func TestProposalsOfAClosingNodeAllEnd(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	node := m.Node
	futures := make(chan *Future, 1000)
	go func() {
		defer close(futures)
		for i := range uint64(1000) {
			futures <- node.Propose(Entry{Proposal: i, Version: 1, Commands: open(i)})
		}
	}()
	for range 100 {
		<-futures
	}
	m.kill()
	for f := range futures {
		select {
		case <-f.Done():
		case <-time.After(patience):
			t.Fatal("a proposal never ends")
		}
	}
}

func TestCommandWithoutAFormIsNotDone(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	err := m.Propose(Entry{Commands: []locktable.Command{nil}}).Err()
	if !errors.Is(err, ErrNotDone) {
		t.Errorf("got %v", err)
	}
}

func TestWaitAppliedWakesWhenItsIndexIsReached(t *testing.T) {
	var w waitIndex
	w.rise(3)
	if err := w.wait(t.Context(), 3, nil); err != nil {
		t.Fatal(err)
	}
	woken := make(chan uint64, 3)
	for _, i := range []uint64{6, 4, 5} {
		go func() {
			if err := w.wait(t.Context(), i, nil); err == nil {
				woken <- i
			}
		}()
	}
	eventually(t, "all wait", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waiters) == 3
	})
	w.rise(4)
	if got := <-woken; got != 4 {
		t.Errorf("woke %d", got)
	}
	w.rise(10)
	if got := <-woken + <-woken; got != 11 {
		t.Errorf("woke %d", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errDisk)
	if err := w.wait(ctx, 99, nil); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}
