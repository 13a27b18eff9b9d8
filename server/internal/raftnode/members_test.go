package raftnode

import (
	"context"
	"errors"
	"testing"
	"time"
)

func (m *member) in(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(m.t.Context(), d)
}

func TestMembersAreKnownEverywhere(t *testing.T) {
	members := threeNodes(t, nil)
	for _, m := range members {
		eventually(t, "members known", func() bool {
			voters, leaders := 0, 0
			for _, k := range m.Members() {
				if k.Voter && k.Address != "" && k.ID != "" {
					voters++
				}
				if k.Leader && k.ID == members[0].ID() {
					leaders++
				}
			}
			return voters == 3 && leaders == 1
		})
		id, addr := m.Leader()
		if id != members[0].ID() || addr != members[0].addr {
			t.Errorf("leader is %s at %s", id, addr)
		}
	}
}

func TestLearnerIsNotPromotedBeforeItHasCaughtUp(t *testing.T) {
	leader := newMember(t)
	leader.mustStart(true)
	leader.waitLeading()
	ctx, cancel := leader.in(patience)
	defer cancel()
	if err := leader.AddLearner(ctx, "n-away", "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(caughtUp) {
		if err := leader.propose(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	var behind *NotCaughtUpError
	if err := leader.Promote(ctx, "n-away"); !errors.As(err, &behind) || behind.Behind < caughtUp {
		t.Errorf("got %v", err)
	}
	if err := leader.Promote(ctx, "n-nobody"); !errors.Is(err, ErrNotMember) {
		t.Errorf("got %v", err)
	}
	if err := leader.Promote(ctx, leader.ID()); err != nil {
		t.Errorf("promoting a voter: %v", err)
	}
	if err := leader.Remove(ctx, "n-away"); err != nil {
		t.Error(err)
	}
	if err := leader.TransferLeadership(ctx, ""); !errors.Is(err, ErrNotDone) {
		t.Errorf("handing over to nobody: %v", err)
	}
	if err := leader.Remove(ctx, leader.ID()); !errors.Is(err, ErrLastVoter) {
		t.Errorf("got %v", err)
	}
}

// gone waits for a removed member to end by itself, and checks that it never comes back.
func (m *member) gone() {
	m.t.Helper()
	select {
	case <-m.Done():
	case <-time.After(patience):
		m.t.Fatal("the removed node goes on")
	}
	if !errors.Is(m.Err(), ErrRemoved) {
		m.t.Errorf("ended because of %v", m.Err())
	}
	m.kill()
	var start *StartError
	if err := m.start(false); !errors.As(err, &start) || start.Failure != Removed {
		m.t.Errorf("starts again: %v", err)
	}
}

func TestRemovedLeaderLeavesForGood(t *testing.T) {
	members := threeNodes(t, nil)
	ctx, cancel := members[0].in(patience)
	defer cancel()
	if err := members[0].Remove(ctx, members[0].ID()); err != nil {
		t.Fatal(err)
	}
	members[0].gone()
	rest := members[1:]
	eventually(t, "the others go on", func() bool { return leaderOf(t, rest).propose(1) == nil })
	agree(t, rest)
	if n := len(rest[0].Members()); n != 2 {
		t.Errorf("%d members are left", n)
	}
}

func TestRemovedFollowerLearnsOfIt(t *testing.T) {
	members := threeNodes(t, nil)
	ctx, cancel := members[0].in(patience)
	defer cancel()
	if err := members[0].Remove(ctx, members[1].ID()); err != nil {
		t.Fatal(err)
	}
	members[1].gone()
	if err := members[0].propose(1); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheLeaderChangesMembers(t *testing.T) {
	members := threeNodes(t, nil)
	ctx, cancel := members[1].in(patience)
	defer cancel()
	for name, err := range map[string]error{
		"add":      members[1].AddLearner(ctx, "n-x", "127.0.0.1:1"),
		"remove":   members[1].Remove(ctx, members[2].ID()),
		"transfer": members[1].TransferLeadership(ctx, ""),
	} {
		if !errors.Is(err, ErrNotLeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeadershipIsHandedOver(t *testing.T) {
	members := threeNodes(t, nil)
	ctx, cancel := members[0].in(patience)
	defer cancel()
	if err := members[0].TransferLeadership(ctx, members[2].ID()); err != nil {
		t.Fatal(err)
	}
	members[2].waitLeading()
	eventually(t, "the old leader follows", func() bool { return !members[0].seen.isLeading() })
	if err := members[2].TransferLeadership(ctx, "n-nobody"); !errors.Is(err, ErrNotMember) {
		t.Errorf("got %v", err)
	}
	if err := members[2].TransferLeadership(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if leaderOf(t, members) == members[2] {
		t.Error("nothing was handed over")
	}
}

// A node that comes back at another address is found there.
func TestMemberMayMove(t *testing.T) {
	members := threeNodes(t, nil)
	moved := members[2]
	moved.kill()
	moved.addr = "127.0.0.1:0"
	moved.mustStart(false)
	ctx, cancel := members[0].in(patience)
	defer cancel()
	if err := leaderOf(t, members).AddLearner(ctx, moved.ID(), moved.addr); err != nil {
		t.Fatal(err)
	}
	if err := leaderOf(t, members).propose(1); err != nil {
		t.Fatal(err)
	}
	agree(t, members)
	for _, k := range members[0].Members() {
		if k.ID == moved.ID() && (!k.Voter || k.Address != moved.addr) {
			t.Errorf("the moved node is %+v", k)
		}
	}
}

func TestSingleNodeMayMove(t *testing.T) {
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	m.kill()
	m.addr = "127.0.0.1:0"
	m.mustStart(false)
	m.waitLeading()
	eventually(t, "the new address is known", func() bool { return m.Members()[0].Address == m.addr })
}
