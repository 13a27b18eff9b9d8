// Package dev runs a cluster of real server processes on one machine: for trying things out, and
// for tests that kill servers.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// portStep is how far apart the ports of two nodes are. A node's client port is P, its peer port
// P+1, its admin port P+2.
const portStep = 100

// Config describes a cluster.
type Config struct {
	Binary     string    // the holdfast executable
	Dir        string    // holds a directory and a log file for each node; made if missing
	Nodes      int       // 1, 3 or 5
	ClientPort int       // of the first node; the next has 100 more
	ServerArgs []string  // more arguments for `holdfast server`
	Env        []string  // environment of the servers; nil means ours
	Echo       io.Writer // gets what the servers log, besides their log files; may be nil
}

// Cluster is a number of nodes that hold one state.
type Cluster struct {
	Nodes []*Node

	restartPause time.Duration
}

// New makes a cluster of what the configuration says, and starts nothing yet. A directory that was
// used before goes on with its data.
func New(config Config) (*Cluster, error) {
	if config.Nodes != 1 && config.Nodes != 3 && config.Nodes != 5 {
		return nil, fmt.Errorf("%d nodes: a cluster has 1, 3 or 5", config.Nodes)
	}
	if last := config.ClientPort + portStep*(config.Nodes-1) + 2; config.ClientPort < 1 || last > 65535 {
		return nil, fmt.Errorf("client port %d: the ports from %d to %d are needed, and 65535 is the last",
			config.ClientPort, config.ClientPort, last)
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, err
	}
	if found := nodesIn(dir); found > 1 && found > config.Nodes {
		return nil, fmt.Errorf("%s has the data of %d nodes, and %d cannot go on without the others", dir, found, config.Nodes)
	}
	c := &Cluster{restartPause: restartPause}
	for i := range config.Nodes {
		c.Nodes = append(c.Nodes, newNode(config, dir, i))
	}
	return c, nil
}

func newNode(config Config, dir string, i int) *Node {
	port := config.ClientPort + portStep*i
	name := nodeName(i)
	n := &Node{
		Name:      name,
		Dir:       filepath.Join(dir, name),
		LogFile:   filepath.Join(dir, name+".log"),
		ClientURL: "http://" + address(port),
		PeerAddr:  address(port + 1),
		AdminURL:  "http://" + address(port+2),
		env:       config.Env,
		echo:      config.Echo,
	}
	n.args = []string{config.Binary, "server", "--dir", n.Dir, "--client-port", strconv.Itoa(port)}
	n.args = append(n.args, howToBegin(config, dir, i)...)
	n.args = append(n.args, config.ServerArgs...)
	return n
}

// howToBegin says what a node without data does: the first begins a history and the others join
// it; if the data of the first alone is gone it must not begin another one, but joins too. A node
// with data takes no notice.
func howToBegin(config Config, dir string, i int) []string {
	with := 0
	if i == 0 {
		for j := range config.Nodes {
			if hasData(filepath.Join(dir, nodeName(j))) {
				with = j
				break
			}
		}
		if with == 0 {
			return []string{"--bootstrap"}
		}
	}
	return []string{"--join", address(config.ClientPort + portStep*with + 1)}
}

func nodeName(i int) string { return "n" + strconv.Itoa(i+1) }

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// nodesIn counts the nodes that have run in a directory.
func nodesIn(dir string) int {
	count := 0
	for i := range 5 {
		if hasData(filepath.Join(dir, nodeName(i))) {
			count = i + 1
		}
	}
	return count
}

// Start starts all nodes and waits until they serve. If one does not, all are stopped.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.checkPorts(); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := n.keepOldLog(); err != nil {
			return err
		}
	}
	err := c.startAll(ctx)
	if err != nil {
		for _, n := range c.Nodes {
			n.Kill()
		}
	}
	return err
}

