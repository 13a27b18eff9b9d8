package loadgen

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// kind is what an operation is.
type kind int

const (
	acquire kind = iota
	release
	kinds
)

const (
	shardsMost   = 4                // a histogram is 170 KB: they must not push the rest out of the cache
	latencyMost  = 10 * time.Minute // longer ones count as this
	digits       = 3
	digitsSeries = 2
)

func newHistogram(digits int) *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMost.Microseconds(), digits)
}

// put counts one duration.
func put(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(max(0, min(d, latencyMost)).Microseconds()) // always within its range
}

// window is the time that is measured: warm-up and what comes after are not. An interrupt moves its
// end to an earlier time.
type window struct {
	from  time.Time
	until time.Time
	early atomic.Pointer[time.Time]
}

func (w *window) end() time.Time {
	if early := w.early.Load(); early != nil {
		return *early
	}
	return w.until
}

func (w *window) cut(now time.Time) {
	if now.Before(w.until) {
		w.early.CompareAndSwap(nil, &now)
	}
}

func (w *window) has(t time.Time) bool { return !t.Before(w.from) && t.Before(w.end()) }

// recorder counts what happened, in shards so that workers seldom wait for each other.
type recorder struct {
	window *window
	shards []*shard
	line   *timeline // nil if none is wanted
}

// shard is what some of the clients count together.
type shard struct {
	r *recorder

	mu        sync.Mutex
	latency   [kinds]*hdrhistogram.Histogram // of those that were to begin in the window
	delay     *hdrhistogram.Histogram        // open loop: how much later than intended they began
	completed [kinds]int64                   // within the window
	granted   int64                          // always, warm-up and the end included
	released  int64
	lost      int64
	errors    map[string]int64
	first     error
	second    second
}

// second is what happened since the series was written last.
type second struct {
	completed [kinds]int64
	errors    int64
	acquire   *hdrhistogram.Histogram
}

func newRecorder(w *window, clients int) *recorder {
	r := &recorder{window: w}
	for range min(clients, shardsMost) {
		s := &shard{r: r, delay: newHistogram(digits), errors: make(map[string]int64)}
		s.second.acquire = newHistogram(digitsSeries)
		for k := range s.latency {
			s.latency[k] = newHistogram(digits)
		}
		r.shards = append(r.shards, s)
	}
	return r
}

// of is the shard of a client.
func (r *recorder) of(client int) *shard { return r.shards[client%len(r.shards)] }

// done counts an operation that succeeded. It was to begin at one time and ended at another.
func (s *shard) done(k kind, client int, intended, ended time.Time) {
	took := ended.Sub(intended)
	within := s.r.window.has(ended)
	s.mu.Lock()
	if k == acquire {
		s.granted++
	} else {
		s.released++
	}
	if s.r.window.has(intended) {
		put(s.latency[k], took)
	}
	if within {
		s.completed[k]++
		s.second.completed[k]++
		if k == acquire {
			put(s.second.acquire, took)
		}
	}
	s.mu.Unlock()
	if s.r.line != nil && within {
		s.r.line.completed(client, ended)
	}
}

// began counts how late an arrival of an open loop began.
func (s *shard) began(intended, began time.Time) {
	if !s.r.window.has(intended) {
		return
	}
	s.mu.Lock()
	put(s.delay, began.Sub(intended))
	s.mu.Unlock()
}

// failed counts an operation that did not succeed, under its reason.
func (s *shard) failed(err error) {
	reason := reasonOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors[reason]++
	s.second.errors++
	if s.first == nil {
		s.first = err
	}
}

// gone counts a lock that was lost before it was given back.
func (s *shard) gone() {
	s.mu.Lock()
	s.lost++
	s.mu.Unlock()
}

// reasonOf is the name under which an error is counted.
func reasonOf(err error) string {
	var e *holdfast.Error
	var lost *holdfast.LostError
	var named interface{ ReasonName() string }
	switch {
	case errors.As(err, &lost):
		return "LOST_" + string(lost.Reason)
	case errors.As(err, &e):
		return string(e.Reason)
	case errors.As(err, &named):
		return named.ReasonName()
	}
	return "OTHER"
}

// totals are the shards taken together.
type totals struct {
	latency           [kinds]*hdrhistogram.Histogram
	delay             *hdrhistogram.Histogram
	completed         [kinds]int64
	granted, released int64
	lost              int64
	errors            map[string]int64
	first             error
}

func (r *recorder) totals() totals {
	t := totals{delay: newHistogram(digits), errors: make(map[string]int64)}
	for k := range t.latency {
		t.latency[k] = newHistogram(digits)
	}
	for _, s := range r.shards {
		s.mu.Lock()
		t.delay.Merge(s.delay)
		for k := range s.latency {
			t.latency[k].Merge(s.latency[k])
			t.completed[k] += s.completed[k]
		}
		t.granted += s.granted
		t.released += s.released
		t.lost += s.lost
		for reason, n := range s.errors {
			t.errors[reason] += n
		}
		if t.first == nil {
			t.first = s.first
		}
		s.mu.Unlock()
	}
	return t
}

// cut takes what happened since it was called last.
func (r *recorder) cut() second {
	sum := second{acquire: newHistogram(digitsSeries)}
	for _, s := range r.shards {
		s.mu.Lock()
		for k, n := range s.second.completed {
			sum.completed[k] += n
		}
		sum.errors += s.second.errors
		sum.acquire.Merge(s.second.acquire)
		s.second.acquire.Reset()
		s.second = second{acquire: s.second.acquire}
		s.mu.Unlock()
	}
	return sum
}

// Latency is a distribution in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_us"`
	Min   int64   `json:"min_us"`
	P50   int64   `json:"p50_us"`
	P90   int64   `json:"p90_us"`
	P95   int64   `json:"p95_us"`
	P99   int64   `json:"p99_us"`
	P999  int64   `json:"p999_us"`
	P9999 int64   `json:"p9999_us"`
	Max   int64   `json:"max_us"`
}

func latencyOf(h *hdrhistogram.Histogram) *Latency {
	l := &Latency{Count: h.TotalCount(), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P95: h.ValueAtQuantile(95),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), P9999: h.ValueAtQuantile(99.99), Max: h.Max()}
	if l.Count > 0 {
		l.Mean, l.Min = round1(h.Mean()), h.Min()
	}
	return l
}
