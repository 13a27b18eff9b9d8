package loadgen

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// HoldReport is of many locks that are held.
type HoldReport struct {
	FillSeconds float64 `json:"fill_seconds"`
	PerSecond   float64 `json:"acquires_per_second"` // while they were acquired
	HeldSeconds float64 `json:"held_seconds"`        // all of them
	AtEnd       string  `json:"at_end"`
	EndSeconds  float64 `json:"end_seconds"` // until all were given back
	Lost        int64   `json:"lost"`
}

// runHold acquires many locks, keeps them for a while, and gives them back or leaves them behind.
func runHold(ctx context.Context, c Config) (*Report, error) {
	cs, err := openClients(ctx, c)
	if err != nil {
		return nil, err
	}
	bad := &violations{}
	ns := newNames(c, bad)
	began := time.Now()
	w := &window{from: began, until: began.Add(24 * time.Hour)}
	f := &filling{c: c, cs: cs, ns: ns, rec: newRecorder(w, c.Clients), handles: make([][]*holdfast.Handle, c.Clients)}
	started := cpuTime()
	err = f.fill(ctx)
	took := time.Since(began)
	if err != nil && ctx.Err() == nil {
		cs.close()
		return nil, err
	}
	h := &HoldReport{FillSeconds: round3(took.Seconds()), AtEnd: c.AtEnd, PerSecond: perSecond(f.count.Load(), took.Seconds())}
	if ctx.Err() == nil {
		c.tell(Ready{Event: "held", Sessions: c.Clients, OpenSeconds: round3(cs.took.Seconds()),
			Locks: int(f.count.Load()), FillSeconds: h.FillSeconds})
	}
	filled := time.Now()
	holding := c.Duration
	if holding == 0 {
		holding = 365 * 24 * time.Hour
	}
	held := sleepUntil(ctx, filled.Add(holding))
	h.HeldSeconds = round3(time.Since(filled).Seconds())

	for _, own := range f.handles {
		for _, handle := range own {
			if handle.Check() != nil {
				h.Lost++
			}
		}
	}
	r := newReport(c)
	r.Depth, r.Hold = c.Depth, h
	if c.AtEnd == EndRelease {
		ending := time.Now()
		f.release()
		h.EndSeconds = round3(time.Since(ending).Seconds())
	}
	w.cut(time.Now())
	r.Generator.measure(cpuTime() - started)
	r.fill(f.rec.totals(), w)
	r.PerSecond, r.Interrupted = h.PerSecond, !held && c.Duration > 0
	r.Checks.Lost = h.Lost
	if c.AtEnd == EndRelease {
		ns.leftHeld(r, cs.observer)
		cs.close()
	}
	r.judged(bad)
	return r, nil
}

// filling acquires the locks, client by client.
type filling struct {
	c       Config
	cs      *clients
	ns      *names
	rec     *recorder
	handles [][]*holdfast.Handle // by client
	count   atomic.Int64
}

// share is how many of all locks a client holds.
func (f *filling) share(client int) int {
	return (f.c.Locks + f.c.Clients - 1 - client) / f.c.Clients
}

func (f *filling) fill(ctx context.Context) error {
	return each(ctx, f.c.Clients, func(ctx context.Context, client int) error {
		own := make([]*holdfast.Handle, f.share(client))
		f.handles[client] = own
		return several(len(own), f.c.Outstanding, func(i int) error {
			n := f.ns.lock(f.ns.own(client, i))
			began := time.Now()
			h, err := f.cs.all[client].Lock(n.text).Acquire(ctx)
			if err != nil {
				f.rec.of(client).failed(err)
				return err
			}
			f.rec.of(client).done(acquire, client, began, time.Now())
			n.granted(h)
			own[i] = h
			f.count.Add(1)
			return nil
		})
	})
}

// release gives back what is held. Errors are counted, and what they leave ends with its session.
func (f *filling) release() {
	_ = each(context.Background(), f.c.Clients, func(ctx context.Context, client int) error {
		own := f.handles[client]
		return several(len(own), f.c.Outstanding, func(i int) error {
			if own[i] == nil {
				return nil
			}
			began := time.Now()
			if err := own[i].Release(ctx); err != nil {
				f.rec.of(client).failed(err)
				return nil
			}
			f.rec.of(client).done(release, client, began, time.Now())
			return nil
		})
	})
}

// several does something for 0 to n-1 with so many at the same time, and returns the first error.
func several(n, width int, do func(int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	var once sync.Once
	var first error
	for range min(n, width) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	all.Wait()
	return first
}
