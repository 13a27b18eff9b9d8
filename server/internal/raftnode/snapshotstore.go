package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

const (
	snapshotDir     = "snapshots" // Raft's name
	snapshotState   = "state.bin" // Raft's name
	snapshotMeta    = "meta.json" // Raft's name
	snapshotSeal    = "meta.crc"  // ours: checksum of meta.json, written last
	snapshotsRetain = 3
	tmpSuffix       = ".tmp"
)

// snapshotStore keeps Raft's snapshot files and trusts none of them: one is read again before it
// counts as written, and its size, content and description are checked when it is opened. Only
// the newest is ever given to Raft, which would otherwise take an older one when the newest is
// damaged and then miss the entries in between.
type snapshotStore struct {
	files *raft.FileSnapshotStore
	dir   string
	stop  *failStop

	mu      sync.Mutex               // held while a snapshot is put into its place, and while they are listed
	created func(raft.Configuration) // told the configuration of each snapshot that is begun
}

// openSnapshots removes what an interrupted snapshot left behind, and checks the newest.
func openSnapshots(dir string, stop *failStop, log hclogger, slogger *slog.Logger) (*snapshotStore, error) {
	s := &snapshotStore{dir: filepath.Join(dir, snapshotDir), stop: stop}
	if err := s.reap(slogger); err != nil {
		return nil, err
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsRetain, log)
	if err != nil {
		return nil, err
	}
	s.files = files
	return s, nil
}

// reap removes snapshots that were not finished: they end in .tmp or have no seal. The log is
// only cut after a snapshot is finished, so nothing is lost with them.
func (s *snapshotStore) reap(log *slog.Logger) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		_, err := os.Stat(filepath.Join(path, snapshotSeal))
		if err == nil && !strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !isNotDir(e) {
			return err
		}
		log.Warn("removing an unfinished snapshot", "path", path)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func isNotDir(e fs.DirEntry) bool { return !e.IsDir() }

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(
	version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, t raft.Transport,
) (raft.SnapshotSink, error) {
	sink, err := s.files.Create(version, index, term, configuration, configurationIndex, t)
	if err != nil {
		return nil, s.stop.check(damage{fmt.Errorf("create snapshot: %w", err)})
	}
	s.created(configuration)
	return &snapshotSink{SnapshotSink: sink, store: s}, nil
}

// List implements raft.SnapshotStore: the newest snapshot, if there is one.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, s.stop.check(damage{fmt.Errorf("list snapshots: %w", err)})
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		}
		if err := s.verifyMeta(e.Name()); err != nil {
			return nil, s.stop.check(err)
		}
	}
	metas, err := s.files.List()
	if err != nil {
		return nil, s.stop.check(damage{fmt.Errorf("list snapshots: %w", err)})
	}
	return metas[:min(1, len(metas))], nil
}

// Open implements raft.SnapshotStore.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if _, err := os.Stat(filepath.Join(s.dir, id)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("snapshot %s has made room for newer ones", id)
	}
	meta, r, err := s.open(id)
	return meta, r, s.stop.check(err)
}

func (s *snapshotStore) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if err := s.verifyMeta(id); err != nil {
		return nil, nil, err
	}
	meta, r, err := s.files.Open(id) // compares the checksum of the content
	if err != nil {
		return nil, nil, damage{fmt.Errorf("snapshot %s: %w", id, err)}
	}
	info, err := os.Stat(filepath.Join(s.dir, id, snapshotState))
	if err == nil && info.Size() != meta.Size {
		err = fmt.Errorf("has %d bytes instead of %d", info.Size(), meta.Size)
	}
	if err != nil {
		_ = r.Close()
		return nil, nil, damage{fmt.Errorf("snapshot %s: %w", id, err)}
	}
	return meta, r, nil
}

// verify reads a snapshot as a restart would.
func (s *snapshotStore) verify(id string) error {
	_, r, err := s.open(id)
	if err != nil {
		return err
	}
	return r.Close()
}

func (s *snapshotStore) sealMeta(id string) error {
	dir := filepath.Join(s.dir, id)
	b, err := os.ReadFile(filepath.Join(dir, snapshotMeta))
	if err != nil {
		return err
	}
	return writeFile(dir, snapshotSeal, binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)))
}

func (s *snapshotStore) verifyMeta(id string) error {
	dir := filepath.Join(s.dir, id)
	b, err := os.ReadFile(filepath.Join(dir, snapshotMeta))
	if err != nil {
		return damage{fmt.Errorf("snapshot %s: %w", id, err)}
	}
	sum, err := os.ReadFile(filepath.Join(dir, snapshotSeal))
	if err != nil {
		return damage{fmt.Errorf("snapshot %s: %w", id, err)}
	}
	if len(sum) != 4 || binary.BigEndian.Uint32(sum) != crc32.Checksum(b, castagnoli) {
		return damagef("the description of snapshot %s does not match its checksum", id)
	}
	return nil
}

// snapshotSink is a snapshot that is being written.
type snapshotSink struct {
	raft.SnapshotSink
	store *snapshotStore
	ended bool
}

// Write is not timed: a slow snapshot holds nobody up.
func (k *snapshotSink) Write(b []byte) (int, error) {
	n, err := k.SnapshotSink.Write(b)
	if err != nil {
		_ = k.Cancel()
		return n, k.store.stop.check(damage{fmt.Errorf("write snapshot: %w", err)})
	}
	return n, nil
}

// Close finishes the snapshot and reads it again.
func (k *snapshotSink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	err := k.place()
	if err == nil {
		err = k.store.verify(k.ID())
	}
	if err != nil {
		return k.store.stop.check(damage{fmt.Errorf("finish snapshot: %w", err)})
	}
	return nil
}

// place makes it one of the snapshots and removes those that are too many.
func (k *snapshotSink) place() error {
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	if err := k.SnapshotSink.Close(); err != nil {
		return err
	}
	return k.store.sealMeta(k.ID())
}

// Cancel removes what was written, even if Raft's own attempt to flush it first fails.
func (k *snapshotSink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	err := k.SnapshotSink.Cancel()
	if err != nil {
		_ = os.RemoveAll(filepath.Join(k.store.dir, k.ID()+tmpSuffix))
	}
	return err
}
