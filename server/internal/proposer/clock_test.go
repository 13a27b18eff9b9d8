package proposer_test

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

const (
	tick = 100 * time.Millisecond
	step = 2 * tick
)

// timed runs f with a rig in whose table something always has a deadline, a millisecond of whose
// life is used up, and that has not led yet.
func timed(t *testing.T, cfg proposer.Config, f func(*rig)) {
	bubble(t, cfg, func(r *rig) {
		r.table.timed = true
		f(r)
	})
}

// between says whether T went on by about d since before.
func (r *rig) wantRise(before locktable.Millis, least, most time.Duration) {
	r.Helper()
	if rise := time.Duration(r.now()-before) * time.Millisecond; rise < least || rise > most {
		r.Errorf("T rose by %v, want %v to %v", rise, least, most)
	}
}

func TestTimeGoesOnAsLongAsSomethingHasADeadline(t *testing.T) {
	timed(t, proposer.Config{}, func(r *rig) {
		r.log.Lead()
		time.Sleep(2 * time.Second) // the grace is over
		before, entries := r.now(), len(r.log.Proposed())
		time.Sleep(10 * time.Second)
		r.wantRise(before, 10*time.Second-tick-latency, 10*time.Second+tick+latency)
		if n := len(r.log.Proposed()) - entries; n > 101 {
			t.Errorf("%d ticks in ten seconds", n)
		}
	})
}

func TestNothingIsProposedWhileNothingHasADeadline(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		time.Sleep(time.Second)
		entries := len(r.log.Proposed())
		before := r.now()
		time.Sleep(time.Hour)
		if n := len(r.log.Proposed()) - entries; n != 0 {
			t.Errorf("%d entries in an idle hour", n)
		}
		// The hour must not matter to the first deadline that is set after it.
		r.set(func(l *ledger) { l.timed = true })
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 1)))
		r.wantRise(before, 0, step)
		before = r.now()
		time.Sleep(time.Second)
		r.wantRise(before, time.Second-tick-latency, time.Second+latency)
	})
}

func TestTimeStandsStillForAGraceAfterAFailOver(t *testing.T) {
	timed(t, proposer.Config{}, func(r *rig) {
		r.table.t = 5000
		time.Sleep(time.Hour) // leaderless
		r.log.Lead()
		time.Sleep(time.Second - latency)
		r.wantRise(5000, 0, 0)
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 1)))
		r.wantRise(5000, 0, 2*latency)
		before := r.now()
		time.Sleep(time.Second)
		r.wantRise(before, time.Second-tick-latency, time.Second+latency)
	})
}

// HF-2.7: the grace is for those who must find the new leader; where nobody is, none is needed.
func TestAFreshClusterNeedsNoGrace(t *testing.T) {
	bubble(t, proposer.Config{}, func(r *rig) {
		r.log.Lead()
		synctest.Wait()
		r.set(func(l *ledger) { l.timed = true })
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 1)))
		before := r.now()
		time.Sleep(500 * time.Millisecond)
		r.wantRise(before, 500*time.Millisecond-tick-2*latency, 500*time.Millisecond)
	})
}

// crooked is the clock of a leader: fast or slow, stopped and turned.
type crooked struct {
	start  time.Time
	rate   float64
	paused atomic.Int64 // time that passed for everybody while the leader was stopped
	turned atomic.Int64 // how far its hands were turned
}

func (c *crooked) now() time.Duration {
	passed := time.Since(c.start) + time.Duration(c.paused.Load())
	return time.Duration(float64(passed)*c.rate) + time.Duration(c.turned.Load())
}

// client is the time of somebody who was not stopped.
func (c *crooked) client() time.Time { return time.Now().Add(time.Duration(c.paused.Load())) }

func TestAPauseIsNotChargedToAnybody(t *testing.T) {
	clock := crooked{rate: 1}
	cfg := proposer.Config{Now: clock.now}
	for _, jump := range []time.Duration{10 * time.Second, 24 * time.Hour, -10 * time.Second, -24 * time.Hour} {
		timed(t, cfg, func(r *rig) {
			clock.start = time.Now()
			r.log.Lead()
			time.Sleep(2 * time.Second)
			before := r.now()
			clock.turned.Add(int64(jump))
			time.Sleep(time.Second)
			r.wantRise(before, time.Second-step, time.Second+step)
			if !slices.IsSorted(r.stamps()) {
				t.Errorf("jump of %v: T went back", jump)
			}
		})
	}
}

