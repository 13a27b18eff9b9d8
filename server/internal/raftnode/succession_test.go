package raftnode

import (
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slow is a timing by which Raft itself would not elect anybody within the time that a test has.
var slow = Timing{Heartbeat: 6 * time.Second, Election: 6 * time.Second, Lease: 6 * time.Second}

// slowCluster is three members whose first leads, and what is between each of them and the others.
func slowCluster(t *testing.T) ([]*member, map[*member]*filter) {
	t.Helper()
	members, filters := newMembers(t), map[*member]*filter{}
	for _, m := range members {
		f := &filter{}
		filters[m] = f
		m.cfg = func(c *Config) { f.Streams, c.Streams = c.Streams, f }
	}
	members[0].time = Timing{Heartbeat: time.Second, Election: time.Second, Lease: time.Second}
	for i, m := range members {
		if i == 0 {
			m.mustStart(true)
			m.waitLeading()
			continue
		}
		m.time = slow
		m.join(members[0])
	}
	if err := members[0].propose(1); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
	return members, filters
}

// filter is a network with faults, none at first.
type filter struct {
	Streams
	mute    atomic.Bool            // nobody can be asked
	refuses atomic.Pointer[string] // connections to this node are refused
}

func (f *filter) Ask(node, address, about string, timeout time.Duration) (bool, error) {
	if f.mute.Load() {
		return false, net.ErrClosed
	}
	return f.Streams.Ask(node, address, about, timeout)
}

func (f *filter) Dial(node, address string, timeout time.Duration) (net.Conn, error) {
	if to := f.refuses.Load(); to != nil && *to == node {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return f.Streams.Dial(node, address, timeout)
}

// die ends a node as the end of its process would: nobody listens any more, and the streams break.
func (m *member) die() {
	_ = m.port.Close()
	m.kill()
}

// HF-10.2 Followers of a leader whose process has ended do not wait for their timers.
func TestLeaderThatHasEndedIsReplacedAtOnce(t *testing.T) {
	members, _ := slowCluster(t)
	began := time.Now()
	members[0].die()
	leader := leaderOf(t, members[1:])
	if took := time.Since(began); took >= slow.Heartbeat {
		t.Errorf("elected after %v", took)
	}
	if err := leader.propose(2); err != nil {
		t.Error(err)
	}
}

// The one whose turn it is may lack an entry that the other has.
func TestTheOtherStandsIfTheFirstIsNotElected(t *testing.T) {
	members, filters := slowCluster(t)
	first, second := members[1], members[2]
	if first.ID() > second.ID() {
		first, second = second, first
	}
	filters[first].mute.Store(true)
	members[0].die()
	eventually(t, "the other leads", func() bool { return second.seen.isLeading() })
}

// A filter between a leader and a follower breaks the streams of the two and refuses new ones. The third
// is in touch with both, and the leader stays: a follower alone cannot tell a process that has ended.
func TestLeaderThatOneFollowerCannotReachStays(t *testing.T) {
	members, filters := slowCluster(t)
	term := members[0].Term()
	cut := members[1]
	leader := members[0].ID()
	filters[cut].refuses.Store(&leader)
	for i := range uint64(3) {
		members[0].trans.CloseStreams()
		cut.streamEnded(leader)
		eventually(t, "the end of the stream was looked at", func() bool { return len(cut.ends) == 0 })
		if cut.othersAgree(leader) {
			t.Error("the third has lost a leader that it is in touch with")
		}
		if err := members[0].propose(i + 2); err != nil || members[0].Term() != term {
			t.Errorf("term %d instead of %d: %v", members[0].Term(), term, err)
		}
	}
}

// A leader whose streams break but who listens is alive.
func TestLeaderWhoseStreamsBreakStays(t *testing.T) {
	members, _ := slowCluster(t)
	term := members[0].Term()
	for range 3 {
		members[0].trans.CloseStreams()
		eventually(t, "it reaches the others again", func() bool { return members[0].propose(2) == nil })
	}
	for _, m := range members[1:] {
		m.streamEnded(members[0].ID())
		m.streamEnded(members[2].ID())
		eventually(t, "the end of the stream was looked at", func() bool { return len(m.ends) == 0 })
	}
	if err := members[0].propose(3); err != nil || members[0].Term() != term {
		t.Errorf("term %d instead of %d: %v", members[0].Term(), term, err)
	}
}

func TestVotersTakeTurns(t *testing.T) {
	members := threeNodes(t, nil)
	ids := []string{members[0].ID(), members[1].ID(), members[2].ID()}
	slices.Sort(ids)
	for _, m := range members {
		eventually(t, "it knows that all vote", func() bool { return m.voters() == len(members) })
		for _, gone := range ids {
			left := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == gone })
			turn, voter := m.turnAfter(gone)
			if at := slices.Index(left, m.ID()); voter != (at >= 0) || voter && turn != at {
				t.Errorf("%s after %s: turn %d, %v", m.ID(), gone, turn, voter)
			}
		}
	}
}

// Raft looks at its clock at moments of its own. A follower of a silent leader looks when its patience
// ends.
func TestFollowersOfASilentLeaderLookAtTheClock(t *testing.T) {
	members, _ := slowCluster(t)
	limit := slow.Heartbeat + slow.Heartbeat/4
	for i, m := range members {
		at := m.patience()
		if i > 0 && (at <= 0 || at > limit+slow.Heartbeat/8) {
			t.Errorf("the patience of a follower ends in %v", at)
		}
		before := m.raft.ReloadableConfig()
		if err := m.look(); err != nil {
			t.Error(err)
		}
		if after := m.raft.ReloadableConfig(); after != before {
			t.Errorf("settings %+v became %+v", before, after)
		}
	}
	term := members[0].Term()
	if err := members[0].propose(2); err != nil || members[0].Term() != term {
		t.Errorf("a look at the clock has made an election: term %d instead of %d, %v", members[0].Term(), term, err)
	}
}
