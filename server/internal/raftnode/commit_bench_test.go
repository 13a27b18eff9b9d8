package raftnode

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// BenchmarkCommit compares a node with bare Raft: three voters each, all in this process, on sockets
// and files, fsync on, one entry of about 100 bytes outstanding. They take turns every few entries, so
// that both see the same machine. An op is one entry of each.
func BenchmarkCommit(b *testing.B) {
	contenders := []struct {
		name   string
		commit func(n uint64) error
		times  []time.Duration
		cpu    time.Duration
	}{{name: "bare", commit: bareRaft(b)}, {name: "node", commit: threeForBench(b)}}
	const block = 32
	number := uint64(1)
	for done := 0; done < b.N; done += block {
		for i := range contenders {
			c := &contenders[i]
			cpu := processTime()
			for range block {
				number++
				start := time.Now()
				for c.commit(number) != nil { // a machine with much else to do costs leaders their followers
					number++
				}
				c.times = append(c.times, time.Since(start))
			}
			c.cpu += processTime() - cpu
		}
	}
	for _, c := range contenders {
		slices.Sort(c.times)
		at := func(q int) float64 { return float64(c.times[len(c.times)*q/100].Microseconds()) }
		b.ReportMetric(at(50), c.name+"-p50-us")
		b.ReportMetric(at(95), c.name+"-p95-us")
		b.ReportMetric(float64(c.cpu.Microseconds())/float64(len(c.times)), c.name+"-cpu-us")
	}
	b.ReportMetric(float64(contenders[1].times[len(contenders[1].times)/2])/
		float64(contenders[0].times[len(contenders[0].times)/2]), "node/bare")
}

func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// threeForBench is a cluster of nodes with the timing of production.
func threeForBench(b *testing.B) func(n uint64) error {
	members := []*member{newMember(b), newMember(b), newMember(b)}
	for i, m := range members {
		m.time = LAN
		if i == 0 {
			m.mustStart(true)
			m.waitLeading()
			continue
		}
		m.join(members[0])
	}
	for _, m := range members {
		m.seen.forget()
	}
	return func(n uint64) error { return leaderOf(b, members).propose(n) }
}

// bareRaft is a cluster of nothing but the libraries, with the settings that a node gives them.
func bareRaft(b *testing.B) func(n uint64) error {
	var all []*raft.Raft
	var first raft.Configuration
	for i := range 3 {
		store, err := raftboltdb.New(raftboltdb.Options{
			Path: filepath.Join(b.TempDir(), "raft.db"),
			BoltOptions: &bbolt.Options{
				NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: boltInitialMmap},
		})
		if err != nil {
			b.Fatal(err)
		}
		logs, err := raft.NewLogCache(logCacheEntries, store)
		if err != nil {
			b.Fatal(err)
		}
		trans, err := raft.NewTCPTransportWithConfig("127.0.0.1:0", nil, &raft.NetworkTransportConfig{
			MaxPool: transportPool, Timeout: transportTimeout, MaxRPCsInFlight: 1, Logger: newHCLog(quiet())})
		if err != nil {
			b.Fatal(err)
		}
		conf := (&Node{timing: LAN, log: quiet(), dir: &Dir{id: identity{NodeID: fmt.Sprint("bare-", i)}}}).raftConfig()
		conf.NotifyCh = nil
		r, err := raft.NewRaft(conf, bareFSM{}, logs, store, raft.NewInmemSnapshotStore(), trans)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = r.Shutdown().Error()
			trans.CloseStreams()
			_ = trans.Close()
			_ = store.Close()
		})
		all = append(all, r)
		first.Servers = append(first.Servers, raft.Server{ID: conf.LocalID, Address: trans.LocalAddr()})
	}
	if err := all[0].BootstrapCluster(first).Error(); err != nil {
		b.Fatal(err)
	}
	entry := make([]byte, 100)
	return func(uint64) error {
		var leader *raft.Raft
		eventually(b, "bare Raft has a leader", func() bool {
			i := slices.IndexFunc(all, func(r *raft.Raft) bool { return r.State() == raft.Leader })
			if i >= 0 {
				leader = all[i]
			}
			return i >= 0
		})
		return leader.Apply(entry, 0).Error()
	}
}

type bareFSM struct{}

func (bareFSM) Apply(*raft.Log) any                 { return nil }
func (bareFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, io.EOF }
func (bareFSM) Restore(io.ReadCloser) error         { return nil }
