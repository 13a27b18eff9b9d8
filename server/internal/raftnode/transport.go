package raftnode

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// Streams carries Raft between the nodes; peerport has one.
type Streams interface {
	net.Listener
	// Dial connects to a node, and fails if another one is found at the address. Connections that are
	// accepted have a method Node, which tells who has dialled.
	Dial(node, address string, timeout time.Duration) (net.Conn, error)
	// Ask asks a node whether the process of a third one has ended; Answer sets who answers that here.
	Ask(node, address, about string, timeout time.Duration) (bool, error)
	Answer(gone func(node string) bool)
}

// streamLayer makes Streams into what Raft calls a stream layer. It marks errors of dialling, and
// tells when a stream that another node has dialled ends.
type streamLayer struct {
	Streams
	ended func(node string)
}

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

// Accept implements net.Listener.
func (s streamLayer) Accept() (net.Conn, error) {
	conn, err := s.Streams.Accept()
	if from, ok := conn.(interface{ Node() string }); ok && err == nil && s.ended != nil {
		return &stream{Conn: conn, ended: func() { s.ended(from.Node()) }}, nil
	}
	return conn, err
}

// stream is a connection that Raft reads requests from. Raft closes it whenever it ends.
type stream struct {
	net.Conn
	once  sync.Once
	ended func()
}

func (s *stream) Close() error {
	err := s.Conn.Close()
	s.once.Do(s.ended)
	return err
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
	streams Streams
	disk    *diskClock
	stop    *failStop
	closed  chan struct{}
	once    sync.Once

	// leads tells whether the node leads that term and that node is a member of the cluster at that
	// address.
	leads atomic.Pointer[func(term uint64, id raft.ServerID, address raft.ServerAddress) bool]

	mu        sync.Mutex
	followers map[raft.ServerID]*follower
	senders   sync.WaitGroup
}

// newTransport makes a transport; ended is told the node whose stream to this one has ended.
func newTransport(
	streams Streams, disk *diskClock, stop *failStop, log hclogger, ended func(node string),
) *transport {
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  streamLayer{streams, ended},
			Logger:  log,
			MaxPool: transportPool,
			Timeout: transportTimeout,
			// One request at a time: with more, one that is rejected can leave the sender and the
			// receiver of replies waiting for each other for ever, while heartbeats go on.
			MaxRPCsInFlight: 1,
		}),
		streams:   streams,
		disk:      disk,
		stop:      stop,
		closed:    make(chan struct{}),
		followers: map[raft.ServerID]*follower{},
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
	f := t.follower(id)
	if f.begin(args, resp) {
		return nil
	}
	confirmed := false
	defer func() { f.end(args, confirmed) }()
	for {
		err := errSilent
		if !t.disk.silent() {
			err = t.again(id, func() error { return t.NetworkTransport.AppendEntries(id, at(id, target), args, resp) })
		}
		if err == nil {
			confirmed = resp.Success
			return nil
		}
		if !t.retry(id, target, args.Term, err) {
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
	err := t.again(id, func() error { return t.NetworkTransport.AppendEntries(id, at(id, target), args, resp) })
	if err == nil && resp.Term > args.Term {
		return fmt.Errorf("node %s is in term %d, after ours (%d)", id, resp.Term, args.Term)
	}
	if err == nil && resp.Success {
		t.follower(id).answered(args.Term)
	}
	return err
}

func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// again makes a request once more if its connection was found broken. Those that wait in the pool are,
// once the other node was started anew; without this, the votes of an election would be lost with them.
// Every request of Raft may arrive twice, save the one that brings a snapshot.
func (t *transport) again(id raft.ServerID, request func() error) error {
	err := request()
	for range transportPool {
		if err == nil {
			return nil
		}
		t.follower(id).doubt()
		if !slices.ContainsFunc(broken, func(b error) bool { return errors.Is(err, b) }) {
			break
		}
		err = request()
	}
	return err
}

var broken = []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE}

// retry waits before another attempt to reach a node that cannot be dialled. Raft itself would wait
// longer each time, up to ten seconds, and leave a node that is back without entries for so long;
// if that node was needed for a majority, nothing could be committed meanwhile.
func (t *transport) retry(id raft.ServerID, target raft.ServerAddress, term uint64, err error) bool {
	var dial dialError
	if !errors.As(err, &dial) && !errors.Is(err, errSilent) {
		return false
	}
	select {
	case <-time.After(retryEvery):
	case <-t.closed:
		return false
	}
	return t.stillLeads(term, id, target)
}

func (t *transport) stillLeads(term uint64, id raft.ServerID, target raft.ServerAddress) bool {
	leads := t.leads.Load()
	return leads != nil && (*leads)(term, id, target)
}

// follower gives what is known of another member.
func (t *transport) follower(id raft.ServerID) *follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.followers[id]
	if f == nil {
		f = newFollower(id)
		t.followers[id] = f
	}
	return f
}

// RequestVote implements raft.Transport, as those below.
func (t *transport) RequestVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse,
) error {
	return t.again(id, func() error { return t.NetworkTransport.RequestVote(id, at(id, target), args, resp) })
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(
	id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse,
) error {
	return t.again(id, func() error { return t.NetworkTransport.RequestPreVote(id, at(id, target), args, resp) })
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
	return t.again(id, func() error { return t.NetworkTransport.TimeoutNow(id, at(id, target), args, resp) })
}

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.closed) })
	t.CloseStreams()
	err := t.NetworkTransport.Close()
	t.senders.Wait()
	return err
}
