package raftnode

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-dev/holdfast/server/internal/peerport"
)

func newTestTransport(t *testing.T, node string) (*transport, *peerport.Port) {
	t.Helper()
	port, err := peerport.Listen(peerport.Config{Listen: "127.0.0.1:0", NodeID: node, ClusterID: "c-1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	tr := newTransport(port.Raft(), &diskClock{}, newFailStop(nil, quiet(), nil), newHCLog(quiet()), nil)
	t.Cleanup(func() { _ = tr.Close(); _ = port.Close() })
	return tr, port
}

func heartbeatOf(term uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a:1")}, Term: term}
}

func appendOf(term, index uint64) *raft.AppendEntriesRequest {
	r := heartbeatOf(term)
	r.PrevLogEntry, r.PrevLogTerm = index-1, term
	r.Entries = []*raft.Log{{Index: index, Term: term}}
	return r
}

// answer replies to the next request that reaches Raft's main loop.
func answer(tr *transport, resp raft.AppendEntriesResponse) {
	rpc := <-tr.Consumer()
	rpc.Respond(&resp, nil)
}

// A heartbeat that Raft handled beside its main loop would change the term under it; from there
// logs diverge.
func TestHeartbeatsGoThroughTheMainLoop(t *testing.T) {
	a, _ := newTestTransport(t, "a")
	b, port := newTestTransport(t, "b")
	var beside atomic.Bool
	b.SetHeartbeatHandler(func(rpc raft.RPC) {
		beside.Store(true)
		rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	})
	go answer(b, raft.AppendEntriesResponse{Term: 3, Success: true})
	var resp raft.AppendEntriesResponse
	if err := a.AppendEntries("b", raft.ServerAddress(port.Addr()), heartbeatOf(3), &resp); err != nil {
		t.Fatal(err)
	}
	if beside.Load() || resp.Term != 3 {
		t.Errorf("handled beside the main loop: %v, answer %+v", beside.Load(), resp)
	}
}

// The same, seen from the outside: while the main loop of a follower is in a write, no heartbeat
// is answered.
func TestNoHeartbeatIsAnsweredDuringAWrite(t *testing.T) {
	members := newMembers(t)
	members[0].mustStart(true)
	members[0].waitLeading()
	members[1].join(members[0])
	faults := faulty(members[2])
	members[2].join(members[0])
	writing, gate := make(chan struct{}, 100), make(chan struct{})
	faults.on(func(f *faultStore) {
		f.store = func([]*raft.Log) error { writing <- struct{}{}; <-gate; return nil }
	})
	if err := members[0].propose(1); err != nil {
		t.Fatal(err)
	}
	<-writing
	probe := newProbe(t, members[0].ClusterID())
	answered := make(chan error, 1)
	go func() {
		var resp raft.AppendEntriesResponse
		answered <- probe.AppendEntries("x", at("", raft.ServerAddress(members[2].addr)), heartbeatOf(0), &resp)
	}()
	select {
	case err := <-answered:
		t.Errorf("answered during the write: %v", err)
	case <-time.After(100 * time.Millisecond): // long for loopback; the answer needs no disk
	}
	close(gate)
	if err := <-answered; err != nil {
		t.Errorf("not answered after the write: %v", err)
	}
}

// newProbe makes a transport of Raft's own that speaks as a node of a cluster.
func newProbe(t *testing.T, cluster string) *raft.NetworkTransport {
	t.Helper()
	port, err := peerport.Listen(peerport.Config{Listen: "127.0.0.1:0", NodeID: "n-probe", ClusterID: cluster, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	probe := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streamLayer{Streams: port.Raft()}, MaxPool: 1, Timeout: patience, MaxRPCsInFlight: 1, Logger: newHCLog(quiet())})
	t.Cleanup(func() { probe.CloseStreams(); _ = probe.Close(); _ = port.Close() })
	return probe
}

// Raft takes any answer to a heartbeat for contact with a follower, even from a newer term.
func TestHeartbeatAnswerOfANewerTermIsAnError(t *testing.T) {
	a, _ := newTestTransport(t, "a")
	b, port := newTestTransport(t, "b")
	for _, c := range []struct {
		req  *raft.AppendEntriesRequest
		term uint64
		fail bool
	}{
		{heartbeatOf(3), 3, false}, {heartbeatOf(3), 2, false}, {heartbeatOf(3), 4, true},
		{appendOf(3, 10), 4, false}, // with entries Raft looks itself
	} {
		go answer(b, raft.AppendEntriesResponse{Term: c.term})
		var resp raft.AppendEntriesResponse
		err := a.AppendEntries("b", raft.ServerAddress(port.Addr()), c.req, &resp)
		if (err != nil) != c.fail {
			t.Errorf("term %d answered with %d: %v", c.req.Term, c.term, err)
		}
	}
}

// More than one request in flight can leave both ends waiting for each other for ever.
func TestThereIsNoPipeline(t *testing.T) {
	a, port := newTestTransport(t, "a")
	_, err := a.AppendEntriesPipeline("b", raft.ServerAddress(port.Addr()))
	if !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("got %v", err)
	}
}

// Raft backs off for up to ten seconds from a node that it cannot reach, and so would leave it
// without entries when it is back.
func TestNodeThatIsBackIsReachedAtOnce(t *testing.T) {
	a, _ := newTestTransport(t, "a")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // nobody there yet
	asked := make(chan struct{}, 100)
	leads := func(term uint64, id raft.ServerID, at raft.ServerAddress) bool {
		asked <- struct{}{}
		return term == 3 && id == "b" && string(at) == address
	}
	a.leads.Store(&leads)
	sent := make(chan error, 1)
	go func() {
		var resp raft.AppendEntriesResponse
		sent <- a.AppendEntries("b", raft.ServerAddress(address), appendOf(3, 10), &resp)
	}()
	for range 3 {
		<-asked
	}
	port, err := peerport.Listen(peerport.Config{Listen: address, NodeID: "b", ClusterID: "c-1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	b := newTransport(port.Raft(), &diskClock{}, newFailStop(nil, quiet(), nil), newHCLog(quiet()), nil)
	t.Cleanup(func() { _ = b.Close(); _ = port.Close() })
	answer(b, raft.AppendEntriesResponse{Term: 3, Success: true})
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := a.follower("b").confirmed(3); got != 10 {
		t.Errorf("confirmed up to %d", got)
	}
	if got := a.follower("b").confirmed(4); got != 0 {
		t.Errorf("confirmed up to %d in another term", got)
	}
	var resp raft.AppendEntriesResponse
	_ = b.Close()
	_ = port.Close()
	a.CloseStreams()
	if err := a.AppendEntries("b", raft.ServerAddress(address), appendOf(2, 10), &resp); err == nil {
		t.Error("goes on for a term that it does not lead")
	}
	if err := a.AppendEntries("b", raft.ServerAddress(address), heartbeatOf(3), &resp); err == nil {
		t.Error("a heartbeat to nobody succeeds")
	}
}

// Connections to a node that was started anew are found broken when they are used next. A vote that was
// lost with one left a cluster without a leader until its timers fired.
func TestRequestsOutliveConnectionsToANodeThatWasStartedAnew(t *testing.T) {
	a, _ := newTestTransport(t, "a")
	start := func(address string) (*transport, *peerport.Port) {
		port, err := peerport.Listen(peerport.Config{Listen: address, NodeID: "b", ClusterID: "c-1", Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		b := newTransport(port.Raft(), &diskClock{}, newFailStop(nil, quiet(), nil), newHCLog(quiet()), nil)
		t.Cleanup(func() { _ = b.Close(); _ = port.Close() })
		return b, port
	}
	b, port := start("127.0.0.1:0")
	address := raft.ServerAddress(port.Addr())
	ask := func() error {
		var resp raft.RequestVoteResponse
		return a.RequestVote("b", address, &raft.RequestVoteRequest{Term: 3}, &resp)
	}
	var asking sync.WaitGroup // at the same time, so that there are as many connections
	for range transportPool {
		asking.Go(func() {
			if err := ask(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, rpc := range []raft.RPC{<-b.Consumer(), <-b.Consumer(), <-b.Consumer()} {
		rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
	}
	asking.Wait()
	_ = b.Close()
	_ = port.Close()
	b, _ = start(string(address))
	go func() {
		rpc := <-b.Consumer()
		rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
	}()
	if err := ask(); err != nil {
		t.Errorf("the vote is lost: %v", err)
	}
}

// A member that has moved is not called at its old address for ever.
func TestMemberThatHasMovedIsNotCalledAtItsOldAddress(t *testing.T) {
	a, _ := newTestTransport(t, "a")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	old := raft.ServerAddress(l.Addr().String())
	_ = l.Close()
	asked := 0
	leads := func(_ uint64, _ raft.ServerID, at raft.ServerAddress) bool {
		asked++
		return at == old && asked < 3 // then its new address is committed
	}
	a.leads.Store(&leads)
	var resp raft.AppendEntriesResponse
	if err := a.AppendEntries("b", old, appendOf(3, 10), &resp); err == nil || asked != 3 {
		t.Errorf("called %d times: %v", asked, err)
	}
}
