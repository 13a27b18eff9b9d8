package raftnode

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Raft writes an entry to the leader's disk and sends it to the others after that. Here it is sent
// while it is written, so that the disks of a cluster work at the same time. ADR 9 tells why that is
// safe: Raft still counts the leader only when its own write is done, and asks each follower only
// then; what it gets is the answer of a request that was made a little earlier.

const (
	// earlyMax entries may wait to be sent early to a follower that is busy with those before. Two
	// are in flight as a rule.
	earlyMax = 8
	// answerAge is how old an answer may be. Raft takes answers for signs of life.
	answerAge = 100 * time.Millisecond
	// toldAge is for how long a follower is not told again what it knows to be committed.
	toldAge = time.Second
)

// position of an entry in the log; zero if it is not known.
type position struct{ index, term uint64 }

// follower is another member as the leader's transport knows it. Requests with entries go to it one
// at a time.
type follower struct {
	id      raft.ServerID
	address raft.ServerAddress

	mu     sync.Mutex
	turn   *sync.Cond // told whenever busy ends
	busy   bool       // a request is on its way
	sent   position   // of the last entry that it carries, and the term of the leader
	has    position   // what the follower has confirmed, and in which term of the leader
	at     time.Time  // when it last answered in that term
	told   uint64     // up to where it knows the log to be committed; it forgets when it is started anew
	toldAt time.Time
	before position // of the entry before the early ones
	early  []*raft.Log
	sender bool // a goroutine sends the early ones
}

func newFollower(id raft.ServerID) *follower {
	f := &follower{id: id}
	f.turn = sync.NewCond(&f.mu)
	return f
}

// begin waits for the turn of a request of Raft. If the follower has confirmed meanwhile what the
// request carries, that is the answer, and there is no turn.
func (f *follower) begin(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (answered bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.knows(args) {
			*resp = raft.AppendEntriesResponse{
				RPCHeader: args.RPCHeader, Term: args.Term, LastLog: f.has.index, Success: true}
			return true
		}
		if !f.busy {
			f.busy, f.sent = true, position{lastOf(args), args.Term}
			return false
		}
		f.turn.Wait()
	}
}

// knows tells whether a request would tell the follower nothing, and the follower is known to live. A
// request without entries is about what is committed: Raft makes one every few milliseconds, whether
// there is something new or not.
func (f *follower) knows(args *raft.AppendEntriesRequest) bool {
	if f.has.term != args.Term || f.has.index < lastOf(args) || time.Since(f.at) >= answerAge {
		return false
	}
	return len(args.Entries) > 0 || f.told >= args.LeaderCommitIndex && time.Since(f.toldAt) < toldAge
}

// end ends the turn of a request.
func (f *follower) end(args *raft.AppendEntriesRequest, confirmed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if confirmed {
		f.confirm(args)
	} else {
		f.early = nil
	}
	f.busy = false
	f.turn.Broadcast()
}

func (f *follower) confirm(args *raft.AppendEntriesRequest) {
	has, now := position{lastOf(args), args.Term}, time.Now()
	if f.has.term != has.term {
		f.told = 0
	} else {
		has.index = max(has.index, f.has.index) // a request that carried less came later
	}
	if told := min(args.LeaderCommitIndex, lastOf(args)); told >= f.told {
		f.told, f.toldAt = told, now
	}
	f.has, f.at = has, now
}

// answered notes that the follower has answered a heartbeat.
func (f *follower) answered(term uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.has.term == term {
		f.at = time.Now()
	}
}

// doubt notes that a request has failed: the follower may have been started anew.
func (f *follower) doubt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = 0
}

func lastOf(args *raft.AppendEntriesRequest) uint64 {
	return args.PrevLogEntry + uint64(len(args.Entries))
}

// add puts entries behind those that are to be sent early, if they continue what the follower has
// or is about to get. It tells whether somebody must begin to send.
func (f *follower) add(address raft.ServerAddress, before position, logs []*raft.Log) (begin bool) {
	term := logs[0].Term
	f.mu.Lock()
	defer f.mu.Unlock()
	switch n := len(f.early); {
	case n > 0 && f.early[n-1].Index == before.index && f.early[n-1].Term == term && n+len(logs) <= earlyMax:
		f.early = append(f.early, logs...)
	case f.has == position{before.index, term}, f.busy && f.sent == position{before.index, term}:
		f.before, f.early = before, append([]*raft.Log(nil), logs...)
	default:
		f.early = nil // it is behind, or does not answer: Raft sees to it
		return false
	}
	f.address = address
	begin = !f.sender
	f.sender = true
	return begin
}

// next waits for the turn of the early entries and makes a request of those that the follower has
// not got yet. It is nil if there are none; then the sender ends.
func (f *follower) next(
	leads func(term uint64, id raft.ServerID, address raft.ServerAddress) bool,
) (*raft.AppendEntriesRequest, raft.ServerAddress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.busy {
		f.turn.Wait()
	}
	logs, before := f.early, f.before
	f.early = nil
	for len(logs) > 0 && logs[0].Index <= f.has.index && f.has.term == logs[0].Term {
		before, logs = position{logs[0].Index, logs[0].Term}, logs[1:]
	}
	if len(logs) == 0 || f.has != (position{before.index, logs[0].Term}) || !leads(logs[0].Term, f.id, f.address) {
		f.sender = false
		return nil, ""
	}
	args := &raft.AppendEntriesRequest{
		Term: logs[0].Term, PrevLogEntry: before.index, PrevLogTerm: before.term, Entries: logs}
	f.busy, f.sent = true, position{lastOf(args), args.Term}
	return args, f.address
}

// confirmed is the index up to which the follower has confirmed the log of the leader of a term.
func (f *follower) confirmed(term uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.has.term == term {
		return f.has.index
	}
	return 0
}

// sendEarly sends what waits to be sent early until nothing does.
func (t *transport) sendEarly(f *follower, complete func(*raft.AppendEntriesRequest)) {
	for {
		args, address := f.next(t.stillLeads)
		if args == nil {
			return
		}
		if t.disk.silent() {
			f.end(args, false)
			continue
		}
		complete(args)
		var resp raft.AppendEntriesResponse
		err := t.again(f.id, func() error { return t.NetworkTransport.AppendEntries(f.id, at(f.id, address), args, &resp) })
		f.end(args, err == nil && resp.Success)
	}
}

// sendEarly is called on Raft's main loop with entries that are about to be written. Only commands
// go early: what changes the members, or begins a reign, takes Raft's own way.
func (n *Node) sendEarly(before position, logs []*raft.Log) {
	if n.raft.State() != raft.Leader {
		return
	}
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			return
		}
	}
	for _, s := range n.configuration().Servers {
		if s.ID == n.members.self {
			continue
		}
		if f := n.trans.follower(s.ID); f.add(s.Address, before, logs) {
			n.trans.senders.Go(func() { n.trans.sendEarly(f, n.fillHeader) })
		}
	}
}

// fillHeader adds to a request what Raft puts into each.
func (n *Node) fillHeader(args *raft.AppendEntriesRequest) {
	args.RPCHeader = raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.ID()), Addr: []byte(n.trans.LocalAddr())}
	args.LeaderCommitIndex = n.raft.CommitIndex()
}
