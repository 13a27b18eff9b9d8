package raftnode

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Streams carries Raft between the nodes; peerport has one.
type Streams interface {
	net.Listener
	// Dial connects to a node, and fails if another one is found at the address.
	Dial(node, address string, timeout time.Duration) (net.Conn, error)
}

// streamLayer makes Streams into what Raft calls a stream layer, and marks errors of dialling.
type streamLayer struct{ Streams }

type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// Dial implements raft.StreamLayer.
func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, addr, _ := strings.Cut(string(address), "@")
	conn, err := s.Streams.Dial(node, addr, timeout)
	if err != nil {
		return nil, dialError{err}
	}
	return conn, nil
}

// at is the form in which streamLayer is told which node Raft means; Raft dials addresses only.
func at(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + address
}

const (
	transportTimeout = 2 * time.Second
	transportPool    = 3
	retryEvery       = 50 * time.Millisecond
)

// transport is Raft's network transport with some of its habits changed.
type transport struct {
	*raft.NetworkTransport
	disk   *diskClock
	stop   *failStop
	closed chan struct{}
	once   sync.Once

	// leads tells whether the node leads that term and that node is a member of the cluster.
	leads atomic.Pointer[func(term uint64, id raft.ServerID) bool]

	mu    sync.Mutex
	match map[raft.ServerID]progress
}

// progress is how far a follower has confirmed the log of a leader of that term.
type progress struct{ term, index uint64 }

func newTransport(streams Streams, disk *diskClock, stop *failStop, log hclogger) *transport {
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  streamLayer{streams},
			Logger:  log,
			MaxPool: transportPool,
			Timeout: transportTimeout,
			// One request at a time: with more, one that is rejected can leave the sender and the
			// receiver of replies waiting for each other for ever, while heartbeats go on.
			MaxRPCsInFlight: 1,
		}),
		disk:   disk,
		stop:   stop,
		closed: make(chan struct{}),
		match:  map[raft.ServerID]progress{},
	}
}

// SetHeartbeatHandler does nothing, so that heartbeats go through Raft's main loop like every
// other request. The handler would run beside the main loop and change the term under it, after
// which logs can diverge. The price is that a heartbeat waits for a write in progress.
//
// Raft calls it when it has restored its state and is about to start its goroutines: from here on
// an error of the storage is fatal instead of a reason not to start.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) { t.stop.running.Store(true) }

// AppendEntries implements raft.Transport. It sends nothing while the disk hangs, so that the
// others elect a leader that can write: neither heartbeats nor the appends that tell followers
// what is committed pass the disk.
func (t *transport) AppendEntries(
	id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	if isHeartbeat(args) {
		return t.heartbeat(id, target, args, resp)
	}
	for {
		err := errSilent
		if !t.disk.silent() {
			err = t.NetworkTransport.AppendEntries(id, at(id, target), args, resp)
		}
		if err == nil {
			t.confirm(id, args, resp)
			return nil
		}
		if !t.retry(id, args.Term, err) {
			return err
		}
	}
}

// errSilent is why a node whose disk hangs sends nothing.
var errSilent = errors.New("a write to the disk hangs")

// heartbeat also fails when the follower knows a newer term, which Raft would take for contact.
func (t *transport) heartbeat(
	id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse,
) error {
	if t.disk.silent() {
		return errSilent
	}
	err := t.NetworkTransport.AppendEntries(id, at(id, target), args, resp)
	if err == nil && resp.Term > args.Term {
		return fmt.Errorf("node %s is in term %d, after ours (%d)", id, resp.Term, args.Term)
	}
	return err
}

func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// retry waits before another attempt to reach a node that cannot be dialled. Raft itself would wait
// longer each time, up to ten seconds, and leave a node that is back without entries for so long;
// if that node was needed for a majority, nothing could be committed meanwhile.
func (t *transport) retry(id raft.ServerID, term uint64, err error) bool {
	var dial dialError
	if !errors.As(err, &dial) && !errors.Is(err, errSilent) {
		return false
	}
	select {
	case <-time.After(retryEvery):
	case <-t.closed:
		return false
	}
	leads := t.leads.Load()
	return leads != nil && (*leads)(term, id)
}

func (t *transport) confirm(id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	if !resp.Success {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.match[id] = progress{args.Term, args.PrevLogEntry + uint64(len(args.Entries))}
}

// confirmed is the index up to which a follower has confirmed the log of the leader of a term.
func (t *transport) confirmed(id raft.ServerID, term uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.match[id]; p.term == term {
		return p.index
	}
	return 0
}

// RequestVote implements raft.Transport, as those below.
func (t *transport) RequestVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse,
) error {
	return t.NetworkTransport.RequestVote(id, at(id, target), args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	return t.NetworkTransport.RequestPreVote(id, at(id, target), args, resp)
}

func (t *transport) InstallSnapshot(
	id raft.ServerID, target raft.ServerAddress,
	args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	return t.NetworkTransport.InstallSnapshot(id, at(id, target), args, resp, data)
}

func (t *transport) TimeoutNow(
	id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse,
) error {
	return t.NetworkTransport.TimeoutNow(id, at(id, target), args, resp)
}

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.closed) })
	t.CloseStreams()
	return t.NetworkTransport.Close()
}
