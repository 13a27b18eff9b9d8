package loadgen

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// fakeService grants at once, takes a while for it, and stands still now and then.
type fakeService struct {
	takes time.Duration
	token atomic.Int64

	mu    sync.Mutex
	stall time.Time // nothing is answered before
}

func (s *fakeService) answer() {
	s.mu.Lock()
	until := time.Now().Add(s.takes)
	if until.Before(s.stall) {
		until = s.stall
	}
	s.mu.Unlock()
	time.Sleep(time.Until(until))
}

// fakeLock is one that the fake service granted.
type fakeLock struct {
	lockStub
	s *fakeService
}

func (l *fakeLock) Release(context.Context) error {
	l.s.answer()
	return nil
}

func (s *fakeService) worker(bad *violations) func(client, number int) *worker {
	return func(client, _ int) *worker {
		return &worker{client: client, name: &name{bad: bad}, acquire: func(context.Context) (held, error) {
			s.answer()
			return &fakeLock{lockStub{token: s.token.Add(1)}, s}, nil
		}}
	}
}

// runFake makes a load for the fake service, in virtual time.
func runFake(t *testing.T, c Config, s *fakeService, prepare func(*load)) *Report {
	t.Helper()
	bad := &violations{}
	l := newLoad(t.Context(), c, bad, s.worker(bad))
	if prepare != nil {
		prepare(l)
	}
	r := l.run(t.Context())
	r.judged(bad)
	if r.Checks.Violations != 0 || r.Checks.Grants != r.Checks.Releases {
		t.Errorf("checks %+v", r.Checks)
	}
	return r
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Clients: 3, Outstanding: 2, Duration: 10 * time.Second, WarmUp: time.Second}
		r := runFake(t, c, &fakeService{takes: 5 * time.Millisecond}, nil)
		if r.PerSecond < 1190 || r.PerSecond > 1200 { // 6 workers, 5 ms an operation
			t.Errorf("%v operations/s, want 1200", r.PerSecond)
		}
		if r.Acquire.Min != 5000 || r.Release.Max > 5005 {
			t.Errorf("acquire %+v, release %+v, want 5 ms each", r.Acquire, r.Release)
		}
		if len(r.Series) != 10 || r.Series[3].Acquires < 590 || r.Loop != "closed" || r.Saturated {
			t.Errorf("report %+v", r)
		}
	})
}

// A service that stands still for a second delays all that was to begin meanwhile. In a closed loop
// only those under way see it; in an open one each of them counts.
func TestAnOpenLoopDoesNotLookAway(t *testing.T) {
	stalled := func(t *testing.T, rate float64) *Report {
		s := &fakeService{takes: time.Millisecond}
		c := Config{Clients: 2, Outstanding: OpenOutstanding, Rate: rate, Duration: 10 * time.Second}
		if rate == 0 {
			c.Outstanding = 1
		}
		return runFake(t, c, s, func(l *load) {
			time.AfterFunc(time.Until(l.window.from.Add(4*time.Second)), func() {
				s.mu.Lock()
				s.stall = time.Now().Add(time.Second)
				s.mu.Unlock()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		closed, open := stalled(t, 0), stalled(t, 2000)
		if p99 := closed.Acquire.P99; p99 > 2000 {
			t.Errorf("closed: p99 is %d us; this test takes it that a closed loop looks away", p99)
		}
		if p99, p90 := open.Acquire.P99, open.Acquire.P90; p99 < 880_000 || p90 < 1000 || p90 > 100_000 {
			t.Errorf("open: p90 %d us, p99 %d us, want a tenth of the arrivals to have waited up to a second", p90, p99)
		}
		if open.Acquire.Count != 10_000 || open.PerSecond < 1998 || open.Saturated {
			t.Errorf("open: %d acquires, %v operations/s, saturated: %v", open.Acquire.Count, open.PerSecond, open.SaturatedWhy)
		}
	})
}

func TestARateThatCannotBeKeptIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 4 workers with 10 ms an operation can do 400.
		c := Config{Clients: 2, Outstanding: 2, Rate: 4000, Duration: 10 * time.Second}
		r := runFake(t, c, &fakeService{takes: 10 * time.Millisecond}, nil)
		if r.PerSecond < 390 || r.PerSecond > 410 || !r.Saturated {
			t.Errorf("%v operations/s, saturated: %v", r.PerSecond, r.Saturated)
		}
		whole := strings.Join(r.SaturatedWhy, "; ")
		for _, part := range []string{"of 4000 operations/s were completed", "arrivals were never served", "began more than"} {
			if !strings.Contains(whole, part) {
				t.Errorf("saturated because %q, want %q in it", whole, part)
			}
		}
		// 2,000 arrivals a second, 200 of them served, for 2 s more in the end.
		if left := r.NotStarted; left < 17_500 || left > 17_700 {
			t.Errorf("%d arrivals were given up, want about 17600", left)
		}
		if r.Backlog < 17_900 || r.Acquire.P50 < 5_000_000 {
			t.Errorf("%d were late at once, p50 %d us", r.Backlog, r.Acquire.P50)
		}
	})
}

func TestAnInterruptEndsALoadWithAReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		s, bad := &fakeService{takes: time.Millisecond}, &violations{}
		c := Config{Clients: 1, Outstanding: 1, Duration: time.Hour, WarmUp: time.Second}
		r := newLoad(ctx, c, bad, s.worker(bad)).run(ctx)
		if !r.Interrupted || r.Seconds < 2.4 || r.Seconds > 2.5 || len(r.Series) != 3 || r.Acquire.Count < 1200 {
			t.Errorf("report %+v", r)
		}
		early, stop := context.WithCancel(t.Context())
		stop()
		if r := newLoad(early, c, bad, s.worker(bad)).run(early); !r.Interrupted || r.Seconds != 0 || r.Operations != 0 {
			t.Errorf("report of an interrupted warm-up %+v", r)
		}
	})
}

func TestWhatHangsInTheEndIsGivenUpAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &violations{}
		c := Config{Clients: 1, Outstanding: 3, Duration: time.Second}
		r := newLoad(t.Context(), c, bad, func(int, int) *worker {
			return &worker{name: &name{bad: bad}, acquire: func(ctx context.Context) (held, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		}).run(t.Context())
		if r.Unfinished != 3 || len(r.Errors) != 0 || r.Operations != 0 {
			t.Errorf("%d unfinished, errors %v", r.Unfinished, r.Errors)
		}
	})
}

func TestFailuresAreCountedAndDoNotHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &violations{}
		down := &holdfast.Error{Reason: holdfast.ReasonUnavailable, Message: "down"}
		c := Config{Clients: 1, Outstanding: 1, Duration: time.Second}
		r := newLoad(t.Context(), c, bad, func(int, int) *worker {
			return &worker{name: &name{bad: bad}, acquire: func(context.Context) (held, error) { return nil, down }}
		}).run(t.Context())
		if n := r.Errors["UNAVAILABLE"]; n < 100 || n > 110 || r.FirstErr() == nil {
			t.Errorf("%d failures in a second with 10 ms of rest", n)
		}
	})
}

// BenchmarkGenerator is what an operation costs the generator itself: the service answers at once.
func BenchmarkGenerator(b *testing.B) {
	for _, c := range []struct {
		name string
		rate float64
	}{{"closed", 0}, {"open", 200_000}} {
		b.Run(c.name, func(b *testing.B) {
			bad := &violations{}
			config := Config{Clients: 50, Outstanding: 8, Rate: c.rate, Duration: 2 * time.Second}
			for b.Loop() {
				var token atomic.Int64
				r := newLoad(b.Context(), config, bad, func(client, _ int) *worker {
					lock := &lockStub{}
					return &worker{client: client, name: &name{bad: bad}, acquire: func(context.Context) (held, error) {
						lock.token = token.Add(1)
						return lock, nil
					}}
				}).run(b.Context())
				b.ReportMetric(r.Generator.CPUPerOperation*1000, "cpu-ns/operation")
				b.ReportMetric(r.PerSecond, "operations/s")
				if r.StartDelay != nil {
					b.ReportMetric(float64(r.StartDelay.P99), "late-p99-us")
				}
			}
		})
	}
}
