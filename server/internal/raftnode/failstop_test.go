package raftnode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

var errDisk = &os.PathError{Op: "fdatasync", Path: logFile, Err: syscall.EIO}

// mustStayStopped checks that a node that met damage is marked, answers nothing, and does not
// start again.
func (m *member) mustStayStopped(reason string) {
	m.t.Helper()
	err := m.fatal()
	if !isDamage(err) || !strings.Contains(err.Error(), reason) {
		m.t.Errorf("stopped because of %v", err)
	}
	<-m.Done()
	if !errors.Is(m.Err(), err) {
		m.t.Errorf("ended because of %v", m.Err())
	}
	if err := m.propose(1 << 50); !errors.Is(err, ErrNotDone) {
		m.t.Errorf("proposal after the end: %v", err)
	}
	m.kill()
	mark, err := os.ReadFile(filepath.Join(m.path, damageFile))
	if err != nil || !strings.Contains(string(mark), reason) {
		m.t.Errorf("mark %q, %v", mark, err)
	}
	var start *StartError
	if err := m.start(false); !errors.As(err, &start) || start.Failure != Damaged || !strings.Contains(start.Error(), reason) {
		m.t.Errorf("starts again: %v", err)
	}
}

// HF-10.4 A leader whose disk fails stops, and the others go on without losing anything.
func TestLeaderStopsAtAStorageError(t *testing.T) {
	var faults [3]*faultStore
	members := newMembers(t)
	for i, m := range members {
		faults[i] = faulty(m)
		if i == 0 {
			m.mustStart(true)
			m.waitLeading()
		} else {
			m.join(members[0])
		}
	}
	if err := members[0].propose(1); err != nil {
		t.Fatal(err)
	}
	faults[0].on(func(f *faultStore) { f.store = func([]*raft.Log) error { return errDisk } })
	if err := members[0].propose(2); !errors.Is(err, ErrUnknown) {
		t.Errorf("a write that failed: %v", err)
	}
	members[0].mustStayStopped("append to the log")
	rest := members[1:]
	eventually(t, "the others go on", func() bool { return leaderOf(t, rest).propose(3) == nil })
	agree(t, rest)
	if _, ok := leaderOf(t, rest).seen.find(1); !ok {
		t.Error("an acknowledged entry is lost")
	}
}

func TestFollowerStopsAtAStorageError(t *testing.T) {
	members := newMembers(t)
	members[0].mustStart(true)
	members[0].waitLeading()
	members[1].join(members[0])
	faults := faulty(members[2])
	members[2].join(members[0])
	faults.on(func(f *faultStore) { f.store = func([]*raft.Log) error { return errDisk } })
	if err := members[0].propose(1); err != nil {
		t.Errorf("a majority is healthy: %v", err)
	}
	members[2].mustStayStopped("append to the log")
}

func TestNodeStopsIfItsVoteCannotBeSaved(t *testing.T) {
	members := newMembers(t)
	members[0].mustStart(true)
	members[0].waitLeading()
	members[1].join(members[0])
	faults := faulty(members[2])
	members[2].join(members[0])
	faults.on(func(f *faultStore) { f.set = func([]byte) error { return errDisk } })
	members[0].kill() // the others elect
	members[2].mustStayStopped("save term and vote")
}

// A disk that is full has harmed nothing: the node stops, and starts when there is room.
func TestFullDiskStopsWithoutAMark(t *testing.T) {
	m := newMember(t)
	faults := faulty(m)
	m.mustStart(true)
	m.waitLeading()
	if err := m.propose(1); err != nil {
		t.Fatal(err)
	}
	full := &os.PathError{Op: "write", Path: logFile, Err: syscall.ENOSPC}
	faults.on(func(f *faultStore) { f.store = func([]*raft.Log) error { return full } })
	if err := m.propose(2); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if err := m.fatal(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("stopped because of %v", err)
	}
	m.kill()
	faults.on(func(f *faultStore) { f.store = nil })
	m.mustStart(false)
	m.waitLeading()
	if _, ok := m.seen.find(1); !ok {
		t.Error("the entry before is lost")
	}
	if err := m.propose(3); err != nil {
		t.Error(err)
	}
}

