package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/raft"
)

func framesOf(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newFrameWriter(&out, snapshotInfo{index: 17, hash: 99})
	if err == nil {
		_, err = io.Copy(w, iotest.OneByteReader(bytes.NewReader(content)))
	}
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readFrames(b []byte) (snapshotInfo, []byte, error) {
	r, err := newFrameReader(bytes.NewReader(b))
	if err != nil {
		return snapshotInfo{}, nil, err
	}
	content, err := io.ReadAll(r)
	return r.info, content, err
}

func TestSnapshotFramesComeBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, frameMax - 1, frameMax, frameMax + 1, 3*frameMax + 7} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		info, got, err := readFrames(framesOf(t, content))
		if err != nil || !bytes.Equal(got, content) || info != (snapshotInfo{17, 99}) {
			t.Errorf("%d bytes: got %d, %+v, %v", size, len(got), info, err)
		}
	}
}

func TestEveryFlippedBitOfASnapshotIsNoticed(t *testing.T) {
	good := framesOf(t, []byte("what the table was"))
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, _, err := readFrames(bad); !isKnown(err) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	for n := range good {
		if _, _, err := readFrames(good[:n]); !isDamage(err) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, _, err := readFrames(append(bytes.Clone(good), 0)); !isDamage(err) {
		t.Error("a byte too many is not noticed")
	}
	if _, _, err := readFrames(binary.BigEndian.AppendUint32(good[:snapshotHead+4], 1<<31)); !isDamage(err) {
		t.Error("a frame that is too long is not noticed")
	}
}

// snapshotOf makes a stopped member whose directory has a snapshot, and gives its path.
func snapshotOf(t *testing.T) (m *member, path string) {
	t.Helper()
	m = newMember(t)
	m.cfg = func(c *Config) { c.faults.trailing = 1 }
	m.mustStart(true)
	m.waitLeading()
	for i := range uint64(10) {
		if err := m.propose(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.kill()
	found, err := filepath.Glob(filepath.Join(m.path, snapshotDir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("snapshots %v, %v", found, err)
	}
	return m, found[0]
}

func flipByte(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		b[(at+len(b))%len(b)] ^= 0x10
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A damaged newest snapshot is a refusal to start: an older one would miss the entries in between.
func TestDamagedSnapshotIsARefusalToStart(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string) error{
		"content": func(t *testing.T, path string) error {
			flipByte(t, filepath.Join(path, snapshotState), 40)
			return nil
		},
		"description": func(t *testing.T, path string) error {
			b, err := os.ReadFile(filepath.Join(path, snapshotMeta))
			if err != nil {
				return err
			}
			changed := bytes.Replace(b, []byte(`"Index":1`), []byte(`"Index":2`), 1) // still good JSON
			if bytes.Equal(b, changed) {
				return errors.New("no index found")
			}
			return os.WriteFile(filepath.Join(path, snapshotMeta), changed, 0o600)
		},
		"seal": func(t *testing.T, path string) error {
			flipByte(t, filepath.Join(path, snapshotSeal), 2)
			return nil
		},
		"no content":     func(_ *testing.T, path string) error { return os.Remove(filepath.Join(path, snapshotState)) },
		"no description": func(_ *testing.T, path string) error { return os.Remove(filepath.Join(path, snapshotMeta)) },
		"content too long": func(_ *testing.T, path string) error {
			f, err := os.OpenFile(filepath.Join(path, snapshotState), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		},
		"content cut off": func(_ *testing.T, path string) error {
			return os.Truncate(filepath.Join(path, snapshotState), 30)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, path := snapshotOf(t)
			if err := harm(t, path); err != nil {
				t.Fatal(err)
			}
			var start *StartError
			if err := m.start(false); !errors.As(err, &start) || start.Failure != Damaged {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestUnfinishedSnapshotsAreRemovedAtStart(t *testing.T) {
	m, path := snapshotOf(t)
	dir := filepath.Dir(path)
	unsealed, tmp := filepath.Join(dir, "9-99-1700000000000"), filepath.Join(dir, "9-98-1700000000000.tmp")
	for _, d := range []string{unsealed, tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, snapshotState), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.mustStart(false)
	for _, d := range []string{unsealed, tmp} {
		if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", filepath.Base(d))
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the finished one is gone: %v", err)
	}
}

func TestRestartFromASnapshotAndTheEntriesAfterIt(t *testing.T) {
	m := newMember(t)
	m.cfg = func(c *Config) { c.faults.trailing = 1 }
	m.mustStart(true)
	m.waitLeading()
	for round := range uint64(5) {
		for i := range uint64(20) {
			if err := m.propose(round*100 + i + 1); err != nil {
				t.Fatal(err)
			}
		}
		if round < 4 {
			if err := m.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			if pause := m.SnapshotPause(); pause <= 0 || pause > time.Minute {
				t.Errorf("the snapshot kept entries waiting for %v", pause)
			}
		}
	}
	before := m.StateHash()
	found, err := filepath.Glob(filepath.Join(m.path, snapshotDir, "*"))
	if err != nil || len(found) != snapshotsRetain {
		t.Errorf("kept %d snapshots, %v", len(found), err)
	}
	m.kill()
	m.mustStart(false)
	m.waitLeading()
	if after := m.StateHash(); after != before {
		t.Errorf("state %+v after the restart, %+v before", after, before)
	}
	if n := m.seen.restores(); n != 1 {
		t.Errorf("told of %d snapshots restored", n)
	}
}

func TestSnapshotsAreTakenByBytesAndCutTheLog(t *testing.T) {
	m := newMember(t)
	m.cfg = func(c *Config) { c.SnapshotBytes, c.faults.trailing = 4<<10, 10 }
	m.mustStart(true)
	m.waitLeading()
	next := uint64(0)
	eventually(t, "the log is cut", func() bool {
		next++
		if err := m.propose(next); err != nil {
			t.Fatal(err)
		}
		first, err := m.store.FirstIndex()
		return err == nil && first > 1
	})
}

// A follower that was away for so long that the log was cut is sent the snapshot.
func TestLaggingFollowerIsSentASnapshot(t *testing.T) {
	members := threeNodes(t, func(c *Config) { c.faults.trailing = 1 })
	leader, away := members[0], members[2]
	away.kill()
	for round := range uint64(3) {
		for i := range uint64(30) {
			if err := leader.propose(round*100 + i + 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := leader.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	away.mustStart(false)
	agree(t, members)
	if away.seen.restores() == 0 {
		t.Error("it came without a snapshot")
	}
	if err := leaderOf(t, members).propose(1000); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
	before := away.StateHash()
	away.kill()
	away.mustStart(false)
	if err := away.WaitApplied(t.Context(), before.Index); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
}

func TestRepeatedInstallIsNoticed(t *testing.T) {
	var w installWatch
	now := time.Unix(1, 0)
	for _, c := range []struct {
		index uint64
		after time.Duration
		again bool
	}{{5, 0, false}, {6, time.Second, false}, {6, time.Second, true}, {6, 2 * time.Minute, false}, {7, 0, false}} {
		now = now.Add(c.after)
		if err := w.saw(c.index, now); (err != nil) != c.again {
			t.Errorf("install at %d: %v", c.index, err)
		}
	}
}

func TestSnapshotThatCannotBeFinishedIsRemoved(t *testing.T) {
	dir := t.TempDir()
	var fatal error
	stop := newFailStop(&Dir{path: dir}, quiet(), func(err error) { fatal = err })
	s := openTestSnapshots(t, dir, stop)
	sink, err := s.Create(1, 10, 2, raft.Configuration{}, 1, &transport{})
	if err != nil {
		t.Fatal(err)
	}
	failing := sink.(*snapshotSink)
	failing.SnapshotSink = brokenSink{failing.SnapshotSink}
	stop.running.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = failing.Write([]byte("half"))
		t.Error("the goroutine goes on")
	}()
	<-ended
	if !isDamage(fatal) || !strings.Contains(fatal.Error(), "the disk is gone") {
		t.Errorf("stopped because of %v", fatal)
	}
	left, err := os.ReadDir(filepath.Join(dir, snapshotDir))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

type brokenSink struct{ raft.SnapshotSink }

func (brokenSink) Write([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func openTestSnapshots(t *testing.T, dir string, stop *failStop) *snapshotStore {
	t.Helper()
	s, err := openSnapshots(dir, stop, newHCLog(quiet()), quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.created = func(raft.Configuration) {}
	return s
}

// A follower may be sent the newest snapshot at the very moment when a newer one gets its seal and
// the oldest is removed.
func TestSnapshotsMayBeListedWhileOneIsFinished(t *testing.T) {
	stop := newFailStop(nil, quiet(), func(err error) { t.Errorf("fatal: %v", err) })
	s := openTestSnapshots(t, t.TempDir(), stop)
	const snapshots = 30
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(snapshots) {
			sink, err := s.Create(1, i+1, 1, raft.Configuration{}, 1, &transport{})
			if err == nil {
				_, err = sink.Write([]byte("state"))
			}
			if err == nil {
				err = sink.Close()
			}
			if err != nil {
				t.Errorf("snapshot %d: %v", i, err)
				return
			}
		}
	}()
	last := uint64(0)
	for last < snapshots {
		metas, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metas {
			if m.Index < last {
				t.Errorf("the newest is %d after %d", m.Index, last)
			}
			last = m.Index
		}
	}
	<-done
}