// HF-2.8: an entry that is stuck holds up the stamps of those behind it. So a stall of any length
// costs a step for each of the two that are in flight, and one for the first after it.
func TestAStalledLogAddsThreeStepsAtMost(t *testing.T) {
	for _, stall := range []time.Duration{time.Second, 10 * time.Second, time.Hour} {
		for _, timesOut := range []bool{false, true} {
			timed(t, proposer.Config{}, func(r *rig) {
				r.log.Lead()
				time.Sleep(2 * time.Second)
				before := r.now()
				r.log.Hold()
				for end := time.Now().Add(stall); time.Now().Before(end); {
					r.submit(r.Context(), 1, release(1, 1)) // the callers go on trying
					time.Sleep(stall / 50)
					if timesOut {
						r.log.TimeOut()
					}
				}
				r.log.Release()
				time.Sleep(latency)
				r.wantRise(before, 0, 3*step)
				before = r.now()
				time.Sleep(time.Second)
				r.wantRise(before, time.Second-step, time.Second+step)
			})
		}
	}
}

// Refusals must not add up either, though none of them stays in flight.
func TestRefusedEntriesTakeTheirTimeBack(t *testing.T) {
	timed(t, proposer.Config{}, func(r *rig) {
		r.log.Lead()
		time.Sleep(2 * time.Second)
		before := r.now()
		r.log.Hold()
		for range 100 {
			time.Sleep(tick / 3)
			r.log.Refuse()
			synctest.Wait()
		}
		r.log.Release()
		time.Sleep(tick + 2*latency)
		r.wantRise(before, 0, 2*step)
	})
}

func TestALeaderThatLostItsQuorumEndsNothing(t *testing.T) {
	timed(t, proposer.Config{}, func(r *rig) {
		r.log.Lead()
		time.Sleep(2 * time.Second)
		before := r.now()
		r.log.Hold()
		time.Sleep(time.Second)
		r.log.Depose(true) // somebody else commits what was in flight
		time.Sleep(time.Minute)
		r.wantRise(before, 0, 2*step)
		before = r.now()
		r.log.Lead()
		time.Sleep(time.Second - latency)
		r.wantRise(before, 0, 0)
	})
}

func TestABacklogIsWorkedOffAtOnce(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.set(func(l *ledger) { l.backlog = 20 })
		start := time.Now()
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 1)))
		for {
			left := 0
			r.set(func(l *ledger) { left = l.backlog })
			if left == 0 {
				break
			}
			time.Sleep(latency)
		}
		if took := time.Since(start); took > 25*latency {
			t.Errorf("20 batches took %v", took)
		}
	})
}

// HF-2.6: whatever happens to leaders, logs and clocks, a deadline that a client computes by 2.9 on
// a clock that runs up to 1 % wrong has come before the server passes it. T counts whole
// milliseconds, so an instant within one of them is all that is left open; clients keep a margin
// of 50 (HF-11.2).
func TestNeverEarly(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 26))
		clock := crooked{rate: 1 + (rng.Float64()*2-1)*0.0099}
		cfg := proposer.Config{Now: clock.now}
		timed(t, cfg, func(r *rig) {
			clock.start = time.Now()
			r.log.Lead()
			type lease struct {
				sent     time.Time
				deadline locktable.Millis
				length   time.Duration
			}
			var open []lease
			check := func() {
				now := r.now()
				open = slices.DeleteFunc(open, func(l lease) bool {
					if now < l.deadline {
						return false
					}
					trusted := l.sent.Add(time.Duration(float64(l.length) * 0.99))
					if early := trusted.Sub(clock.client()); early > time.Millisecond {
						t.Errorf("seed %d: a lease of %v ended %v early", seed, l.length, early)
					}
					return true
				})
			}
			for range 200 {
				sent := clock.client()
				done := r.submit(r.Context(), 1, release(1, 1))
				switch rng.IntN(12) {
				case 0:
					r.log.Hold()
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
					check()
					r.log.Release()
				case 1:
					r.log.Depose(rng.IntN(2) == 0)
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					check()
					r.log.Lead()
				case 2:
					clock.paused.Add(int64(rng.IntN(3600)) * int64(time.Second))
				case 4:
					clock.turned.Add(-int64(rng.IntN(3600)) * int64(time.Second))
				case 3:
					r.log.Hold()
					time.Sleep(tick)
					if rng.IntN(2) == 0 {
						r.log.TimeOut()
					} else {
						r.log.Refuse()
					}
					r.log.Release()
				}
				if o := <-done; o.err == nil {
					length := 100*time.Millisecond + time.Duration(rng.IntN(20_000))*time.Millisecond
					open = append(open, lease{sent, o.answer.Time + length.Milliseconds(), length})
				}
				for range rng.IntN(10) {
					time.Sleep(time.Duration(rng.IntN(100_000)) * time.Microsecond)
					check()
				}
			}
		})
	}
}
