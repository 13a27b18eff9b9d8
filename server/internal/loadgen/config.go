package loadgen

import (
	"context"
	"fmt"
	"slices"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// Scenario is a kind of load.
type Scenario string

// Scenarios.
const (
	Uncontended Scenario = "uncontended" // every worker has a name of its own
	Hot         Scenario = "hot"         // the workers queue for a few names
	ManyHot     Scenario = "many-hot"    // ... for many names
	One         Scenario = "one"         // one client with one operation outstanding
	Unary       Scenario = "unary"       // one call per operation, without the SDK
	Sessions    Scenario = "sessions"    // many sessions with one worker each, or idle
	Hold        Scenario = "hold"        // many locks are held, and nothing else
	Deadlock    Scenario = "deadlock"    // cycles of waiting owners
	Depth       Scenario = "depth"       // uncontended, one depth of names after the other
	Failover    Scenario = "failover"    // uncontended, and every gap in service is noted
)

// What Hold does with its locks in the end.
const (
	EndRelease = "release" // gives them back
	EndAbandon = "abandon" // leaves them to expire with their sessions
)

// OpenOutstanding is how many workers a client may have in an open loop unless told otherwise: more
// than the SDK lets be under way, so that the load is not bounded here.
const OpenOutstanding = 1024

// depthMost is how deep names may be here; the service allows more.
const depthMost = 8

// Config is what to do. Values that a scenario has no use for are ignored.
type Config struct {
	Scenario    Scenario
	Clients     int           // sessions
	Outstanding int           // workers of each client; in an open loop at most so many
	Duration    time.Duration // how long to measure; Hold holds for so long, 0 until it is told to stop
	WarmUp      time.Duration // how long to run before that
	Rate        float64       // operations per second, acquires and releases; 0 means a closed loop
	Prefix      string        // names are PREFIX-RUN/..., where RUN is another one each time
	TTL         time.Duration // of the sessions
	Connections int           // sets of connections that the clients share; 0: each has its own
	Locks       int           // names to queue for (Hot, ManyHot), locks to hold (Hold)
	Watch       int           // names whose order of grants is checked (Hot, ManyHot)
	Depth       int           // levels of the names
	Protocol    string        // Unary: json, connect or grpc
	HTTP        int           // Unary: 1 or 2
	Idle        bool          // Sessions: only keep them alive
	AtEnd       string        // Hold: EndRelease or EndAbandon
	Shortest    int           // Deadlock: owners of the shortest cycle
	Longest     int           // Deadlock: owners of the longest cycle
	Owners      int           // Deadlock: owners of all cycles

	// Endpoints are the base URLs of the nodes, for calls without the SDK.
	Endpoints []string
	// Namespace is that of the names, for calls without the SDK; empty means the default one.
	Namespace string
	// Connect makes a client of the SDK.
	Connect func(...holdfast.Option) (*holdfast.Client, error)
	// Ready, if set, is told when what must be there before the measurement is there: the sessions
	// are open, the locks are held.
	Ready func(Ready)
	// Progress, if set, is told every second how it goes.
	Progress func(Second)
}

// Ready tells what is there before the measurement begins.
type Ready struct {
	Event       string  `json:"event"` // open or held
	Sessions    int     `json:"sessions"`
	OpenSeconds float64 `json:"open_seconds"`
	Locks       int     `json:"locks,omitempty"`
	FillSeconds float64 `json:"fill_seconds,omitempty"`
}

// Default is what a scenario does unless told otherwise.
func Default(s Scenario) Config {
	c := Config{Scenario: s, Clients: 4, Outstanding: 16, Duration: 10 * time.Second, WarmUp: time.Second,
		Prefix: "bench", TTL: 30 * time.Second, Depth: 2}
	switch s {
	case Hot:
		c.Clients, c.Outstanding, c.Locks, c.Watch = 16, 1, 1, 1
	case ManyHot:
		c.Clients, c.Outstanding, c.Locks, c.Watch = 50, 200, 1000, 1
	case One:
		c.Clients, c.Outstanding = 1, 1
	case Unary:
		c.Clients, c.Protocol = 64, ProtocolConnect
		c.Outstanding = 1
	case Sessions:
		c.Clients, c.Outstanding = 10_000, 1
	case Hold:
		c.Clients, c.Outstanding, c.Locks, c.Depth, c.AtEnd = 1000, 128, 100_000, 3, EndRelease
		c.Duration, c.WarmUp = 0, 0
	case Deadlock:
		c.Clients, c.Owners, c.Shortest, c.Longest = 50, 1000, 2, 32
	case Depth:
		c.Duration = 16 * time.Second
	case Failover:
		c.Clients, c.Outstanding, c.Duration = 50, 128, 30*time.Second
	}
	return c
}

// Check says what is wrong with a configuration, in words for the command line.
func (c Config) Check() error {
	atLeastOne := map[string]int{"--clients": c.Clients, "--outstanding": c.Outstanding}
	switch c.Scenario {
	case Hot, ManyHot, Hold:
		atLeastOne["--locks"] = c.Locks
	}
	for _, flag := range sortedKeys(atLeastOne) {
		if atLeastOne[flag] < 1 {
			return fmt.Errorf("%s must be at least 1", flag)
		}
	}
	switch {
	case c.Duration < 0 || c.Duration == 0 && c.Scenario != Hold:
		return fmt.Errorf("--duration must be positive")
	case c.WarmUp < 0:
		return fmt.Errorf("--warm-up must not be negative")
	case c.Rate < 0:
		return fmt.Errorf("--rate must not be negative")
	case c.Rate > 0 && (c.Scenario == Hold || c.Scenario == Deadlock || c.Idle):
		return fmt.Errorf("--rate has no meaning here")
	case c.Connections < 0 || c.Watch < 0:
		return fmt.Errorf("--connections and --watch must not be negative")
	case c.Depth < 1 || c.Depth > depthMost:
		return fmt.Errorf("--depth must be 1 to %d", depthMost)
	case c.Prefix == "":
		return fmt.Errorf("--prefix must not be empty")
	}
	return c.checkScenario()
}

func (c Config) checkScenario() error {
	switch c.Scenario {
	case Hold:
		if c.AtEnd != EndRelease && c.AtEnd != EndAbandon {
			return fmt.Errorf("--at-end %q is neither %s nor %s", c.AtEnd, EndRelease, EndAbandon)
		}
	case Unary:
		if !slices.Contains([]string{ProtocolJSON, ProtocolConnect, ProtocolGRPC}, c.Protocol) {
			return fmt.Errorf("--protocol %q is none of %s, %s, %s", c.Protocol, ProtocolJSON, ProtocolConnect, ProtocolGRPC)
		}
		if c.HTTP < 0 || c.HTTP > 2 {
			return fmt.Errorf("--http must be 1 or 2")
		}
		if c.Protocol == ProtocolGRPC && c.HTTP == 1 {
			return fmt.Errorf("gRPC needs --http 2")
		}
	case Deadlock:
		if c.Shortest < 2 || c.Longest < c.Shortest || c.Owners < c.Longest {
			return fmt.Errorf("--shortest must be at least 2, --longest no less, and --owners no less than that")
		}
	}
	return nil
}

// Run makes the load and reports on it. When ctx ends it stops, gives back what it holds and
// reports on what was measured until then. The error says why there is nothing to report, or nothing
// whole; failed checks are in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	switch c.Scenario {
	case Unary:
		return runUnary(ctx, c)
	case Hold:
		return runHold(ctx, c)
	case Deadlock:
		return runDeadlock(ctx, c)
	case Depth:
		return runDepth(ctx, c)
	case Sessions:
		if c.Idle {
			return runIdle(ctx, c)
		}
	}
	return runSteady(ctx, c)
}
