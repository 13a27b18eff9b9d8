package raftnode

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// stores are the wrappers on a database of their own.
type stores struct {
	*logStore
	stable *stableStore
	faults *faultStore
	path   string
}

func openStores(t *testing.T, path string) *stores {
	t.Helper()
	bolt, err := openBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	faults := &faultStore{boltStore: bolt}
	stop := newFailStop(nil, quiet(), func(err error) { t.Errorf("fatal: %v", err) })
	disk := &diskClock{slow: time.Hour, stuck: time.Hour}
	s := &stores{
		logStore: &logStore{store: faults, stop: stop, disk: disk},
		stable:   &stableStore{store: faults, stop: stop, disk: disk},
		faults:   faults, path: path,
	}
	if err := s.stable.load("n-1"); err != nil {
		_ = bolt.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bolt.Close() })
	return s
}

// again closes the database as a crash would leave it, and opens it anew.
func (s *stores) again(t *testing.T) *stores {
	t.Helper()
	if err := s.faults.Close(); err != nil {
		t.Fatal(err)
	}
	return openStores(t, s.path)
}

func (s *stores) append(t *testing.T, from, to, term uint64) {
	t.Helper()
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: []byte(fmt.Sprintf("entry %d", i)),
			AppendedAt: time.Unix(1700000000, 123456789)})
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

func (s *stores) indexes(t *testing.T) (have []uint64) {
	t.Helper()
	last, err := s.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := range last + 1 {
		var l raft.Log
		if err := s.GetLog(i, &l); err == nil {
			have = append(have, i)
		}
	}
	return have
}

