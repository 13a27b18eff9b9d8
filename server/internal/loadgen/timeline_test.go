package loadgen

import (
	"testing"
	"time"
)

func TestGapsOfTheServiceAndOfItsClients(t *testing.T) {
	begin := time.Now()
	line := newTimeline(begin, 2*time.Second, 2)
	at := func(client, ms int) { line.completed(client, begin.Add(time.Duration(ms)*time.Millisecond)) }
	for ms := 0; ms <= 500; ms += 10 {
		at(0, ms)
		at(1, ms)
	}
	at(0, 800) // after 300 ms the first client is served, after 400 the second
	for ms := 810; ms <= 1900; ms += 10 {
		at(0, ms)
		if ms >= 900 {
			at(1, ms)
		}
	}
	got := line.report(begin.Add(2 * time.Second))
	if len(got.Completed) != 201 || got.Completed[0] != 2 || got.Completed[60] != 0 {
		t.Errorf("%d buckets, %d in the first, %d in the gap", len(got.Completed), got.Completed[0], got.Completed[60])
	}
	if len(got.Gaps) != 2 || got.LongestGap != 300 {
		t.Fatalf("gaps %+v, longest %v, want that of 300 ms and the open one in the end", got.Gaps, got.LongestGap)
	}
	g := got.Gaps[0]
	if g.Start != 500 || g.Length != 300 || g.Resumed != 2 || g.ResumeP50 != 300 || g.ResumeMax != 400 {
		t.Errorf("gap %+v, want 300 ms from 500 on, and clients that resumed after 300 and 400 ms", g)
	}
	if c := got.ClientGaps; len(c) < 2 || c[0] != (ClientGap{0, 500, 300}) || c[1] != (ClientGap{1, 500, 400}) {
		t.Errorf("gaps of clients %+v, want those of 300 and 400 ms first", c)
	}
	if last := got.Gaps[1]; last.Start != 1900 || last.Length != 100 {
		t.Errorf("last gap %+v, want the 100 ms that nothing ended", last)
	}
}

func TestATimelineWithoutOperationsIsOneGap(t *testing.T) {
	begin := time.Now()
	got := newTimeline(begin, time.Second, 1).report(begin.Add(time.Second))
	if len(got.Gaps) != 1 || got.LongestGap != 1000 {
		t.Errorf("gaps %+v, want one of a second", got.Gaps)
	}
}
