package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// State of a node in its cluster.
type State string

// The states.
const (
	Leader    State = "leader"
	Follower  State = "follower"
	Candidate State = "candidate"
	Stopped   State = "stopped"
)

// Member of the cluster.
type Member struct {
	ID      string
	Address string // of its peer port
	Voter   bool   // otherwise it learns: it gets the log, but neither votes nor counts
	Leader  bool
}

const (
	// caughtUp entries behind the leader a learner may be when it is made a voter.
	caughtUp        = 256
	transferRetries = 3
	memberTimeout   = 5 * time.Second
)

// NotCaughtUpError says that a learner cannot become a voter yet.
type NotCaughtUpError struct {
	ID     string
	Behind uint64
}

func (e *NotCaughtUpError) Error() string {
	return fmt.Sprintf("node %s is %d entries behind", e.ID, e.Behind)
}

// ErrNotMember says that there is no such member.
var ErrNotMember = errors.New("no such member of the cluster")

// ErrLastVoter says that a cluster cannot lose its last voter.
var ErrLastVoter = errors.New("the last voter cannot be removed")

// State of this node.
func (n *Node) State() State {
	switch n.raft.State() {
	case raft.Leader:
		return Leader
	case raft.Candidate:
		return Candidate
	case raft.Shutdown:
		return Stopped
	}
	return Follower
}

// Term is the current term.
func (n *Node) Term() uint64 { return n.raft.CurrentTerm() }

// Leader is the leader as this node knows it, both empty if it knows none.
func (n *Node) Leader() (nodeID, peerAddr string) {
	addr, id := n.raft.LeaderWithID()
	return string(id), string(addr)
}

// Leaderless is for how long this node has known no leader, since its start if it never knew one;
// zero if it knows one.
func (n *Node) Leaderless() time.Duration {
	if id, _ := n.Leader(); id != "" {
		return 0
	}
	return time.Since(*n.leaderLost.Load())
}

// sawLeader is called by Raft, on its main loop, with everything that it lets observers know.
func (n *Node) sawLeader(o *raft.Observation) bool {
	if seen, ok := o.Data.(raft.LeaderObservation); ok && seen.LeaderID == "" {
		n.loseLeader()
	}
	return false // there is no channel to send it to
}

func (n *Node) loseLeader() {
	now := time.Now()
	n.leaderLost.Store(&now)
}

// Members of the cluster as this node knows them; the latest change may not be committed yet.
func (n *Node) Members() []Member {
	leader, _ := n.Leader()
	servers := n.configuration().Servers
	members := make([]Member, len(servers))
	for i, s := range servers {
		members[i] = Member{
			ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: string(s.ID) == leader}
	}
	return members
}

func (n *Node) configuration() raft.Configuration { return n.raft.GetConfiguration().Configuration() }

func (n *Node) member(id string) (raft.Server, bool) {
	for _, s := range n.configuration().Servers {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

// leads tells whether this node leads that term and id is a member at that address.
func (n *Node) leads(term uint64, id raft.ServerID, address raft.ServerAddress) bool {
	s, ok := n.member(string(id))
	return ok && s.Address == address && n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}

// AddLearner adds a node that has no vote yet, or changes the address of a member. Only the leader
// can, as with all below.
func (n *Node) AddLearner(ctx context.Context, id, address string) error {
	return n.change(ctx, func(timeout time.Duration) raft.IndexFuture {
		return n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, timeout)
	})
}

// Promote gives a learner its vote, provided that it has nearly all of the log: otherwise the
// cluster could lose its majority by gaining a member.
func (n *Node) Promote(ctx context.Context, id string) error {
	s, ok := n.member(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotMember, id)
	}
	if s.Suffrage == raft.Voter {
		return nil
	}
	if n.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	last, has := n.raft.LastIndex(), n.trans.follower(s.ID).confirmed(n.raft.CurrentTerm())
	if has+caughtUp < last || has == 0 {
		return &NotCaughtUpError{ID: id, Behind: last - min(has, last)}
	}
	return n.change(ctx, func(timeout time.Duration) raft.IndexFuture {
		return n.raft.AddVoter(s.ID, s.Address, 0, timeout)
	})
}

// Remove takes a member out of the cluster for good. A leader that removes itself steps down.
func (n *Node) Remove(ctx context.Context, id string) error {
	s, ok := n.member(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotMember, id)
	}
	if isVoter(s) && n.voters() == 1 {
		return ErrLastVoter
	}
	var index uint64
	err := n.change(ctx, func(timeout time.Duration) raft.IndexFuture {
		f := n.raft.RemoveServer(s.ID, 0, timeout)
		if f.Error() == nil {
			index = f.Index()
		}
		return f
	})
	if id == n.ID() && errors.Is(n.Err(), ErrRemoved) {
		return nil // the node has ended before Raft could answer
	}
	if err == nil && id != n.ID() {
		_ = n.await(ctx, func() error { n.sayGoodbye(ctx, s, index); return nil })
	}
	return err
}

