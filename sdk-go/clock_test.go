package holdfast

import (
	"testing"
	"time"
)

func TestSystemClockRuns(t *testing.T) {
	a := systemClock.Now()
	b := systemClock.Now()
	if a <= 0 || b < a {
		t.Fatal(a, b)
	}
}

// HF-11.2: where no clock runs during suspend, a wall clock that ran more than 1 s ahead of the
// monotonic one means lost.
func TestLeapClock(t *testing.T) {
	mono, wall := time.Hour, time.Unix(1_000_000, 0)
	c := newLeapClock(func() time.Duration { return mono }, func() time.Time { return wall })
	run := func(m, w time.Duration) time.Duration {
		before := c.Now()
		mono += m
		wall = wall.Add(w)
		return c.Now() - before
	}
	for _, s := range []struct {
		m, w, want time.Duration
		what       string
	}{
		{time.Minute, time.Minute, time.Minute, "both run"},
		{time.Minute, time.Minute + 900*time.Millisecond, time.Minute, "the wall clock runs ahead a little"},
		{0, 200 * time.Millisecond, suspendLeap, "and a little more"},
		{time.Minute, time.Minute, time.Minute, "both run again"},
		{time.Second, -time.Hour, time.Second, "the wall clock is set back"},
		{time.Second, time.Second + 500*time.Millisecond, time.Second, "which is forgotten"},
		{time.Second, 8 * time.Hour, suspendLeap + time.Second, "the machine slept"},
	} {
		if got := run(s.m, s.w); got != s.want {
			t.Errorf("%s: %v, want %v", s.what, got, s.want)
		}
	}
}
