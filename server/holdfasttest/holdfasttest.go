// Package holdfasttest runs Holdfast inside a test: a whole server, or a cluster of them, in this
// process, on ports that nobody else has, with its data in a directory that goes away with the
// test.
//
//	func TestTransfer(t *testing.T) {
//		srv := holdfasttest.Start(t)
//		client, err := holdfast.New(t.Context(), holdfast.Endpoints(srv.URL()))
//		...
//	}
//
// It is the real thing, with its log on the disk; a test may keep more servers than one and stop
// them as it likes.
package holdfasttest

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
	"github.com/holdfast-dev/holdfast/server/internal/serve"
)

// How long a server may take to become ready, and to stop.
const (
	startLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
)

// Option changes how servers are started.
type Option func(*options)

type options struct {
	log   io.Writer
	level slog.Level
}

// WithLog makes the servers write what they log, from a level on. By default they log nothing.
func WithLog(to io.Writer, level slog.Level) Option {
	return func(o *options) { o.log, o.level = to, level }
}

// Server is one running node.
type Server struct {
	t      testing.TB
	config serve.Config
	server *serve.Server
}

// Start starts a single server and waits until it is ready. It stops with the test.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	config := configuration(t, opts)
	config.Bootstrap = true
	s := start(t, config)
	s.waitReady()
	return s
}

// Cluster is a number of servers that hold the same locks.
type Cluster struct {
	t       testing.TB
	servers []*Server
}

// StartCluster starts a cluster and waits until all of its servers are ready. It stops with the
// test.
func StartCluster(t testing.TB, nodes int, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range nodes {
		config := configuration(t, opts)
		config.Bootstrap = i == 0
		if i > 0 {
			config.Join = []string{c.servers[0].server.PeerAddr()}
		}
		c.servers = append(c.servers, start(t, config))
		if i == 0 {
			c.servers[0].waitReady()
		}
	}
	c.WaitReady()
	return c
}

func configuration(t testing.TB, opts []Option) serve.Config {
	o := options{}
	for _, set := range opts {
		set(&o)
	}
	logger := slog.New(slog.DiscardHandler)
	if o.log != nil {
		logger = slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: o.level}))
	}
	return serve.Config{
		Dir:        t.TempDir(),
		ClientAddr: "127.0.0.1:0",
		PeerAddr:   "127.0.0.1:0",
		AdminAddr:  "127.0.0.1:0",
		Timing:     timing,
		Version:    "test",
		Logger:     logger,
	}
}

// timing makes a new server lead soon: alone it waits for nobody. Failures are noticed by broken
// connections and by silence, so it is still long enough for a machine that is busy.
var timing = raftnode.Timing{
	Heartbeat: 100 * time.Millisecond,
	Election:  100 * time.Millisecond,
	Lease:     100 * time.Millisecond,
}

func start(t testing.TB, config serve.Config) *Server {
	t.Helper()
	s := &Server{t: t, config: config}
	s.start()
	t.Cleanup(s.Kill) // its data goes with the test, so there is nothing to be gentle with
	return s
}

func (s *Server) start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	server, err := serve.Start(ctx, s.config)
	if err != nil {
		s.t.Fatalf("holdfasttest: %v", err)
	}
	s.server = server
}

// URL is the base URL for clients.
func (s *Server) URL() string { return s.server.ClientURL() }

// AdminURL is the base URL of the admin port, which has /healthz, /readyz and /metrics.
func (s *Server) AdminURL() string { return s.server.AdminURL() }

// NodeID is the id of the node.
func (s *Server) NodeID() string { return s.server.NodeID() }

// Leads tells whether the node leads its cluster.
func (s *Server) Leads() bool { return s.server.Leads() }

// Stop stops the server in order, as SIGTERM does. It does nothing if it has stopped already.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	s.server.Stop(ctx)
	if err := s.server.Wait(); err != nil {
		s.t.Errorf("holdfasttest: %v", err)
	}
}

// Kill stops the server at once, with no word to anybody, as near to kill -9 as a process can come
// without ending itself.
func (s *Server) Kill() { s.server.Kill() }

// Wait waits until the server has stopped, and tells why, if it did so by itself for a bad reason.
func (s *Server) Wait() error { return s.server.Wait() }

// Restart starts a server that was stopped, on the data and at the addresses it had, and waits
// until it is ready.
func (s *Server) Restart() {
	s.t.Helper()
	if s.config.ClientAddr == "127.0.0.1:0" {
		s.config.ClientAddr, s.config.PeerAddr = s.server.ClientAddr(), s.server.PeerAddr()
	}
	s.start()
	s.waitReady()
}

func (s *Server) waitReady() {
	s.t.Helper()
	waitUntil(s.t, s.NodeID()+" is not ready", s.server.Ready)
}

// URLs are the base URLs of all servers, for clients.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.servers))
	for i, s := range c.servers {
		urls[i] = s.URL()
	}
	return urls
}

// Servers are all servers of the cluster, in the order in which they were started.
func (c *Cluster) Servers() []*Server { return c.servers }

// Leader is the server that leads. It waits for one.
func (c *Cluster) Leader() *Server {
	c.t.Helper()
	var leader *Server
	waitUntil(c.t, "nobody leads", func() bool {
		leader = nil
		for _, s := range c.servers {
			if s.Leads() {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// Follower is a server that does not lead.
func (c *Cluster) Follower() *Server {
	c.t.Helper()
	leader := c.Leader()
	for _, s := range c.servers {
		if s != leader && s.server.Ready() {
			return s
		}
	}
	c.t.Fatal("holdfasttest: no follower")
	return nil
}

// WaitReady waits until all servers are ready and vote, and each knows that of all.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	for _, s := range c.servers {
		waitUntil(c.t, s.NodeID()+" is not ready", func() bool {
			for _, other := range c.servers {
				if !s.server.SeesVoter(other.NodeID()) {
					return false
				}
			}
			return s.server.Ready()
		})
	}
}

// waitUntil looks every few milliseconds, since there is nothing that would tell.
func waitUntil(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startLimit); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("holdfasttest: %s after %v", what, startLimit)
		}
	}
}