const (
	goodbyeTries = 20
	goodbyeEvery = 50 * time.Millisecond
)

// sayGoodbye tells a removed member that its removal is committed. Raft stops sending to it before
// that, at times even before it has sent the entry, and so leaves it asking for votes that nobody
// gives it.
func (n *Node) sayGoodbye(ctx context.Context, to raft.Server, index uint64) {
	term := n.raft.CurrentTerm()
	after := index // the entry after which the member's log is to be continued
	for range goodbyeTries {
		request, err := n.goodbye(term, after, index)
		if err != nil || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
			return
		}
		var resp raft.AppendEntriesResponse
		err = n.trans.NetworkTransport.AppendEntries(to.ID, at(to.ID, to.Address), request, &resp)
		if err == nil && resp.Success {
			return
		}
		if err == nil && resp.LastLog < after {
			after = resp.LastLog
			continue
		}
		select {
		case <-time.After(goodbyeEvery):
		case <-ctx.Done():
			return
		case <-n.stopped:
			return
		}
	}
}

// goodbye is an append of the entries after one index up to another, which is committed.
func (n *Node) goodbye(term, after, index uint64) (*raft.AppendEntriesRequest, error) {
	if index-after > appendMax {
		return nil, fmt.Errorf("the member is %d entries behind", index-after)
	}
	entries := make([]*raft.Log, 0, index-after+1)
	for i := after; i <= index; i++ {
		l := &raft.Log{}
		if err := n.logs.GetLog(i, l); err != nil {
			return nil, err
		}
		entries = append(entries, l)
	}
	self := []byte(n.trans.LocalAddr())
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.ID()), Addr: self},
		Term:      term, LeaderCommitIndex: index,
		PrevLogEntry: after, PrevLogTerm: entries[0].Term, Entries: entries[1:],
	}, nil
}

func (n *Node) change(ctx context.Context, do func(timeout time.Duration) raft.IndexFuture) error {
	timeout := memberTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Until(d), time.Millisecond))
	}
	return n.await(ctx, func() error { return classify(do(timeout).Error()) })
}

// await runs something of Raft that may block, at most until ctx or the node ends.
func (n *Node) await(ctx context.Context, do func() error) error {
	result := make(chan error, 1)
	go func() { result <- do() }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	case <-n.stopped:
		return fmt.Errorf("%w: %w", ErrUnknown, ErrStopped)
	}
}

// TransferLeadership hands leadership to a voter, or to the one that is furthest if id is empty.
// It can fail while much is being written, so it is tried a few times; stop proposing meanwhile.
func (n *Node) TransferLeadership(ctx context.Context, id string) error {
	if n.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	var err error
	for range transferRetries {
		err = n.await(ctx, func() error { return n.transfer(id) })
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrNotDone) {
			return err
		}
		if n.raft.State() != raft.Leader {
			err = nil // it has worked after all
			break
		}
	}
	return err
}

func (n *Node) transfer(id string) error {
	if id == "" {
		if n.voters() < 2 {
			return fmt.Errorf("%w: there is no other voter", ErrNotDone)
		}
		return classify(n.raft.LeadershipTransfer().Error())
	}
	s, ok := n.member(id)
	if !ok || !isVoter(s) {
		return fmt.Errorf("%w: %w: no voter %s", ErrNotDone, ErrNotMember, id)
	}
	return classify(n.raft.LeadershipTransferToServer(s.ID, s.Address).Error())
}

func (n *Node) voters() int {
	voters := 0
	for _, s := range n.configuration().Servers {
		if isVoter(s) {
			voters++
		}
	}
	return voters
}

// membership notices when this node is removed.
type membership struct {
	self raft.ServerID
	mu   sync.Mutex
	was  bool // some configuration had this node

	leave sync.Once
}

func (m *membership) saw(c raft.Configuration) { m.gone(c) }

// gone tells whether a configuration is without this node although an earlier one had it.
func (m *membership) gone(c raft.Configuration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range c.Servers {
		if s.ID == m.self {
			m.was = true
			return false
		}
	}
	return m.was
}

// configured is told every configuration that is committed.
func (n *Node) configured(c raft.Configuration) {
	if n.members.gone(c) {
		n.leaveForGood()
	}
}

// ErrRemoved is why a node ends that was removed from its cluster.
var ErrRemoved = errors.New("this node was removed from its cluster")

// leaveForGood ends a node that was removed. Raft also shuts down because Close told it to, which is
// no removal: then the node has ended before.
func (n *Node) leaveForGood() {
	n.members.leave.Do(func() {
		select {
		case <-n.stopped:
			return
		default:
		}
		if err := n.dir.removed(); err != nil {
			n.log.Error("cannot note the removal in the data directory", "error", err)
		}
		n.end(ErrRemoved)
	})
}

func isVoter(s raft.Server) bool { return s.Suffrage == raft.Voter && s.ID != "" }
