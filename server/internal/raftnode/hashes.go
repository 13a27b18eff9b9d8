package raftnode

import (
	"slices"
	"sync"
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
