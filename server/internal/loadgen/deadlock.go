package loadgen

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// DeadlockReport is of cycles of owners that wait for each other.
type DeadlockReport struct {
	Cycles    int64         `json:"cycles"`
	Victims   int64         `json:"victims"`
	PerSecond float64       `json:"cycles_per_second"`
	Resolve   *Latency      `json:"resolve"` // from the last wait's beginning until the victim was told
	ByLength  []CycleLength `json:"by_length"`
}

// CycleLength counts the cycles of one length.
type CycleLength struct {
	Length  int   `json:"length"`
	Cycles  int64 `json:"cycles"`
	Victims int64 `json:"victims"`
}

// storm is a load of deadlocks.
type storm struct {
	c      Config
	cs     *clients
	ns     *names
	bad    *violations
	window *window
	rec    *recorder
	ops    context.Context
	owned  []*name // by owner

	mu       sync.Mutex
	byLength map[int]*CycleLength
	resolve  *hdrhistogram.Histogram
}

// runDeadlock has groups of owners close cycles again and again. Each owner holds a name and waits
// for the next one's; exactly one of them must be told that it is the victim, and all others must be
// granted what they wait for.
func runDeadlock(ctx context.Context, c Config) (*Report, error) {
	cs, err := openClients(ctx, c)
	if err != nil {
		return nil, err
	}
	defer cs.close()
	c.tell(Ready{Event: "open", Sessions: c.Clients, OpenSeconds: round3(cs.took.Seconds())})
	bad := &violations{}
	w := &window{from: time.Now().Add(lead + c.WarmUp)}
	w.until = w.from.Add(c.Duration)
	ops, giveUp := context.WithTimeout(context.WithoutCancel(ctx), lead+c.WarmUp+c.Duration+drainMost)
	defer giveUp()
	s := &storm{c: c, cs: cs, ns: newNames(c, bad), bad: bad, window: w, rec: newRecorder(w, c.Clients), ops: ops,
		byLength: make(map[int]*CycleLength), resolve: newHistogram(digits)}

	for owner := range c.Owners {
		s.owned = append(s.owned, s.ns.lock(s.ns.own(owner, 0)))
	}
	var running sync.WaitGroup
	first := 0
	for _, length := range cycleLengths(c) {
		group := &ring{s: s, length: length, first: first}
		first += length
		running.Go(group.run)
	}
	l := &load{c: c, window: w, rec: s.rec}
	r := newReport(c)
	cpu := l.watchTime(ctx, r)
	running.Wait()
	r.Generator.measure(cpu)
	r.fill(s.rec.totals(), w)
	r.Deadlock = s.report(r.Seconds)
	s.ns.leftHeld(r, cs.observer)
	r.judged(bad)
	return r, nil
}

// cycleLengths splits the owners into cycles of all lengths in turn. What is left in the end and is
// too few for a cycle has no part.
func cycleLengths(c Config) []int {
	var lengths []int
	next := c.Shortest
	for left := c.Owners; left >= c.Shortest; left -= lengths[len(lengths)-1] {
		lengths = append(lengths, min(next, left))
		next++
		if next > c.Longest {
			next = c.Shortest
		}
	}
	return lengths
}

func (s *storm) report(seconds float64) *DeadlockReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &DeadlockReport{Resolve: latencyOf(s.resolve)}
	for _, length := range sortedKeys(s.byLength) {
		n := s.byLength[length]
		d.Cycles += n.Cycles
		d.Victims += n.Victims
		d.ByLength = append(d.ByLength, *n)
	}
	d.PerSecond = perSecond(d.Cycles, seconds)
	return d
}

// ring is a group of owners that form one cycle at a time.
type ring struct {
	s      *storm
	length int
	first  int // number of its first owner
}

// outcome is what came of one owner's part in a cycle.
type outcome struct {
	victim bool
	began  time.Time // of its second acquire
	told   time.Time
	err    error // other than having been the victim
}

func (g *ring) run() {
	for time.Now().Before(g.s.window.end()) {
		g.cycle()
	}
}

// cycle closes one cycle and looks what comes of it.
func (g *ring) cycle() {
	results := make([]outcome, g.length)
	var holding, done sync.WaitGroup
	holding.Add(g.length)
	for i := range g.length {
		done.Go(func() { results[i] = g.owner(i, &holding) })
	}
	done.Wait()
	victims := 0
	var last, told time.Time
	for _, o := range results {
		if o.err != nil {
			return // counted where it happened; this is no cycle then
		}
		if o.began.After(last) {
			last = o.began
		}
		if o.victim {
			victims++
			told = o.told
		}
	}
	if victims != 1 {
		g.s.bad.add("a cycle of %d owners had %d victims", g.length, victims)
	}
	g.s.count(g.length, victims, last, told)
}

func (s *storm) count(length, victims int, last, told time.Time) {
	if !s.window.has(told) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.byLength[length]
	if n == nil {
		n = &CycleLength{Length: length}
		s.byLength[length] = n
	}
	n.Cycles++
	n.Victims += int64(victims)
	put(s.resolve, told.Sub(last))
}

// owner acquires its own name, waits until all of the ring have theirs, and acquires the next one's.
func (g *ring) owner(i int, holding *sync.WaitGroup) (o outcome) {
	own, next := g.s.owned[g.first+i], g.s.owned[g.first+(i+1)%g.length]
	client := (g.first + i) % len(g.s.cs.all)
	h, _, err := g.acquire(g.s.ops, client, own)
	holding.Done()
	if err != nil {
		return outcome{err: err}
	}
	defer func() { o.err = errors.Join(o.err, g.release(client, own, h)) }()
	holding.Wait()

	ctx, cancel := h.Bind(g.s.ops)
	defer cancel()
	o.began = time.Now()
	second, told, err := g.acquire(ctx, client, next)
	o.told = told
	switch {
	case errors.Is(err, holdfast.ErrDeadlockVictim):
		o.victim = true
	case err != nil:
		o.err = err
	default:
		o.err = g.release(client, next, second)
	}
	return o
}

// acquire acquires a name and counts that. To be the victim is no failure here.
func (g *ring) acquire(ctx context.Context, client int, n *name) (*holdfast.Handle, time.Time, error) {
	began := time.Now()
	h, err := g.s.cs.all[client].Lock(n.text).Acquire(ctx)
	ended := time.Now()
	switch {
	case err == nil:
		n.granted(h)
		g.s.rec.of(client).done(acquire, client, began, ended)
	case !errors.Is(err, holdfast.ErrDeadlockVictim):
		g.s.rec.of(client).failed(err)
	}
	return h, ended, err
}

func (g *ring) release(client int, n *name, h *holdfast.Handle) error {
	began := time.Now()
	n.releasing(h)
	if err := h.Release(g.s.ops); err != nil {
		g.s.rec.of(client).failed(err)
		return err
	}
	g.s.rec.of(client).done(release, client, began, time.Now())
	return nil
}
