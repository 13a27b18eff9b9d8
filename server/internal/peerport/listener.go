package peerport

import (
	"net"
	"sync"
)

// addr is an address as it was written, which may be a host name.
type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// listener gives out the connections of one kind, and closes them all when it is closed.
type listener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	open map[*conn]struct{} // nil once closed
}

func newListener(a net.Addr) *listener {
	return &listener{addr: a, conns: make(chan net.Conn), done: make(chan struct{}), open: map[*conn]struct{}{}}
}

// hand gives a connection that a node has dialled to whoever accepts next.
func (l *listener) hand(c net.Conn, node string) {
	tracked := &conn{Conn: c, of: l, node: node}
	l.mu.Lock()
	if l.open == nil {
		l.mu.Unlock()
		_ = c.Close()
		return
	}
	l.open[tracked] = struct{}{}
	l.mu.Unlock()
	select {
	case l.conns <- tracked:
	case <-l.done:
		_ = tracked.Close()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and closes every connection that was given out.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.mu.Lock()
		open := l.open
		l.open = nil
		l.mu.Unlock()
		for c := range open {
			_ = c.Conn.Close()
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// conn is an accepted connection that its listener can close.
type conn struct {
	net.Conn
	of   *listener
	node string
}

// Node is the id of the node that has dialled.
func (c *conn) Node() string { return c.node }

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
