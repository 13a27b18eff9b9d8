package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/cluster"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

const (
	kills      = 30
	transfers  = 10
	roundLimit = 45 * time.Second // for a node to die, and to come back
	gapLeast   = 50               // ms; the generator tells of no shorter ones

	failoverClients = 50

	whatMedian   = "clients resume after kill -9 of the leader, median"
	whatP99      = "clients resume after kill -9 of the leader, P99"
	whatTransfer = "clients resume after a planned transfer, P99 over all"
)

// failOver is row 11.
func failOver() Scenario {
	load := []string{"failover", "--rate", strconv.Itoa(openRate), "--clients", strconv.Itoa(failoverClients),
		"--outstanding", "128"}
	command := generator.Command(load...)
	return Scenario{Name: "failover", About: "30 leaders killed and 10 transfers at 100 K operations a second",
		Targets: []Target{
			{Row: 11, What: whatMedian, Text: "< 600 ms", Unit: "ms", Most: 600, Command: command + ", and kill -9"},
			{Row: 11, What: whatP99, Text: "< 1 s", Unit: "ms", Most: 1000, Command: command + ", and kill -9"},
			{Row: 11, What: whatTransfer, Text: "< 100 ms", Unit: "ms", Most: 100,
				Command: command + ", and holdfast cluster transfer"},
		},
		run: func(ctx context.Context, s *stage) error {
			c, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			l, err := g.Start(append(slices.Clone(load), "--warm-up", s.time(3*time.Second).String(), "--duration", "15m")...)
			if err != nil {
				return err
			}
			if err := sleep(ctx, s.time(6*time.Second)); err != nil {
				return err
			}
			planned, err := s.transferAll(ctx, c)
			if err != nil {
				return err
			}
			killed, err := s.killAll(ctx, c)
			if err != nil {
				return err
			}
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			r, err := l.Stop(ctx)
			if err != nil {
				return err
			}
			return s.judgeGaps(r, planned, killed)
		}}
}

// transferAll hands leadership over again and again, and tells when.
func (s *stage) transferAll(ctx context.Context, c *cluster.Cluster) ([]time.Time, error) {
	var at []time.Time
	for range s.count(transfers) {
		at = append(at, time.Now())
		if err := c.Transfer(ctx); err != nil {
			return nil, fmt.Errorf("transfer: %w", err)
		}
		if err := sleep(ctx, 1500*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// killAll kills the leader again and again, and tells when. The dead node comes back each time.
func (s *stage) killAll(ctx context.Context, c *cluster.Cluster) ([]time.Time, error) {
	var at []time.Time
	for range s.count(kills) {
		killed, err := s.killOne(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("kill %d: %w", len(at)+1, err)
		}
		at = append(at, killed)
	}
	return at, nil
}

func (s *stage) killOne(ctx context.Context, c *cluster.Cluster) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundLimit, errors.New("the cluster is not whole again"))
	defer cancel()
	leader, err := c.WaitLeader(ctx)
	if err != nil {
		return time.Time{}, err
	}
	killed := time.Now()
	leader.Process.Kill()
	if err := sleep(ctx, 1500*time.Millisecond); err != nil {
		return killed, err
	}
	if err := errors.Join(c.Restart(leader), c.WaitReady(ctx, leader), c.WaitWhole(ctx)); err != nil {
		return killed, err
	}
	return killed, sleep(ctx, time.Second)
}

// around a moment lie the gaps that it explains.
const around = 1200 // ms

// resumes are how long each client was without an answer around each of the moments: its longest
// gap. Those without one had an answer within gapLeast.
func resumes(r *generator.Report, clients int, moments []time.Time) (all []float64, without int) {
	for _, m := range moments {
		since := float64(m.UnixMilli() - r.StartedUnixMS)
		longest := make([]float64, clients)
		for _, g := range r.Failover.ClientGaps {
			if g.StartMS+g.LengthMS >= since && g.StartMS <= since+around && g.Client >= 0 && g.Client < clients {
				longest[g.Client] = max(longest[g.Client], g.LengthMS)
			}
		}
		for _, l := range longest {
			if l == 0 {
				without++
			}
			all = append(all, max(l, gapLeast))
		}
	}
	return all, without
}

func quantile(q float64, values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func (s *stage) judgeGaps(r *generator.Report, planned, killed []time.Time) error {
	all, without := resumes(r, failoverClients, killed)
	if without == len(all) {
		return errors.New("the generator noticed no kill")
	}
	note := fmt.Sprintf("%d kills, %d clients; the longest %s ms; %d times a client waited less than %d ms, counted as that",
		len(killed), failoverClients, results.Number(slices.Max(all)), without, gapLeast)
	s.got(whatMedian, quantile(0.5, all), "%s", note)
	s.got(whatP99, quantile(0.99, all), "%s", note)
	s.Run.Plots = append(s.Run.Plots, distribution("failover", "kill -9 of the leader: clients that have resumed", all))

	all, without = resumes(r, failoverClients, planned)
	s.got(whatTransfer, quantile(0.99, all), "%d transfers; median %s ms, the longest %s ms; %d times less than %d ms",
		len(planned), results.Number(quantile(0.5, all)), results.Number(slices.Max(all)), without, gapLeast)
	return nil
}

// distribution plots which part of the values is at most so great.
func distribution(name, title string, values []float64) results.Plot {
	sorted := slices.Sorted(slices.Values(values))
	line := results.Line{Name: "Holdfast"}
	const points = 100
	for i := range points + 1 {
		at := i * (len(sorted) - 1) / points
		line.X, line.Y = append(line.X, sorted[at]), append(line.Y, 100*float64(at+1)/float64(len(sorted)))
	}
	return results.Plot{Name: name, Title: title, X: "ms", Y: "%", Lines: []results.Line{line}}
}
