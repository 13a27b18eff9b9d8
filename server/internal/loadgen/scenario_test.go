package loadgen_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
	"github.com/holdfast-dev/holdfast/server/internal/loadgen"
)

// configure makes a short run of a scenario against some nodes.
func configure(s loadgen.Scenario, urls ...string) loadgen.Config {
	c := loadgen.Default(s)
	c.Clients, c.Outstanding, c.Duration, c.WarmUp = 4, 4, 500*time.Millisecond, 50*time.Millisecond
	c.Endpoints = urls
	c.Connect = func(opts ...holdfast.Option) (*holdfast.Client, error) {
		return holdfast.New(context.Background(), append(opts, holdfast.Endpoints(urls...))...)
	}
	return c
}

// clean runs a scenario and wants it to go as it should.
func clean(t *testing.T, c loadgen.Config) *loadgen.Report {
	t.Helper()
	r, err := loadgen.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Checks.Violations != 0 || len(r.Errors) != 0 || r.Unfinished != 0 || r.Checks.LeftHeld != 0 || r.Checks.Lost != 0 {
		t.Errorf("checks %+v, errors %v (%s), %d unfinished", r.Checks, r.Errors, r.FirstError, r.Unfinished)
	}
	if r.Checks.Grants != r.Checks.Releases && c.AtEnd != loadgen.EndAbandon {
		t.Errorf("%d grants, %d releases", r.Checks.Grants, r.Checks.Releases)
	}
	return r
}

func TestScenarios(t *testing.T) {
	srv := holdfasttest.Start(t)
	steady := func(set func(*loadgen.Config)) func(*testing.T, loadgen.Config) {
		return func(t *testing.T, c loadgen.Config) {
			set(&c)
			r := clean(t, c)
			if r.Operations == 0 || r.Acquire.Count == 0 || r.Acquire.P50 == 0 || len(r.Series) != 1 ||
				r.Generator.CPUSeconds <= 0 {
				t.Errorf("report %+v", r)
			}
			if c.Rate > 0 && (r.Loop != "open" || r.StartDelay.Count != r.Acquire.Count) {
				t.Errorf("%s loop, %d begun, %d acquired", r.Loop, r.StartDelay.Count, r.Acquire.Count)
			}
		}
	}
	for _, s := range []struct {
		about    string
		scenario loadgen.Scenario
		try      func(*testing.T, loadgen.Config)
	}{
		{"closed", loadgen.Uncontended, steady(func(*loadgen.Config) {})},
		{"open", loadgen.Uncontended, steady(func(c *loadgen.Config) { c.Rate = 200 })},
		{"shared connections", loadgen.Uncontended, steady(func(c *loadgen.Config) { c.Connections = 2 })},
		{"depth of one", loadgen.Uncontended, steady(func(c *loadgen.Config) { c.Depth = 1 })},
		{"one", loadgen.One, steady(func(c *loadgen.Config) { c.Clients, c.Outstanding = 1, 1 })},
		{"sessions", loadgen.Sessions, steady(func(c *loadgen.Config) { c.Clients, c.Outstanding = 40, 1 })},
		{"JSON", loadgen.Unary, steady(func(c *loadgen.Config) { c.Protocol = loadgen.ProtocolJSON })},
		{"Connect", loadgen.Unary, steady(func(c *loadgen.Config) { c.Protocol = loadgen.ProtocolConnect })},
		{"Connect over HTTP/2", loadgen.Unary, steady(func(c *loadgen.Config) { c.HTTP = 2 })},
		{"gRPC", loadgen.Unary, steady(func(c *loadgen.Config) { c.Protocol = loadgen.ProtocolGRPC })},
		{"hot", loadgen.Hot, tryHot}, {"many hot", loadgen.ManyHot, tryManyHot}, {"idle", loadgen.Sessions, tryIdle},
		{"hold", loadgen.Hold, tryHold}, {"deadlock", loadgen.Deadlock, tryDeadlock}, {"depth", loadgen.Depth, tryDepth},
		{"failover", loadgen.Failover, tryFailover},
	} {
		t.Run(s.about, func(t *testing.T) { s.try(t, configure(s.scenario, srv.URL())) })
	}
}

