package raftnode

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// snapshotTrigger counts the bytes of entries since the last snapshot.
type snapshotTrigger struct {
	limit    int64
	due      chan struct{}
	bytes    atomic.Int64
	trailing uint64 // entries that stay in the log at least

	mu   sync.Mutex // held while a snapshot is taken
	last uint64     // index of the last snapshot
}

// entryCost is what an entry costs besides its bytes, in the database and at a restart: without it a
// quiet cluster, whose entries are tiny, would replay millions of them.
const entryCost = 512

func (t *snapshotTrigger) grow(bytes int) {
	if t.bytes.Add(int64(bytes)+entryCost) < t.limit {
		return
	}
	select {
	case t.due <- struct{}{}:
	default:
	}
}

func (n *Node) runSnapshots() {
	for {
		select {
		case <-n.snapshots.due:
		case <-n.stopped:
			return
		}
		if n.snapshots.bytes.Load() < n.snapshotBytes {
			continue // one was taken meanwhile
		}
		if err := n.Snapshot(context.Background()); err != nil && !errors.Is(err, ErrStopped) {
			n.log.Warn("snapshot not taken", "error", err)
		}
	}
}

// Snapshot writes a snapshot and cuts the log. It leaves the entries since the snapshot before in
// the log, so that a follower that is not far behind needs no snapshot.
func (n *Node) Snapshot(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- n.snapshot() }()
	select {
	case err := <-done:
		return err
	case <-n.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (n *Node) snapshot() error {
	n.snapshots.mu.Lock()
	defer n.snapshots.mu.Unlock()
	taken := n.snapshots.bytes.Load()
	index := n.AppliedIndex()
	trailing := n.snapshots.trailing
	if last := n.raft.LastIndex(); last > n.snapshots.last {
		trailing = max(trailing, last-n.snapshots.last)
	}
	if err := n.reload(func(c *raft.ReloadableConfig) { c.TrailingLogs = trailing }); err != nil {
		return err
	}
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrRaftShutdown) {
		return ErrStopped
	}
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return err
	}
	n.snapshots.bytes.Add(-taken)
	n.snapshots.last = index
	return nil
}

// reload changes settings of Raft.
func (n *Node) reload(change func(*raft.ReloadableConfig)) error {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	c := n.raft.ReloadableConfig()
	change(&c)
	return n.raft.ReloadConfig(c)
}

// SnapshotPause is the longest time for which a snapshot has kept entries from being applied since the
// node started.
func (n *Node) SnapshotPause() time.Duration { return n.fsm.pause.load() }
