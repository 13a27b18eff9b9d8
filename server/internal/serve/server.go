package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/metrics"
	"github.com/holdfast-dev/holdfast/server/internal/peerport"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
	"github.com/holdfast-dev/holdfast/server/internal/rpc"
	"github.com/holdfast-dev/holdfast/server/internal/waiters"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

// Server is one running node.
type Server struct {
	config    Config
	log       *slog.Logger
	started   time.Time
	clientURL string

	clients, admin net.Listener // admin is nil if there is no admin port
	port           *peerport.Port
	node           *raftnode.Node
	proposer       *proposer.Proposer
	waiters        *waiters.Waiters
	hub            *watch.Hub
	metrics        *metrics.Metrics
	observers      *observers
	peers          *peers
	services       *rpc.Services

	clientHTTP, peerHTTP, adminHTTP *http.Server
	serving                         sync.WaitGroup

	background context.Context // of what the node does by itself; ends when it stops
	halt       context.CancelFunc
	tasks      sync.WaitGroup
	pollNow    chan struct{}

	stopOnce sync.Once
	ended    chan struct{} // closed when the node has stopped, for whatever reason
	endErr   error
	failed   chan error // gets the first reason for which the node cannot go on
}

// Start starts a node and returns once it can be called. It may not have a leader yet: see Ready.
// The context bounds the start only, which is long only if a cluster to join does not answer.
func Start(ctx context.Context, config Config) (*Server, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &Server{
		config:  config,
		log:     config.Logger,
		started: time.Now(),
		pollNow: make(chan struct{}, 1),
		ended:   make(chan struct{}),
		failed:  make(chan error, 1),
	}
	s.background, s.halt = context.WithCancel(context.Background())
	if err := s.open(ctx); err != nil {
		s.abort(err)
		return nil, err
	}
	s.serve()
	s.runTasks()
	return s, nil
}

// open opens everything from the bottom up.
func (s *Server) open(ctx context.Context) error {
	var err error
	if s.clients, err = listen("client", s.config.ClientAddr); err != nil {
		return err
	}
	if s.config.AdminAddr != "" {
		if s.admin, err = listen("admin", s.config.AdminAddr); err != nil {
			return err
		}
	}
	if s.clientURL, err = advertisedURL(s.config.AdvertiseClient, s.clients.Addr()); err != nil {
		return err
	}
	dir, err := raftnode.OpenDir(s.config.Dir)
	if err != nil {
		return err
	}
	if err := s.openPeerPort(dir); err != nil {
		return errors.Join(err, dir.Close())
	}
	s.peers = newPeers(s.port)
	if err := s.findCluster(ctx, dir); err != nil {
		return errors.Join(err, dir.Close())
	}
	return s.openNode(dir)
}

func (s *Server) openPeerPort(dir *raftnode.Dir) error {
	port, err := peerport.Listen(peerport.Config{
		Listen:    s.config.PeerAddr,
		Advertise: s.config.AdvertisePeer,
		NodeID:    dir.NodeID(),
		ClusterID: dir.ClusterID(),
		Logger:    s.log,
	})
	if err != nil {
		return err
	}
	s.port = port
	_, err = advertised(s.config.AdvertisePeer, port.ListenAddr())
	return err
}

// openNode opens the Raft node and puts on top of it what turns it into a lock service.
func (s *Server) openNode(dir *raftnode.Dir) error {
	s.proposer = proposer.New(proposer.Config{NodeID: dir.NodeID()})
	s.waiters = waiters.New(s.proposer, waiters.Config{})
	s.hub = watch.New(watch.Config{})
	s.metrics = metrics.New(dir.NodeID(), s.config.Version, s.state)
	s.observers = &observers{
		proposer: s.proposer, waiters: s.waiters, hub: s.hub, metrics: s.metrics, leading: s.leading,
	}
	node, err := raftnode.Open(raftnode.Config{
		Dir:       dir,
		Streams:   s.port.Raft(),
		Bootstrap: s.config.Bootstrap,
		Timing:    s.config.Timing,
		Logger:    s.log,
		Observer:  s.observers,
		OnFatal:   s.fail,
	})
	if err != nil {
		return err // Open has closed the directory
	}
	s.node = node
	s.port.SetClusterID(node.ClusterID())
	s.proposer.Start(raftLog{node})
	s.services = rpc.New(rpc.Config{
		NodeID:   node.ID(),
		Node:     node,
		Proposer: s.proposer,
		Waiters:  s.waiters,
		Watch:    s.hub,
		Peers:    s.peers,
		Members:  members{s},
		Observer: s.metrics,
		Logger:   s.log,
		Cluster:  func() (string, uint32) { return node.ClusterID(), s.observers.epoch.Load() },
		Ready:    s.Ready,
		Version:  s.config.Version,
	})
	return nil
}

