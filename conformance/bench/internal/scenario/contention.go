package scenario

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

var hotClients = []int{2, 16, 64, 1000}

func hotLoad(clients int) []string {
	return []string{"hot", "--locks", "1", "--clients", strconv.Itoa(clients), "--outstanding", "1"}
}

// hotLock is row 5, taken in turns with the bare Raft library.
func hotLock() Scenario {
	var targets []Target
	what := func(clients int) string { return fmt.Sprintf("hand-offs / bare serial commits, %d clients", clients) }
	for _, n := range hotClients {
		targets = append(targets, Target{Row: 5, What: what(n), Text: ">= 0.8", Unit: "x", Least: 0.8,
			Command: generator.Command(append(hotLoad(n), "--duration", "8s")...)})
	}
	const order = "grants whose order was that of the queue"
	targets = append(targets, Target{Row: 5, What: order, Text: "all: exactly FIFO", Unit: "", Least: 1,
		Command: "the same; the generator compares each grant with the queue"})
	return Scenario{Name: "hot", About: "all clients queue for one lock", Quick: true, Targets: targets,
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
			counts, d := hotClients, s.quickOr(3*time.Second, 8*time.Second)
			if s.Quick {
				counts = []int{64}
			}
			var seen int64
			bar, limit := results.Line{Name: "Holdfast"}, results.Line{Name: "bare Raft, serial"}
			for _, n := range counts {
				before, err := raft.Measure(ctx, entryBytes, d/2)
				if err != nil {
					return err
				}
				r, err := s.load(ctx, g, s.time(2*time.Second), d, hotLoad(n)...)
				if err != nil {
					return err
				}
				after, err := raft.Measure(ctx, entryBytes, d/2)
				if err != nil {
					return err
				}
				serial := (before.PerSecond + after.PerSecond) / 2
				s.got(what(n), r.Hot.HandoffsPerSecond/serial, "%s/s / %s/s; acquire P50 %s ms, P99 %s ms",
					results.Number(r.Hot.HandoffsPerSecond), results.Number(serial),
					results.Number(r.Acquire.P50/1000), results.Number(r.Acquire.P99/1000))
				seen += r.Checks.FIFOGrants
				label := fmt.Sprintf("%d clients", n)
				bar.Labels, bar.Y = append(bar.Labels, label), append(bar.Y, r.Hot.HandoffsPerSecond)
				limit.Labels, limit.Y = append(limit.Labels, label), append(limit.Y, serial)
			}
			s.got(order, float64(seen), "") // a violation is an error of load
			s.Run.Plots = append(s.Run.Plots, results.Plot{Name: "hot-lock", Title: "One lock for all: hand-offs per second",
				Y: "/s", Bars: true, Lines: []results.Line{bar, limit}})
			return nil
		}}
}

// manyHot is row 6.
func manyHot() Scenario {
	return Scenario{Name: "many-hot", About: "a thousand hot locks with ten waiters each",
		Targets: []Target{{Row: 6, What: "hand-offs per second", Text: ">= 40 K", Unit: "/s", Least: 40_000,
			Command: generator.Command("many-hot", "--duration", "15s")}},
		run: func(ctx context.Context, s *stage) error {
			_, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			r, err := s.load(ctx, g, s.time(4*time.Second), s.time(15*time.Second), "many-hot")
			if err != nil {
				return err
			}
			s.got("hand-offs per second", r.Hot.HandoffsPerSecond, "acquire P50 %s ms, P99 %s ms",
				results.Number(r.Acquire.P50/1000), results.Number(r.Acquire.P99/1000))
			return nil
		}}
}
