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
	millionHeld  = 1_000_000
	fewHeld      = 1000
	holders      = 10_000
	holdTTL      = 40 * time.Second
	fillLimit    = 3 * time.Minute
	halfRate     = openRate / 2
	calmRate     = 5_000 // while everything expires
	snapshotStop = "holdfast_snapshot_pause_seconds"

	whatRSS      = "memory of the largest node (RSS)"
	whatHalf     = "acquire P95 at half rate / the same without the locks"
	whatSnapshot = "longest time that a snapshot stopped Apply"
	whatNode     = "restart of one node to serving"
	whatCluster  = "restart of all nodes to serving"
	whatExpiry   = "longest operation while everything expires"
	whatCPU      = "CPU per operation, 1 M held / 1 K held, three nodes"
)

func holdLoad(locks, sessions int) []string {
	return []string{"hold", "--locks", strconv.Itoa(locks), "--clients", strconv.Itoa(sessions),
		"--outstanding", "1", "--connections", "100", "--ttl", holdTTL.String()}
}

var halfLoad = []string{"uncontended", "--rate", strconv.Itoa(halfRate), "--clients", "50", "--outstanding", "128"}

// millionLocks is row 9, and what row 10 says about the whole service.
func millionLocks() Scenario {
	hold := generator.Command(holdLoad(millionHeld, holders)...)
	half := generator.Command(append(slices.Clone(halfLoad), "--duration", "10s")...)
	return Scenario{Name: "million", About: "a million locks held by ten thousand sessions",
		Targets: []Target{
			{Row: 9, What: whatRSS, Text: "<= 500 MiB", Unit: "MiB", Most: 500, Command: hold},
			{Row: 9, What: whatHalf, Text: "<= 1.2", Unit: "x", Most: 1.2, Command: half},
			{Row: 9, What: whatSnapshot, Text: "<= 5 ms", Unit: "ms", Most: 5, Command: "metric " + snapshotStop},
			{Row: 9, What: whatNode, Text: "<= 5 s", Unit: "s", Most: 5, Command: "kill -9 of a follower, start, /readyz"},
			{Row: 9, What: whatCluster, Text: "<= 5 s", Unit: "s", Most: 5, Command: "kill -9 of all, start, /readyz of all"},
			{Row: 9, What: whatExpiry, Text: "<= 50 ms", Unit: "ms", Most: 50,
				Command: generator.Command("uncontended", "--rate", strconv.Itoa(calmRate), "--clients", "10", "--outstanding", "64")},
			{Row: 10, What: whatCPU, Text: "<= 1.2", Unit: "x", Most: 1.2, Command: half},
		},
		run: func(ctx context.Context, s *stage) error {
			c, g, stop, err := s.cluster(ctx)
			if err != nil {
				return err
			}
			defer stop()
			few, err := s.holding(ctx, c, g, fewHeld)
			if err != nil {
				return err
			}
			if _, err := few.load.Stop(ctx); err != nil {
				return err
			}
			many, err := s.holding(ctx, c, g, s.count(millionHeld))
			if err != nil {
				return err
			}
			s.got(whatHalf, many.p95/few.p95, "%s ms / %s ms; the longest %s ms / %s ms", results.Number(many.p95),
				results.Number(few.p95), results.Number(many.most), results.Number(few.most))
			s.got(whatCPU, many.cpu/few.cpu, "%s us / %s us; renewals of 10 K sessions are in both",
				results.Number(many.cpu), results.Number(few.cpu))
			// One part that cannot be measured does not take the others with it.
			return errors.Join(s.failed(s.memory(c), whatRSS), s.failed(s.snapshotPause(ctx, c, g), whatSnapshot),
				s.failed(s.restarts(ctx, c), whatNode, whatCluster), s.failed(s.expiry(ctx, c, g, many.load), whatExpiry))
		}}
}

// held is what half the rate costs while so many locks are held.
type held struct {
	load           *generator.Load // who holds them
	p95, most, cpu float64         // the first two in ms, the last in us an operation
}

func (s *stage) holding(ctx context.Context, c *cluster.Cluster, g *generator.Generator, locks int) (held, error) {
	h := held{}
	l, err := g.Start(append(holdLoad(locks, s.count(holders)), "--duration", "0s")...)
	if err != nil {
		return h, err
	}
	h.load = l
	filling, cancel := context.WithTimeoutCause(ctx, fillLimit, fmt.Errorf("%d locks are not held after %v", locks, fillLimit))
	defer cancel()
	event, err := l.WaitEvent(filling, "held")
	if err != nil {
		return h, err
	}
	if seconds, ok := event["fill_seconds"].(float64); ok && locks > fewHeld {
		s.figure("acquiring 1 M locks from 10 K sessions", seconds, "s")
	}
	if err := sleep(ctx, s.time(3*time.Second)); err != nil {
		return h, err
	}
	var p95, most, cpu []float64
	for range 3 {
		before, err := procCPU(c)
		if err != nil {
			return h, err
		}
		warmUp, d := s.time(time.Second), s.time(8*time.Second)
		r, err := s.load(ctx, g, warmUp, d, halfLoad...)
		if err != nil {
			return h, err
		}
		after, err := procCPU(c)
		if err != nil {
			return h, err
		}
		p95, most = append(p95, r.Acquire.P95/1000), append(most, max(r.Acquire.Max, r.Release.Max)/1000)
		cpu = append(cpu, (after-before).Seconds()*1e6/(r.OperationsPerSecond*(warmUp+d).Seconds()))
	}
	h.p95, h.most, h.cpu = results.Median(p95...), slices.Max(most), results.Median(cpu...)
	return h, nil
}

