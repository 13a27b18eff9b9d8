package loadgen

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

func testWindow() *window {
	from := time.Now()
	return &window{from: from, until: from.Add(10 * time.Second)}
}

func TestShardsTakenTogetherAreOneHistogram(t *testing.T) {
	w := testWindow()
	r := newRecorder(w, 50)
	random := rand.New(rand.NewPCG(1, 2))
	var all []int64
	for i := range 20_000 {
		us := random.Int64N(5000) + 1
		all = append(all, us)
		r.of(i%50).done(acquire, i%50, w.from, w.from.Add(time.Duration(us)*time.Microsecond))
	}
	slices.Sort(all)
	l := latencyOf(r.totals().latency[acquire])
	if l.Count != 20_000 || l.Min != all[0] {
		t.Errorf("count %d, min %d, want 20000 and %d", l.Count, l.Min, all[0])
	}
	for _, q := range []struct {
		got  int64
		want int64
	}{{l.P50, all[9_999]}, {l.P95, all[18_999]}, {l.P999, all[19_979]}, {l.Max, all[19_999]}} {
		if off := float64(q.got-q.want) / float64(q.want); off < -0.001 || off > 0.001 {
			t.Errorf("percentile is %d us, want %d within 0.1 %%", q.got, q.want)
		}
	}
}

func TestOnlyTheWindowCounts(t *testing.T) {
	w := testWindow()
	r := newRecorder(w, 1)
	at := func(ms int) time.Time { return w.from.Add(time.Duration(ms) * time.Millisecond) }
	s := r.of(0)
	s.done(acquire, 0, at(-20), at(-10))     // warm-up
	s.done(acquire, 0, at(-5), at(5))        // completed within, begun before
	s.done(acquire, 0, at(10), at(20))       // within
	s.done(acquire, 0, at(9990), at(10_400)) // begun within: its latency must not be left out
	s.done(acquire, 0, at(10_001), at(10_002))
	got := r.totals()
	if n := got.completed[acquire]; n != 2 {
		t.Errorf("%d completed within the window, want 2", n)
	}
	if l := latencyOf(got.latency[acquire]); l.Count != 2 || l.Max < 400_000 {
		t.Errorf("latencies %+v, want the 10 ms and the 410 ms", l)
	}
	if got.granted != 5 {
		t.Errorf("%d grants, want all 5: checks leave nothing out", got.granted)
	}
	if second := r.cut().report(1); second.Acquires != 2 {
		t.Errorf("the series has %d acquires, want 2", second.Acquires)
	}
	if second := r.cut().report(2); second.Acquires != 0 || second.AcquireMax != 0 {
		t.Errorf("the next second begins with %+v", second)
	}
}

func TestAnInterruptEndsTheWindow(t *testing.T) {
	w := testWindow()
	w.cut(w.from.Add(time.Second))
	w.cut(w.from.Add(2 * time.Second))
	if !w.has(w.from) || w.has(w.from.Add(1500*time.Millisecond)) {
		t.Error("the window does not end with the first interrupt")
	}
}

func TestErrorsAreCountedByReason(t *testing.T) {
	r := newRecorder(testWindow(), 1)
	first := &holdfast.Error{Reason: holdfast.ReasonQueueFull}
	for _, err := range []error{first, first, &holdfast.LostError{Reason: holdfast.LostExpired},
		unaryError{errors.New("?")}, errors.New("?")} {
		r.of(0).failed(err)
	}
	got := r.totals()
	want := map[string]int64{"QUEUE_FULL": 2, "LOST_expired": 1, "OTHER": 2}
	if !reflect.DeepEqual(got.errors, want) || !errors.Is(got.first, first) {
		t.Errorf("errors %v, first %v, want %v", got.errors, got.first, want)
	}
}

func TestLatenciesOutOfRangeCountAsTheLongest(t *testing.T) {
	h := newHistogram(digits)
	put(h, time.Hour)
	put(h, -time.Second)
	if h.TotalCount() != 2 || h.Max() < latencyMost.Microseconds() {
		t.Errorf("count %d, max %d us", h.TotalCount(), h.Max())
	}
}
