// Package cluster runs three real Holdfast servers with their data on the disk.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

const (
	nodes     = 3
	portsEach = 3 // clients, peers, admin

	startLimit = 60 * time.Second
	stopLimit  = 15 * time.Second
	pollEvery  = 10 * time.Millisecond
)

// Cluster is three servers.
type Cluster struct {
	Nodes []*Node

	group *proc.Group
	http  *http.Client
}

// Node is one server.
type Node struct {
	Name    string
	Process *proc.Process // of its present life
	URL     string
	Admin   string

	command proc.Command
}

// Start starts a new cluster below a directory, and waits until all three vote.
func Start(ctx context.Context, binary, dir string) (*Cluster, error) {
	return StartIn(ctx, &proc.Group{}, binary, dir)
}

// StartIn does the same within a group of processes, which ends the servers.
func StartIn(ctx context.Context, group *proc.Group, binary, dir string) (*Cluster, error) {
	first, err := proc.FreePorts(nodes * portsEach)
	if err != nil {
		return nil, err
	}
	c := &Cluster{group: group, http: &http.Client{Timeout: 5 * time.Second}}
	for i := range nodes {
		port, name := first+portsEach*i, fmt.Sprintf("n%d", i+1)
		args := []string{"server", "--dir", filepath.Join(dir, name), "--client-port", strconv.Itoa(port)}
		if i == 0 {
			args = append(args, "--bootstrap")
		} else {
			args = append(args, "--join", proc.Address(first+1))
		}
		c.Nodes = append(c.Nodes, &Node{
			Name: name, URL: "http://" + proc.Address(port), Admin: "http://" + proc.Address(port+2),
			command: proc.Command{Name: name, Path: binary, Args: args, LogFile: filepath.Join(dir, name+".log")},
		})
	}
	if err := c.startAll(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// startAll starts one after the other, since one joins at a time.
func (c *Cluster) startAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("the cluster does not come up"))
	defer cancel()
	for _, n := range c.Nodes {
		if err := c.Restart(n); err != nil {
			return err
		}
		if err := c.WaitReady(ctx, n); err != nil {
			return err
		}
	}
	return c.WaitWhole(ctx)
}

// Restart starts a node that has ended, or never ran.
func (c *Cluster) Restart(n *Node) (err error) {
	n.Process, err = c.group.Start(n.command)
	return err
}

// Stop ends all servers.
func (c *Cluster) Stop() { c.group.Stop(stopLimit) }

// Endpoints of all nodes.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.URL)
	}
	return all
}

// Processes of all nodes.
func (c *Cluster) Processes() []*proc.Process {
	var all []*proc.Process
	for _, n := range c.Nodes {
		all = append(all, n.Process)
	}
	return all
}

// WaitReady waits until a node says that it serves.
func (c *Cluster) WaitReady(ctx context.Context, n *Node) error {
	for {
		if c.ready(ctx, n) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its log ends:\n%s", n.Name, context.Cause(ctx), n.Process.LastWords())
		case <-n.Process.Exited():
			return errors.New(n.Process.How())
		case <-time.After(pollEvery):
		}
	}
}

func (c *Cluster) ready(ctx context.Context, n *Node) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Admin+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := c.http.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Status is the cluster as a node sees it.
func (c *Cluster) Status(ctx context.Context, n *Node) (*v1.GetStatusResponse, error) {
	return holdfastv1connect.NewClusterServiceClient(c.http, n.URL).GetStatus(ctx, &v1.GetStatusRequest{})
}

// lagMost entries may be missing at a node of a whole cluster.
const lagMost = 64

// WaitWhole waits until the nodes agree on a leader, all vote, and none is far behind.
func (c *Cluster) WaitWhole(ctx context.Context) error {
	for {
		err := c.whole(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(5 * pollEvery):
		}
	}
}

func (c *Cluster) whole(ctx context.Context) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	status, err := c.Status(ctx, leader)
	if err != nil {
		return err
	}
	voters := 0
	for _, m := range status.GetMembers() {
		behind := int64(status.GetStamp().GetIndex()) - int64(m.GetAppliedIndex())
		if m.GetRole() != v1.MemberRole_MEMBER_ROLE_LEARNER && m.GetReachable() && behind < lagMost {
			voters++
		}
	}
	if !status.GetHealthy() || voters < len(c.Nodes) {
		return fmt.Errorf("%d of %d nodes vote and are up to date", voters, len(c.Nodes))
	}
	return nil
}

// Leader finds the node that all who run take for the leader.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	for _, n := range c.Nodes {
		status, err := c.Status(ctx, n)
		if err != nil {
			if connect.CodeOf(err) == connect.CodeUnavailable {
				continue
			}
			return nil, err
		}
		for _, m := range status.GetMembers() {
			if m.GetRole() != v1.MemberRole_MEMBER_ROLE_LEADER || m.GetNodeId() != status.GetNodeId() {
				continue
			}
			return n, nil
		}
	}
	return nil, errors.New("no node says that it leads")
}

// WaitLeader waits until a node leads.
func (c *Cluster) WaitLeader(ctx context.Context) (*Node, error) {
	for {
		n, err := c.Leader(ctx)
		if err == nil {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pollEvery):
		}
	}
}

// Transfer hands leadership to another node.
func (c *Cluster) Transfer(ctx context.Context) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	_, err = holdfastv1connect.NewClusterServiceClient(c.http, leader.URL).
		TransferLeadership(ctx, &v1.TransferLeadershipRequest{})
	return err
}
