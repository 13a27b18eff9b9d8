package proposer_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/proposer/logtest"
)

// ends tells a test when sessions and grants end by time.
type ends struct {
	*proposer.Proposer
	ended func(locktable.Event)
}

func (e ends) Applied(a proposer.Applied) {
	for _, event := range a.Effects.Events {
		if event.Kind == locktable.EventSessionEnded || event.Kind == locktable.EventGrantEnded {
			e.ended(event)
		}
	}
	e.Proposer.Applied(a)
}

// client keeps what HF-2.9 lets a client believe.
type client struct {
	session  locktable.SessionID
	trusted  time.Time
	deadline locktable.Millis
}

// anchor takes in an answer to what was sent at s.
func (c *client) anchor(s time.Time, t, deadline locktable.Millis) {
	c.deadline = max(c.deadline, deadline)
	left := time.Duration(c.deadline-t) * time.Millisecond
	if until := s.Add(left * 99 / 100); until.After(c.trusted) {
		c.trusted = until
	}
}

// HF-2.6 against the lock table: sessions are opened, renewed by luck, and end, while the leader
// stalls, is stopped, loses its quorum and its leadership, and its clock goes up to 1 % wrong.
func TestSessionsOfTheLockTableNeverEndEarly(t *testing.T) {
	ended, late := 0, time.Duration(0)
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			clock := crooked{rate: 1 + (rng.Float64()*2-1)*0.0099, start: time.Now()}
			clients := map[locktable.SessionID]*client{}
			p := proposer.New(proposer.Config{NodeID: "n1", Now: clock.now})
			over := make(chan locktable.SessionID, 1000)
			log := logtest.New(locktable.New(), ends{p, func(e locktable.Event) {
				if e.Kind == locktable.EventSessionEnded {
					over <- e.Session
				}
			}}, latency)
			p.Start(log)
			log.Lead()
			synctest.Wait()
			check := func() {
				for {
					select {
					case id := <-over:
						c := clients[id]
						delete(clients, id)
						if c == nil {
							continue // its opening was never answered
						}
						ended++
						early := c.trusted.Sub(clock.client())
						if early > time.Millisecond {
							t.Errorf("seed %d: session %d ended %v early", seed, id, early)
						}
						late = max(late, -early)
					default:
						return
					}
				}
			}
			send := func(command locktable.Command) (a proposer.Answer, s time.Time, err error) {
				s = clock.client()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				a, err = p.Submit(ctx, proposer.Batch{Commands: []locktable.Command{command}})
				return a, s, err
			}
			for range 150 {
				switch rng.IntN(10) {
				case 0:
					log.Hold()
					for range rng.IntN(30) {
						time.Sleep(tick)
						check()
					}
					log.Release()
				case 1:
					log.Depose(rng.IntN(2) == 0)
					time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					check()
					log.Lead()
					synctest.Wait()
				case 2:
					clock.paused.Add(rng.Int64N(int64(5 * time.Second)))
				case 3, 4, 5:
					ttl := 1000 + rng.Int64N(4000)
					if a, s, err := send(&locktable.OpenSession{Namespace: "default", TTL: ttl}); err == nil {
						c := &client{session: a.Results[0].Session}
						c.anchor(s, a.Time, a.Results[0].SessionDeadline)
						clients[c.session] = c
					}
				default:
					for _, id := range slices.Sorted(maps.Keys(clients)) {
						c := clients[id]
						if rng.IntN(2) == 0 {
							continue
						}
						a, s, err := send(&locktable.RenewSession{Session: id})
						if err == nil && a.Results[0].Outcome == locktable.Done {
							c.anchor(s, a.Time, a.Results[0].SessionDeadline)
						}
					}
				}
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				check()
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			p.Close(ctx)
			log.Close()
		})
	}
	t.Logf("%d sessions ended, the latest %v after its client stopped trusting it", ended, late)
	if ended < 300 {
		t.Errorf("only %d sessions ended: the test shows little", ended)
	}
}

// HF-2.7: without faults a session ends within a tick or two of its deadline, and then nothing is
// proposed any more.
func TestASessionEndsOnTimeAndThenAllIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := proposer.New(proposer.Config{NodeID: "n1"})
		at := make(chan time.Time, 10)
		table := locktable.New()
		log := logtest.New(table, ends{p, func(locktable.Event) { at <- time.Now() }}, latency)
		p.Start(log)
		log.Lead()
		synctest.Wait()
		start := time.Now()
		_, err := p.Submit(t.Context(), proposer.Batch{Commands: []locktable.Command{
			&locktable.OpenSession{Namespace: "default", TTL: 5000},
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if took := (<-at).Sub(start); took < 5*time.Second || took > 5*time.Second+tick+2*latency {
			t.Errorf("a ttl of 5s ended after %v", took)
		}
		time.Sleep(time.Hour) // whatever is kept about the session is forgotten
		before := len(log.Proposed())
		time.Sleep(time.Hour)
		if n := len(log.Proposed()) - before; n != 0 {
			t.Errorf("%d entries in an idle hour", n)
		}
		p.Close(t.Context())
		log.Close()
	})
}