func TestDamagedEntryThatRaftReadsStopsTheNode(t *testing.T) {
	members := threeNodes(t, func(c *Config) { c.faults.trailing = 1000 })
	away := members[2]
	away.kill()
	for i := range uint64(logCacheEntries + 50) { // so many that the cache has not got them all
		if err := members[0].propose(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	members[0].kill()
	records := 0
	err := ReadLog(members[0].path, func(r LogRecord) error { records = int(r.Index); return nil })
	if err != nil {
		t.Fatal(err)
	}
	flip(t, members[0].path, "logs", logKey(uint64(records-logCacheEntries-5)), 8*70)
	var start *StartError
	if err := members[0].start(false); !errors.As(err, &start) || start.Failure != Damaged {
		t.Errorf("starts with a damaged log: %v", err)
	}
}

// An entry that cannot be applied stops every node rather than let one limp on.
func TestPanicInApplyStopsTheNode(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	m.fsm.mu.Lock()
	m.fsm.table = nil
	m.fsm.mu.Unlock()
	if err := m.propose(1); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if err := m.fatal(); isDamage(err) || !strings.Contains(err.Error(), "cannot be applied") {
		t.Errorf("stopped because of %v", err)
	}
	if _, ok := m.seen.find(1); ok {
		t.Error("told as applied")
	}
}

func TestCommittedEntryThatCannotBeReadStopsTheNode(t *testing.T) {
	for name, c := range map[string]struct {
		frame  []byte
		damage bool
	}{
		"damaged":         {[]byte{frameVersion, 1, 2, 3, 4, 5}, true},
		"newer":           {[]byte{frameVersion + 1, 1, 2, 3, 4, 5}, false},
		"newer semantics": {mustEncode(t, Entry{Version: SemanticsMax + 1}), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMember(t)
			m.mustStart(true)
			m.waitLeading()
			go func() { _ = m.raft.Apply(c.frame, 0).Error() }()
			if err := m.fatal(); isDamage(err) != c.damage || !isKnown(err) {
				t.Errorf("stopped because of %v", err)
			}
		})
	}
}

func mustEncode(t *testing.T, e Entry) []byte {
	t.Helper()
	b, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stall makes every write of a store hang until the test lets it go.
func (f *faultStore) stall(t *testing.T) (release func()) {
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	f.on(func(f *faultStore) { f.store = func([]*raft.Log) error { <-gate; return nil } })
	return release
}

// A leader whose disk hangs keeps sending heartbeats, since these do not pass the disk, and nobody
// else would be elected.
func TestLeaderWithAHangingDiskIsReplaced(t *testing.T) {
	members := newMembers(t)
	faults := faulty(members[0])
	inner := members[0].cfg
	members[0].cfg = func(c *Config) {
		inner(c)
		c.Timing.DiskSlow, c.Timing.DiskStuck = 300*time.Millisecond, time.Hour
	}
	members[0].mustStart(true)
	members[0].waitLeading()
	for _, m := range members[1:] {
		m.join(members[0])
	}
	release := faults.stall(t)
	hanging := members[0].Propose(Entry{Proposal: 1, Version: 1, Commands: open(1)})
	rest := members[1:]
	eventually(t, "the others go on", func() bool { return leaderOf(t, rest).propose(2) == nil })
	release()
	if err := hanging.Err(); !errors.Is(err, ErrUnknown) {
		t.Errorf("the entry that hung: %v", err)
	}
	eventually(t, "it follows", func() bool { return members[0].State() == Follower })
	agree(t, members)
}

func TestNodeWhoseDiskHangsForGoodStops(t *testing.T) {
	m := newMember(t)
	faults := faulty(m)
	inner := m.cfg
	m.cfg = func(c *Config) {
		inner(c)
		c.Timing.DiskSlow, c.Timing.DiskStuck = 100*time.Millisecond, 300*time.Millisecond
	}
	m.mustStart(true)
	m.waitLeading()
	release := faults.stall(t)
	m.Propose(Entry{Proposal: 1, Version: 1, Commands: open(1)})
	if err := m.fatal(); isDamage(err) || !strings.Contains(err.Error(), "has not finished append to the log") {
		t.Errorf("stopped because of %v", err)
	}
	if err := m.Close(); err == nil || !strings.Contains(err.Error(), "does not close") {
		t.Errorf("close: %v", err)
	}
	release()
	m.kill()
	eventually(t, "it starts: nothing is known to be damaged", func() bool { return m.start(false) == nil })
	t.Cleanup(m.kill)
}

func TestDiskClockForgetsAWriteThatCameBack(t *testing.T) {
	slow := make(chan struct{}, 1)
	c := &diskClock{slow: time.Millisecond, stuck: time.Hour, onSlow: func() { slow <- struct{}{} }}
	if err := c.time("write", func() error { <-slow; return errDisk }); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
	if c.silent() {
		t.Error("still silent")
	}
	if err := c.time("write", func() error { return nil }); err != nil || c.silent() {
		t.Errorf("got %v, silent %v", err, c.silent())
	}
}
