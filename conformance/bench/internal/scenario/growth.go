package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/gobench"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

const deepest = 8

// depthLevels is what row 10 says of hierarchical names, for the whole service.
func depthLevels() Scenario {
	const what = "cost of an operation at depth 8 / at depth 1"
	return Scenario{Name: "depth", About: "names of one to eight levels, through the whole service",
		Targets: []Target{{Row: 10, What: what, Text: "<= 8: no worse than linear", Unit: "x", Most: deepest,
			Command: generator.Command("depth", "--clients", "50", "--outstanding", "128", "--duration", "32s")}},
		run: func(ctx context.Context, s *stage) error {
			_, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			r, err := s.load(ctx, g, s.time(2*time.Second), max(deepest*time.Second, s.time(32*time.Second)),
				"depth", "--clients", "50", "--outstanding", "128")
			if err != nil {
				return err
			}
			if len(r.Levels) != deepest || r.Levels[deepest-1].OperationsPerSecond == 0 {
				return fmt.Errorf("the generator tells of %d levels", len(r.Levels))
			}
			line := results.Line{Name: "Holdfast"}
			for _, l := range r.Levels {
				line.Labels, line.Y = append(line.Labels, fmt.Sprintf("depth %d", l.Depth)), append(line.Y, l.OperationsPerSecond)
			}
			first, last := r.Levels[0].OperationsPerSecond, r.Levels[deepest-1].OperationsPerSecond
			s.got(what, first/last, "%s ops/s / %s ops/s", results.Number(first), results.Number(last))
			s.Run.Plots = append(s.Run.Plots, results.Plot{Name: "depth", Title: "Depth of names: operations per second",
				Y: "ops/s", Bars: true, Lines: []results.Line{line}})
			return nil
		}}
}

// What the benchmarks of the lock table are asked for.
const (
	whatClaim    = "memory of a held claim in the table"
	whatHeld     = "Apply with 1 M held / 1 K held"
	whatBeside   = "Apply with 10 K waiters on other names / 1"
	whatDepth    = "Apply at depth 8 / depth 1"
	whatStorm    = "deadlock storm: added to an Apply, P99"
	whatHotQueue = "10 K waiters on one name: an Apply, P99"
	whatApply    = "Apply of an acquire or release"
	whatAllocs   = "memory allocated by it"

	applyAbout  = 1500 // ns: what may pass for "about 1 us"
	applyAllocs = 64   // B: results that go to the caller; nothing may grow
	stormAdded  = 50   // us
)

func tableCommand(bench string) string {
	return "go -C server test ./internal/locktable -run '^$' -bench '" + bench + "' -benchmem"
}

// tableBenchmarks are rows 12 and 13, and what rows 9 and 10 say of the lock table alone.
func tableBenchmarks() Scenario {
	return Scenario{Name: "table", About: "the lock table alone, by its Go benchmarks", Quick: true,
		Targets: []Target{
			{Row: 9, What: whatClaim, Text: "<= 150 B", Unit: "B", Most: 150, Command: tableCommand("Memory")},
			{Row: 10, What: whatHeld, Text: "<= 1.2", Unit: "x", Most: 1.2, Command: tableCommand("ApplyUncontended")},
			{Row: 10, What: whatBeside, Text: "<= 1.2", Unit: "x", Most: 1.2, Command: tableCommand("ApplyBeside")},
			{Row: 10, What: whatDepth, Text: "<= 8: no worse than linear", Unit: "x", Most: deepest, Command: tableCommand("ApplyDepth")},
			{Row: 12, What: whatStorm, Text: "< 50 us", Unit: "us", Most: stormAdded, Command: tableCommand("ApplyStorm")},
			{Row: 12, What: whatHotQueue, Text: "< 50 us", Unit: "us", Most: stormAdded, Command: tableCommand("ApplyHandOff")},
			{Row: 13, What: whatApply, Text: "about 1 us", Unit: "ns", Most: applyAbout, Command: tableCommand("ApplyUncontended")},
			{Row: 13, What: whatAllocs, Text: "none that grows", Unit: "B", Most: applyAllocs, Command: tableCommand("ApplyUncontended")},
		},
		run: func(ctx context.Context, s *stage) error {
			t := tableRun{stage: s, binary: s.dir + "/locktable.test"}
			limited, cancel := context.WithTimeoutCause(ctx, 6*time.Minute, errors.New("the benchmarks take too long"))
			defer cancel()
			if err := gobench.Build(limited, s.Root+"/server", "./internal/locktable", t.binary); err != nil {
				return err
			}
			if s.Quick {
				return t.failed(t.apply(limited), whatHeld, whatApply, whatAllocs)
			}
			// A benchmark that is missing does not take the others with it.
			return errors.Join(t.failed(t.apply(limited), whatHeld, whatApply, whatAllocs), t.failed(t.memory(limited), whatClaim),
				t.failed(t.ratio(limited, whatBeside, "ApplyBeside", "waiters", 10_000, 1), whatBeside),
				t.failed(t.ratio(limited, whatDepth, "ApplyDepth", "depth", 8, 1), whatDepth),
				t.failed(t.storm(limited), whatStorm), t.failed(t.hotQueue(limited), whatHotQueue))
		}}
}

