package peerport

import (
	"context"
	"io"
	"net"
	"time"
)

// Streams is what Raft needs of the port: a listener, a dialer, and a way to ask what another node
// has noticed.
type Streams struct {
	port *Port
	*listener
}

// Dial opens a Raft stream to a node. If another node is found at the address, that is an error:
// what one node has stored must not be counted for another.
func (s *Streams) Dial(node, address string, timeout time.Duration) (net.Conn, error) {
	return s.dial(kindRaft, node, address, timeout)
}

func (s *Streams) dial(kind Kind, node, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	select {
	case <-s.done:
		return nil, net.ErrClosed
	default:
	}
	return s.port.dial(ctx, kind, node, address)
}

// Answer sets who answers when another node asks whether the process of a third one has ended.
func (s *Streams) Answer(gone func(node string) bool) { s.port.gone.Store(&gone) }

// Ask asks a node whether the process of a third one has ended, as far as it can tell.
func (s *Streams) Ask(node, address, about string, timeout time.Duration) (gone bool, err error) {
	conn, err := s.dial(kindAsk, node, address, timeout)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return false, err
	}
	if _, err := conn.Write(append([]byte{byte(len(about))}, about...)); err != nil {
		return false, err
	}
	var answer [1]byte
	_, err = io.ReadFull(conn, answer[:])
	return answer[0] == 1, err
}

// answer answers the question of another node.
func (p *Port) answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	if conn.SetDeadline(time.Now().Add(p.timeout)) != nil {
		return
	}
	about, err := readID(conn)
	if err != nil {
		return
	}
	answer := []byte{0}
	if gone := p.gone.Load(); gone != nil && (*gone)(about) {
		answer[0] = 1
	}
	_, _ = conn.Write(answer)
}
