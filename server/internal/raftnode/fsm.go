package raftnode

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Applied is what one entry of the log did, or the state that a snapshot brought.
type Applied struct {
	// Proposal is the number that the proposer gave the entry.
	Proposal uint64
	// Commands of the entry; Effects.Results has one result for each.
	Commands []locktable.Command
	// Effects of the entry.
	Effects locktable.Effects
	// Restored says that the whole state was replaced by a snapshot: what happened in between is
	// not told. Effects has Index and Time only.
	Restored bool
	// ClusterID and Epoch are those of a restored state.
	ClusterID string
	Epoch     uint32
}

// fsm is the thin layer between Raft and the lock table: decode, apply, publish. It runs on one
// goroutine of Raft.
type fsm struct {
	stop       *failStop
	observer   Observer
	checkpoint func(index, hash uint64)
	grown      func(bytes int)
	configured func(raft.Configuration)

	mu    sync.RWMutex // held for writing while an entry is applied
	table *locktable.Table
	index uint64 // of the last entry in table

	applied  waitIndex
	installs installWatch
	pause    longest // for which a snapshot has kept Apply waiting
}

// done is the answer to an entry that was applied; Raft answers nil if the entry was not reached.
type done struct{}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	entry, err := Decode(l.Data)
	if err != nil {
		return f.stop.check(fmt.Errorf("log entry %d: %w", l.Index, err))
	}
	effects, err := f.apply(l.Index, entry)
	if err != nil {
		return f.stop.check(err)
	}
	f.observer.Applied(Applied{Proposal: entry.Proposal, Commands: entry.Commands, Effects: effects})
	f.applied.rise(l.Index)
	f.grown(len(l.Data))
	return done{}
}

// apply holds the lock of the table. A panic stops the node: its state is half changed.
func (f *fsm) apply(index uint64, e Entry) (effects locktable.Effects, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("log entry %d cannot be applied: %v\n%s", index, p, debug.Stack())
		}
	}()
	effects = f.table.Apply(locktable.Batch{Index: index, Stamp: e.Stamp, Version: e.Version, Commands: e.Commands})
	f.index = index
	if index%checkpointEvery == 0 {
		f.checkpoint(index, f.table.Hash())
	}
	return effects, nil
}

// StoreConfiguration implements raft.ConfigurationStore. Without it Raft would not count changes
// of membership as applied and would refuse a snapshot until the next command.
func (f *fsm) StoreConfiguration(index uint64, c raft.Configuration) {
	f.configured(c)
	f.applied.rise(index)
}

// Snapshot implements raft.FSM. It is short; Persist runs beside Apply.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	defer f.pause.since(time.Now())
	f.mu.Lock()
	defer f.mu.Unlock()
	return &fsmSnapshot{
		info:  snapshotInfo{index: f.index, hash: f.table.Hash()},
		table: f.table.Snapshot(),
		lock:  &f.mu,
		pause: &f.pause,
	}, nil
}

// longest of the times that were measured.
type longest struct{ d atomic.Int64 }

func (l *longest) since(start time.Time) {
	d := int64(time.Since(start))
	for old := l.d.Load(); d > old && !l.d.CompareAndSwap(old, d); old = l.d.Load() {
	}
}

func (l *longest) load() time.Duration { return time.Duration(l.d.Load()) }

// Restore implements raft.FSM.
func (f *fsm) Restore(from io.ReadCloser) error {
	info, table, err := restoreTable(from)
	if err != nil {
		return f.stop.check(err)
	}
	if f.stop.running.Load() {
		if err := f.installs.saw(info.index, time.Now()); err != nil {
			return f.stop.check(err)
		}
	}
	f.mu.Lock()
	f.table, f.index = table, info.index
	f.mu.Unlock()
	f.observer.Applied(Applied{
		Restored: true, ClusterID: table.ClusterID(), Epoch: table.Epoch(),
		Effects: locktable.Effects{Index: info.index, Time: table.Time()},
	})
	f.applied.rise(info.index)
	return nil
}

func restoreTable(from io.Reader) (info snapshotInfo, table *locktable.Table, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damagef("snapshot cannot be restored: %v", p)
		}
	}()
	frames, err := newFrameReader(from)
	if err != nil {
		return info, nil, err
	}
	table, err = locktable.Restore(frames)
	if err == nil {
		_, err = io.Copy(io.Discard, frames) // the end is checked too
	}
	if err != nil {
		if isKnown(err) {
			return info, nil, err
		}
		return info, nil, damage{fmt.Errorf("restore snapshot: %w", err)}
	}
	if table.Hash() != frames.info.hash {
		return info, nil, damagef("the state restored from the snapshot at %d has another hash", frames.info.index)
	}
	return frames.info, table, nil
}

// fsmSnapshot is the table as it was, on its way to the disk.
type fsmSnapshot struct {
	info  snapshotInfo
	table *locktable.Snapshot
	lock  *sync.RWMutex
	pause *longest
}

// Persist implements raft.FSMSnapshot. It keeps Apply out for one part at a time.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	err := s.write(sink)
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return nil
}

func (s *fsmSnapshot) write(sink io.Writer) error {
	w, err := newFrameWriter(sink, s.info)
	if err != nil {
		return err
	}
	var part []byte
	for more := true; more; {
		s.lock.RLock()
		start := time.Now()
		part, more = s.table.Next(part[:0])
		s.lock.RUnlock()
		s.pause.since(start)
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return w.finish()
}

// Release implements raft.FSMSnapshot.
func (s *fsmSnapshot) Release() {
	s.lock.Lock()
	defer s.lock.Unlock()
	defer s.pause.since(time.Now())
	s.table.Close()
}

// installWatch notices a follower that is sent the same snapshot again and again, because its log
// does not fit the leader's. A restart drops such a log (see verifyLog).
type installWatch struct {
	index uint64
	at    time.Time
}

const installAgain = time.Minute

func (w *installWatch) saw(index uint64, now time.Time) error {
	again := w.index == index && now.Sub(w.at) < installAgain
	w.index, w.at = index, now
	if again {
		return fmt.Errorf("the snapshot at %d was installed twice within %v; a restart repairs the log", index, installAgain)
	}
	return nil
}
