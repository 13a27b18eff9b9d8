package loadgen

import (
	"cmp"
	"maps"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what came of a run, and its JSON form. Fields are added, never changed.
type Report struct {
	Scenario    Scenario `json:"scenario"`
	Loop        string   `json:"loop"`            // open or closed
	Started     int64    `json:"started_unix_ms"` // of the measured window
	WarmUp      float64  `json:"warm_up_seconds"`
	Seconds     float64  `json:"seconds"`
	Interrupted bool     `json:"interrupted"`
	Clients     int      `json:"clients"`
	Outstanding int      `json:"outstanding"`
	Connections int      `json:"connections"` // sets that the clients shared; 0: each had its own
	Locks       int      `json:"locks,omitempty"`
	Depth       int      `json:"depth,omitempty"`

	Asked      float64 `json:"asked_operations_per_second,omitempty"`
	PerSecond  float64 `json:"operations_per_second"` // completed within the window: acquires and releases
	Operations int64   `json:"operations"`

	// Latencies are of the operations that began, or in an open loop were to begin, in the window.
	Acquire    *Latency `json:"acquire,omitempty"`
	Release    *Latency `json:"release,omitempty"`
	StartDelay *Latency `json:"start_delay,omitempty"` // open loop: how much later than intended they began

	Backlog      int64    `json:"backlog_most,omitempty"` // arrivals that were late at the same time
	NotStarted   int64    `json:"not_started,omitempty"`  // arrivals that were given up in the end
	Unfinished   int64    `json:"unfinished,omitempty"`   // operations that were given up in the end
	Saturated    bool     `json:"saturated"`
	SaturatedWhy []string `json:"saturated_why,omitempty"`

	Errors     map[string]int64 `json:"errors"`
	FirstError string           `json:"first_error,omitempty"`
	Checks     Checks           `json:"checks"`
	Generator  Generator        `json:"generator"`
	Series     []Second         `json:"series,omitempty"`

	Hot      *HotReport      `json:"hot,omitempty"`
	Unary    *UnaryReport    `json:"unary,omitempty"`
	Sessions *SessionsReport `json:"sessions,omitempty"`
	Hold     *HoldReport     `json:"hold,omitempty"`
	Deadlock *DeadlockReport `json:"deadlock,omitempty"`
	Levels   []Level         `json:"levels,omitempty"`
	Failover *Timeline       `json:"failover,omitempty"`

	firstError error
}

// Checks tells what was checked. Counts are of the whole run, warm-up and end included.
type Checks struct {
	Grants     int64    `json:"grants"`
	Releases   int64    `json:"releases"`
	Lost       int64    `json:"lost"`      // locks that ended before they were given back
	LeftHeld   int64    `json:"left_held"` // names still held or waited for when all was given back
	FIFONames  int      `json:"fifo_names"`
	FIFOGrants int64    `json:"fifo_grants"` // grants whose order was checked
	FIFOGaps   int      `json:"fifo_gaps"`   // times at which events were missed, so that order was not known
	Violations int64    `json:"violations"`
	Examples   []string `json:"violation_examples,omitempty"`
}

// Generator is what the load itself cost, within the window.
type Generator struct {
	CPUSeconds      float64 `json:"cpu_seconds"`
	CPUPerOperation float64 `json:"cpu_us_per_operation"`
	HeapBytes       uint64  `json:"heap_bytes"`
	GOMAXPROCS      int     `json:"gomaxprocs"`
}

// Second is one second of the measured window.
type Second struct {
	Second     int   `json:"second"` // 1 is the first
	Acquires   int64 `json:"acquires"`
	Releases   int64 `json:"releases"`
	Errors     int64 `json:"errors"`
	AcquireP50 int64 `json:"acquire_p50_us"`
	AcquireP99 int64 `json:"acquire_p99_us"`
	AcquireMax int64 `json:"acquire_max_us"`
}

// HotReport is of locks that were queued for.
type HotReport struct {
	Handoffs  int64   `json:"handoffs"`
	PerSecond float64 `json:"handoffs_per_second"`
}

// FirstError is the first error of an operation, or nil.
func (r *Report) FirstErr() error { return r.firstError }

// newReport is what is known before the run.
func newReport(c Config) *Report {
	r := &Report{Scenario: c.Scenario, Loop: "closed", WarmUp: c.WarmUp.Seconds(), Clients: c.Clients,
		Outstanding: c.Outstanding, Connections: c.Connections, Locks: c.Locks, Errors: map[string]int64{}}
	if c.Rate > 0 {
		r.Loop, r.Asked = "open", c.Rate
	}
	return r
}

// fill takes the counts of a run.
func (r *Report) fill(t totals, w *window) {
	r.Started = w.from.UnixMilli()
	r.Seconds = max(0, round3(w.end().Sub(w.from).Seconds()))
	r.Interrupted = w.early.Load() != nil
	r.Operations = t.completed[acquire] + t.completed[release]
	r.PerSecond = perSecond(r.Operations, r.Seconds)
	r.Acquire, r.Release = latencyOf(t.latency[acquire]), latencyOf(t.latency[release])
	if r.Asked > 0 {
		r.StartDelay = latencyOf(t.delay)
	}
	r.Errors = t.errors
	if t.first != nil {
		r.firstError, r.FirstError = t.first, t.first.Error()
	}
	r.Checks.Grants, r.Checks.Releases, r.Checks.Lost = t.granted, t.released, t.lost
	if r.Operations > 0 {
		r.Generator.CPUPerOperation = round3(1e6 * r.Generator.CPUSeconds / float64(r.Operations))
	}
}

// failed counts a failure that came after the load.
func (r *Report) failed(err error) {
	r.Errors[reasonOf(err)]++
	if r.firstError == nil {
		r.firstError, r.FirstError = err, err.Error()
	}
}

// clean says whether every operation came to its end.
func (r *Report) clean() bool { return len(r.Errors) == 0 && r.Unfinished == 0 }

// judged takes what the checks found.
func (r *Report) judged(v *violations) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.Checks.Violations, r.Checks.Examples = v.count, v.examples
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (g *Generator) measure(cpu time.Duration) {
	g.CPUSeconds, g.GOMAXPROCS = round3(cpu.Seconds()), runtime.GOMAXPROCS(0)
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	g.HeapBytes = sample[0].Value.Uint64()
}

func (s second) report(number int) Second {
	return Second{Second: number, Acquires: s.completed[acquire], Releases: s.completed[release], Errors: s.errors,
		AcquireP50: s.acquire.ValueAtQuantile(50), AcquireP99: s.acquire.ValueAtQuantile(99), AcquireMax: s.acquire.Max()}
}

func round1(f float64) float64 { return math.Round(f*10) / 10 }
func round3(f float64) float64 { return math.Round(f*1000) / 1000 }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
