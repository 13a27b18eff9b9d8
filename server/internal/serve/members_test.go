package serve_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
	"github.com/holdfast-dev/holdfast/server/internal/serve"
)

// Members are shown, leadership moves to whom the operator names, and a member that is removed
// stops; all of it may be asked of any node.
func TestMembers(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	follower := cluster.Follower()
	c := newClient(t, follower.URL())
	var status *v1.GetStatusResponse
	waitFor(t, "three voters, as the follower sees it", func() bool {
		var err error
		if status, err = c.cluster.GetStatus(t.Context(), &v1.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		voters := 0
		for _, m := range status.GetMembers() {
			if m.GetReachable() && m.GetRole() != v1.MemberRole_MEMBER_ROLE_LEARNER {
				voters++
			}
		}
		return voters == 3
	})
	if len(status.GetMembers()) != 3 || !status.GetHealthy() || status.GetLeaderId() != cluster.Leader().NodeID() ||
		status.GetNodeId() != follower.NodeID() || len(status.GetStateHash()) != 16 {
		t.Errorf("status: %v", status)
	}
	for _, m := range status.GetMembers() {
		if m.GetClientUrl() == "" {
			t.Errorf("member: %v", m)
		}
	}
	moved, err := c.cluster.TransferLeadership(t.Context(), &v1.TransferLeadershipRequest{NodeId: follower.NodeID()})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "leadership", follower.Leads)
	if got := moved.GetLeaderId(); got != "" && got != follower.NodeID() {
		t.Errorf("leadership moved to %s, not %s", got, follower.NodeID())
	}
	var gone *holdfasttest.Server
	for _, s := range cluster.Servers() {
		if s != follower {
			gone = s
		}
	}
	elsewhere := newClient(t, gone.URL())
	if _, err := elsewhere.cluster.RemoveMember(t.Context(), &v1.RemoveMemberRequest{NodeId: gone.NodeID()}); err != nil {
		t.Fatal(err)
	}
	if err := gone.Wait(); err != nil {
		t.Errorf("a removed node ends with %v", err)
	}
	waitFor(t, "two members", func() bool {
		status, err := c.cluster.GetStatus(t.Context(), &v1.GetStatusRequest{})
		return err == nil && len(status.GetMembers()) == 2
	})
	c.acquired(&v1.AcquireRequest{Name: "a"})
	for what, call := range map[string]func() error{
		"remove": func() error {
			_, err := c.cluster.RemoveMember(t.Context(), &v1.RemoveMemberRequest{NodeId: "nobody"})
			return err
		},
		"promote": func() error {
			_, err := c.cluster.PromoteMember(t.Context(), &v1.PromoteMemberRequest{NodeId: "nobody"})
			return err
		},
		"transfer": func() error {
			_, err := c.cluster.TransferLeadership(t.Context(), &v1.TransferLeadershipRequest{NodeId: "nobody"})
			return err
		},
	} {
		if got := detail(t, call()); got.GetField() != "node_id" {
			t.Errorf("%s nobody: %v", what, got)
		}
	}
}

// A server that was stopped goes on with what it acknowledged (HF-10.1).
func TestRestart(t *testing.T) {
	srv := holdfasttest.Start(t)
	c := newClient(t, srv.URL())
	session := c.open()
	before := c.acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 1})
	for _, stop := range []func(){srv.Stop, srv.Kill} {
		stop()
		srv.Restart()
		again := c.acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 1})
		if again.GetGrant().GetToken() != before.GetGrant().GetToken() || again.GetFirstIndex() == 0 {
			t.Errorf("before %v, after %v", before, again)
		}
	}
}

// Each way in which a start can fail is said clearly, with a hint.
func TestStartFailures(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	ok := serve.Config{
		Dir: t.TempDir(), ClientAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", Bootstrap: true, Logger: quiet,
	}
	running, err := serve.Start(t.Context(), ok)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Kill()
	with := func(change func(*serve.Config)) serve.Config {
		c := ok
		c.Dir = t.TempDir()
		change(&c)
		return c
	}
	for what, c := range map[string]serve.Config{
		"no data directory":              with(func(c *serve.Config) { c.Dir = "" }),
		"bootstraps a cluster or joins":  with(func(c *serve.Config) { c.Join = []string{"127.0.0.1:1"} }),
		"is not host:port":               with(func(c *serve.Config) { c.ClientAddr = "nowhere" }),
		"client port":                    with(func(c *serve.Config) { c.ClientAddr = running.ClientAddr() }),
		"admin port":                     with(func(c *serve.Config) { c.AdminAddr = running.ClientAddr() }),
		"peer port":                      with(func(c *serve.Config) { c.PeerAddr = running.PeerAddr() }),
		"is in use by another process":   with(func(c *serve.Config) { c.Dir = ok.Dir }),
		"belongs to no cluster":          with(func(c *serve.Config) { c.Bootstrap = false }),
		"nobody can be told to reach it": with(func(c *serve.Config) { c.PeerAddr = "0.0.0.0:0" }),
		"is not a URL":                   with(func(c *serve.Config) { c.AdvertiseClient = "h:1" }),
		"the cluster to join does not answer": with(func(c *serve.Config) {
			c.Bootstrap, c.Join = false, []string{running.ClientAddr()}
		}),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := serve.Start(ctx, c)
		cancel()
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
			continue
		}
		var hinter interface{ Hint() string }
		if !errors.As(err, &hinter) || hinter.Hint() == "" {
			t.Errorf("no hint: %v", err)
		}
	}
}

// The admin port tells whether the process lives and whether it can serve.
func TestAdminPort(t *testing.T) {
	srv := holdfasttest.Start(t)
	newClient(t, srv.URL()).acquired(&v1.AcquireRequest{Name: "a"})
	for path, want := range map[string]string{
		"/healthz":      "ok",
		"/readyz":       "ok",
		"/metrics":      `holdfast_operations_total{kind="acquire",outcome="granted"} 1`,
		"/debug/pprof/": "goroutine",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.AdminURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %.200s", path, response.StatusCode, body)
		}
	}
}

// A node that comes back at another address is found there by the others.
func TestNodeMoves(t *testing.T) {
	start := func(dir string, join ...string) *serve.Server {
		t.Helper()
		s, err := serve.Start(t.Context(), serve.Config{
			Dir: dir, ClientAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0",
			Bootstrap: len(join) == 0, Join: join, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Kill)
		return s
	}
	first, dir := start(t.TempDir()), t.TempDir()
	second, third := start(dir, first.PeerAddr()), start(t.TempDir(), first.PeerAddr())
	waitFor(t, "three voters", func() bool {
		return second.SeesVoter(second.NodeID()) && third.SeesVoter(third.NodeID()) && third.Ready() && second.Ready()
	})
	second.Kill()
	moved := start(dir, first.PeerAddr())
	if moved.PeerAddr() == second.PeerAddr() {
		t.Fatal("it came back at the same address")
	}
	waitFor(t, "the node at its new address", moved.Ready)
	first.Kill() // now the one that has moved is needed for a majority
	newClient(t, third.ClientURL()).acquired(&v1.AcquireRequest{Name: "a"})
}
