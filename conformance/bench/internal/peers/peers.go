// Package peers does the same lock work with several systems, in turns on the same machine.
package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/load"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/scenario"
)

const (
	rounds     = 3
	sharedMost = 16 // connections or sessions that callers share
	startLimit = time.Minute
	drain      = 20 * time.Second // for what is under way when the time is up
	slot       = 4 * time.Second
)

// How many callers each system is tried with.
var (
	pairCallers    = []int{1, 64, 256, 1024, 6400}
	handOffCallers = []int{2, 16, 64}
)

// lock acquires what a caller wants, and returns how to release it. Its context ends with the run.
type lock func(ctx context.Context, caller int) (unlock func(ctx context.Context) error, err error)

// system is one that has locks.
type system interface {
	// about names it and says what is safe when it acknowledges a lock.
	about() results.Peer
	// start starts its servers and waits until they serve.
	start(ctx context.Context, s *servers) error
	// connect prepares so many callers; all of them want the one lock, or each its own. Names begin
	// with the prefix.
	connect(ctx context.Context, callers int, one bool, prefix string) (lock, func(), error)
}

// servers is where a system starts its processes.
type servers struct {
	Config
	dir   string
	group *proc.Group
}

// Config of a run.
type Config struct {
	Root   string // of the repository
	Binary string // bin/holdfast
	Dir    string // for data
	Scale  float64
	Only   []string
	Run    *results.Run
	Say    func(format string, args ...any)
}

// all systems, in the order of a round.
func all() map[string]system {
	return map[string]system{
		"holdfast": &holdfast{}, "etcd": &etcd{}, "zookeeper": &zookeeper{},
		"redis": &redis{}, "redis-always": &redis{fsync: true},
	}
}

var order = []string{"holdfast", "etcd", "zookeeper", "redis", "redis-always"}

// contestant is a system with what it has done so far.
type contestant struct {
	results.Peer
	system   system
	pairs    map[int][]load.Result // by callers
	handOffs map[int][]load.Result
	out      bool // it cannot be measured, or what it did was wrong
}

// leave takes a system out, with all it has done.
func (c *contestant) leave(err error) {
	c.out, c.Why = true, err.Error()
	clear(c.pairs)
	clear(c.handOffs)
}

// rounds are fewer when things are only tried out.
func (c Config) rounds() int {
	if c.Scale < 1 {
		return 1
	}
	return rounds
}

var errDouble = errors.New("two callers held one lock")