func tryHot(t *testing.T, c loadgen.Config) {
	r := clean(t, c)
	if r.Hot.Handoffs == 0 || r.Checks.FIFONames != 1 || r.Checks.FIFOGrants != r.Checks.Grants {
		t.Errorf("hot %+v, checks %+v: the order of every grant must have been checked", r.Hot, r.Checks)
	}
}

func tryManyHot(t *testing.T, c loadgen.Config) {
	c.Locks, c.Watch = 4, 2
	r := clean(t, c)
	if r.Hot.Handoffs == 0 || r.Checks.FIFONames != 2 || r.Checks.FIFOGrants == 0 || r.Checks.FIFOGrants >= r.Checks.Grants {
		t.Errorf("hot %+v, checks %+v", r.Hot, r.Checks)
	}
}

func tryIdle(t *testing.T, c loadgen.Config) {
	c.Idle, c.Clients = true, 20
	if r := clean(t, c); !r.Sessions.Idle || r.Sessions.Lost != 0 || r.Operations != 0 || r.Seconds != 0.5 {
		t.Errorf("report %+v, sessions %+v", r, r.Sessions)
	}
}

func tryHold(t *testing.T, c loadgen.Config) {
	c.Locks = 203
	look, err := c.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(t.Context())
	held := 0
	c.Ready = func(ready loadgen.Ready) {
		if ready.Event != "held" || ready.Locks != 203 {
			t.Errorf("ready %+v", ready)
		}
		for lock, err := range look.ListLocks(t.Context(), "") {
			if err != nil {
				t.Error(err)
			}
			if lock.HoldersTotal == 1 && !lock.Holders[0].Implied {
				held++
			}
		}
	}
	r := clean(t, c)
	if held != 203 || r.Checks.Grants != 203 || r.Hold.FillSeconds <= 0 || r.Hold.HeldSeconds < 0.5 || r.Hold.EndSeconds <= 0 {
		t.Errorf("%d were held, %d granted, hold %+v", held, r.Checks.Grants, r.Hold)
	}
}

func tryDeadlock(t *testing.T, c loadgen.Config) {
	c.Owners, c.Shortest, c.Longest, c.Duration = 20, 2, 6, 1500*time.Millisecond
	r := clean(t, c)
	d := r.Deadlock
	if d.Cycles == 0 || d.Cycles != d.Victims || d.Resolve.Count != d.Cycles || len(d.ByLength) != 5 {
		t.Errorf("deadlock %+v", d)
	}
}

func tryDepth(t *testing.T, c loadgen.Config) {
	c.Duration = 2400 * time.Millisecond
	r := clean(t, c)
	if len(r.Levels) != 8 {
		t.Fatalf("levels %+v", r.Levels)
	}
	for i, l := range r.Levels {
		if l.Depth != i+1 || l.Acquire.Count == 0 || l.PerSecond == 0 {
			t.Errorf("level %+v", l)
		}
	}
}

func tryFailover(t *testing.T, c loadgen.Config) {
	f := clean(t, c).Failover
	sum := uint32(0)
	for _, n := range f.Completed {
		sum += n
	}
	if len(f.Completed) != 51 || sum == 0 {
		t.Errorf("%d buckets with %d operations", len(f.Completed), sum)
	}
}

