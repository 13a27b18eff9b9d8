package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/bare"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

// Names of bare limits that the page shows.
const (
	fsyncRate   = "fdatasync of 4 KiB, one at a time"
	fsyncTime   = "fdatasync of 4 KiB, P50"
	raftRate    = "bare Raft entry of 100 B, one in flight"
	raftTime    = "bare Raft entry of 100 B, P50"
	raftBigRate = "bare Raft entry of 32 KiB, one in flight"
	raftBigTime = "bare Raft entry of 32 KiB, P50"
)

const (
	entryBytes = 100
	bigBytes   = 32 << 10
)

// limits of the machine and the Raft library.
func limits() Scenario {
	return Scenario{Name: "limits", About: "what the disk and the Raft library can do", Quick: true,
		run: func(ctx context.Context, s *stage) error {
			d := s.quickOr(3*time.Second, 5*time.Second)
			disk, err := bare.Fsync(ctx, s.dir, d)
			if err != nil {
				return err
			}
			s.figure(fsyncRate, disk.PerSecond, "/s")
			s.figure(fsyncTime, disk.P50MS, "ms")
			raft, err := s.bareRaft(ctx)
			if err != nil {
				return err
			}
			small, err := raft.Measure(ctx, entryBytes, d)
			if err != nil {
				return err
			}
			big, err := raft.Measure(ctx, bigBytes, d)
			if err != nil {
				return err
			}
			s.figure(raftRate, small.PerSecond, "/s")
			s.figure(raftTime, small.P50MS, "ms")
			s.figure(raftBigRate, big.PerSecond, "/s")
			s.figure(raftBigTime, big.P50MS, "ms")
			return nil
		}}
}

const openRate = 100_000

var openLoad = []string{"uncontended", "--rate", fmt.Sprint(openRate), "--clients", "50", "--outstanding", "128"}

// openLoop is row 1.
func openLoop() Scenario {
	command := generator.Command(append(slices.Clone(openLoad), "--duration", "60s")...)
	latency := func(what string, most float64) Target {
		return Target{Row: 1, What: what, Text: fmt.Sprintf("< %g ms", most), Unit: "ms", Most: most, Command: command}
	}
	return Scenario{Name: "open", About: "100 K operations a second, whatever the answers take", Quick: true,
		Targets: []Target{
			{Row: 1, What: "operations per second", Text: "100 K sustained for 60 s", Unit: "ops/s",
				Least: 0.99 * openRate, Command: command},
			latency("acquire P95", 5), latency("acquire P50", 2.5),
			latency("release P95", 5), latency("release P50", 2.5),
		},
		run: func(ctx context.Context, s *stage) error {
			c, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			before, err := procCPU(c)
			if err != nil {
				return err
			}
			warmUp, d := s.quickOr(2*time.Second, 5*time.Second), s.quickOr(10*time.Second, time.Minute)
			r, err := s.load(ctx, g, warmUp, d, openLoad...)
			if err != nil {
				return err
			}
			after, err := procCPU(c)
			if err != nil {
				return err
			}
			note := ""
			if r.Saturated {
				note = fmt.Sprintf("saturated: %v", r.SaturatedWhy)
			}
			s.got("operations per second", r.OperationsPerSecond, "%s", note)
			s.got("acquire P95", r.Acquire.P95/1000, "P99 %s ms", results.Number(r.Acquire.P99/1000))
			s.got("acquire P50", r.Acquire.P50/1000, "")
			s.got("release P95", r.Release.P95/1000, "P99 %s ms", results.Number(r.Release.P99/1000))
			s.got("release P50", r.Release.P50/1000, "")
			operations := r.OperationsPerSecond * (warmUp + d).Seconds()
			s.figure("CPU of the three nodes at 100 K ops/s", (after-before).Seconds()*1e6/operations, "us/op")
			s.figure("CPU of the load generator at 100 K ops/s", r.Generator.CPUUSPerOperation, "us/op")
			s.Run.Plots = append(s.Run.Plots, latencyPlot(r), timePlot(r))
			return nil
		}}
}

func latencyPlot(r *generator.Report) results.Plot {
	line := func(name string, l generator.Latency) results.Line {
		return results.Line{Name: name, Labels: []string{"P50", "P90", "P95", "P99", "P99.9", "P99.99", "max"},
			Y: scaled(0.001, l.P50, l.P90, l.P95, l.P99, l.P999, l.P9999, l.Max)}
	}
	return results.Plot{Name: "latency", Title: "100 K operations/s, open loop: latency", Y: "ms", Bars: true, LogY: true,
		Lines: []results.Line{line("acquire", r.Acquire), line("release", r.Release)}}
}

func timePlot(r *generator.Report) results.Plot {
	p99, most := results.Line{Name: "P99"}, results.Line{Name: "max"}
	for _, second := range r.Series {
		p99.X, p99.Y = append(p99.X, second.Second), append(p99.Y, second.AcquireP99US/1000)
		most.X, most.Y = append(most.X, second.Second), append(most.Y, second.AcquireMaxUS/1000)
	}
	return results.Plot{Name: "latency-over-time", Title: "100 K operations/s, open loop: acquire, by second",
		X: "s", Y: "ms", Lines: []results.Line{p99, most}}
}

func scaled(by float64, values ...float64) []float64 {
	for i := range values {
		values[i] *= by
	}
	return values
}

// closedLoop is row 2.
func closedLoop() Scenario {
	load := []string{"uncontended", "--clients", "50", "--outstanding", "128"}
	return Scenario{Name: "closed", About: "as many operations as it takes", Quick: true,
		Targets: []Target{{Row: 2, What: "operations per second", Text: ">= 250 K", Unit: "ops/s", Least: 250_000,
			Command: generator.Command(append(slices.Clone(load), "--duration", "20s")...)}},
		run: func(ctx context.Context, s *stage) error {
			_, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			r, err := s.load(ctx, g, s.quickOr(2*time.Second, 5*time.Second), s.quickOr(6*time.Second, 20*time.Second), load...)
			if err != nil {
				return err
			}
			s.got("operations per second", r.OperationsPerSecond, "acquire P50 %s ms, P99 %s ms",
				results.Number(r.Acquire.P50/1000), results.Number(r.Acquire.P99/1000))
			return nil
		}}
}

// oneClient is row 4, taken in turns with the bare Raft library.
func oneClient() Scenario {
	return Scenario{Name: "one", About: "one client with one operation, and one bare Raft entry, in turns", Quick: true,
		Targets: []Target{{Row: 4, What: "acquire P50 / bare Raft entry P50", Text: "<= 1.25", Unit: "x", Most: 1.25,
			Command: generator.Command("one", "--duration", "6s")}},
		run: func(ctx context.Context, s *stage) error {
			_, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			raft, err := s.bareRaft(ctx)
			if err != nil {
				return err
			}
			d, rounds := s.quickOr(2*time.Second, 6*time.Second), 5
			if s.Quick {
				rounds = 2
			}
			var ours, theirs, ratios []float64
			for range rounds {
				rate, err := raft.Measure(ctx, entryBytes, d)
				if err != nil {
					return err
				}
				r, err := s.load(ctx, g, s.time(time.Second), d, "one")
				if err != nil {
					return err
				}
				ours, theirs = append(ours, r.Acquire.P50/1000), append(theirs, rate.P50MS)
				ratios = append(ratios, r.Acquire.P50/1000/rate.P50MS)
			}
			s.got("acquire P50 / bare Raft entry P50", results.Median(ratios...), "%s ms / %s ms",
				results.Number(results.Median(ours...)), results.Number(results.Median(theirs...)))
			return nil
		}}
}
