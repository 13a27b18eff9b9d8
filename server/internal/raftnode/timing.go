package raftnode

import (
	"time"

	"github.com/hashicorp/raft"
)

// Timing of a node. All nodes of a cluster have the same.
type Timing struct {
	// Heartbeat: a follower that has heard nothing for so long looks for a new leader, at the latest
	// after one and a half times this. A leader whose process has ended is replaced at once.
	Heartbeat time.Duration
	// Election is how long a candidate waits for votes; not less than Heartbeat.
	Election time.Duration
	// Lease: a leader that has heard of no majority for so long steps down; not more than Heartbeat.
	Lease time.Duration
	// Commit: after so long without an entry a follower is told what is committed.
	Commit time.Duration
	// Propose: after so long the fate of a proposed entry is unknown.
	Propose time.Duration
	// DiskSlow and DiskStuck: a write that takes so long ends the leadership, or the node.
	DiskSlow  time.Duration
	DiskStuck time.Duration
}

// LAN is the timing for nodes within a few milliseconds of each other.
var LAN = Timing{
	Heartbeat: 400 * time.Millisecond,
	Election:  400 * time.Millisecond,
	Lease:     400 * time.Millisecond,
	Commit:    15 * time.Millisecond,
	Propose:   2 * time.Second,
	DiskSlow:  2 * time.Second,
	DiskStuck: 5 * time.Second,
}

// WAN is the timing for nodes in different regions.
var WAN = Timing{
	Heartbeat: 1500 * time.Millisecond,
	Election:  1500 * time.Millisecond,
	Lease:     time.Second,
	Commit:    50 * time.Millisecond,
	Propose:   5 * time.Second,
	DiskSlow:  3 * time.Second,
	DiskStuck: 8 * time.Second,
}

// orDefault fills what is not given from LAN.
func (t Timing) orDefault() Timing {
	for _, f := range []struct{ to, from *time.Duration }{
		{&t.Heartbeat, &LAN.Heartbeat}, {&t.Election, &LAN.Election}, {&t.Lease, &LAN.Lease},
		{&t.Commit, &LAN.Commit}, {&t.Propose, &LAN.Propose},
		{&t.DiskSlow, &LAN.DiskSlow}, {&t.DiskStuck, &LAN.DiskStuck},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	return t
}

const (
	// appendMax entries travel together to a follower that is behind. Entries are batches, so this
	// is plenty; more would make single requests too long for the heartbeats that wait behind them.
	appendMax       = 64
	logCacheEntries = 128
	// notifyBuffer changes of leadership may wait while one is being dealt with; Raft blocks when
	// it is full.
	notifyBuffer = 64
	// Raft's own trigger of snapshots is as good as off; snapshotTrigger counts bytes.
	raftSnapshotEvery     = 24 * time.Hour
	raftSnapshotThreshold = 1 << 40
	defaultSnapshotBytes  = 64 << 20
	// trailingMin entries stay in the log after a snapshot in any case. They may have 256 KiB each; what
	// a follower that was away for a while needs are the entries since the snapshot before, which stay.
	trailingMin = 256
)

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.dir.NodeID())
	c.HeartbeatTimeout = n.timing.Heartbeat
	c.ElectionTimeout = n.timing.Election
	c.LeaderLeaseTimeout = n.timing.Lease
	c.CommitTimeout = n.timing.Commit
	c.MaxAppendEntries = appendMax
	// Off: entries that wait in its buffer when Raft stops would get no answer. They are batches
	// already.
	c.BatchApplyCh = false
	c.ShutdownOnRemove = true
	c.TrailingLogs = trailingMin
	c.SnapshotInterval = raftSnapshotEvery
	c.SnapshotThreshold = raftSnapshotThreshold
	c.NotifyCh = n.notify
	c.Logger = newHCLog(n.log)
	c.NoLegacyTelemetry = true
	return c
}
