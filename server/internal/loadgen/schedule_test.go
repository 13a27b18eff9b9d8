package loadgen

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestArrivalsAreSpreadEvenlyAndInTurn(t *testing.T) {
	begin := time.Now()
	s := newSchedule(begin, 2000, 4, time.Second) // 1,000 pairs a second
	if s.total != 1000 {
		t.Errorf("%d arrivals in a second, want 1000", s.total)
	}
	if before := s.dueAt(begin.Add(-time.Second)); before != 0 {
		t.Errorf("%d arrivals before the beginning", before)
	}
	for n := range int64(20) {
		due, sum := s.dueAt(begin.Add(time.Duration(n)*time.Millisecond)), int64(0)
		if due != n+1 {
			t.Errorf("after %d ms %d are due, want %d", n, due, n+1)
		}
		for client := range 4 {
			sum += s.dueOf(client, n)
		}
		if sum != n {
			t.Errorf("of %d arrivals the clients have %d", n, sum)
		}
	}
	if at := s.intended(3, 2).Sub(begin); at != 11*time.Millisecond {
		t.Errorf("the third arrival of the fourth client is at %v, want 11 ms", at)
	}
}

func TestLateArrivalsKeepTheirIntendedTimes(t *testing.T) {
	begin := time.Now()
	a := newArrivals(0, newSchedule(begin, 2000, 1, time.Minute))
	if more := a.offer(5000, 3); more != 3 {
		t.Errorf("%d workers are wanted, want as many as are allowed", more)
	}
	for i := range 5000 {
		intended, ok := a.next()
		if want := begin.Add(time.Duration(i) * time.Millisecond); !ok || !intended.Equal(want) {
			t.Fatalf("arrival %d is at %v, %v, want %v", i, intended, ok, want)
		}
	}
	a.offer(5010, 3)
	a.offer(5020, 3)
	if a.most != 10 {
		t.Errorf("%d were late at most, want the 10 that nobody took before the next came", a.most)
	}
	if late := a.finish(true); late != 20 {
		t.Errorf("%d were given up, want 20", late)
	}
	if _, ok := a.next(); ok {
		t.Error("an arrival that was given up is served")
	}
}

func TestWorkersWaitForArrivalsAndGoInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals(0, newSchedule(time.Now(), 2000, 1, time.Minute))
		var served, running sync.WaitGroup
		served.Add(6)
		for range 3 {
			running.Go(func() {
				for {
					if _, ok := a.next(); !ok {
						return
					}
					served.Done()
				}
			})
		}
		synctest.Wait()
		if more := a.offer(3, 3); more != 0 {
			t.Errorf("%d more workers are wanted although three are idle", more)
		}
		synctest.Wait()
		a.offer(6, 3)
		served.Wait()
		a.finish(false)
		running.Wait()
	})
}
