package serve

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1/peerv1connect"
	"github.com/holdfast-dev/holdfast/server/internal/peerport"
	"github.com/holdfast-dev/holdfast/server/internal/rpc"
)

// peers are the other nodes: how to call them, and what they last said of themselves.
type peers struct {
	client *http.Client

	mu      sync.RWMutex
	clients map[string]peerv1connect.PeerServiceClient // by peer address
	known   map[string]peer                            // by node id
}

// peer is what a node said of itself.
type peer struct {
	*peerv1.DescribeResponse
	reachable bool // it answered the last time it was asked
}

func newPeers(port *peerport.Port) *peers {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	return &peers{
		client: &http.Client{Transport: &http.Transport{
			Protocols: protocols,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := port.DialContext(ctx, network, address)
				if err != nil {
					// What was never sent was surely not done.
					return nil, fmt.Errorf("%w to %s: %w", rpc.ErrNotSent, address, err)
				}
				return conn, nil
			},
			HTTP2: &http.HTTP2Config{
				// A leader that is cut off is noticed by the calls that wait there.
				SendPingTimeout: time.Second,
				PingTimeout:     time.Second,
			},
			IdleConnTimeout: 2 * time.Minute,
		}},
		clients: make(map[string]peerv1connect.PeerServiceClient),
		known:   make(map[string]peer),
	}
}

// Client gives the peer service at an address.
func (p *peers) Client(addr string) peerv1connect.PeerServiceClient {
	p.mu.RLock()
	c := p.clients[addr]
	p.mu.RUnlock()
	if c != nil {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[addr] == nil {
		p.clients[addr] = peerv1connect.NewPeerServiceClient(p.client, "http://"+addr,
			connect.WithAcceptCompression("gzip", nil, nil))
	}
	return p.clients[addr]
}

// ClientURL gives the base URL at which clients reach a node.
func (p *peers) ClientURL(nodeID string) string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.known[nodeID].GetClientUrl()
}

// get gives what a node last said of itself.
func (p *peers) get(nodeID string) (peer, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	known, ok := p.known[nodeID]
	return known, ok
}

// ask asks a node who and how it is.
func (p *peers) ask(ctx context.Context, addr string) (*peerv1.DescribeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return p.Client(addr).Describe(ctx, &peerv1.DescribeRequest{})
}

// note keeps what came of asking a node.
func (p *peers) note(nodeID string, answer *peerv1.DescribeResponse, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || answer.GetNodeId() != nodeID {
		known := p.known[nodeID]
		known.reachable = false
		p.known[nodeID] = known
		return
	}
	p.known[nodeID] = peer{DescribeResponse: answer, reachable: true}
}

// forget drops what is known of nodes that are no members any more.
func (p *peers) forget(isMember func(nodeID string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.known {
		if !isMember(id) {
			delete(p.known, id)
		}
	}
}

func (p *peers) close() { p.client.CloseIdleConnections() }
