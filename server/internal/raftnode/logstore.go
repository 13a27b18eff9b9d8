package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// boltStore is what the wrappers need of the database below; tests put faults into it.
type boltStore interface {
	raft.LogStore
	Set(key, value []byte) error
	Get(key []byte) ([]byte, error)
	Close() error
}

const (
	boltLockTimeout = time.Second
	boltInitialMmap = 256 << 20 // address space, not memory; avoids remapping, which stops writes
	deleteChunk     = 1024      // entries a transaction: a longer one would hold up appending
)

func openBolt(dir string) (s boltStore, err error) {
	err = guarded("open the log", func() error {
		s, err = raftboltdb.New(raftboltdb.Options{
			Path: filepath.Join(dir, logFile),
			BoltOptions: &bbolt.Options{
				Timeout:         boltLockTimeout,
				NoFreelistSync:  true,
				FreelistType:    bbolt.FreelistMapType,
				InitialMmapSize: boltInitialMmap,
			},
		})
		return err
	})
	return s, err
}

// guarded turns a panic or a memory fault of the database, which is how it meets a page that
// makes no sense, into damage.
func guarded(what string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			err = damagef("%s: %v", what, p)
		}
	}()
	err = f()
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, raftboltdb.ErrKeyNotFound) ||
		isKnown(err) {
		return err
	}
	return damage{fmt.Errorf("%s: %w", what, err)}
}

// isKnown tells errors that say already what kind they are.
func isKnown(err error) bool {
	var d damage
	var n newer
	var o errOtherNode
	return errors.As(err, &d) || errors.As(err, &n) || errors.As(err, &o)
}

// logStore checks every entry that is read, times every write, and stops the node at the first
// error. It is the part of the store that Raft's log cache sits on.
type logStore struct {
	store boltStore
	stop  *failStop
	disk  *diskClock

	// early is told what is about to be written, and after which entry it comes.
	early atomic.Pointer[func(before position, logs []*raft.Log)]
	last  position // of the last entry that was written; for Raft's main loop alone
}

const (
	sealVersion = 1
	sealSize    = 5 // version, CRC-32C
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal is kept in the Extensions of a stored entry, which nobody else uses. It covers the whole
// entry.
func seal(l *raft.Log) []byte {
	b := make([]byte, sealSize, sealSize+len(l.Extensions))
	b[0] = sealVersion
	binary.BigEndian.PutUint32(b[1:], sealSum(l, l.Extensions))
	return append(b, l.Extensions...)
}

func sealSum(l *raft.Log, extensions []byte) uint32 {
	var head [30]byte
	head[0] = sealVersion
	binary.BigEndian.PutUint64(head[1:], l.Index)
	binary.BigEndian.PutUint64(head[9:], l.Term)
	binary.BigEndian.PutUint64(head[17:], uint64(l.AppendedAt.Unix()))
	binary.BigEndian.PutUint32(head[25:], uint32(l.AppendedAt.Nanosecond()))
	head[29] = byte(l.Type)
	sum := crc32.Update(0, castagnoli, head[:])
	sum = crc32.Update(sum, castagnoli, l.Data)
	return crc32.Update(sum, castagnoli, extensions)
}

// unseal verifies an entry that was read and takes the seal off.
func unseal(index uint64, l *raft.Log) error {
	if len(l.Extensions) < sealSize {
		return damagef("log entry %d has no checksum", index)
	}
	head, rest := l.Extensions[:sealSize], l.Extensions[sealSize:]
	if head[0] > sealVersion {
		return newerf("log entry %d was written by a newer version (%d)", index, head[0])
	}
	if l.Index != index || binary.BigEndian.Uint32(head[1:]) != sealSum(l, rest) {
		return damagef("log entry %d does not match its checksum", index)
	}
	l.Extensions = rest
	if len(rest) == 0 {
		l.Extensions = nil
	}
	return nil
}

func (s *logStore) read(what string, f func() error) error {
	err := guarded(what, f)
	if errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	return s.stop.check(err)
}

func (s *logStore) write(what string, f func() error) error {
	return s.stop.check(s.disk.time(what, func() error { return guarded(what, f) }))
}

// FirstIndex implements raft.LogStore, as all below.
func (s *logStore) FirstIndex() (index uint64, err error) {
	err = s.read("read the first index of the log", func() error {
		index, err = s.store.FirstIndex()
		return err
	})
	return index, err
}

func (s *logStore) LastIndex() (index uint64, err error) {
	err = s.read("read the last index of the log", func() error {
		index, err = s.store.LastIndex()
		return err
	})
	return index, err
}

func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	return s.read(fmt.Sprintf("read log entry %d", index), func() error {
		if err := s.store.GetLog(index, l); err != nil {
			return err
		}
		return unseal(index, l)
	})
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs copies what it stores: the caller's entries go on to the cache and to the other nodes.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	copies := make([]raft.Log, len(logs))
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		copies[i] = *l
		copies[i].Extensions = seal(l)
		sealed[i] = &copies[i]
	}
	if early := s.early.Load(); early != nil && s.last.index+1 == logs[0].Index {
		(*early)(s.last, logs)
	}
	err := s.write("append to the log", func() error { return s.store.StoreLogs(sealed) })
	if end := logs[len(logs)-1]; err == nil {
		s.last = position{end.Index, end.Term}
	}
	return err
}

// DeleteRange deletes in chunks: a prefix from its low end and a suffix from its high end, so that
// a crash in between leaves no hole.
func (s *logStore) DeleteRange(from, to uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	prefix := from <= first
	if !prefix {
		s.last = position{} // only a follower cuts the end off
	}
	from = max(from, first)
	for from <= to {
		low, high := from, min(to, from+deleteChunk-1)
		if !prefix {
			low, high = max(from, to-min(to, deleteChunk-1)), to
		}
		err := s.write("delete from the log", func() error { return s.store.DeleteRange(low, high) })
		if err != nil {
			return err
		}
		if prefix {
			from = high + 1
		} else {
			to = low - 1
		}
	}
	return nil
}

// verifyLog is the check before Raft starts. The log after the snapshot must be whole. A log whose
// entry at the snapshot's index is of another term is what an installed snapshot leaves behind of
// a branch that lost; Raft would ask for the snapshot again and again, so the log is dropped.
func (s *logStore) verifyLog(snapIndex, snapTerm uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	var l raft.Log
	if snapIndex > 0 && snapIndex >= first && snapIndex <= last {
		err := s.GetLog(snapIndex, &l)
		if err == nil && l.Term != snapTerm {
			return s.DeleteRange(first, last)
		}
		if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
	}
	for i := snapIndex + 1; i <= last; i++ {
		err := s.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			return damagef("log entry %d is missing (the snapshot ends at %d, the log at %d)", i, snapIndex, last)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
