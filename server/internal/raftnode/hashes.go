package raftnode

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// checkpointEvery so many indexes every node notes the hash of its state.
	checkpointEvery = 64
	checkpointsMax  = 256
)

// Checkpoint is the hash of the state after an index. All nodes have the same at the same index.
type Checkpoint struct{ Index, Hash uint64 }

// hashRing keeps the latest checkpoints.
type hashRing struct {
	mu     sync.Mutex
	points []Checkpoint
}

func (r *hashRing) add(index, hash uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.points) == checkpointsMax {
		r.points = slices.Delete(r.points, 0, 1)
	}
	r.points = append(r.points, Checkpoint{index, hash})
}

func (r *hashRing) list() []Checkpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.points)
}

// StateHashes gives the latest checkpoints, the oldest first.
func (n *Node) StateHashes() []Checkpoint { return n.hashes.list() }

// StateHash is the hash of the state now, and the index it belongs to.
func (n *Node) StateHash() Checkpoint {
	n.fsm.mu.Lock()
	defer n.fsm.mu.Unlock()
	return Checkpoint{n.fsm.index, n.fsm.table.Hash()}
}

// AskHashes asks another member for its checkpoints.
type AskHashes func(ctx context.Context, m Member) ([]Checkpoint, error)

// CheckHashes compares this node's state with that of the other members again and again until ctx
// or the node ends (HF-10.5). A node whose state differs from that of a majority stops and marks
// its directory; so does every node if all voters answer and no majority agrees, since then
// nobody can tell who is right.
func (n *Node) CheckHashes(ctx context.Context, every time.Duration, ask AskHashes) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-n.stopped:
			return
		}
		round, cancel := context.WithTimeout(ctx, max(every, time.Second))
		n.checkHashes(round, ask)
		cancel()
	}
}

func (n *Node) checkHashes(ctx context.Context, ask AskHashes) {
	var others []Member
	voters := 0
	for _, m := range n.Members() {
		if m.Voter {
			voters++
		}
		if m.ID != n.ID() {
			others = append(others, m)
		}
	}
	answers := make([][]Checkpoint, len(others))
	var asking sync.WaitGroup
	for i, m := range others {
		asking.Go(func() {
			points, err := ask(ctx, m)
			if err != nil {
				n.log.Debug("no state hashes", "of", m.ID, "error", err)
				return
			}
			answers[i] = points
		})
	}
	asking.Wait()
	votes := map[string][]Checkpoint{}
	for i, m := range others {
		if m.Voter {
			votes[m.ID] = answers[i]
		}
	}
	self, _ := n.member(n.ID())
	v := compareHashes(n.StateHashes(), votes, voters, isVoter(self))
	switch v.kind {
	case hashOdd, hashSplit:
		n.stop.fatal(damage{v.err()})
	case hashDiffers:
		n.log.Error("state hashes differ", "reason", v.err())
	}
}

// hashVerdict is what a comparison found at an index.
type hashVerdict struct {
	kind   hashKind
	index  uint64
	ours   uint64
	theirs map[string]uint64
}

type hashKind int

const (
	hashEqual   hashKind = iota
	hashDiffers          // some differ, but it is not known yet who is right
	hashOdd              // a majority agrees on another hash than ours
	hashSplit            // every voter has answered and no majority agrees
)

func (v hashVerdict) err() error {
	what := "a majority has another state"
	if v.kind == hashSplit {
		what = "no majority of members has the same state"
	}
	return fmt.Errorf("%s at index %d: hash here %016x, elsewhere %016x", what, v.index, v.ours, v.theirs)
}

// compareHashes looks at every index that this node and another voter have, and returns the worst
// it finds. A learner is compared, but has no voice.
func compareHashes(ours []Checkpoint, votes map[string][]Checkpoint, voters int, voice bool) hashVerdict {
	worst := hashVerdict{}
	for _, own := range ours {
		theirs := map[string]uint64{}
		count := map[uint64]int{}
		if voice {
			count[own.Hash]++
		}
		for id, points := range votes {
			for _, p := range points {
				if p.Index == own.Index {
					theirs[id] = p.Hash
					count[p.Hash]++
				}
			}
		}
		if kind := judgeHashes(own.Hash, count, voters); kind > worst.kind {
			worst = hashVerdict{kind, own.Index, own.Hash, theirs}
		}
	}
	return worst
}

func judgeHashes(own uint64, count map[uint64]int, voters int) hashKind {
	answered, others := 0, 0
	for hash, n := range count {
		answered += n
		if hash != own {
			others += n
		}
		if n > voters/2 && hash != own {
			return hashOdd
		}
	}
	switch {
	case others == 0 || count[own] > voters/2:
		return hashEqual
	case answered == voters:
		return hashSplit
	}
	return hashDiffers
}
