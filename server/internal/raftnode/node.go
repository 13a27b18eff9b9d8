// Package raftnode replicates the lock table: it owns hashicorp/raft, which no other package
// imports, the log and the snapshots on the disk, and the table they lead to.
//
// DESIGN.md tells what is wrapped around Raft and why.
package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Observer learns what happens. Its methods may be called before Open has returned.
type Observer interface {
	// Applied is called for every entry, in the order of the log, on every node, on the goroutine
	// that applies entries; nobody holds the table's lock meanwhile.
	Applied(Applied)
	// Leading is called when the node has become the leader and has applied all that was committed
	// before; Following when it has ceased to be. Both are called on one other goroutine, in turn.
	Leading(term uint64)
	Following()
}

// Config of a Node.
type Config struct {
	// Dir is the data directory, locked by OpenDir. Close closes it.
	Dir *Dir
	// Streams carries Raft to the other nodes. Close closes it.
	Streams Streams
	// Bootstrap makes the first node of a new cluster. On a node that has a cluster it does nothing.
	Bootstrap bool
	// ClusterID and NodeID, if given, must be those of the directory.
	ClusterID string
	NodeID    string
	// Timing; the zero value means LAN.
	Timing Timing
	// SnapshotBytes of entries lie between two snapshots; 0 means 64 MiB.
	SnapshotBytes int64
	// Logger; nil means slog.Default().
	Logger *slog.Logger
	// Observer; nil means nobody looks.
	Observer Observer
	// OnFatal is called once if the node cannot go on; nil means that the process exits.
	OnFatal func(error)

	faults faults
}

// faults is how tests reach below.
type faults struct {
	store    func(boltStore) boltStore
	trailing uint64
}

// Node is one member of the cluster. It is safe for concurrent use.
type Node struct {
	dir     *Dir
	timing  Timing
	log     *slog.Logger
	stop    *failStop
	disk    *diskClock
	store   boltStore
	logs    raft.LogStore
	snaps   *snapshotStore
	trans   *transport
	fsm     *fsm
	raft    *raft.Raft
	hashes  hashRing
	members membership

	leaderLost atomic.Pointer[time.Time] // when the leader was last lost, or the node started

	reloading     sync.Mutex // held while settings of Raft are changed
	observer      Observer
	snapshotBytes int64
	snapshots     snapshotTrigger
	proposals     chan *Future
	notify        chan bool
	ends          chan string // nodes whose streams to this one have ended

	shutdown  func() error  // stops Raft, and waits for it whoever calls; Raft itself lets only the first wait
	stopped   chan struct{} // closed when the node ends, for whatever reason
	endOnce   sync.Once
	endErr    error
	closeOnce sync.Once
	closeErr  error
	running   sync.WaitGroup
}

// Open starts a node on its data directory. On an error it has closed Dir and Streams.
func Open(cfg Config) (*Node, error) {
	n := newNode(cfg)
	err := n.open(cfg)
	if err != nil {
		err = n.startError(err)
		_ = n.release()
		return nil, err
	}
	n.running.Go(n.runLeadership)
	n.running.Go(n.runProposals)
	n.running.Go(n.runSnapshots)
	n.running.Go(n.runSuccession)
	n.running.Go(n.runPatience)
	n.running.Go(n.watchEnd)
	return n, nil
}

func newNode(cfg Config) *Node {
	n := &Node{
		dir:           cfg.Dir,
		timing:        cfg.Timing.orDefault(),
		log:           cfg.Logger,
		observer:      cfg.Observer,
		snapshotBytes: cfg.SnapshotBytes,
		proposals:     make(chan *Future, proposalsMax),
		notify:        make(chan bool, notifyBuffer),
		ends:          make(chan string, endsMax),
		stopped:       make(chan struct{}),
	}
	if n.log == nil {
		n.log = slog.Default()
	}
	if n.observer == nil {
		n.observer = nobody{}
	}
	if n.snapshotBytes == 0 {
		n.snapshotBytes = defaultSnapshotBytes
	}
	n.log = n.log.With("node", cfg.Dir.NodeID())
	n.loseLeader()
	onFatal := cfg.OnFatal
	if onFatal == nil {
		onFatal = func(error) { os.Exit(1) }
	}
	n.stop = newFailStop(cfg.Dir, n.log, onFatal)
	n.disk = &diskClock{
		slow: n.timing.DiskSlow, stuck: n.timing.DiskStuck,
		onSlow: n.diskIsSlow, onStuck: n.stop.fatal,
	}
	n.snapshots.limit, n.snapshots.due = n.snapshotBytes, make(chan struct{}, 1)
	n.trans = newTransport(cfg.Streams, n.disk, n.stop, newHCLog(n.log), n.streamEnded)
	n.members.self = raft.ServerID(cfg.Dir.NodeID())
	n.fsm = &fsm{
		stop: n.stop, observer: n.observer, table: locktable.New(),
		checkpoint: n.hashes.add, grown: n.snapshots.grow, configured: n.configured,
	}
	return n
}

