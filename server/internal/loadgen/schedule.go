package loadgen

import (
	"sync"
	"time"
)

// tick is how often the scheduler looks what is due. Latencies count from the intended start, so a
// tick shows as latency, not as an operation that was asked for later than planned.
const tick = 500 * time.Microsecond

// schedule is the plan of an open loop: arrivals at a fixed distance, spread over the clients in
// turn. It is fixed before the load begins and does not bend to what the service does.
type schedule struct {
	begin    time.Time
	distance float64 // between two arrivals of all clients, ns
	clients  int
	total    int64 // arrivals of all clients until the end
}

// newSchedule plans arrivals, each an acquire and a release, for so many operations per second.
func newSchedule(begin time.Time, rate float64, clients int, length time.Duration) schedule {
	s := schedule{begin: begin, distance: 2 * float64(time.Second) / rate, clients: clients}
	s.total = s.dueAt(begin.Add(length - 1))
	return s
}

// dueAt is how many arrivals of all clients are due at a time.
func (s schedule) dueAt(now time.Time) int64 {
	since := now.Sub(s.begin)
	if since < 0 {
		return 0
	}
	return int64(float64(since)/s.distance) + 1
}

// dueOf is how many of the first n arrivals are those of a client.
func (s schedule) dueOf(client int, n int64) int64 {
	return (n + int64(s.clients) - 1 - int64(client)) / int64(s.clients)
}

// intended is when the k-th arrival of a client is to begin.
func (s schedule) intended(client int, k int64) time.Time {
	i := k*int64(s.clients) + int64(client)
	return s.begin.Add(time.Duration(float64(i) * s.distance))
}

// arrivals are those of one client. What is late needs no memory: arrivals are numbers, and the
// plan knows the time of each.
type arrivals struct {
	client int
	plan   schedule

	mu      sync.Mutex
	wake    sync.Cond
	due     int64
	taken   int64
	idle    int
	workers int
	most    int64 // that were due and not taken, at any time
	closed  bool
}

func newArrivals(client int, plan schedule) *arrivals {
	a := &arrivals{client: client, plan: plan}
	a.wake.L = &a.mu
	return a
}

// offer notes how many of all arrivals are due. It wakes as many workers as there are new ones, and
// returns how many more workers it could use: there is more to do than workers are idle.
func (a *arrivals) offer(due int64, limit int) (more int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	due = a.plan.dueOf(a.client, due)
	fresh := due - a.due
	a.due = due
	late := a.due - a.taken
	a.most = max(a.most, late-fresh) // the fresh ones are not late yet
	for range min(fresh, int64(a.idle)) {
		a.wake.Signal()
	}
	more = min(int(late)-a.idle, limit-a.workers)
	if more <= 0 {
		return 0
	}
	a.workers += more
	return more
}

// next waits for an arrival and returns when it was to begin; ok is false when there are no more.
func (a *arrivals) next() (intended time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.taken == a.due && !a.closed {
		a.idle++
		a.wake.Wait()
		a.idle--
	}
	if a.taken == a.due {
		return time.Time{}, false
	}
	a.taken++
	return a.plan.intended(a.client, a.taken-1), true
}

// finish lets the workers go when all that is due was taken; with drop what was not taken is given
// up. It returns how many those are.
func (a *arrivals) finish(drop bool) (late int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	late = a.due - a.taken
	if drop {
		a.due = a.taken
	}
	a.closed = true
	a.wake.Broadcast()
	return late
}
