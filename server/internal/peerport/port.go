// Package peerport is the one TCP port by which the nodes of a cluster talk to each other. It
// carries Raft streams and the HTTP of the peer service, told apart by a short preface in which
// both sides say which cluster and which node they are.
//
// TLS, when it comes, wraps the connection before the preface is read or written: in accept and
// in dial, and nowhere else.
package peerport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	defaultHandshakeTimeout = 2 * time.Second
	// handshakesMax bounds the connections that have not said yet who they are.
	handshakesMax = 256
	// acceptDelay is the pause after a failed accept (too many open files, usually).
	acceptDelay = 10 * time.Millisecond
)

// Config of a Port.
type Config struct {
	// Listen is the address to listen on, host:port; port 0 chooses one.
	Listen string
	// Advertise is the address by which the other nodes reach this one; empty means Listen.
	Advertise string
	// NodeID is this node, ClusterID its cluster; empty before it has joined one.
	NodeID    string
	ClusterID string
	// HandshakeTimeout bounds the preface; 0 means 2 s.
	HandshakeTimeout time.Duration
	// Logger gets refusals; nil means slog.Default().
	Logger *slog.Logger
}

// Port is one listening peer port. It is safe for concurrent use.
type Port struct {
	listener  net.Listener
	advertise string
	node      string
	cluster   atomic.Pointer[string]
	timeout   time.Duration
	log       *slog.Logger

	raft *listener
	http *listener
	gone atomic.Pointer[func(node string) bool] // see Streams.Answer

	handshakes chan struct{}
	closed     chan struct{}
	closeOnce  sync.Once
	running    sync.WaitGroup
}

// ListenError says that the port could not be opened.
type ListenError struct {
	Addr  string
	Taken bool // somebody else listens there
	Err   error
}

func (e *ListenError) Error() string {
	if e.Taken {
		return fmt.Sprintf("peer port %s is taken by another process", e.Addr)
	}
	return fmt.Sprintf("cannot listen on peer port %s: %v", e.Addr, e.Err)
}

// Hint says what to do about it.
func (e *ListenError) Hint() string {
	if e.Taken {
		return "stop the other process (is this node running already?) or choose another port"
	}
	return "check the address"
}

func (e *ListenError) Unwrap() error { return e.Err }

// Listen opens the port.
func Listen(cfg Config) (*Port, error) {
	if cfg.NodeID == "" || len(cfg.NodeID) > maxID || len(cfg.ClusterID) > maxID {
		return nil, fmt.Errorf("peer port: node id %q or cluster id %q is not valid", cfg.NodeID, cfg.ClusterID)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, &ListenError{Addr: cfg.Listen, Taken: errors.Is(err, syscall.EADDRINUSE), Err: err}
	}
	p := &Port{
		listener:   l,
		advertise:  cfg.Advertise,
		node:       cfg.NodeID,
		timeout:    cfg.HandshakeTimeout,
		log:        cfg.Logger,
		handshakes: make(chan struct{}, handshakesMax),
		closed:     make(chan struct{}),
	}
	if p.advertise == "" {
		p.advertise = l.Addr().String()
	}
	if p.timeout == 0 {
		p.timeout = defaultHandshakeTimeout
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	p.SetClusterID(cfg.ClusterID)
	p.raft = newListener(addr(p.advertise))
	p.http = newListener(addr(p.advertise))
	p.running.Go(p.accept)
	return p, nil
}

// ClusterID is the cluster this node belongs to, empty if none.
func (p *Port) ClusterID() string { return *p.cluster.Load() }

// SetClusterID is called when the node has learnt which cluster it joins.
func (p *Port) SetClusterID(id string) { p.cluster.Store(&id) }

// Addr is the address by which other nodes reach this one.
func (p *Port) Addr() string { return p.advertise }

// ListenAddr is the address the port listens on.
func (p *Port) ListenAddr() net.Addr { return p.listener.Addr() }

// HTTP gives the connections for the peer service, which speaks HTTP/2 without TLS.
func (p *Port) HTTP() net.Listener { return p.http }

// Raft gives the connections for Raft.
func (p *Port) Raft() *Streams { return &Streams{port: p, listener: p.raft} }

// DialContext connects to the peer service of another node; it fits http.Transport.
func (p *Port) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	return p.dial(ctx, kindHTTP, "", address)
}