// ListenError says that a port could not be opened.
type ListenError struct {
	What, Addr string
	Taken      bool
	Err        error
}

func (e *ListenError) Error() string {
	if e.Taken {
		return fmt.Sprintf("%s port %s is taken by another process", e.What, e.Addr)
	}
	return fmt.Sprintf("cannot listen on %s port %s: %v", e.What, e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *ListenError) Hint() string {
	if e.Taken {
		return "stop the other process (is this node running already?) or choose another port"
	}
	return "check the address"
}

func listen(what, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &ListenError{What: what, Addr: addr, Taken: errors.Is(err, syscall.EADDRINUSE), Err: err}
	}
	return l, nil
}

// serve begins to answer on all ports.
func (s *Server) serve() {
	logger := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug) // broken connections and the like
	run := func(handler http.Handler, on net.Listener) *http.Server {
		server := rpc.NewHTTPServer(handler)
		server.ErrorLog = logger
		s.serving.Go(func() {
			if err := server.Serve(rpc.Buffered(on)); !errors.Is(err, http.ErrServerClosed) {
				s.fail(fmt.Errorf("serve %s: %w", on.Addr(), err))
			}
		})
		return server
	}
	s.clientHTTP = run(s.services.Handler(), s.clients)
	s.peerHTTP = run(s.services.PeerHandler(), s.peerListener())
	if s.admin != nil {
		s.adminHTTP = run(s.adminHandler(), s.admin)
	}
}

// leading is called when the node has begun or ceased to lead.
func (s *Server) leading(leads bool) {
	what := "this node has ceased to lead"
	if leads {
		what = "this node leads now"
	}
	s.log.Info(what)
	s.pollSoon()
}

// fail makes the node stop because it cannot go on (HF-10.4).
func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default: // it is about to stop already
	}
}

// ClientURL is the base URL at which clients reach the node.
func (s *Server) ClientURL() string { return s.clientURL }

// ClientAddr is the host:port that it listens on for clients.
func (s *Server) ClientAddr() string { return s.clients.Addr().String() }

// PeerAddr is the host:port at which other nodes reach it.
func (s *Server) PeerAddr() string { return s.port.Addr() }

// AdminURL is the base URL of its admin port; empty if it has none.
func (s *Server) AdminURL() string {
	if s.admin == nil {
		return ""
	}
	return "http://" + s.admin.Addr().String()
}

// NodeID is the node's id, which lives in its data directory.
func (s *Server) NodeID() string { return s.node.ID() }

// ClusterID is the id of its cluster.
func (s *Server) ClusterID() string { return s.node.ClusterID() }

// Leads tells whether the node leads.
func (s *Server) Leads() bool { return s.proposer.Leads() }

// SeesVoter tells whether a node is a voter of the cluster, as far as this one knows.
func (s *Server) SeesVoter(node string) bool { return members{s}.isVoter(node) }

// Ready tells whether the node can serve: it knows a leader, and its own state is not far behind.
func (s *Server) Ready() bool { return s.unready() == "" }

// unready says why the node is not ready.
func (s *Server) unready() string {
	if s.background.Err() != nil {
		return "the node is stopping"
	}
	leader, _ := s.node.Leader()
	switch {
	case leader == "":
		return "no leader is known"
	case leader == s.node.ID():
		if !s.proposer.Leads() {
			return "the node is taking over as the leader"
		}
		return ""
	}
	if known, ok := s.peers.get(leader); ok && known.reachable {
		if behind := int64(known.GetAppliedIndex()) - int64(s.node.AppliedIndex()); behind > readyBehind {
			return fmt.Sprintf("the node is %d entries behind the leader", behind)
		}
		return ""
	}
	return "the leader has not answered yet"
}

// state is what the gauges show.
func (s *Server) state() metrics.State {
	if s.node == nil {
		return metrics.State{}
	}
	p := s.proposer.Stats()
	leader, _ := s.node.Leader()
	out := metrics.State{
		Leader:                p.Leads,
		HasLeader:             leader != "",
		Term:                  s.node.Term(),
		AppliedIndex:          s.node.AppliedIndex(),
		SnapshotPause:         s.node.SnapshotPause(),
		ProposerWaiting:       p.WaitingCommands,
		ProposerWaitingBytes:  p.WaitingBytes,
		ProposerInFlight:      p.EntriesInFlight,
		ProposerEntries:       p.Entries,
		ProposerEntriesOfTime: p.Ticks,
		ProposerStalls:        p.Stalls,
		ProposerRateLimited:   p.RateLimited,
	}
	s.node.View(func(t *locktable.Table) {
		status := t.Status()
		out.Sessions, out.Grants, out.Waiting = uint64(status.Sessions), uint64(status.Grants), uint64(status.Waiting)
		out.SemanticsVersion = t.SemanticsVersion()
		out.ClusterTime = time.Duration(t.Time()) * time.Millisecond
	})
	return out
}
