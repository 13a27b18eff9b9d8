package rpc

import (
	"context"
	"log/slog"
	"time"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1/peerv1connect"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

// Node is what the services need of the Raft node.
type Node interface {
	View(f func(*locktable.Table))
	WaitApplied(ctx context.Context, index uint64) error
	Leader() (id, addr string)
	// Leaderless is for how long no leader has been known; zero if one is.
	Leaderless() time.Duration
}

// Proposer brings commands to the log, if this node leads.
type Proposer interface {
	Submit(ctx context.Context, batch proposer.Batch) (proposer.Answer, error)
	Leads() bool
}

// Peers are the other nodes.
type Peers interface {
	// Client gives the peer service at a peer address.
	Client(addr string) peerv1connect.PeerServiceClient
	// ClientURL gives the base URL at which clients reach a node, empty if it is not known.
	ClientURL(nodeID string) string
}

// Members changes who belongs to the cluster. Its errors are Failures. It is asked at the leader.
type Members interface {
	Add(ctx context.Context, nodeID, peerAddr string) error
	Promote(ctx context.Context, nodeID string) error
	Remove(ctx context.Context, nodeID string) error
	Transfer(ctx context.Context, nodeID string) (leaderID string, err error)
	// Status fills in what the node knows of the cluster besides the lock table.
	Status(ctx context.Context, into *v1.GetStatusResponse)
	// Describe tells other nodes who this one is.
	Describe() *peerv1.DescribeResponse
	// StateHashes are those at recent checkpoints, the oldest first.
	StateHashes() []*peerv1.Checkpoint
}

// Observer counts what is done. All of its methods may be called from many goroutines.
type Observer interface {
	// Operations is called at the leader with the number of commands of a call that came to the
	// same.
	Operations(kind, outcome string, n int)
	// Committed is called at the leader with the time that a batch took from submit to answer.
	Committed(took time.Duration)
	// Called is called for every call of a client.
	Called(method, code string, took time.Duration)
	// Parked and Streams are called with +1 when a call begins to wait or a stream opens, and
	// with -1 when it ends.
	Parked(delta int)
	Streams(delta int)
	// Forwarded is called with the number of calls that travelled together to the leader.
	Forwarded(calls int)
}

// Config is what the services stand on.
type Config struct {
	NodeID   string
	Node     Node
	Proposer Proposer
	Waiters  Waiters
	Watch    *watch.Hub
	Peers    Peers
	Members  Members
	Observer Observer
	Logger   *slog.Logger
	// Cluster tells id and epoch of the history that the table belongs to.
	Cluster func() (id string, epoch uint32)
	// Ready tells whether the node can serve: it knows a leader and has caught up.
	Ready func() bool
	// Version of the server.
	Version string
}

// Services are the services of one node.
type Services struct {
	Config
	commands *lane // calls on their way to the leader
	renewals *lane // renewals of sessions, which may wait there for company
	reads    currentReads
	stopping context.Context // ends when the node shuts down
	stop     context.CancelCauseFunc
}

// New makes the services.
func New(config Config) *Services {
	s := &Services{Config: config}
	s.commands, s.renewals = newLane(s), newLane(s)
	s.reads.fetch = s.fetchIndex
	s.stopping, s.stop = context.WithCancelCause(context.Background())
	return s
}

// Stop ends all waits and streams, with a word to their callers.
func (s *Services) Stop() { s.stop(errStopping) }

// principal tells who calls. There is no authentication yet, so everybody is nobody.
func principal(context.Context) string { return "" }

// clusterRef names the history that an answer belongs to, and the leader if that is another node.
func (s *Services) clusterRef() *v1.ClusterRef {
	ref := s.ownCluster()
	s.address(ref)
	return ref
}

// leaderURL is where clients reach the leader; empty if it is this node or not known.
func (s *Services) leaderURL() string {
	id, _ := s.Node.Leader()
	if id == "" || id == s.NodeID {
		return ""
	}
	return s.Peers.ClientURL(id)
}
