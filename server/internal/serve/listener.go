package serve

import (
	"net"
	"sync"
)

// gentle is a listener that can be closed without its connections. The listener of the peer port
// cuts them, which comes only after the calls on them have been let finish.
type gentle struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// peerListener gives the connections of the peer service.
func (s *Server) peerListener() net.Listener {
	l := &gentle{Listener: s.port.HTTP(), conns: make(chan net.Conn), closed: make(chan struct{})}
	s.serving.Go(l.pass)
	return l
}

// pass passes connections on until the listener below is closed.
func (l *gentle) pass() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			_ = l.Close()
			return
		}
		select {
		case l.conns <- c:
		case <-l.closed:
			_ = c.Close()
		}
	}
}

func (l *gentle) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *gentle) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}
