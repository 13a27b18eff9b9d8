package raftnode

import (
	"net"
	"slices"
	"testing"
	"time"
)

// slow is a timing by which Raft itself would not elect anybody within the time that a test has.
var slow = Timing{Heartbeat: 6 * time.Second, Election: 6 * time.Second, Lease: 6 * time.Second}

// slowCluster begins with the timing of others and goes on with that.
func slowCluster(t *testing.T) []*member {
	t.Helper()
	members := newMembers(t)
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
	return members
}

// die ends a node as the end of its process would: nobody listens any more, and the streams break.
func (m *member) die() {
	_ = m.port.Close()
	m.kill()
}

// HF-10.2 Followers of a leader whose process has ended do not wait for their timers.
func TestLeaderThatHasEndedIsReplacedAtOnce(t *testing.T) {
	members := slowCluster(t)
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
	members := slowCluster(t)
	first, second := members[1], members[2]
	if first.ID() > second.ID() {
		first, second = second, first
	}
	first.trans.streams = deaf{first.trans.streams}
	members[0].die()
	eventually(t, "the other leads", func() bool { return second.seen.isLeading() })
}

// deaf never finds out that nobody listens.
type deaf struct{ Streams }

func (deaf) Dial(string, string, time.Duration) (net.Conn, error) { return nil, net.ErrClosed }

// A leader whose streams break but who listens is alive.
func TestLeaderWhoseStreamsBreakStays(t *testing.T) {
	members := slowCluster(t)
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