// A crash between the term of a vote and its candidate used to leave the new term with the old
// candidate, who would then be given a vote without a look at its log.
func TestTornVoteIsNoVote(t *testing.T) {
	s := openStores(t, t.TempDir())
	vote := func(term uint64, candidate string) {
		t.Helper()
		if err := s.stable.SetUint64([]byte(raftLastVoteTerm), term); err != nil {
			t.Fatal(err)
		}
		if err := s.stable.Set([]byte(raftLastVoteCand), []byte(candidate)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(term uint64, candidate string) {
		t.Helper()
		gotTerm, err := s.stable.GetUint64([]byte(raftLastVoteTerm))
		gotCand, err2 := s.stable.Get([]byte(raftLastVoteCand))
		if err != nil || err2 != nil || gotTerm != term || string(gotCand) != candidate {
			t.Errorf("vote of term %d for %q (%v, %v), want %d for %q", gotTerm, gotCand, err, err2, term, candidate)
		}
	}
	vote(4, "a")
	check(4, "a")
	if err := s.stable.SetUint64([]byte(raftLastVoteTerm), 5); err != nil {
		t.Fatal(err)
	}
	check(4, "a") // until the candidate is known there is no vote
	s = s.again(t)
	check(4, "a")
	vote(5, "b")
	s = s.again(t)
	check(5, "b")
}

func TestVoteIsOneWrite(t *testing.T) {
	s := openStores(t, t.TempDir())
	var keys []string
	s.faults.on(func(f *faultStore) {
		f.set = func(key []byte) error { keys = append(keys, string(key)); return nil }
	})
	for range 2 { // the same term again is no write
		if err := s.stable.SetUint64([]byte(raftCurrentTerm), 7); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stable.SetUint64([]byte(raftLastVoteTerm), 7); err != nil {
		t.Fatal(err)
	}
	if err := s.stable.Set([]byte(raftLastVoteCand), []byte("a")); err != nil {
		t.Fatal(err)
	}
	want := []string{string(hardStateKey), string(hardStateKey)}
	if !slices.Equal(keys, want) {
		t.Errorf("wrote %q, want %q", keys, want)
	}
	if term, err := s.stable.GetUint64([]byte(raftCurrentTerm)); err != nil || term != 7 {
		t.Errorf("term %d, %v", term, err)
	}
}

func TestNewNodeHasNoTermAndNoVote(t *testing.T) {
	s := openStores(t, t.TempDir())
	for _, key := range []string{raftCurrentTerm, raftLastVoteTerm} {
		if _, err := s.stable.GetUint64([]byte(key)); err == nil || err.Error() != "not found" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := s.stable.Get([]byte(raftLastVoteCand)); err == nil || err.Error() != "not found" {
		t.Errorf("candidate: %v", err)
	}
}

func TestEveryFlippedBitOfTermAndVoteIsNoticed(t *testing.T) {
	good := hardState{term: 9, voteTerm: 8, candidate: []byte("127.0.0.1:7481")}.encode()
	if h, err := decodeHardState(good); err != nil || h.term != 9 || string(h.candidate) != "127.0.0.1:7481" {
		t.Fatalf("got %+v, %v", h, err)
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeHardState(bad); !isDamage(err) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	for n := range good {
		if _, err := decodeHardState(good[:n]); !isDamage(err) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestStoreKnowsNoOtherKeys(t *testing.T) {
	s := openStores(t, t.TempDir())
	if s.stable.Set([]byte("x"), nil) == nil || s.stable.SetUint64([]byte("x"), 1) == nil {
		t.Error("kept what it does not know")
	}
}

func TestEntriesComeBackAsTheyWereStored(t *testing.T) {
	s := openStores(t, t.TempDir())
	want := raft.Log{Index: 3, Term: 2, Type: raft.LogConfiguration, Data: []byte("d"), Extensions: []byte("ext")}
	stored := want
	if err := s.StoreLog(&stored); err != nil {
		t.Fatal(err)
	}
	if string(stored.Extensions) != "ext" {
		t.Error("the caller's entry was changed")
	}
	var got raft.Log
	if err := s.GetLog(3, &got); err != nil {
		t.Fatal(err)
	}
	if got.Index != 3 || got.Term != 2 || got.Type != want.Type || string(got.Data) != "d" || string(got.Extensions) != "ext" {
		t.Errorf("got %+v", got)
	}
	if err := s.GetLog(4, &got); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("got %v", err)
	}
}

// flip changes one bit of a stored value, in the way of a disk that lies.
func flip(t *testing.T, dir, bucket string, key []byte, bit int) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		v := bytes.Clone(b.Get(key))
		v[(bit/8)%len(v)] ^= 1 << (bit % 8)
		return b.Put(key, v)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func logKey(index uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(index >> (56 - 8*i))
	}
	return b[:]
}

func TestFlippedBitsInStoredEntriesAreNoticed(t *testing.T) {
	s := openStores(t, t.TempDir())
	s.append(t, 1, 1, 6)
	var before raft.Log
	if err := s.GetLog(1, &before); err != nil {
		t.Fatal(err)
	}
	for bit := 0; bit < 8*110; bit += 5 {
		_ = s.faults.Close()
		flip(t, s.path, "logs", logKey(1), bit)
		s = openStores(t, s.path)
		var l raft.Log
		err := s.GetLog(1, &l)
		same := err == nil && l.Index == before.Index && l.Term == before.Term && l.Type == before.Type &&
			bytes.Equal(l.Data, before.Data) && l.AppendedAt.Equal(before.AppendedAt)
		if !same && !isKnown(err) {
			t.Fatalf("bit %d: read %+v, %v", bit, l, err)
		}
		_ = s.faults.Close()
		flip(t, s.path, "logs", logKey(1), bit)
		s = openStores(t, s.path)
	}
}

func TestEntryUnderAnotherIndexIsDamage(t *testing.T) {
	s := openStores(t, t.TempDir())
	s.append(t, 1, 2, 1)
	_ = s.faults.Close()
	db, err := bbolt.Open(filepath.Join(s.path, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("logs"))
		return b.Put(logKey(2), bytes.Clone(b.Get(logKey(1))))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStores(t, s.path)
	var l raft.Log
	if err := s.GetLog(2, &l); !isDamage(err) {
		t.Errorf("got %v", err)
	}
}

// A crash in the middle of deleting must leave no hole: the head goes from below, the tail from
// above.
func TestInterruptedDeleteLeavesNoHole(t *testing.T) {
	const n = 3*deleteChunk + 100
	for name, c := range map[string]struct{ from, to, first, last uint64 }{
		"head": {1, n - 50, deleteChunk + 1, n},
		"tail": {50, n, 1, n - deleteChunk},
	} {
		s := openStores(t, t.TempDir())
		s.append(t, 1, n, 1)
		chunks := 0
		s.faults.on(func(f *faultStore) {
			f.delete = func(uint64, uint64) error {
				if chunks++; chunks == 2 {
					return errors.New("crash")
				}
				return nil
			}
		})
		if err := s.DeleteRange(c.from, c.to); err == nil {
			t.Fatalf("%s: no crash", name)
		}
		have := s.again(t).indexes(t)
		if have[0] != c.first || have[len(have)-1] != c.last || uint64(len(have)) != c.last-c.first+1 {
			t.Errorf("%s: left %d to %d, %d entries", name, have[0], have[len(have)-1], len(have))
		}
	}
}

func TestDeleteRangeDeletesExactlyThat(t *testing.T) {
	const n = 2*deleteChunk + 10
	for _, c := range [][4]uint64{ // from, to, first and last that stay
		{1, n - 1, n, n}, {0, 10, 11, n}, {n, n, 1, n - 1}, {2, n, 1, 1}, {deleteChunk, n, 1, deleteChunk - 1},
	} {
		s := openStores(t, t.TempDir())
		s.append(t, 1, n, 1)
		if err := s.DeleteRange(c[0], c[1]); err != nil {
			t.Fatal(err)
		}
		have := s.indexes(t)
		if have[0] != c[2] || have[len(have)-1] != c[3] || uint64(len(have)) != c[3]-c[2]+1 {
			t.Errorf("delete %d to %d left %d to %d, %d entries", c[0], c[1], have[0], have[len(have)-1], len(have))
		}
	}
}

// What an installed snapshot leaves of a lost branch of the log would make Raft ask for the same
// snapshot for ever.
func TestLogThatContradictsTheSnapshotIsDropped(t *testing.T) {
	s := openStores(t, t.TempDir())
	s.append(t, 1, 20, 1)
	if err := s.verifyLog(10, 1); err != nil {
		t.Fatal(err)
	}
	if have := s.indexes(t); len(have) != 20 {
		t.Errorf("a log that fits was cut to %d entries", len(have))
	}
	if err := s.verifyLog(10, 2); err != nil {
		t.Fatal(err)
	}
	if have := s.indexes(t); len(have) != 0 {
		t.Errorf("%d entries of a lost branch are left", len(have))
	}
}

func TestHoleAfterTheSnapshotIsDamage(t *testing.T) {
	s := openStores(t, t.TempDir())
	s.append(t, 1, 5, 1)
	s.append(t, 11, 20, 1)
	if err := s.verifyLog(10, 1); err != nil {
		t.Errorf("a hole below the snapshot: %v", err)
	}
	if err := s.verifyLog(8, 1); !isDamage(err) {
		t.Errorf("a hole above the snapshot: %v", err)
	}
}
