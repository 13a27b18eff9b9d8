package loadgen

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lead      = 20 * time.Millisecond // from the plan to the first arrival
	drainMost = 30 * time.Second      // for operations that are under way in the end
	drainLate = 2 * time.Second       // for arrivals that nobody has begun to serve by then
	rest      = 10 * time.Millisecond // after a failure, so that a service that is down is not hammered

	lateMost  = 5 * time.Millisecond // a generator that begins later than this does not measure the service
	shareMost = 0.99                 // of the rate that was asked for
)

// worker does one pair of operations after the other.
type worker struct {
	client  int
	name    *name
	acquire func(context.Context) (held, error)
}

// load is a steady load: workers that acquire and release until the time is up.
type load struct {
	c      Config
	window *window
	rec    *recorder
	bad    *violations
	worker func(client, number int) *worker // makes one

	ops        context.Context // of the operations; it ends when those under way are given up
	giveUp     context.CancelFunc
	running    sync.WaitGroup
	arrivals   []*arrivals // open loop, by client
	unfinished atomic.Int64
}

func newLoad(ctx context.Context, c Config, bad *violations, worker func(client, number int) *worker) *load {
	begin := time.Now().Add(lead)
	w := &window{from: begin.Add(c.WarmUp)}
	w.until = w.from.Add(c.Duration)
	l := &load{c: c, window: w, rec: newRecorder(w, c.Clients), bad: bad, worker: worker}
	l.ops, l.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// run makes the load and returns the report, without what only the scenario knows.
func (l *load) run(ctx context.Context) *Report {
	defer l.giveUp()
	r := newReport(l.c)
	begin := l.window.from.Add(-l.c.WarmUp)
	stop := make(chan struct{})
	var scheduler sync.WaitGroup
	if l.c.Rate > 0 {
		plan := newSchedule(begin, l.c.Rate, l.c.Clients, l.c.WarmUp+l.c.Duration)
		for i := range l.c.Clients {
			l.arrivals = append(l.arrivals, newArrivals(i, plan))
		}
		scheduler.Go(func() { l.arrive(plan, stop) })
	} else {
		scheduler.Go(func() { l.ramp(begin, stop) })
	}
	cpu := l.watchTime(ctx, r)
	close(stop)
	scheduler.Wait()
	l.drain(r)
	r.Generator.measure(cpu)
	r.fill(l.rec.totals(), l.window)
	if l.rec.line != nil {
		r.Failover = l.rec.line.report(l.window.end())
	}
	r.Unfinished = l.unfinished.Load()
	if l.c.Rate > 0 {
		r.judgeRate()
	}
	return r
}

// ramp starts the workers of a closed loop one after the other, over half of the warm-up: ten thousand
// that begin at once are a load of its own, which goes through the service as a wave.
func (l *load) ramp(begin time.Time, stop <-chan struct{}) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	all := l.c.Clients * l.c.Outstanding
	for started := 0; started < all; {
		select {
		case <-stop:
			return
		case <-ticks.C:
		}
		due := all
		if since, whole := time.Since(begin), l.c.WarmUp/2; since < whole {
			due = int(float64(all) * max(0, since.Seconds()) / whole.Seconds())
		}
		for ; started < due; started++ {
			client, number := started%l.c.Clients, started/l.c.Clients
			l.running.Go(func() { l.loop(l.worker(client, number)) })
		}
	}
}

// loop is a worker of a closed loop.
func (l *load) loop(w *worker) {
	for {
		now := time.Now()
		if !now.Before(l.window.end()) {
			return
		}
		l.pair(w, now)
	}
}

// serve is a worker of an open loop.
func (l *load) serve(w *worker, a *arrivals) {
	for {
		intended, ok := a.next()
		if !ok {
			return
		}
		l.rec.of(w.client).began(intended, time.Now())
		l.pair(w, intended)
	}
}

