package loadgen

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// names makes those of a run: no other run has them, so that what we know of a name is all there is
// to know.
type names struct {
	root  string
	depth int
	bad   *violations
	wait  time.Duration // for what is still under way at the end
}

func newNames(c Config, bad *violations) *names {
	return &names{root: c.Prefix + "-" + strings.ToLower(rand.Text()[:8]), depth: c.Depth, bad: bad,
		wait: catchUp}
}

func (n *names) lock(text string) *name { return &name{text: text, bad: n.bad} }

// own is the name of a worker, with as many levels as the run's depth. From three levels on those of
// a client have a parent of their own.
func (n *names) own(client, number int) string {
	switch n.depth {
	case 1:
		return fmt.Sprintf("%s-%d-%d", n.root, client, number)
	case 2:
		return fmt.Sprintf("%s/%d-%d", n.root, client, number)
	}
	return fmt.Sprintf("%s/%d%s/%d", n.root, client, strings.Repeat("/in", n.depth-3), number)
}

// shared is one of the names that all queue for.
func (n *names) shared(i int) string { return fmt.Sprintf("%s/hot-%d", n.root, i) }

// sdkAcquire acquires through the SDK.
func sdkAcquire(lock *holdfast.Lock) func(context.Context) (held, error) {
	return func(ctx context.Context) (held, error) {
		h, err := lock.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		return h, nil
	}
}

// runSteady is every scenario in which workers acquire and release through the SDK until the time is
// up.
func runSteady(ctx context.Context, c Config) (*Report, error) {
	cs, err := openClients(ctx, c)
	if err != nil {
		return nil, err
	}
	defer cs.close()
	c.tell(Ready{Event: "open", Sessions: c.Clients, OpenSeconds: round3(cs.took.Seconds())})
	bad := &violations{}
	ns := newNames(c, bad)
	if c.Scenario == Hot || c.Scenario == ManyHot {
		return runHot(ctx, c, cs, ns)
	}
	r := measureOwn(ctx, c, cs, ns)
	if c.Scenario == Sessions {
		r.Sessions = cs.report(ctx, false)
	}
	return r, nil
}

// measureOwn is a steady load in which every worker has a name of its own.
func measureOwn(ctx context.Context, c Config, cs *clients, ns *names) *Report {
	l := newLoad(ctx, c, ns.bad, func(client, number int) *worker {
		n := ns.lock(ns.own(client, number))
		return &worker{client: client, name: n, acquire: sdkAcquire(cs.all[client].Lock(n.text))}
	})
	if c.Scenario == Failover {
		l.rec.line = newTimeline(l.window.from, c.Duration, c.Clients)
	}
	r := l.run(ctx)
	r.Depth = c.Depth
	ns.leftHeld(r, cs.observer)
	r.judged(ns.bad)
	return r
}

// runHot is a steady load in which the workers queue for names.
func runHot(ctx context.Context, c Config, cs *clients, ns *names) (*Report, error) {
	shared := make([]*name, c.Locks)
	for i := range shared {
		shared[i] = ns.lock(ns.shared(i))
	}
	watched := shared[:min(c.Watch, c.Locks)]
	w, err := watch(ctx, cs.observer, watched, ns.bad)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	l := newLoad(ctx, c, ns.bad, func(client, number int) *worker {
		n := shared[(client*c.Outstanding+number)%c.Locks]
		return &worker{client: client, name: n, acquire: sdkAcquire(cs.all[client].Lock(n.text))}
	})
	r := l.run(ctx)
	r.Hot = &HotReport{Handoffs: l.rec.totals().completed[acquire]}
	r.Hot.PerSecond = perSecond(r.Hot.Handoffs, r.Seconds)
	var holders int64
	for _, n := range watched {
		holders += n.grants
	}
	settled := w.settle(holders)
	r.Checks.FIFONames = len(watched)
	r.Checks.FIFOGrants, r.Checks.FIFOGaps = w.told()
	switch {
	case settled:
	case r.clean():
		ns.bad.add("the events told of %d grants, and there were %d holders", r.Checks.FIFOGrants, holders)
	default: // a service that fails may not tell in time
		r.Checks.FIFOGaps++
	}
	ns.leftHeld(r, cs.observer)
	r.judged(ns.bad)
	return r, nil
}

// leftHeld looks whether anything is still held or waited for when all was given back. After
// failures that may be so for a while: what they did not give back ends with the sessions. A service
// that cannot be asked is one more failure, and no reason to report nothing.
func (n *names) leftHeld(r *Report, observer *holdfast.Client) {
	if n.depth == 1 {
		return // these names have no common prefix; the holder table has seen to them
	}
	for deadline := time.Now().Add(n.wait); ; time.Sleep(20 * time.Millisecond) {
		left, err := n.countHeld(observer)
		if err != nil {
			r.failed(fmt.Errorf("what is left held could not be read: %w", err))
			return
		}
		r.Checks.LeftHeld = left
		if left == 0 || time.Now().After(deadline) {
			break
		}
	}
	if r.Checks.LeftHeld > 0 && r.clean() {
		n.bad.add("%d names below %s are held or waited for, although all was given back", r.Checks.LeftHeld, n.root)
	}
}

// countHeld counts the names of the run that are held or waited for.
func (n *names) countHeld(observer *holdfast.Client) (held int64, err error) {
	for lock, err := range observer.ListLocks(context.Background(), n.root, holdfast.PageSize(1000)) {
		if err != nil {
			return 0, err
		}
		held += min(1, int64(lock.HoldersTotal+lock.WaitersTotal))
	}
	return held, nil
}

// tell tells that all is ready.
func (c Config) tell(r Ready) {
	if c.Ready != nil {
		c.Ready(r)
	}
}

func perSecond(n int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return round1(float64(n) / seconds)
}
