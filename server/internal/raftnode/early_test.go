package raftnode

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// earlyCluster is three members whose leader, the first, has a store with faults.
func earlyCluster(t *testing.T) ([]*member, *faultStore) {
	t.Helper()
	members := newMembers(t)
	faults := faulty(members[0])
	members[0].mustStart(true)
	members[0].waitLeading()
	members[1].join(members[0])
	members[2].join(members[0])
	if err := members[0].propose(1); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
	return members, faults
}

func (m *member) lastIndex(t *testing.T) uint64 {
	t.Helper()
	last, err := m.store.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// The disks of a cluster work at the same time, and still nothing is committed before the leader's own
// write is done: Raft counts it only then.
func TestFollowersWriteWhileTheLeaderDoes(t *testing.T) {
	members, faults := earlyCluster(t)
	gate, writing := make(chan struct{}), make(chan struct{}, 1)
	faults.on(func(f *faultStore) {
		f.store = func([]*raft.Log) error { writing <- struct{}{}; <-gate; return nil }
	})
	before := members[0].lastIndex(t)
	future := members[0].Propose(Entry{Proposal: 2, Version: SemanticsMax, Stamp: 2, Commands: open(2)})
	<-writing
	for _, m := range members[1:] {
		eventually(t, "a follower has the entry", func() bool { return m.lastIndex(t) == before+1 })
	}
	if got := members[0].raft.CommitIndex(); got != before {
		t.Errorf("committed up to %d while the leader writes %d", got, before+1)
	}
	select {
	case <-future.Done():
		t.Errorf("done while the leader writes: %v", future.Err())
	default:
	}
	faults.on(func(f *faultStore) { f.store = nil })
	close(gate)
	if err := future.Err(); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
}

// Each follower writes an entry once, and is sent it once: what Raft sends later is answered by what
// was sent early.
func TestAnEntryTravelsOnce(t *testing.T) {
	members := newMembers(t)
	members[0].mustStart(true)
	members[0].waitLeading()
	var stored [3]atomic.Int64
	for i, m := range members[1:] {
		faults := faulty(m)
		m.join(members[0])
		faults.on(func(f *faultStore) {
			f.store = func(logs []*raft.Log) error { stored[i+1].Add(int64(len(logs))); return nil }
		})
	}
	if err := members[0].propose(1); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
	const entries = 200
	begun := members[0].lastIndex(t)
	counts := [3]int64{0, stored[1].Load(), stored[2].Load()}
	for i := uint64(2); i < entries+2; i += 2 { // two in flight, as the proposer has
		one := members[0].Propose(Entry{Proposal: i, Version: SemanticsMax, Stamp: int64(i), Commands: open(i)})
		two := members[0].propose(i + 1)
		if err := errors.Join(one.Err(), two); err != nil {
			t.Fatal(err)
		}
	}
	agree(t, members)
	if got := members[0].lastIndex(t) - begun; got != entries {
		t.Errorf("%d entries in the log", got)
	}
	for i := 1; i < 3; i++ {
		if got := stored[i].Load() - counts[i]; got != entries {
			t.Errorf("follower %d wrote %d entries", i, got)
		}
	}
}

// HF-7.3, HF-10.4 The entry that a leader was writing when its disk failed may be with the others
// already. It is theirs to commit or to drop, and its outcome is unknown.
func TestEntryOfALeaderWhoseWriteFailsIsUnknown(t *testing.T) {
	members, faults := earlyCluster(t)
	rest := members[1:]
	before := members[0].lastIndex(t)
	faults.on(func(f *faultStore) {
		f.store = func([]*raft.Log) error {
			for _, m := range rest {
				eventually(t, "a follower has the entry", func() bool { return m.lastIndex(t) == before+1 })
			}
			return errDisk
		}
	})
	if err := members[0].propose(2); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	members[0].mustStayStopped("append to the log")
	eventually(t, "the others go on", func() bool { return leaderOf(t, rest).propose(3) == nil })
	agree(t, rest)
	for _, m := range rest {
		if _, ok := m.seen.find(2); !ok {
			t.Error("both had it, so whoever leads now has committed it")
		}
	}
}

// A leader that dies while it writes comes back without an entry that the others have got, and takes
// it from them.
func TestLeaderThatDiesWhileItWritesTakesItsEntryFromTheOthers(t *testing.T) {
	members, faults := earlyCluster(t)
	before := members[0].lastIndex(t)
	full := &os.PathError{Op: "write", Path: logFile, Err: syscall.ENOSPC}
	faults.on(func(f *faultStore) {
		f.store = func([]*raft.Log) error {
			for _, m := range members[1:] {
				eventually(t, "a follower has the entry", func() bool { return m.lastIndex(t) == before+1 })
			}
			return full
		}
	})
	if err := members[0].propose(2); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	_ = members[0].fatal()
	members[0].kill()
	faults.on(func(f *faultStore) { f.store = nil })
	members[0].mustStart(false)
	if got := members[0].lastIndex(t); got != before {
		t.Errorf("it came back with entries up to %d instead of %d", got, before)
	}
	eventually(t, "the cluster goes on", func() bool { return leaderOf(t, members).propose(3) == nil })
	agree(t, members)
	if _, ok := members[0].seen.find(2); !ok {
		t.Error("the entry is lost")
	}
}

// A follower that is behind, dead or not asked yet is left to Raft.
func TestEarlyEntriesContinueWhatAFollowerHas(t *testing.T) {
	logs := func(term uint64, from, to uint64) (l []*raft.Log) {
		for i := from; i <= to; i++ {
			l = append(l, &raft.Log{Index: i, Term: term})
		}
		return l
	}
	all := func(uint64, raft.ServerID, raft.ServerAddress) bool { return true }
	ok := func(term, has uint64) *follower {
		f := newFollower("b")
		f.end(&raft.AppendEntriesRequest{Term: term, PrevLogEntry: has}, true)
		return f
	}
	t.Run("behind", func(t *testing.T) {
		if f := ok(3, 9); f.add("b:1", position{10, 3}, logs(3, 11, 11)) {
			t.Error("sends")
		}
	})
	t.Run("another term", func(t *testing.T) {
		if f := ok(3, 10); f.add("b:1", position{10, 3}, logs(4, 11, 11)) {
			t.Error("sends")
		}
	})
	t.Run("in turn", func(t *testing.T) {
		f := ok(3, 10)
		if !f.add("b:1", position{10, 2}, logs(3, 11, 11)) || f.add("b:1", position{11, 3}, logs(3, 12, 13)) {
			t.Fatal("one sender was wanted")
		}
		args, _ := f.next(all)
		if args == nil || args.PrevLogEntry != 10 || args.PrevLogTerm != 2 || len(args.Entries) != 3 {
			t.Fatalf("sends %+v", args)
		}
		f.add("b:1", position{13, 3}, logs(3, 14, 14))
		f.end(args, true)
		if args, _ = f.next(all); args == nil || args.PrevLogEntry != 13 || args.PrevLogTerm != 3 {
			t.Fatalf("then sends %+v", args)
		}
		f.end(args, true)
		if args, _ = f.next(all); args != nil || f.sender {
			t.Fatalf("at the end sends %+v", args)
		}
	})
	t.Run("raft was first", func(t *testing.T) {
		f := ok(3, 10)
		f.add("b:1", position{10, 3}, logs(3, 11, 12))
		f.end(&raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 10, Entries: logs(3, 11, 11)}, true)
		if args, _ := f.next(all); args == nil || args.PrevLogEntry != 11 || args.PrevLogTerm != 3 || len(args.Entries) != 1 {
			t.Errorf("sends %+v", args)
		}
	})
	t.Run("refused", func(t *testing.T) {
		f := ok(3, 10)
		f.add("b:1", position{10, 3}, logs(3, 11, 11))
		args, _ := f.next(all)
		f.add("b:1", position{11, 3}, logs(3, 12, 12))
		f.end(args, false)
		if args, _ := f.next(all); args != nil {
			t.Errorf("sends %+v after a refusal", args)
		}
	})
	t.Run("deposed", func(t *testing.T) {
		f := ok(3, 10)
		f.add("b:1", position{10, 3}, logs(3, 11, 11))
		if args, _ := f.next(func(uint64, raft.ServerID, raft.ServerAddress) bool { return false }); args != nil {
			t.Errorf("sends %+v", args)
		}
	})
	t.Run("an answer stands for a request that it covers, while it is fresh", func(t *testing.T) {
		f := ok(3, 12)
		var resp raft.AppendEntriesResponse
		req := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 10, PrevLogTerm: 3, Entries: logs(3, 11, 12)}
		if !f.begin(req, &resp) || !resp.Success || resp.Term != 3 {
			t.Errorf("answer %+v", resp)
		}
		for name, r := range map[string]*raft.AppendEntriesRequest{
			"a newer commit index": {Term: 3, PrevLogEntry: 12, PrevLogTerm: 3, LeaderCommitIndex: 12},
			"more":                 {Term: 3, PrevLogEntry: 12, PrevLogTerm: 3, Entries: logs(3, 13, 13)},
			"another term":         {Term: 4, PrevLogEntry: 11, PrevLogTerm: 3, Entries: logs(4, 12, 12)},
		} {
			if f.begin(r, &resp) {
				t.Errorf("%s is answered", name)
			}
			f.end(r, false)
		}
		f.at = time.Now().Add(-2 * answerAge)
		if f.begin(req, &resp) {
			t.Error("an old answer passes for a sign of life")
		}
	})
	t.Run("what is committed is told once, until there is doubt", func(t *testing.T) {
		f := ok(3, 12)
		told := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 12, PrevLogTerm: 3, LeaderCommitIndex: 12}
		var resp raft.AppendEntriesResponse
		say := func(what string, want bool) {
			t.Helper()
			if got := f.begin(told, &resp); got != want {
				t.Errorf("%s: answered without being sent: %v", what, got)
			} else if !got {
				f.end(told, true)
			}
		}
		say("the first time", false)
		say("again", true)
		f.doubt()
		say("after an error", false)
		f.toldAt = time.Now().Add(-2 * toldAge)
		say("after a while", false)
		f.at = time.Now().Add(-2 * answerAge)
		say("of a follower that is silent", false)
		f.at = time.Now().Add(-2 * answerAge)
		f.answered(3)
		say("of one that has answered a heartbeat", true)
		f.end(&raft.AppendEntriesRequest{Term: 4, PrevLogEntry: 12, LeaderCommitIndex: 20}, true)
		told.Term, told.LeaderCommitIndex = 4, 13
		say("of entries that it has not got", false)
	})
}

// A follower that is started anew has forgotten what is committed, and is told though nothing happens.
func TestFollowerThatIsStartedAnewIsToldWhatIsCommitted(t *testing.T) {
	members := threeNodes(t, nil)
	for range 3 {
		members[2].kill()
		members[2].mustStart(false)
		agree(t, members)
	}
}
