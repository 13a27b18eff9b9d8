package loadgen

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bucketWidth = 10 * time.Millisecond
	gapLeast    = 50 * time.Millisecond
	gapsMost    = 100_000 // of single clients that are kept
)

// timeline notes when operations completed, and the gaps in which none did: as a whole, and for each
// client. It is for kills: what a client sees of one is its gap.
type timeline struct {
	begin   time.Time
	buckets []atomic.Uint32
	last    atomic.Int64 // when an operation of any client completed last, ns since begin
	clients []atomic.Int64

	mu      sync.Mutex
	gaps    []gap // of the service as a whole
	perHead []gap // of clients
	dropped int   // of those
}

// gap is a time without a completed operation, in ns since the beginning.
type gap struct {
	from, to int64
	client   int
}

func newTimeline(begin time.Time, length time.Duration, clients int) *timeline {
	return &timeline{begin: begin, buckets: make([]atomic.Uint32, length/bucketWidth+1),
		clients: make([]atomic.Int64, clients)}
}

// completed notes an operation of a client.
func (t *timeline) completed(client int, at time.Time) {
	now := at.Sub(t.begin).Nanoseconds()
	if i := now / bucketWidth.Nanoseconds(); i >= 0 && int(i) < len(t.buckets) {
		t.buckets[i].Add(1)
	}
	t.noted(&t.last, now, &t.gaps, 0)
	t.noted(&t.clients[client], now, &t.perHead, client)
}

// noted moves the time of the last completion on. Workers that overtake each other here have done
// so by less than a gap.
func (t *timeline) noted(last *atomic.Int64, now int64, gaps *[]gap, client int) {
	before := last.Load()
	if now <= before || !last.CompareAndSwap(before, now) {
		return // another has moved it on, to about the same time
	}
	if now-before < gapLeast.Nanoseconds() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(*gaps) < gapsMost {
		*gaps = append(*gaps, gap{before, now, client})
	} else {
		t.dropped++
	}
}

// Timeline is what was completed when. Times are ms since the beginning of the measured window.
type Timeline struct {
	BucketMs  int      `json:"bucket_ms"`
	Completed []uint32 `json:"completed_per_bucket"`
	Gaps      []Gap    `json:"gaps"`
	// ClientGaps are those of single clients, whether or not others were served meanwhile.
	ClientGaps []ClientGap `json:"client_gaps"`
	LongestGap float64     `json:"longest_gap_ms"`
	Dropped    int         `json:"client_gaps_dropped"` // of clients, beyond the 100,000 that are kept
}

// ClientGap is a time in which no operation of one client completed.
type ClientGap struct {
	Client int     `json:"client"`
	Start  float64 `json:"start_ms"`
	Length float64 `json:"length_ms"`
}

// Gap is a time in which no operation of any client completed, and how long the clients were without
// one: of each the longest gap of its own that overlaps this one.
type Gap struct {
	Start     float64 `json:"start_ms"`
	Length    float64 `json:"length_ms"`
	Resumed   int     `json:"clients_resumed"`
	ResumeP50 float64 `json:"resume_p50_ms"`
	ResumeP99 float64 `json:"resume_p99_ms"`
	ResumeMax float64 `json:"resume_max_ms"`

	Resume []float64 `json:"resume_ms"` // of each of these clients, the shortest first
}

// report closes the timeline at the end of the window: a gap that is still open then counts.
func (t *timeline) report(end time.Time) *Timeline {
	until := end.Sub(t.begin).Nanoseconds()
	t.noted(&t.last, until, &t.gaps, 0)
	for i := range t.clients {
		t.noted(&t.clients[i], until, &t.perHead, i)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := &Timeline{BucketMs: int(bucketWidth.Milliseconds()), Gaps: []Gap{}, ClientGaps: []ClientGap{}, Dropped: t.dropped}
	for i := range min(int64(len(t.buckets)), until/bucketWidth.Nanoseconds()+1) {
		out.Completed = append(out.Completed, t.buckets[i].Load())
	}
	for _, own := range t.perHead {
		out.ClientGaps = append(out.ClientGaps, ClientGap{own.client, millis(own.from), millis(own.to - own.from)})
	}
	slices.SortFunc(t.gaps, func(a, b gap) int { return int(a.from - b.from) })
	for _, g := range t.gaps {
		shown := t.shown(g)
		out.LongestGap = max(out.LongestGap, shown.Length)
		out.Gaps = append(out.Gaps, shown)
	}
	return out
}

// shown is a gap of the service with those of its clients that overlap it, of each the longest.
func (t *timeline) shown(g gap) Gap {
	out := Gap{Start: millis(g.from), Length: millis(g.to - g.from)}
	longest := make(map[int]int64)
	for _, own := range t.perHead {
		if own.from < g.to && g.from < own.to {
			longest[own.client] = max(longest[own.client], own.to-own.from)
		}
	}
	for _, ns := range slices.Sorted(maps.Values(longest)) {
		out.Resume = append(out.Resume, millis(ns))
	}
	if n := len(out.Resume); n > 0 {
		out.Resumed = n
		out.ResumeP50, out.ResumeP99, out.ResumeMax = out.Resume[(n-1)/2], out.Resume[(n-1)*99/100], out.Resume[n-1]
	}
	return out
}

// millis is ns in ms, to the microsecond.
func millis(ns int64) float64 { return float64(ns/1000) / 1000 }
