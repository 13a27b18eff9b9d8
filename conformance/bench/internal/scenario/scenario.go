// Package scenario measures the targets, one scenario after the other, each with servers of its own.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/bare"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/cluster"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

// Target is one thing that a row of the table of targets asks for.
type Target struct {
	Row     int
	What    string
	Text    string // as a person says it
	Unit    string // "x" for ratios, else ms, s, ops/s, MiB, B, %
	Most    float64
	Least   float64 // one of the two is set
	Command string
}

// Check judges a value.
func (t Target) Check(value float64, note string) results.Check {
	c := results.Check{Row: t.Row, What: t.What, Target: t.Text, Unit: t.Unit, Command: t.Command,
		Value: value, Note: note, Verdict: results.Met}
	if t.Most > 0 && value > t.Most || t.Least > 0 && value < t.Least {
		c.Verdict = results.NotMet
	}
	return c
}

// Unmeasured says why there is no value.
func (t Target) Unmeasured(why string) results.Check {
	return results.Check{Row: t.Row, What: t.What, Target: t.Text, Unit: t.Unit, Command: t.Command,
		Note: why, Verdict: results.NotMeasured}
}

// Scenario measures some targets.
type Scenario struct {
	Name    string
	About   string
	Quick   bool // part of the quick run
	Targets []Target
	run     func(ctx context.Context, s *stage) error
}

// All scenarios, in the order of a whole run.
func All() []Scenario {
	return []Scenario{
		limits(), openLoop(), closedLoop(), oneClient(), hotLock(), manyHot(), unaryCalls(), manySessions(),
		millionLocks(), depthLevels(), failOver(), tableBenchmarks(),
	}
}

// Config of a run.
type Config struct {
	Root   string  // of the repository
	Binary string  // bin/holdfast
	Self   string  // our own executable
	Dir    string  // for data, on the disk that is to be measured
	Scale  float64 // of all durations; 1 is what the targets mean
	Quick  bool
	Run    *results.Run
	Say    func(format string, args ...any)
}

// stage is where one scenario takes place. All that it starts ends with it.
type stage struct {
	Config
	scenario Scenario
	dir      string
	group    *proc.Group
	done     map[string]bool // targets that have a value
}

// Measure runs one scenario and adds its checks to the run, those that failed too.
func Measure(ctx context.Context, config Config, sc Scenario) error {
	began := time.Now()
	s := &stage{Config: config, scenario: sc, group: &proc.Group{}, done: map[string]bool{}}
	s.Say("== %s: %s", sc.Name, sc.About)
	err := s.measure(ctx)
	part := results.Part{Name: sc.Name, Seconds: time.Since(began).Seconds()}
	why := "the scenario did not get so far"
	if err != nil {
		part.Error = err.Error()
		why, _, _ = strings.Cut(part.Error, "\n")
		s.Say("   failed: %v", err)
	}
	for _, t := range sc.Targets {
		if !s.done[t.What] && (!config.Quick || len(s.done) == 0) {
			s.add(t.Unmeasured(why))
		}
	}
	s.Run.Parts = append(s.Run.Parts, part)
	return err
}

func (s *stage) measure(ctx context.Context) error {
	dir, err := os.MkdirTemp(s.Dir, s.scenario.Name+"-")
	if err != nil {
		return err
	}
	s.dir = dir
	defer func() { _ = os.RemoveAll(dir) }()
	defer s.group.Stop(time.Second)
	return s.scenario.run(ctx, s)
}

// failed notes why some targets have no value, so that the others can still be measured.
func (s *stage) failed(err error, targets ...string) error {
	if err == nil {
		return nil
	}
	for _, t := range s.scenario.Targets {
		if slices.Contains(targets, t.What) && !s.done[t.What] {
			s.done[t.What] = true
			s.add(t.Unmeasured(err.Error()))
		}
	}
	return err
}

// got notes the value of a target.
func (s *stage) got(what string, value float64, note string, args ...any) {
	for _, t := range s.scenario.Targets {
		if t.What == what {
			s.done[what] = true
			s.add(t.Check(value, fmt.Sprintf(note, args...)))
			return
		}
	}
	panic("scenario " + s.scenario.Name + " has no target " + what)
}

func (s *stage) add(c results.Check) {
	s.Run.Add(c)
	if c.Verdict == results.NotMeasured {
		s.Say("   row %-2d %-42s %s: %s", c.Row, c.What, c.Verdict, c.Note)
		return
	}
	s.Say("   row %-2d %-42s %s %s (%s): %s", c.Row, c.What, results.Number(c.Value), c.Unit, c.Target, c.Verdict)
}

// figure notes something without a target.
func (s *stage) figure(what string, value float64, unit string) {
	s.Run.Bare = append(s.Run.Bare, results.Figure{What: what, Value: value, Unit: unit})
	s.Say("   %s: %s %s", what, results.Number(value), unit)
}

// time scales a duration; none gets so short that nothing could be measured.
func (s *stage) time(d time.Duration) time.Duration {
	return max(time.Duration(float64(d)*s.Scale), min(d, time.Second)).Round(100 * time.Millisecond)
}

// count makes numbers of things smaller, too, where the times are shortened.
func (s *stage) count(n int) int { return max(2, int(float64(n)*min(1, s.Scale))) }

// quickOr is a duration, or another in a quick run.
func (s *stage) quickOr(quick, d time.Duration) time.Duration {
	if s.Quick {
		d = quick
	}
	return s.time(d)
}

// cluster starts three servers, and load for them.
func (s *stage) cluster(ctx context.Context) (*cluster.Cluster, *generator.Generator, func(), error) {
	dir := filepath.Join(s.dir, "holdfast")
	c, err := cluster.Start(ctx, s.Binary, dir)
	if err != nil {
		return nil, nil, nil, err
	}
	g := &generator.Generator{Binary: s.Binary, Endpoints: c.Endpoints(), Processes: s.group,
		LogFile: filepath.Join(s.dir, "generator.log")}
	return c, g, func() {
		s.group.Stop(time.Second)
		c.Stop()
		_ = os.RemoveAll(dir)
	}, nil
}

// bareRaft starts the bare cluster.
func (s *stage) bareRaft(ctx context.Context) (*bare.Raft, error) {
	return bare.StartRaft(ctx, s.group, s.Self, filepath.Join(s.dir, "raft"))
}

// limitOf is how long a generator may take that measures for a time: it connects, warms up, drains.
func limitOf(d time.Duration) time.Duration { return 2*d + 90*time.Second }

// load runs the generator for a time.
func (s *stage) load(ctx context.Context, g *generator.Generator, warmUp, d time.Duration, args ...string,
) (*generator.Report, error) {
	args = append(args, "--warm-up", warmUp.String(), "--duration", d.String())
	r, err := g.Run(ctx, limitOf(warmUp+d), args...)
	if err != nil {
		return nil, err
	}
	if r.Operations == 0 && r.Hot.HandoffsPerSecond == 0 {
		return nil, errors.New("the generator did nothing: " + r.FirstError)
	}
	if n := r.Failed(); n > 0 {
		s.Say("   %d operations failed, the first: %s", n, r.FirstError)
	}
	return r, nil
}