// Close closes the port and every connection accepted through it, and waits for its goroutines.
func (p *Port) Close() error {
	p.closeOnce.Do(func() {
		close(p.closed)
		_ = p.listener.Close()
		_ = p.raft.Close()
		_ = p.http.Close()
	})
	p.running.Wait()
	return nil
}

func (p *Port) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Warn("peer port cannot accept", "error", err)
			select {
			case <-time.After(acceptDelay):
				continue
			case <-p.closed:
				return
			}
		}
		select {
		case p.handshakes <- struct{}{}:
		case <-p.closed:
			_ = conn.Close()
			return
		}
		p.running.Go(func() {
			defer func() { <-p.handshakes }()
			p.receive(conn)
		})
	}
}

// receive is the acceptor's half of the handshake.
func (p *Port) receive(conn net.Conn) {
	stop := closeOn(p.closed, conn)
	theirs, err := p.shake(conn)
	if !stop() || err != nil {
		_ = conn.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			p.log.Warn("peer connection refused", "remote", conn.RemoteAddr().String(), "error", err)
		}
		return
	}
	switch Kind(theirs.kind) {
	case kindRaft:
		p.raft.hand(conn, theirs.node)
	case kindAsk:
		p.answer(conn)
	default:
		p.http.hand(conn, theirs.node)
	}
}

func (p *Port) shake(conn net.Conn) (hello, error) {
	if err := conn.SetDeadline(time.Now().Add(p.timeout)); err != nil {
		return hello{}, err
	}
	var seen headRecorder
	theirs, err := readHello(io.TeeReader(conn, &seen))
	if errors.Is(err, errNotPeer) && looksLikeHTTP(string(seen)) {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"+
			"this is the peer port of a holdfast node; clients use the client port\n")
	}
	if err != nil {
		return hello{}, err
	}
	verdict := judge(theirs, p.ClusterID())
	answer := hello{version: version, kind: byte(verdict), cluster: p.ClusterID(), node: p.node}
	if err := answer.write(conn); err != nil {
		return hello{}, err
	}
	if verdict != welcome {
		return hello{}, fmt.Errorf("node %q of cluster %q, version %d, kind %d: refused (%d)",
			theirs.node, theirs.cluster, theirs.version, theirs.kind, verdict)
	}
	return theirs, conn.SetDeadline(time.Time{})
}

// dial connects to a node; if its id is given, to no other.
func (p *Port) dial(ctx context.Context, kind Kind, node, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	ours := hello{version: version, kind: byte(kind), cluster: p.ClusterID(), node: p.node}
	deadline, _ := ctx.Deadline()
	stop := closeOn(ctx.Done(), conn)
	err = greet(conn, node, address, ours, deadline)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// closeOn closes conn when done is closed before stop is called; stop tells whether it was not.
func closeOn(done <-chan struct{}, conn net.Conn) (stop func() bool) {
	quit := make(chan struct{})
	closed := make(chan bool, 1)
	go func() {
		select {
		case <-done:
			_ = conn.Close()
			closed <- true
		case <-quit:
			closed <- false
		}
	}()
	return func() bool {
		close(quit)
		return !<-closed
	}
}

// headRecorder keeps the first bytes that went through it.
type headRecorder []byte

func (h *headRecorder) Write(p []byte) (int, error) {
	if room := len(magic) - len(*h); room > 0 {
		*h = append(*h, p[:min(room, len(p))]...)
	}
	return len(p), nil
}