// open goes through the checks in the order in which a reader of the directory would.
func (n *Node) open(cfg Config) error {
	if err := checkIdentity(cfg); err != nil {
		return err
	}
	store, err := openBolt(n.dir.Path())
	if err != nil {
		return err
	}
	if cfg.faults.store != nil {
		store = cfg.faults.store(store)
	}
	n.store = store
	stable := &stableStore{store: store, stop: n.stop, disk: n.disk}
	if err := stable.load(n.dir.NodeID()); err != nil {
		return err
	}
	n.snaps, err = openSnapshots(n.dir.Path(), n.stop, newHCLog(n.log), n.log)
	if err != nil {
		return err
	}
	n.snaps.created = n.members.saw
	logs := &logStore{store: store, stop: n.stop, disk: n.disk}
	snapIndex, err := n.verify(logs)
	if err != nil {
		return err
	}
	if err := n.dir.started(); err != nil {
		return err
	}
	if n.logs, err = raft.NewLogCache(logCacheEntries, logs); err != nil {
		return err
	}
	conf := n.raftConfig()
	if cfg.Bootstrap {
		if err := n.bootstrap(conf, logs, stable); err != nil {
			return err
		}
	}
	n.snapshots.last, n.snapshots.trailing = snapIndex, cfg.faults.trailing
	if n.snapshots.trailing == 0 {
		n.snapshots.trailing = trailingMin
	}
	n.raft, err = raft.NewRaft(conf, n.fsm, n.logs, stable, n.snaps, n.trans)
	if err != nil {
		return err
	}
	n.raft.RegisterObserver(raft.NewObserver(nil, false, n.sawLeader))
	n.shutdown = sync.OnceValue(func() error { return n.raft.Shutdown().Error() })
	leads, early := n.leads, n.sendEarly
	n.trans.leads.Store(&leads)
	logs.early.Store(&early)
	cfg.Streams.Answer(n.hasLost)
	return nil
}

func checkIdentity(cfg Config) error {
	d := cfg.Dir
	fail := func(f StartFailure, what string, args ...any) error {
		return &StartError{Failure: f, Dir: d.Path(), What: fmt.Sprintf(what, args...)}
	}
	if cfg.NodeID != "" && cfg.NodeID != d.NodeID() {
		return fail(WrongNode, "belongs to node %s, not to %s", d.NodeID(), cfg.NodeID)
	}
	if cfg.Bootstrap {
		if err := d.Bootstrap(); err != nil {
			return err
		}
	}
	if d.ClusterID() == "" {
		return fail(NotInitialised, "belongs to no cluster yet")
	}
	if cfg.ClusterID != "" && cfg.ClusterID != d.ClusterID() {
		return fail(ForeignCluster, "belongs to cluster %s, not to %s", d.ClusterID(), cfg.ClusterID)
	}
	return nil
}

// verify checks all that Raft will read, so that damage is a clear refusal to start.
func (n *Node) verify(logs *logStore) (snapIndex uint64, err error) {
	metas, err := n.snaps.List()
	if err != nil {
		return 0, err
	}
	var snapTerm uint64
	for _, m := range metas {
		if err := n.snaps.verify(m.ID); err != nil {
			return 0, err
		}
		snapIndex, snapTerm = m.Index, m.Term
		n.members.saw(m.Configuration)
	}
	return snapIndex, logs.verifyLog(snapIndex, snapTerm)
}

