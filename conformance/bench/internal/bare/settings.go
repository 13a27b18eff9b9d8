package bare

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// These are the settings of server/internal/raftnode, which cannot be imported from here. A test
// compares them with its source: timing.go, logstore.go and transport.go.
const (
	heartbeat        = 400 * time.Millisecond
	election         = 400 * time.Millisecond
	lease            = 400 * time.Millisecond
	commit           = 15 * time.Millisecond
	appendMax        = 64
	logCacheEntries  = 128
	transportTimeout = 2 * time.Second
	transportPool    = 3
	maxRPCsInFlight  = 1
	boltLockTimeout  = time.Second
	boltInitialMmap  = 256 << 20
)

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:         boltLockTimeout,
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: boltInitialMmap,
	}
}

func raftConfig(id string) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(id)
	c.HeartbeatTimeout = heartbeat
	c.ElectionTimeout = election
	c.LeaderLeaseTimeout = lease
	c.CommitTimeout = commit
	c.MaxAppendEntries = appendMax
	c.BatchApplyCh = false
	c.SnapshotInterval = 24 * time.Hour
	c.SnapshotThreshold = 1 << 40
	c.Logger = hclog.NewNullLogger()
	c.NoLegacyTelemetry = true
	return c
}
