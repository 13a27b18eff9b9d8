package raftnode

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHashesAreJudgedByMajority(t *testing.T) {
	at := func(h ...uint64) []Checkpoint {
		var points []Checkpoint
		for i, hash := range h {
			points = append(points, Checkpoint{uint64(i+1) * checkpointEvery, hash})
		}
		return points
	}
	for _, c := range []struct {
		name   string
		ours   []Checkpoint
		votes  map[string][]Checkpoint
		voters int
		voice  bool
		want   hashKind
		index  uint64
	}{
		{"alone", at(1), nil, 1, true, hashEqual, 0},
		{"all equal", at(1, 2), map[string][]Checkpoint{"b": at(1, 2), "c": at(1, 2)}, 3, true, hashEqual, 0},
		{"others are behind", at(1, 2), map[string][]Checkpoint{"b": at(1), "c": nil}, 3, true, hashEqual, 0},
		{"we are odd", at(1, 9), map[string][]Checkpoint{"b": at(1, 2), "c": at(1, 2)}, 3, true, hashOdd, 128},
		{"another is odd", at(1, 2), map[string][]Checkpoint{"b": at(1, 9), "c": at(1, 2)}, 3, true, hashEqual, 0},
		{"one differs, one is silent", at(1), map[string][]Checkpoint{"b": at(2), "c": nil}, 3, true, hashDiffers, 64},
		{"all differ", at(1), map[string][]Checkpoint{"b": at(2), "c": at(3)}, 3, true, hashSplit, 64},
		{"two nodes differ", at(1), map[string][]Checkpoint{"b": at(2)}, 2, true, hashSplit, 64},
		{"an odd learner", at(9), map[string][]Checkpoint{"b": at(1), "c": at(1)}, 3, false, hashOdd, 64},
		{"a learner has no voice", at(9), map[string][]Checkpoint{"b": at(1), "c": at(9)}, 2, false, hashSplit, 64},
		{"two of five against us", at(1), map[string][]Checkpoint{"b": at(2), "c": at(2)}, 5, true, hashDiffers, 64},
		{"three of five against us", at(1),
			map[string][]Checkpoint{"b": at(2), "c": at(2), "d": at(2), "e": at(1)}, 5, true, hashOdd, 64},
	} {
		v := compareHashes(c.ours, c.votes, c.voters, c.voice)
		if v.kind != c.want || v.index != c.index {
			t.Errorf("%s: got kind %d at %d, want %d at %d", c.name, v.kind, v.index, c.want, c.index)
		}
	}
}

func TestRingKeepsTheLatestCheckpoints(t *testing.T) {
	var r hashRing
	for i := range uint64(checkpointsMax + 10) {
		r.add(i, i)
	}
	got := r.list()
	if len(got) != checkpointsMax || got[0].Index != 10 || got[len(got)-1].Index != checkpointsMax+9 {
		t.Errorf("got %d points, %d to %d", len(got), got[0].Index, got[len(got)-1].Index)
	}
}

// HF-10.5 The replica whose state is not that of the others stops, with an alarm and a mark.
func TestTheOddReplicaStops(t *testing.T) {
	members := threeNodes(t, nil)
	leader := members[0]
	nodes := map[string]*Node{}
	for _, m := range members {
		nodes[m.ID()] = m.Node
	}
	ask := func(_ context.Context, m Member) ([]Checkpoint, error) { return nodes[m.ID].StateHashes(), nil }
	ctx, cancel := context.WithCancel(t.Context())
	var checking sync.WaitGroup
	defer checking.Wait()
	defer cancel()
	for _, n := range nodes {
		checking.Go(func() { n.CheckHashes(ctx, 5*time.Millisecond, ask) })
	}
	odd := members[2]
	odd.fsm.mu.Lock()
	odd.fsm.table.Apply(corruption)
	odd.fsm.mu.Unlock()
	for i := range uint64(2 * checkpointEvery) {
		if err := leader.propose(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	err := odd.fatal()
	if !isDamage(err) || !strings.Contains(err.Error(), "a majority has another state") {
		t.Errorf("stopped because of %v", err)
	}
	odd.kill()
	var start *StartError
	if err := odd.start(false); !errors.As(err, &start) || start.Failure != Damaged {
		t.Errorf("starts again: %v", err)
	}
	for _, m := range members[:2] {
		select {
		case err := <-m.died:
			t.Errorf("a good replica stopped: %v", err)
		default:
		}
	}
	if err := leader.propose(1000); err != nil {
		t.Errorf("the others do not go on: %v", err)
	}
}
