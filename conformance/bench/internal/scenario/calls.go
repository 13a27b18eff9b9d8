package scenario

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/bare"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/cluster"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

func procCPU(c *cluster.Cluster) (time.Duration, error) { return proc.CPUOf(c.Processes()...) }

func (s *stage) echo(ctx context.Context) (*bare.Echo, error) {
	return bare.StartEcho(ctx, s.group, s.Self, filepath.Join(s.dir, "echo"))
}

const callersPerClient = 16

func unaryLoad(p bare.Protocol, callers int) []string {
	return []string{"unary", "--protocol", string(p), "--clients", strconv.Itoa(callers / callersPerClient),
		"--outstanding", strconv.Itoa(callersPerClient)}
}

// unaryCalls is row 7, taken in turns with the empty echo; each at its better number of callers.
func unaryCalls() Scenario {
	what := func(p bare.Protocol) string { return "calls / echo calls, " + string(p) }
	var targets []Target
	for _, p := range []bare.Protocol{bare.JSON, bare.Connect, bare.GRPC} {
		targets = append(targets, Target{Row: 7, What: what(p), Text: ">= 0.5", Unit: "x", Least: 0.5,
			Command: generator.Command(append(unaryLoad(p, 256), "--duration", "5s")...)})
	}
	return Scenario{Name: "unary", About: "one call for each operation, and an empty echo, in turns", Quick: true, Targets: targets,
		run: func(ctx context.Context, s *stage) error {
			_, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			echo, err := s.echo(ctx)
			if err != nil {
				return err
			}
			protocols, callers, rounds := []bare.Protocol{bare.JSON, bare.Connect, bare.GRPC}, []int{64, 256}, 2
			if s.Quick {
				protocols, callers, rounds = []bare.Protocol{bare.Connect}, []int{256}, 1
			}
			for _, p := range protocols {
				ours, theirs, err := s.compareCalls(ctx, g, echo, p, callers, rounds)
				if err != nil {
					return err
				}
				s.figure("empty echo, "+p.About(), theirs, "calls/s")
				s.got(what(p), ours/theirs, "%s/s / %s/s", results.Number(ours), results.Number(theirs))
			}
			return nil
		}}
}

// compareCalls gives, for each side, the median over the rounds of its better number of callers.
func (s *stage) compareCalls(ctx context.Context, g *generator.Generator, echo *bare.Echo, p bare.Protocol,
	callers []int, rounds int,
) (ours, theirs float64, err error) {
	d := s.quickOr(3*time.Second, 5*time.Second)
	for _, n := range callers {
		var mine, other []float64
		for range rounds {
			e, err := echo.Measure(ctx, p, n, false, s.time(time.Second), d)
			if err != nil {
				return 0, 0, err
			}
			r, err := s.load(ctx, g, s.time(time.Second), d, unaryLoad(p, n)...)
			if err != nil {
				return 0, 0, err
			}
			mine, other = append(mine, r.Unary.CallsPerSecond), append(other, e.PerSecond)
		}
		ours, theirs = max(ours, results.Median(mine...)), max(theirs, results.Median(other...))
	}
	return ours, theirs, nil
}

const (
	connected     = 10_000
	filesEach     = 4 // files that a session with connections of its own needs on one side
	sharedPairs   = 4500
	whatSessions  = "operations / echo calls at 10 K connections"
	whatIdle      = "CPU of three nodes, sessions idle"
	idleOfOneCore = 10
)

// manySessions is row 8.
func manySessions() Scenario {
	clients := strconv.Itoa(connected)
	return Scenario{Name: "sessions", About: "ten thousand connected sessions",
		Targets: []Target{
			{Row: 8, What: whatSessions, Text: ">= 0.5", Unit: "x", Least: 0.5,
				Command: generator.Command("sessions", "--clients", clients, "--duration", "12s")},
			{Row: 8, What: whatIdle, Text: "<= 10 % of a core", Unit: "%", Most: idleOfOneCore,
				Command: generator.Command("sessions", "--idle", "--clients", clients, "--duration", "45s")},
		},
		run: func(ctx context.Context, s *stage) error {
			load, note, err := sessionLoad(s.count(connected))
			if err != nil {
				return err
			}
			echo, err := s.echo(ctx)
			if err != nil {
				return err
			}
			d := s.time(12 * time.Second)
			var limit float64
			for _, p := range []bare.Protocol{bare.Connect, bare.Connect2} {
				e, err := echo.Measure(ctx, p, s.count(connected), true, s.time(2*time.Second), d)
				if err != nil {
					return err
				}
				s.figure("empty echo, 10 K connections, "+p.About(), e.PerSecond, "calls/s")
				limit = max(limit, e.PerSecond)
			}
			echo.Stop()
			_, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			r, err := s.load(ctx, g, s.time(10*time.Second), d, load...)
			if err != nil {
				return err
			}
			s.got(whatSessions, r.OperationsPerSecond/limit, "%s/s / %s/s; acquire P50 %s ms%s",
				results.Number(r.OperationsPerSecond), results.Number(limit), results.Number(r.Acquire.P50/1000), note)
			stop()
			return s.idleSessions(ctx, load, note)
		}}
}

// sessionLoad has all sessions with connections of their own, if that many files may be open.
func sessionLoad(sessions int) (args []string, note string, err error) {
	files, err := proc.RaiseFiles()
	if err != nil {
		return nil, "", err
	}
	args = []string{"sessions", "--clients", strconv.Itoa(sessions)}
	switch {
	case files >= uint64(sessions)*filesEach:
		return args, "", nil
	case files >= 2*uint64(sessions):
		note = fmt.Sprintf("; %d files may be open, so the connections for events and renewals are shared: %d pairs",
			files, sharedPairs)
		return append(args, "--connections", strconv.Itoa(sharedPairs)), note, nil
	}
	return nil, "", fmt.Errorf("%d sessions need %d open files at least, and %d are allowed (ulimit -n)", sessions, 2*sessions, files)
}

// idleSessions measures what sessions cost that do nothing but live.
func (s *stage) idleSessions(ctx context.Context, load []string, note string) error {
	c, g, stop, err := s.cluster(ctx)
	if err != nil {
		return err
	}
	defer stop()
	l, err := g.Start(append(slices.Clone(load), "--idle", "--warm-up", "0s", "--duration", "10m")...)
	if err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if _, err := l.WaitEvent(opening, "open"); err != nil {
		return err
	}
	if err := sleep(ctx, s.time(5*time.Second)); err != nil {
		return err
	}
	d := s.time(40 * time.Second) // longer than a time to live, so that every renewal is in it
	before, err := procCPU(c)
	if err != nil {
		return err
	}
	if err := sleep(ctx, d); err != nil {
		return err
	}
	after, err := procCPU(c)
	if err != nil {
		return err
	}
	r, err := l.Stop(ctx)
	if err != nil {
		return err
	}
	if r.Sessions.Lost > 0 {
		return fmt.Errorf("%d sessions were lost", r.Sessions.Lost)
	}
	s.got(whatIdle, 100*(after-before).Seconds()/d.Seconds(), "over %v%s", d, note)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