// pair acquires and releases once. The acquire counts from when it was to begin, the release from
// the grant.
func (l *load) pair(w *worker, intended time.Time) {
	s := l.rec.of(w.client)
	h, err := w.acquire(l.ops)
	if err != nil {
		l.failed(s, err)
		return
	}
	got := time.Now()
	w.name.granted(h)
	s.done(acquire, w.client, intended, got)
	if err := h.Check(); err != nil {
		s.gone()
		s.failed(err)
	}
	w.name.releasing(h)
	if err := h.Release(l.ops); err != nil {
		l.failed(s, err)
		return
	}
	s.done(release, w.client, got, time.Now())
}

// failed counts a failure and rests a little; what was given up in the end is no failure.
func (l *load) failed(s *shard, err error) {
	if l.ops.Err() != nil {
		l.unfinished.Add(1)
		return
	}
	s.failed(err)
	select {
	case <-l.ops.Done():
	case <-time.After(rest):
	}
}

// arrive hands out arrivals as they fall due, to workers that wait for them or to new ones, until it
// is told to stop.
func (l *load) arrive(plan schedule, stop <-chan struct{}) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	number := make([]int, l.c.Clients) // of the next worker of each client
	for offered := int64(0); ; {
		select {
		case <-stop:
			return
		case <-ticks.C:
		}
		due := min(plan.dueAt(time.Now()), plan.total)
		for i := max(offered, due-int64(l.c.Clients)); i < due; i++ {
			client := int(i % int64(l.c.Clients))
			a := l.arrivals[client]
			for range a.offer(due, l.c.Outstanding) {
				w := l.worker(client, number[client])
				number[client]++
				l.running.Go(func() { l.serve(w, a) })
			}
		}
		offered = due
	}
}

// watchTime waits until the window has passed or ctx ends, writes the series, and returns the
// processor time of the window.
func (l *load) watchTime(ctx context.Context, r *Report) (cpu time.Duration) {
	if !sleepUntil(ctx, l.window.from) {
		l.window.cut(time.Now())
		return 0
	}
	before := cpuTime()
	for number := 1; ; number++ {
		next := l.window.from.Add(time.Duration(number) * time.Second)
		last := !next.Before(l.window.until)
		if last {
			next = l.window.until
		}
		if !sleepUntil(ctx, next) {
			l.window.cut(time.Now())
			last = true
		}
		s := l.rec.cut().report(number)
		r.Series = append(r.Series, s)
		if l.c.Progress != nil {
			l.c.Progress(s)
		}
		if last {
			return cpuTime() - before
		}
	}
}

// drain lets what is under way end, and gives up what takes too long.
func (l *load) drain(r *Report) {
	for _, a := range l.arrivals {
		a.finish(false)
	}
	ended := make(chan struct{})
	go func() {
		l.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(drainLate):
		for _, a := range l.arrivals {
			r.NotStarted += a.finish(true)
		}
	}
	select {
	case <-ended:
	case <-time.After(drainMost):
		l.giveUp()
		<-ended
	}
	for _, a := range l.arrivals {
		r.Backlog += a.most
	}
}

// judgeRate says whether the load was the one that was asked for.
func (r *Report) judgeRate() {
	if r.PerSecond < shareMost*r.Asked {
		r.SaturatedWhy = append(r.SaturatedWhy, fmt.Sprintf("%.0f of %.0f operations/s were completed", r.PerSecond, r.Asked))
	}
	if r.NotStarted > 0 {
		r.SaturatedWhy = append(r.SaturatedWhy, fmt.Sprintf("%d arrivals were never served, and are in no percentile", r.NotStarted))
	}
	if p99 := time.Duration(r.StartDelay.P99) * time.Microsecond; p99 > lateMost {
		r.SaturatedWhy = append(r.SaturatedWhy,
			fmt.Sprintf("1 %% of the operations began more than %v late: the generator, or its workers, had no room", p99))
	}
	r.Saturated = len(r.SaturatedWhy) > 0
}

// sleepUntil waits for a time; false means that ctx ended first.
func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
