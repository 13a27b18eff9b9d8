package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Raft's own names for what it keeps.
const (
	raftCurrentTerm  = "CurrentTerm"
	raftLastVoteTerm = "LastVoteTerm"
	raftLastVoteCand = "LastVoteCand"
)

// Keys of the two records that the store keeps.
var (
	hardStateKey = []byte("holdfast/hardstate")
	ownerKey     = []byte("holdfast/node")
)

// hardState is what a node must not forget: its term, and for whom it voted in which term.
type hardState struct {
	term      uint64
	voteTerm  uint64
	candidate []byte // nil if it never voted
}

// stableStore keeps the hard state as one record under one key with a checksum. Raft saves the
// term of a vote and its candidate one after the other; a crash in between would leave a new
// term with an old candidate, who could then win a vote that it must not get. The term is
// therefore held back until the candidate comes.
type stableStore struct {
	store boltStore
	stop  *failStop
	disk  *diskClock

	mu       sync.Mutex
	saved    hardState
	voteTerm uint64 // of the vote that is being saved
}

const hardStateVersion = 1

func (h hardState) encode() []byte {
	b := []byte{hardStateVersion}
	b = binary.BigEndian.AppendUint64(b, h.term)
	b = binary.BigEndian.AppendUint64(b, h.voteTerm)
	b = append(b, h.candidate...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHardState(b []byte) (hardState, error) {
	const fixed = 1 + 8 + 8
	if len(b) < fixed+4 {
		return hardState{}, damagef("the record of term and vote has %d bytes", len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return hardState{}, damagef("the record of term and vote does not match its checksum")
	}
	if body[0] > hardStateVersion {
		return hardState{}, newerf("the record of term and vote was written by a newer version (%d)", body[0])
	}
	h := hardState{term: binary.BigEndian.Uint64(body[1:]), voteTerm: binary.BigEndian.Uint64(body[9:])}
	if rest := body[fixed:]; len(rest) > 0 {
		h.candidate = append([]byte(nil), rest...)
	}
	return h, nil
}

// load reads the record, and checks that the database belongs to the node.
func (s *stableStore) load(node string) error {
	return guarded("read term and vote", func() error {
		owner, err := s.store.Get(ownerKey)
		switch {
		case errors.Is(err, raftboltdb.ErrKeyNotFound):
			if err := s.store.Set(ownerKey, []byte(node)); err != nil {
				return err
			}
		case err != nil:
			return err
		case string(owner) != node:
			return errOtherNode{string(owner)}
		}
		b, err := s.store.Get(hardStateKey)
		if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s.saved, err = decodeHardState(b)
		return err
	})
}

// errOtherNode says that the log was written by another node.
type errOtherNode struct{ owner string }

func (e errOtherNode) Error() string { return "the log belongs to node " + e.owner }

func (s *stableStore) save(h hardState) error {
	const what = "save term and vote"
	err := s.stop.check(s.disk.time(what, func() error {
		return guarded(what, func() error { return s.store.Set(hardStateKey, h.encode()) })
	}))
	if err == nil {
		s.saved = h
	}
	return err
}

// errNotFound has the text by which Raft knows it.
var errNotFound = errors.New("not found")

// Set implements raft.StableStore, as all below.
func (s *stableStore) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) != raftLastVoteCand {
		return s.stop.check(fmt.Errorf("raft keeps %q, which the store does not know", key))
	}
	next := s.saved
	next.voteTerm, next.candidate = s.voteTerm, append([]byte(nil), value...)
	return s.save(next)
}

func (s *stableStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == raftLastVoteCand && s.saved.candidate != nil {
		return s.saved.candidate, nil
	}
	return nil, errNotFound
}

func (s *stableStore) SetUint64(key []byte, value uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(key) {
	case raftLastVoteTerm:
		s.voteTerm = value
		return nil
	case raftCurrentTerm:
		if value == s.saved.term {
			return nil
		}
		next := s.saved
		next.term = value
		return s.save(next)
	}
	return s.stop.check(fmt.Errorf("raft keeps %q, which the store does not know", key))
}

func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value := s.saved.term
	if string(key) == raftLastVoteTerm {
		value = s.saved.voteTerm
	}
	if value == 0 {
		return 0, errNotFound
	}
	return value, nil
}
