package raftnode

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A leader whose process ends leaves its followers nothing but silence, as far as Raft can tell, and
// a majority must have borne that for Timing.Heartbeat and more before one of them can be elected.
// But a process that ends breaks its streams, and nobody listens on its port any more: two facts
// that a follower sees at once. If a majority of the voters sees the second, one of them calls an
// election as if leadership had been transferred to it. No promise depends on it: an election may be
// held at any time. A leader that hangs, a machine that is gone and a network that is cut show
// neither, and take Raft's own way.

const (
	// askAgain is the pause between two tries to reach a leader whose stream has ended: a process
	// that is killed closes its files one after the other.
	askAgain = 5 * time.Millisecond
	// endsMax ends of streams may wait to be looked at; a leader has a few streams to each node.
	endsMax = 16
)

// streamEnded is told by the transport that a stream by which a node sent to this one has ended.
func (n *Node) streamEnded(node string) {
	select {
	case n.ends <- node:
	default:
	}
}

// runSuccession looks after the leader whose stream has ended.
func (n *Node) runSuccession() {
	for {
		select {
		case node := <-n.ends:
			n.succeed(node)
		case <-n.stopped:
			return
		}
	}
}

// succeed stands for election in the place of a leader, if its process has ended.
func (n *Node) succeed(leader string) {
	id, address := n.Leader()
	turn, voter := n.turnAfter(leader)
	if id != leader || !voter || n.raft.State() != raft.Follower || !n.hasEnded(id, address) {
		return
	}
	if !n.othersAgree(leader) || !n.awaitTurn(leader, turn) {
		return
	}
	n.log.Warn("the process of the leader has ended; this node stands for election", "leader", leader)
	if err := n.trans.standForElection(n.members.self); err != nil {
		n.log.Warn("cannot stand for election at once", "error", err)
	}
}

// othersAgree asks the other voters whether they have lost the leader, too, and tells whether a majority
// has. One node that cannot reach a leader, because something between the two refuses, is no cause to
// replace it.
func (n *Node) othersAgree(leader string) bool {
	voters, agree := 0, 1
	var asked []raft.Server
	for _, s := range n.configuration().Servers {
		if !isVoter(s) {
			continue
		}
		voters++
		if s.ID != n.members.self && string(s.ID) != leader {
			asked = append(asked, s)
		}
	}
	answers := make(chan bool, len(asked))
	for _, s := range asked {
		go func() {
			gone, err := n.trans.streams.Ask(string(s.ID), string(s.Address), leader, 2*n.timing.turn())
			answers <- gone && err == nil
		}()
	}
	for range asked {
		if <-answers {
			agree++
		}
		if agree > voters/2 {
			return true
		}
	}
	return false
}

// hasLost answers another voter whether this node has lost the leader, too.
func (n *Node) hasLost(leader string) bool {
	id, address := n.Leader()
	return id == "" || id == leader && id != n.ID() && n.hasEnded(id, address)
}

// awaitTurn waits until it is this node's turn, and tells whether there is still need. The voters take
// turns because two who stand at the same time take each other's votes. A vote counts as contact:
// whoever has given one waits for what comes of it.
func (n *Node) awaitTurn(leader string, turn int) bool {
	began := time.Now()
	for {
		if id, _ := n.Leader(); id != "" && id != leader || n.raft.State() != raft.Follower {
			return false
		}
		wait := time.Duration(turn)*n.timing.turn() - time.Since(later(began, n.raft.LastContact()))
		if wait <= 0 {
			return true
		}
		select {
		case <-time.After(wait):
		case <-n.stopped:
			return false
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// turnAfter is this node's place among the voters that are left when a leader is gone.
func (n *Node) turnAfter(leader string) (turn int, voter bool) {
	var voters []string
	for _, s := range n.configuration().Servers {
		if isVoter(s) && string(s.ID) != leader {
			voters = append(voters, string(s.ID))
		}
	}
	slices.Sort(voters)
	return slices.BinarySearch(voters, n.ID())
}

// hasEnded tells whether nobody listens where a node was. If it answers, or nothing does, it does not
// say so.
func (n *Node) hasEnded(id, address string) bool {
	for patience := time.Now().Add(n.timing.turn()); time.Now().Before(patience); {
		conn, err := n.trans.streams.Dial(id, address, n.timing.turn())
		if err == nil {
			_ = conn.Close()
			return false
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return true
		}
		select {
		case <-time.After(askAgain):
		case <-n.stopped:
			return false
		}
	}
	return false
}

// turn is how long a voter waits for the one before it to be elected.
func (t Timing) turn() time.Duration { return t.Heartbeat / 3 }

// standForElection makes this node a candidate, by the request that ends a transfer of leadership. It
// is made as another node would make it, so that it passes Raft's main loop like every other.
func (t *transport) standForElection(self raft.ServerID) error {
	own := t.LocalAddr()
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(own)}
	return t.TimeoutNow(self, own, &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{})
}

// runPatience makes Raft look at its clock when a follower has heard nothing for too long. By itself
// Raft looks every one to two timeouts, whenever that was; and since nobody votes while it knows a
// leader, the follower that looks last decides how long the cluster goes without one.
func (n *Node) runPatience() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(n.patience())
		case <-n.stopped:
			return
		}
	}
}

// patience is how long the leader may still be silent. If none is left, Raft is made to look.
func (n *Node) patience() time.Duration {
	limit := n.timing.Heartbeat + n.timing.Heartbeat/4
	leader, _ := n.Leader()
	if leader == "" || n.raft.State() != raft.Follower {
		return limit
	}
	turn, _ := n.turnAfter(leader) // so that two do not look at the same moment
	left := limit + time.Duration(turn)*n.timing.Heartbeat/8 - time.Since(n.raft.LastContact())
	if left > 0 {
		return left
	}
	if err := n.look(); err != nil {
		n.log.Warn("cannot make Raft look at its clock", "error", err)
	}
	return limit
}

// look makes Raft compare now what it has heard last with its timeout: it does when that has become
// shorter.
func (n *Node) look() error {
	for _, longer := range []time.Duration{time.Microsecond, 0} {
		err := n.reload(func(c *raft.ReloadableConfig) {
			c.HeartbeatTimeout, c.ElectionTimeout = n.timing.Heartbeat+longer, n.timing.Election+longer
		})
		if err != nil {
			return err
		}
	}
	return nil
}
