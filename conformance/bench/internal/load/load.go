// Package load is a closed loop of workers: each does something, and begins again.
package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Step is one round of a worker. It returns the time that counts, of all that it took.
type Step func(ctx context.Context, worker int) (time.Duration, error)

// Result of a run.
type Result struct {
	Rounds    int64
	PerSecond float64
	P50, P99  time.Duration
	Max       time.Duration
	Failed    int64
	Err       error // the first failure
}

// shards keep workers from waiting for each other's histogram.
const shards = 16

type shard struct {
	sync.Mutex
	h *hdrhistogram.Histogram // microseconds
}

// failPause keeps a service that is down from being hammered.
const failPause = 10 * time.Millisecond

// Run runs so many workers for a warm-up and then for the time that is measured.
func Run(ctx context.Context, workers int, warmUp, duration time.Duration, step Step) Result {
	var all [shards]shard
	for i := range all {
		all[i].h = hdrhistogram.New(1, 120_000_000, 3)
	}
	var failed atomic.Int64
	var first atomic.Pointer[error]
	start := time.Now().Add(warmUp)
	ctx, cancel := context.WithDeadline(ctx, start.Add(duration))
	defer cancel()
	var running sync.WaitGroup
	for w := range workers {
		s := &all[w%shards]
		running.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				took, err := step(ctx, w)
				switch {
				case ctx.Err() != nil: // what ends after the time is not counted
				case err != nil:
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
					pause(ctx)
				case began.After(start):
					s.record(took)
				}
			}
		})
	}
	running.Wait()
	sum := all[0].h
	for i := range all[1:] {
		sum.Merge(all[i+1].h)
	}
	us := func(v int64) time.Duration { return time.Duration(v) * time.Microsecond }
	r := Result{Rounds: sum.TotalCount(), P50: us(sum.ValueAtQuantile(50)), P99: us(sum.ValueAtQuantile(99)),
		Max: us(sum.Max()), Failed: failed.Load()}
	r.PerSecond = float64(r.Rounds) / duration.Seconds()
	if err := first.Load(); err != nil {
		r.Err = *err
	}
	return r
}

func (s *shard) record(took time.Duration) {
	s.Lock()
	defer s.Unlock()
	_ = s.h.RecordValue(took.Microseconds()) // the range is wide enough
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(failPause):
	}
}