// The service goes away and comes back; what clients see of it is one gap, and nothing is wrong.
func TestAGapInServiceIsFound(t *testing.T) {
	srv := holdfasttest.Start(t)
	c := configure(loadgen.Failover, srv.URL())
	c.Duration = time.Minute
	ctx, stop := context.WithCancel(t.Context())
	c.Progress = func(s loadgen.Second) {
		switch {
		case s.Second == 1:
			srv.Kill()
			srv.Restart()
		case s.Acquires > 0:
			stop()
		}
	}
	r, err := loadgen.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Checks.Violations != 0 || !r.Interrupted || len(r.Failover.Gaps) == 0 {
		t.Fatalf("checks %+v, gaps %+v", r.Checks, r.Failover.Gaps)
	}
	longest := 0
	for _, g := range r.Failover.Gaps {
		longest = max(longest, g.Resumed)
	}
	if longest != c.Clients {
		t.Errorf("gaps %+v: want one that all clients saw", r.Failover.Gaps)
	}
}

func TestUnreachableServiceIsAnError(t *testing.T) {
	for _, s := range []loadgen.Scenario{loadgen.Uncontended, loadgen.Unary, loadgen.Hold, loadgen.Deadlock} {
		c := configure(s, "http://127.0.0.1:1")
		c.Connect = func(opts ...holdfast.Option) (*holdfast.Client, error) {
			return holdfast.New(t.Context(), append(opts, holdfast.Endpoints("http://127.0.0.1:1"),
				holdfast.WithCallTimeout(50*time.Millisecond))...)
		}
		if r, err := loadgen.Run(t.Context(), c); err == nil {
			t.Errorf("%s: report %+v, want an error", s, r)
		}
	}
}

func TestCheckOfConfigurations(t *testing.T) {
	for _, c := range []struct {
		scenario loadgen.Scenario
		set      func(*loadgen.Config)
		want     string
	}{
		{loadgen.Uncontended, func(c *loadgen.Config) { c.Clients = 0 }, "--clients must be at least 1"},
		{loadgen.Uncontended, func(c *loadgen.Config) { c.Duration = 0 }, "--duration must be positive"},
		{loadgen.Uncontended, func(c *loadgen.Config) { c.WarmUp = -1 }, "--warm-up must not be negative"},
		{loadgen.Uncontended, func(c *loadgen.Config) { c.Rate = -1 }, "--rate must not be negative"},
		{loadgen.Uncontended, func(c *loadgen.Config) { c.Depth = 9 }, "--depth must be 1 to 8"},
		{loadgen.Uncontended, func(c *loadgen.Config) { c.Prefix = "" }, "--prefix must not be empty"},
		{loadgen.Hot, func(c *loadgen.Config) { c.Locks = 0 }, "--locks must be at least 1"},
		{loadgen.Hot, func(c *loadgen.Config) { c.Watch = -1 }, "--connections and --watch must not be negative"},
		{loadgen.Sessions, func(c *loadgen.Config) { c.Rate, c.Idle = 1, true }, "--rate has no meaning here"},
		{loadgen.Hold, func(c *loadgen.Config) { c.AtEnd = "x" }, `--at-end "x" is neither release nor abandon`},
		{loadgen.Unary, func(c *loadgen.Config) { c.Protocol = "x" }, `--protocol "x" is none of json, connect, grpc`},
		{loadgen.Unary, func(c *loadgen.Config) { c.HTTP = 3 }, "--http must be 1 or 2"},
		{loadgen.Unary, func(c *loadgen.Config) { c.Protocol, c.HTTP = "grpc", 1 }, "gRPC needs --http 2"},
		{loadgen.Deadlock, func(c *loadgen.Config) { c.Longest = 1 },
			"--shortest must be at least 2, --longest no less, and --owners no less than that"},
	} {
		config := loadgen.Default(c.scenario)
		if err := config.Check(); err != nil {
			t.Errorf("%s: the default is refused: %v", c.scenario, err)
		}
		c.set(&config)
		_, err := loadgen.Run(t.Context(), config)
		if got := fmt.Sprint(err); got != c.want {
			t.Errorf("%s: %q, want %q", c.scenario, got, c.want)
		}
	}
}