// startAll starts the nodes of a new cluster one by one, since one joins at a time, and those of an
// old one together, since alone they have no majority.
func (c *Cluster) startAll(ctx context.Context) error {
	for _, n := range c.Nodes {
		fresh := !hasData(n.Dir)
		if fresh && n != c.Nodes[0] {
			if err := c.waitReady(ctx, n); err != nil {
				return err
			}
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	if err := c.waitReady(ctx, nil); err != nil {
		return err
	}
	return c.waitWhole(ctx)
}

// waitWhole waits until all nodes have a vote, so that any one of them may die.
func (c *Cluster) waitWhole(ctx context.Context) error {
	client := holdfastv1connect.NewClusterServiceClient(http.DefaultClient, c.Nodes[0].ClientURL)
	for {
		status, err := client.GetStatus(ctx, &holdfastv1.GetStatusRequest{})
		if err == nil && status.GetHealthy() && len(voters(status)) >= len(c.Nodes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d nodes have a vote (%w)", len(voters(status)), len(c.Nodes), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func voters(status *holdfastv1.GetStatusResponse) []*holdfastv1.Member {
	return slices.DeleteFunc(slices.Clone(status.GetMembers()), func(m *holdfastv1.Member) bool {
		return m.GetRole() == holdfastv1.MemberRole_MEMBER_ROLE_LEARNER
	})
}

// waitReady waits for the nodes before one, or for all.
func (c *Cluster) waitReady(ctx context.Context, before *Node) error {
	for _, n := range c.Nodes {
		if n == before {
			break
		}
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// checkPorts finds a port that is taken before a server does, so that it can be said at once.
func (c *Cluster) checkPorts() error {
	for _, n := range c.Nodes {
		for _, a := range []string{strings.TrimPrefix(n.ClientURL, "http://"), n.PeerAddr, strings.TrimPrefix(n.AdminURL, "http://")} {
			l, err := net.Listen("tcp", a)
			if err != nil {
				return fmt.Errorf("%s cannot use %s: %w", n.Name, a, errors.Unwrap(err))
			}
			_ = l.Close()
		}
	}
	return nil
}

// Stop stops all nodes gracefully, and kills those that still run when the context ends.
func (c *Cluster) Stop(ctx context.Context) {
	var all sync.WaitGroup
	for _, n := range c.Nodes {
		all.Go(func() { n.Stop(ctx) })
	}
	all.Wait()
}

// claims are the ports that FreePorts keeps taken, each next to those it gave away, so that no other
// process or test is given the same while this process lives.
var claims struct {
	sync.Mutex
	held []net.Listener
}

// FreePorts finds a client port such that the ports of so many nodes are free, and are given to
// nobody else who asks for ports in this way. It looks below the ports that the system gives to
// outgoing connections. Ports come in fours, so that no two choices overlap.
func FreePorts(nodes int) (int, error) {
	const low, blocks, width, each = 10_000, 44, 500, 4
	for range 100 {
		port := low + width*rand.IntN(blocks) + each*rand.IntN(100/each)
		claim, err := net.Listen("tcp", address(port+each-1))
		if err != nil {
			continue
		}
		c, err := New(Config{Nodes: nodes, ClientPort: port})
		if err == nil && c.checkPorts() == nil {
			claims.Lock()
			claims.held = append(claims.held, claim)
			claims.Unlock()
			return port, nil
		}
		_ = claim.Close()
	}
	return 0, errors.New("no free ports were found")
}

// Endpoints are the base URLs of the nodes, for clients.
func (c *Cluster) Endpoints() []string {
	urls := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		urls[i] = n.ClientURL
	}
	return urls
}

// A node that ends is started again after restartPause. One that has ended restartsMax times in a
// row, each within restartSoon of its start, is left alone: something is wrong with it.
const (
	restartPause = time.Second
	restartSoon  = 3 * time.Second
	restartsMax  = 5
)

// Supervise starts nodes that end again, and says so, until the context ends. It returns an error
// if no node can be kept running.
func (c *Cluster) Supervise(ctx context.Context, say func(format string, args ...any)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(len(c.Nodes)))
	for _, n := range c.Nodes {
		all.Go(func() {
			err := n.supervise(ctx, c.restartPause, say)
			if err == nil {
				return
			}
			say("%v\n%s is left alone", err, n.Name)
			if left.Add(-1) == 0 {
				cancel(errors.New("no node is left"))
			}
		})
	}
	<-ctx.Done()
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// supervise returns an error when the node is not worth starting again.
func (n *Node) supervise(ctx context.Context, pause time.Duration, say func(format string, args ...any)) error {
	quick := 0
	for {
		p := n.current()
		select {
		case <-ctx.Done():
			return nil
		case <-p.exited:
		}
		if quick++; time.Since(p.started) > restartSoon {
			quick = 1
		}
		if quick > restartsMax {
			return fmt.Errorf("%s ended %d times in a row (%s); its log ends:\n%s", n.Name, quick, n.how(), n.LastWords())
		}
		say("%s (pid %d) ended: %s; starting it again in %s", n.Name, p.cmd.Process.Pid, n.how(), pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := n.Start(); err != nil {
			return err
		}
		say("%s runs again (pid %d)", n.Name, n.PID())
	}
}