func (s *stage) memory(c *cluster.Cluster) error {
	var now, most []float64
	for _, p := range c.Processes() {
		rss, peak, err := p.Memory()
		if err != nil {
			return err
		}
		now, most = append(now, float64(rss>>20)), append(most, float64(peak>>20))
	}
	s.got(whatRSS, slices.Max(now), "the three nodes: %.0f MiB; the most ever: %.0f MiB", now, most)
	return nil
}

// snapshotPause makes load until a snapshot was taken, which depends on the bytes of the log.
func (s *stage) snapshotPause(ctx context.Context, c *cluster.Cluster, g *generator.Generator) error {
	const attempts = 4
	for range attempts {
		var all []float64
		for _, n := range c.Nodes {
			seconds, err := c.Metric(ctx, n, snapshotStop)
			if err != nil {
				return err
			}
			all = append(all, 1000*seconds)
		}
		if slices.Max(all) > 0 {
			s.got(whatSnapshot, slices.Max(all), "the three nodes: %.2f ms", all)
			return nil
		}
		if _, err := s.load(ctx, g, 0, s.time(8*time.Second), "uncontended", "--clients", "50", "--outstanding", "128"); err != nil {
			return err
		}
	}
	return errors.New("no node took a snapshot")
}

const restartLimit = time.Minute

// restarts kills a follower, and then all nodes.
func (s *stage) restarts(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*restartLimit, errors.New("the nodes do not come back"))
	defer cancel()
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if n == leader {
			continue
		}
		n.Process.Kill()
		began := time.Now()
		if err := errors.Join(c.Restart(n), c.WaitReady(ctx, n)); err != nil {
			return err
		}
		s.got(whatNode, time.Since(began).Seconds(), "")
		break
	}
	if err := c.WaitWhole(ctx); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		n.Process.Kill()
	}
	began := time.Now()
	for _, n := range c.Nodes {
		if err := c.Restart(n); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := c.WaitReady(ctx, n); err != nil {
			return err
		}
	}
	s.got(whatCluster, time.Since(began).Seconds(), "an election is in it")
	return c.WaitWhole(ctx)
}

// expiry lets all sessions end together: their clients die, and all deadlines are moved to about
// the same moment by a last renewal of each.
func (s *stage) expiry(ctx context.Context, c *cluster.Cluster, g *generator.Generator, holder *generator.Load) error {
	// Grants that were held through the restarts must still be there.
	holder.Process.Kill()
	sessions, err := s.sessionsOf(ctx, c)
	if err != nil {
		return err
	}
	if len(sessions) < s.count(holders) {
		return fmt.Errorf("%d of %d sessions live after the restarts", len(sessions), s.count(holders))
	}
	took, err := c.RenewTogether(ctx, sessions)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	fall := make(chan fall, 1)
	go func() { fall <- watchFall(watching, c, uint64(s.count(millionHeld))) }()
	d := holdTTL + 8*time.Second
	r, err := s.load(ctx, g, time.Second, d, "uncontended", "--rate", strconv.Itoa(calmRate),
		"--clients", "10", "--outstanding", "64")
	if err != nil {
		return err
	}
	cancel()
	f := <-fall
	if f.err != nil {
		return f.err
	}
	around, calm := 0.0, 0.0
	for _, second := range r.Series {
		at := time.UnixMilli(r.StartedUnixMS).Add(time.Duration(second.Second * float64(time.Second)))
		if at.After(f.began.Add(-time.Second)) && at.Before(f.ended.Add(2*time.Second)) {
			around = max(around, second.AcquireMaxUS)
		} else {
			calm = max(calm, second.AcquireMaxUS)
		}
	}
	s.got(whatExpiry, around/1000, "1 M locks gone within %s s (deadlines within %s s); the longest before and after: %s ms",
		results.Number(f.ended.Sub(f.began).Seconds()), results.Number(took.Seconds()), results.Number(calm/1000))
	return nil
}

// sessionsOf asks until the nodes have come to rest after their restart.
func (s *stage) sessionsOf(ctx context.Context, c *cluster.Cluster) ([]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, holdTTL/2)
	defer cancel()
	for {
		sessions, err := c.Sessions(ctx)
		if err == nil {
			return sessions, nil
		}
		if sleep(ctx, 200*time.Millisecond) != nil {
			return nil, err
		}
	}
}

// fall is the time in which the locks went.
type fall struct {
	began, ended time.Time
	err          error
}

// watchFall notes when the first percent of the locks has gone, and when all but one has.
func watchFall(ctx context.Context, c *cluster.Cluster, locks uint64) fall {
	f := fall{err: errors.New("the locks did not expire")}
	for {
		status, err := c.Status(ctx, c.Nodes[0])
		if err == nil {
			if f.began.IsZero() && status.GetGrants() < locks-locks/100 {
				f.began = time.Now()
			}
			if status.GetGrants() < locks/100 {
				f.ended, f.err = time.Now(), nil
				return f
			}
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return f
		}
	}
}