// bootstrap writes the first configuration, with this node as the only voter.
func (n *Node) bootstrap(conf *raft.Config, logs raft.LogStore, stable raft.StableStore) error {
	err := raft.BootstrapCluster(conf, logs, stable, n.snaps, n.trans, raft.Configuration{
		Servers: []raft.Server{{Suffrage: raft.Voter, ID: conf.LocalID, Address: n.trans.LocalAddr()}},
	})
	if errors.Is(err, raft.ErrCantBootstrap) {
		return nil // it was bootstrapped, or has joined, before
	}
	return err
}

// startError turns whatever went wrong into one of the ways in which a start can fail.
func (n *Node) startError(err error) error {
	var start *StartError
	if errors.As(err, &start) {
		return start
	}
	e := &StartError{Failure: BadDirectory, Dir: n.dir.Path(), What: "cannot be used", Err: err}
	var other errOtherNode
	var nw newer
	switch {
	case errors.As(err, &other):
		e.Failure, e.What = WrongNode, fmt.Sprintf("belongs to node %s", n.dir.NodeID())
	case errors.Is(err, bbolterrors.ErrTimeout):
		e.Failure, e.What = DirectoryInUse, "is in use by another process"
	case isDamage(err):
		e.Failure, e.What = Damaged, "is damaged"
	case errors.As(err, &nw):
		e.Failure, e.What = UnknownFormat, "was written by a newer version"
	}
	return e
}

// ID of the node.
func (n *Node) ID() string { return n.dir.NodeID() }

// ClusterID of the cluster it belongs to.
func (n *Node) ClusterID() string { return n.dir.ClusterID() }

// View calls f with the table, which f must only read and not keep; Hash and Snapshot are no reads.
func (n *Node) View(f func(*locktable.Table)) {
	n.fsm.mu.RLock()
	defer n.fsm.mu.RUnlock()
	f(n.fsm.table)
}

// AppliedIndex is the index of the last entry that was applied and told to the observer.
func (n *Node) AppliedIndex() uint64 { return n.fsm.applied.load() }

// WaitApplied waits until an index has been applied.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	return n.fsm.applied.wait(ctx, index, n.stopped)
}

// Done is closed when the node has ended: closed, failed, or removed from the cluster.
func (n *Node) Done() <-chan struct{} { return n.stopped }

// Err is the reason why the node has ended by itself.
func (n *Node) Err() error {
	select {
	case <-n.stopped:
		return n.endErr
	default:
		return nil
	}
}

// end marks the node as ended; the first reason stays.
func (n *Node) end(err error) {
	n.endOnce.Do(func() {
		n.endErr = err
		close(n.stopped)
	})
}

// watchEnd stops Raft when something below has failed.
func (n *Node) watchEnd() {
	shutdown := make(chan raft.Observation, 1)
	o := raft.NewObserver(shutdown, false, func(o *raft.Observation) bool {
		state, ok := o.Data.(raft.RaftState)
		return ok && state == raft.Shutdown
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	select {
	case <-n.stop.failed:
		n.end(n.stop.Err())
	case <-shutdown:
		n.leaveForGood() // Raft ends by itself only when the node was removed as the leader
	case <-n.stopped:
	}
	_ = n.shutdown()
}

// stuckClose is how long Close waits for a node that has failed: its disk may hang for ever.
const stuckClose = 3 * time.Second

// Close stops the node at once. It hands nothing over: see TransferLeadership.
func (n *Node) Close() error {
	n.closeOnce.Do(func() {
		n.end(nil)
		closed := make(chan error, 1)
		go func() {
			err := n.shutdown()
			n.running.Wait()
			closed <- errors.Join(err, n.release())
		}()
		var late <-chan time.Time
		if n.stop.Err() != nil {
			late = time.After(stuckClose)
		}
		select {
		case n.closeErr = <-closed:
		case <-late:
			n.closeErr = fmt.Errorf("the node does not close within %v", stuckClose)
		}
	})
	return n.closeErr
}

// release closes what was opened, and the directory last.
func (n *Node) release() error {
	n.stop.over.Store(true)
	err := n.trans.Close()
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	return errors.Join(err, n.dir.Close())
}

// nobody is the observer that does not look.
type nobody struct{}

func (nobody) Applied(Applied) {}
func (nobody) Leading(uint64)  {}
func (nobody) Following()      {}