// Measure measures all systems and judges the targets that speak of them.
func Measure(ctx context.Context, config Config) error {
	group := &proc.Group{}
	defer group.Stop(10 * time.Second)
	contestants, err := startAll(ctx, config, group)
	if err != nil {
		return err
	}
	for round := range config.rounds() {
		for _, c := range contestants {
			if c.out {
				continue
			}
			config.Say("== round %d of %d: %s", round+1, config.rounds(), c.Name)
			if err := c.round(ctx, config, round); err != nil {
				c.leave(err)
				config.Say("   failed: %v", err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	for _, c := range contestants {
		c.Pairs, c.HandOffs = summary(pairCallers, c.pairs), summary(handOffCallers, c.handOffs)
		config.Run.Peers = append(config.Run.Peers, c.Peer)
	}
	judge(config)
	return nil
}

// startAll starts the servers of all systems; one that cannot be started is out.
func startAll(ctx context.Context, config Config, group *proc.Group) ([]*contestant, error) {
	var contestants []*contestant
	systems := all()
	for _, name := range config.Only {
		if systems[name] == nil {
			return nil, fmt.Errorf("no system is called %s (there are %v)", name, order)
		}
	}
	for _, name := range order {
		if config.Only != nil && !slices.Contains(config.Only, name) {
			continue
		}
		began := time.Now()
		c := &contestant{system: systems[name], pairs: map[int][]load.Result{}, handOffs: map[int][]load.Result{}}
		s := &servers{Config: config, dir: filepath.Join(config.Dir, name), group: group}
		starting, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("its servers do not come up"))
		err := errors.Join(os.MkdirAll(s.dir, 0o700), c.system.start(starting, s))
		cancel()
		c.Peer = c.system.about()
		part := results.Part{Name: "start " + name, Seconds: time.Since(began).Seconds()}
		if err != nil {
			c.leave(err)
			part.Error = err.Error()
			config.Say("%s cannot be started: %v", name, err)
		}
		config.Run.Parts = append(config.Run.Parts, part)
		contestants = append(contestants, c)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return contestants, nil
}

// round measures each number of callers once.
func (c *contestant) round(ctx context.Context, config Config, round int) error {
	began := time.Now()
	for _, what := range []struct {
		name    string
		callers []int
		one     bool
		to      map[int][]load.Result
	}{{"pairs", pairCallers, false, c.pairs}, {"hand-offs", handOffCallers, true, c.handOffs}} {
		for _, n := range what.callers {
			r, err := c.measure(ctx, config, n, what.one, fmt.Sprintf("bench-%s-%d-%d", what.name, round, n))
			if errors.Is(err, errDouble) || ctx.Err() != nil {
				return err
			}
			if err != nil { // the other numbers can still be measured
				config.Say("   %-9s %5d callers: failed: %v", what.name, n, err)
				c.Why = strings.TrimSpace(fmt.Sprintf("%s %d callers, %s: %v;", c.Why, n, what.name, err))
				continue
			}
			what.to[n] = append(what.to[n], r)
			config.Say("   %-9s %5d callers: %9s/s, P50 %s ms, P99 %s ms", what.name, n, results.Number(r.PerSecond),
				results.Number(r.P50.Seconds()*1000), results.Number(r.P99.Seconds()*1000))
			if r.Failed > 0 {
				config.Say("   %d failed, the first: %v", r.Failed, r.Err)
			}
		}
	}
	config.Run.Parts = append(config.Run.Parts,
		results.Part{Name: fmt.Sprintf("%s, round %d", c.Name, round+1), Seconds: time.Since(began).Seconds()})
	return nil
}

// measure has so many callers acquire and release for a time, and sees that no two hold one lock.
func (c *contestant) measure(ctx context.Context, config Config, callers int, one bool, prefix string) (load.Result, error) {
	// Callers connect while it warms up.
	warmUp := max(time.Duration(float64(1500*time.Millisecond)*config.Scale), 500*time.Millisecond) +
		time.Duration(callers)*300*time.Microsecond
	d := max(time.Duration(float64(slot)*config.Scale), time.Second)
	whole, cancel := context.WithTimeoutCause(ctx, startLimit+warmUp+d+drain, errors.New("it takes too long"))
	defer cancel()
	acquire, closeAll, err := c.system.connect(whole, callers, one, prefix)
	if err != nil {
		return load.Result{}, err
	}
	defer closeAll()
	holders := make([]atomic.Int32, callers)
	var doubles atomic.Int64
	r := load.Run(whole, callers, warmUp, d, func(ctx context.Context, caller int) (time.Duration, error) {
		began := time.Now()
		unlock, err := acquire(ctx, caller)
		if err != nil {
			return 0, err
		}
		took := time.Since(began)
		holder := &holders[caller]
		if one {
			holder = &holders[0]
		}
		if holder.Add(1) != 1 {
			doubles.Add(1)
		}
		holder.Add(-1)
		return took, unlock(whole)
	})
	if n := doubles.Load(); n > 0 {
		return r, fmt.Errorf("%w, %d times", errDouble, n)
	}
	if r.Rounds == 0 {
		return r, errors.Join(errors.New("nothing was acquired"), r.Err)
	}
	return r, nil
}

// summary takes the median of the rounds.
func summary(callers []int, all map[int][]load.Result) []results.PeerResult {
	var sums []results.PeerResult
	for _, n := range callers {
		var rates, p50, p99 []float64
		sum := results.PeerResult{Callers: n, Rounds: len(all[n])}
		for _, r := range all[n] {
			rates = append(rates, r.PerSecond)
			p50, p99 = append(p50, r.P50.Seconds()*1000), append(p99, r.P99.Seconds()*1000)
			sum.Failed += int(r.Failed)
		}
		if len(rates) == 0 {
			continue
		}
		sum.PerSecond, sum.Spread = results.Median(rates...), results.Spread(rates...)
		sum.P50, sum.P99 = results.Median(p50...), results.Median(p99...)
		sums = append(sums, sum)
	}
	return sums
}

// judge compares the others with Holdfast: row 3, and what row 4 says of etcd.
func judge(config Config) {
	const command = "make bench-peers"
	var ours results.Peer
	peers := map[string]results.Peer{}
	for _, p := range config.Run.Peers {
		peers[p.Name] = p
		if p.Name == results.Holdfast {
			ours = p
		}
	}
	for _, t := range []struct {
		name  string
		least float64
	}{{etcdName, 20}, {zookeeperName, 20}, {redisName, 1}} {
		target := scenario.Target{Row: 3, What: "pairs per second / " + t.name, Text: fmt.Sprintf(">= %g", t.least),
			Unit: "x", Least: t.least, Command: command}
		mine, theirs := results.Best(ours.Pairs), results.Best(peers[t.name].Pairs)
		if mine.PerSecond == 0 || theirs.PerSecond == 0 {
			config.Run.Add(target.Unmeasured("not all of both were measured: " + ours.Why + peers[t.name].Why))
			continue
		}
		config.Run.Add(target.Check(mine.PerSecond/theirs.PerSecond, fmt.Sprintf("%s/s (%d callers) / %s/s (%d callers)",
			results.Number(mine.PerSecond), mine.Callers, results.Number(theirs.PerSecond), theirs.Callers)))
	}
	target := scenario.Target{Row: 4, What: "acquire P50 / that of etcd, one caller", Text: "< 1", Unit: "x", Most: 1, Command: command}
	mine, theirs := alone(ours), alone(peers[etcdName])
	if mine == 0 || theirs == 0 {
		config.Run.Add(target.Unmeasured("not all of both were measured: " + ours.Why + peers[etcdName].Why))
		return
	}
	config.Run.Add(target.Check(mine/theirs, fmt.Sprintf("%s ms / %s ms", results.Number(mine), results.Number(theirs))))
}

// alone is the P50 of a single caller, in ms.
func alone(p results.Peer) float64 {
	for _, r := range p.Pairs {
		if r.Callers == 1 {
			return r.P50
		}
	}
	return 0
}

// shared is how many connections or sessions callers share.
func shared(callers int) int { return min(callers, sharedMost) }

// lockName is what a caller wants.
func lockName(prefix string, caller int, one bool) string {
	if one {
		return prefix + "/hot"
	}
	return fmt.Sprintf("%s/own-%d", prefix, caller)
}
