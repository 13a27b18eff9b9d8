package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/peerport"
)

// A cluster in a test is patient with a machine that has other things to do. A single node need not
// be, and leads at once.
var (
	clusterTiming = Timing{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, Lease: 500 * time.Millisecond}
	singleTiming  = Timing{Heartbeat: 25 * time.Millisecond, Election: 25 * time.Millisecond, Lease: 25 * time.Millisecond}
)

const patience = 30 * time.Second

// member is one node of a test cluster: its directory outlives it.
type member struct {
	t    testing.TB
	path string
	addr string
	time Timing
	cfg  func(*Config)

	*Node
	port *peerport.Port
	seen *recorder
	died chan error
}

// recorder is an observer that remembers.
type recorder struct {
	mu       sync.Mutex
	applied  []Applied
	deaf     bool // remembers no more entries
	leading  []uint64
	leads    bool
	restored int
}

func (r *recorder) Applied(a Applied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Restored {
		r.restored++
	}
	if !r.deaf {
		r.applied = append(r.applied, a)
	}
}

// forget what was applied, and what will be.
func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied, r.deaf = nil, true
}

func (r *recorder) Leading(term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leading, r.leads = append(r.leading, term), true
}

func (r *recorder) Following() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads = false
}

func (r *recorder) restores() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.restored
}

func (r *recorder) isLeading() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leads
}

func (r *recorder) find(proposal uint64) (Applied, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.applied {
		if a.Proposal == proposal && !a.Restored {
			return a, true
		}
	}
	return Applied{}, false
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newMember(t testing.TB) *member {
	return &member{t: t, path: filepath.Join(t.TempDir(), "data"), addr: "127.0.0.1:0", time: singleTiming}
}

// newMembers are three that are to be one cluster.
func newMembers(t *testing.T) []*member {
	members := []*member{newMember(t), newMember(t), newMember(t)}
	for _, m := range members {
		m.time = clusterTiming
	}
	return members
}

// start opens the node on its directory, at its old address if it had one.
func (m *member) start(bootstrap bool) error {
	dir, err := OpenDir(m.path)
	if err != nil {
		return err
	}
	if bootstrap {
		if err := dir.Bootstrap(); err != nil {
			return err
		}
	}
	m.port, err = peerport.Listen(peerport.Config{
		Listen: m.addr, NodeID: dir.NodeID(), ClusterID: dir.ClusterID(), Logger: quiet()})
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	m.addr = m.port.Addr()
	m.seen, m.died = &recorder{}, make(chan error, 1)
	died := m.died
	cfg := Config{
		Dir: dir, Streams: m.port.Raft(), Bootstrap: bootstrap, Timing: m.time, Logger: quiet(),
		Observer: m.seen, OnFatal: func(err error) { died <- err },
	}
	if m.cfg != nil {
		m.cfg(&cfg)
	}
	m.Node, err = Open(cfg)
	if err != nil {
		_ = m.port.Close()
		m.Node = nil
	}
	return err
}

func (m *member) mustStart(bootstrap bool) {
	m.t.Helper()
	if err := m.start(bootstrap); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.kill)
}

// kill stops the node without grace.
func (m *member) kill() {
	if m.Node == nil {
		return
	}
	_ = m.Node.Close()
	_ = m.port.Close()
	m.Node = nil
}

// fatal waits for the node to stop by itself.
func (m *member) fatal() error {
	m.t.Helper()
	select {
	case err := <-m.died:
		return err
	case <-time.After(patience):
		m.t.Fatal("the node goes on")
		return nil
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(2 * time.Millisecond) // polls a condition
	}
}

func (m *member) waitLeading() {
	m.t.Helper()
	eventually(m.t, "leads", func() bool { return m.seen.isLeading() })
}

func open(n uint64) []locktable.Command {
	return []locktable.Command{&locktable.OpenSession{
		Principal: "p", Namespace: "default", TTL: 30_000, Nonce: fmt.Sprintf("nonce-%d", n)}}
}

// propose puts an entry in that opens a session.
func (m *member) propose(proposal uint64) error {
	return m.Propose(Entry{Proposal: proposal, Version: SemanticsMax, Stamp: int64(proposal), Commands: open(proposal)}).Err()
}

// corruption is applied to one replica behind Raft's back.
var corruption = locktable.Batch{Index: 1, Version: 1, Commands: open(1 << 40)}

// threeNodes starts a cluster whose first member leads.
func threeNodes(t *testing.T, cfg func(*Config)) []*member {
	t.Helper()
	members := newMembers(t)
	for i, m := range members {
		m.cfg = cfg
		if i == 0 {
			m.mustStart(true)
			m.waitLeading()
			continue
		}
		m.join(members[0])
	}
	return members
}

// join starts a member with an empty directory and makes it a voter.
func (m *member) join(leader *member) {
	m.t.Helper()
	dir, err := OpenDir(m.path)
	if err == nil {
		err = errors.Join(dir.Join(leader.ClusterID()), dir.Close())
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.mustStart(false)
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if err := leader.AddLearner(ctx, m.ID(), m.addr); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "promoted", func() bool { return leader.Promote(ctx, m.ID()) == nil })
}

// leaderOf waits for a member that leads.
func leaderOf(t testing.TB, members []*member) *member {
	t.Helper()
	var leader *member
	eventually(t, "somebody leads", func() bool {
		for _, m := range members {
			if m.Node != nil && m.seen.isLeading() && m.State() == Leader {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

// agree waits until all members have applied the same, and compares their hashes.
func agree(t *testing.T, members []*member) {
	t.Helper()
	eventually(t, "members agree", func() bool {
		for _, m := range members[1:] {
			if m.StateHash() != members[0].StateHash() {
				return false
			}
		}
		return true
	})
}
