package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// benchConfig is what `bench` is asked to do.
type benchConfig struct {
	clients     int
	outstanding int
	duration    time.Duration
	warmUp      time.Duration
	mode        string
	locks       int
	prefix      string
}

func newBenchCommand(a *app) *cobra.Command {
	b := benchConfig{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure acquires and releases",
		Long: `Measure acquires and releases through the Go SDK, as programs do them. Each client
has a session of its own and so many workers, each of which acquires a lock, releases
it, and begins again.

uncontended: every worker has a lock of its own.
contended:   all workers share --locks locks, and wait for each other.

Latencies are in a closed loop: a slow answer delays the next question, so they tell
what these workers saw, not what an open load would see.`,
		Example: `  holdfast bench --clients 10 --outstanding 100 --duration 10s
  holdfast bench --mode contended --locks 4 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return err
			}
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			return a.bench(ctx, b)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&b.clients, "clients", 4, "number of clients, each with a session and connections of its own")
	flags.IntVar(&b.outstanding, "outstanding", 16, "workers of each client")
	flags.DurationVar(&b.duration, "duration", 10*time.Second, "how long to measure")
	flags.DurationVar(&b.warmUp, "warm-up", time.Second, "how long to run before measuring")
	flags.StringVar(&b.mode, "mode", "uncontended", "uncontended or contended")
	flags.IntVar(&b.locks, "locks", 1, "number of locks that are shared, with --mode contended")
	flags.StringVar(&b.prefix, "prefix", "bench", "prefix of the lock names")
	return cmd
}

func (b benchConfig) check() error {
	const hint = "holdfast bench --help"
	switch {
	case b.mode != "uncontended" && b.mode != "contended":
		return usageError(hint, "mode %q is neither uncontended nor contended", b.mode)
	case b.clients < 1, b.outstanding < 1, b.locks < 1:
		return usageError(hint, "--clients, --outstanding and --locks are at least 1")
	case b.duration <= 0 || b.warmUp < 0:
		return usageError(hint, "--duration must be positive, and --warm-up not negative")
	}
	return nil
}

func (b benchConfig) lockName(client, worker int) string {
	if b.mode == "contended" {
		return fmt.Sprintf("%s/shared/%d", b.prefix, (client*b.outstanding+worker)%b.locks)
	}
	return fmt.Sprintf("%s/own/%d/%d", b.prefix, client, worker)
}

// benchWorker is what one worker saw while measuring.
type benchWorker struct {
	acquire, release *hdrhistogram.Histogram // microseconds
	failed           int
	firstError       error
}

// newHistogram holds 1 us to 10 min with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

func (a *app) bench(ctx context.Context, b benchConfig) error {
	var clients []*holdfast.Client
	defer func() {
		for _, c := range clients {
			closeSDK(c, closeLimit)
		}
	}()
	for range b.clients {
		c, err := a.connectSDK(ctx, holdfast.WithClientMetadata(processMetadata("bench")))
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	fmt.Fprintf(a.stderr, "%s: %d clients with %d workers each, for %s\n", b.mode, b.clients, b.outstanding, b.duration)

	start := time.Now().Add(b.warmUp)
	running, cancel := context.WithDeadline(ctx, start.Add(b.duration))
	defer cancel()
	workers := make([]*benchWorker, 0, b.clients*b.outstanding)
	var all sync.WaitGroup
	for i, c := range clients {
		for j := range b.outstanding {
			w := &benchWorker{acquire: newHistogram(), release: newHistogram()}
			workers = append(workers, w)
			all.Go(func() { w.run(running, c.Lock(b.lockName(i, j)), start) })
		}
	}
	all.Wait()
	r := newBenchReport(b, workers, time.Since(start))
	if err := r.print(a.stdout, a.format); err != nil {
		return err
	}
	if r.Acquire.Count == 0 && r.firstError != nil {
		return r.firstError
	}
	return nil
}

// run acquires and releases until the time is up. What ends after that is not counted.
func (w *benchWorker) run(ctx context.Context, lock *holdfast.Lock, start time.Time) {
	for ctx.Err() == nil {
		began := time.Now()
		h, err := lock.Acquire(ctx)
		got := time.Now()
		if err != nil {
			w.fail(ctx, err)
			continue
		}
		err = h.Release(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.fail(ctx, err)
			continue
		}
		if began.After(start) {
			_ = w.acquire.RecordValue(got.Sub(began).Microseconds()) // the range is wide enough
			_ = w.release.RecordValue(time.Since(got).Microseconds())
		}
	}
}

// fail counts a failure, and rests a little so that a service that is down is not hammered.
func (w *benchWorker) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.failed++
	if w.firstError == nil {
		w.firstError = err
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// benchReport is the result, and its JSON form.
type benchReport struct {
	Mode                string       `json:"mode"`
	Clients             int          `json:"clients"`
	Outstanding         int          `json:"outstanding"`
	Locks               int          `json:"locks"`
	Seconds             float64      `json:"seconds"`
	OperationsPerSecond float64      `json:"operations_per_second"` // acquires and releases
	Failed              int          `json:"failed"`
	Acquire             benchLatency `json:"acquire"`
	Release             benchLatency `json:"release"`

	firstError error
}

// benchLatency is a distribution, in microseconds.
type benchLatency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   int64   `json:"p50_us"`
	P90   int64   `json:"p90_us"`
	P99   int64   `json:"p99_us"`
	P999  int64   `json:"p999_us"`
	P9999 int64   `json:"p9999_us"`
	Max   int64   `json:"max_us"`
}

func newBenchReport(b benchConfig, workers []*benchWorker, took time.Duration) *benchReport {
	acquire, release := newHistogram(), newHistogram()
	r := &benchReport{Mode: b.mode, Clients: b.clients, Outstanding: b.outstanding, Locks: b.locks}
	if b.mode == "uncontended" {
		r.Locks = len(workers)
	}
	for _, w := range workers {
		acquire.Merge(w.acquire)
		release.Merge(w.release)
		r.Failed += w.failed
		if r.firstError == nil {
			r.firstError = w.firstError
		}
	}
	r.Seconds = min(took, b.duration).Seconds()
	r.Acquire, r.Release = newBenchLatency(acquire), newBenchLatency(release)
	r.OperationsPerSecond = float64(r.Acquire.Count+r.Release.Count) / r.Seconds
	return r
}

func newBenchLatency(h *hdrhistogram.Histogram) benchLatency {
	return benchLatency{
		Count: h.TotalCount(), Mean: h.Mean(), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), P9999: h.ValueAtQuantile(99.99), Max: h.Max(),
	}
}

func (r *benchReport) print(w io.Writer, format outputFormat) error {
	if format == outputJSON {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", line)
		return err
	}
	fmt.Fprintf(w, "%.0f operations/s (%d acquires and %d releases in %.1f s)", r.OperationsPerSecond,
		r.Acquire.Count, r.Release.Count, r.Seconds)
	if r.Failed > 0 {
		fmt.Fprintf(w, ", %d failed: %v", r.Failed, r.firstError)
	}
	fmt.Fprintln(w)
	t := newTable(w, "OPERATION", "MEAN", "P50", "P90", "P99", "P99.9", "P99.99", "MAX")
	for _, l := range []struct {
		name string
		benchLatency
	}{{"acquire", r.Acquire}, {"release", r.Release}} {
		t.row(l.name, micros(int64(l.Mean)), micros(l.P50), micros(l.P90), micros(l.P99), micros(l.P999), micros(l.P9999), micros(l.Max))
	}
	return t.flush()
}

func micros(us int64) string { return roundDuration(time.Duration(us) * time.Microsecond) }