// tableRun runs benchmarks of the lock table.
type tableRun struct {
	*stage
	binary string
}

const benchRounds = 3

// bench runs a benchmark with so many operations: a fixed number, because otherwise Go would try
// several, and fill the table with a million locks for each.
func (t tableRun) bench(ctx context.Context, pattern string, operations int) (gobench.Results, error) {
	rounds := benchRounds
	if t.Quick || t.Scale < 1 {
		rounds, operations = 1, max(1, operations/4)
	}
	return gobench.Run(ctx, t.Root+"/server/internal/locktable", t.binary, pattern, operations, rounds)
}

func (t tableRun) apply(ctx context.Context) error {
	r, err := t.bench(ctx, "ApplyUncontended/held=(1000|1000000)", 2_000_000)
	if err != nil {
		return err
	}
	few, err1 := r.Get("ApplyUncontended/held=1000", "ns/op")
	many, err2 := r.Get("ApplyUncontended/held=1000000", "ns/op")
	bytes, err3 := r.Get("ApplyUncontended/held=1000000", "B/op")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	t.got(whatHeld, many/few, "%.0f ns / %.0f ns", many, few)
	t.got(whatApply, many, "1 M locks held; %.0f ns with 1 K held", few)
	t.got(whatAllocs, bytes, "per operation, 1 M locks held")
	return nil
}

// memory takes the shape of a lock that costs the most.
func (t tableRun) memory(ctx context.Context) error {
	r, err := t.bench(ctx, "Memory", 1)
	if err != nil {
		return err
	}
	claim, name := r.Most("Memory", "B/claim")
	if name == "" {
		return errors.New("no Memory tells B/claim")
	}
	lock, err := r.Get(name, "B/lock")
	if err != nil {
		return err
	}
	t.got(whatClaim, claim, "%s; implied claims counted; %.0f B for a lock, its name included", name, lock)
	return nil
}

func (t tableRun) ratio(ctx context.Context, what, bench, by string, above, below int) error {
	r, err := t.bench(ctx, fmt.Sprintf("%s/%s=(%d|%d)", bench, by, below, above), 1_000_000)
	if err != nil {
		return err
	}
	a, err1 := r.Get(fmt.Sprintf("%s/%s=%d", bench, by, above), "ns/op")
	b, err2 := r.Get(fmt.Sprintf("%s/%s=%d", bench, by, below), "ns/op")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	t.got(what, a/b, "%.0f ns / %.0f ns", a, b)
	return nil
}

const stormApplies = 200_000

func (t tableRun) storm(ctx context.Context) error {
	r, err := t.bench(ctx, "ApplyStorm", stormApplies)
	if err != nil {
		return err
	}
	storm, err1 := r.Get("ApplyStorm/cycles=true", "p99-us")
	none, err2 := r.Get("ApplyStorm/cycles=false", "p99-us")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	t.got(whatStorm, max(0, storm-none), "%.1f us, and %.1f us without cycles", storm, none)
	return nil
}

func (t tableRun) hotQueue(ctx context.Context) error {
	r, err := t.bench(ctx, "ApplyHandOff/waiters=10000", stormApplies)
	if err != nil {
		return err
	}
	p99, err := r.Get("ApplyHandOff/waiters=10000", "p99-us")
	if err != nil {
		return err
	}
	t.got(whatHotQueue, p99, "all of an Apply with a release and an acquire, not only what detection adds")
	return nil
}
