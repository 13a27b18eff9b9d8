package waiters_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/proposer/logtest"
	"github.com/holdfast-dev/holdfast/server/internal/waiters"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const latency = 2 * time.Millisecond

// observers are in the order in which a node has them.
type observers struct {
	*proposer.Proposer
	waiters *waiters.Waiters
	hub     *watch.Hub
}

func (o observers) Applied(a proposer.Applied) {
	o.Proposer.Applied(a)
	o.waiters.Applied(a)
	o.hub.Applied(a)
}

// rig is a node without Raft: proposer, parked calls and a lock table on a log in memory.
type rig struct {
	*testing.T
	*waiters.Waiters
	p     *proposer.Proposer
	hub   *watch.Hub
	log   *logtest.Log
	table *locktable.Table
}

func bubble(t *testing.T, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, table: locktable.New()}
		r.p = proposer.New(proposer.Config{NodeID: "n1"})
		r.Waiters = waiters.New(r.p, waiters.Config{})
		r.hub = watch.New(watch.Config{})
		r.log = logtest.New(r.table, observers{r.p, r.Waiters, r.hub}, latency)
		r.p.Start(r.log)
		r.log.Lead()
		r.do(0, &locktable.Bootstrap{ClusterID: "test"})
		f(r)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.Waiters.Close(ctx)
		if n := r.Parked(); n != 0 {
			t.Errorf("%d calls are still parked", n)
		}
		r.p.Close(ctx)
		r.log.Close()
		r.hub.Close()
	})
}

// do submits one command and returns its result.
func (r *rig) do(session locktable.SessionID, c locktable.Command) locktable.Result {
	r.Helper()
	a, err := r.p.Submit(r.Context(), proposer.Batch{Session: session, Commands: []locktable.Command{c}})
	if err != nil {
		r.Fatal(err)
	}
	return a.Results[0]
}

func (r *rig) open() locktable.SessionID {
	r.Helper()
	return r.do(0, &locktable.OpenSession{Namespace: "default", TTL: 24 * 3600 * 1000}).Session
}

// acquire is a request for X on a name, with a long wait limit.
func acquire(session locktable.SessionID, request uint64, name string) *locktable.Acquire {
	return &locktable.Acquire{
		Caller:    locktable.Caller{Session: session, Request: request},
		Claims:    []locktable.Claim{{Name: name, Mode: locktable.X}},
		WaitLimit: 3600 * 1000,
	}
}

// anonymous is such a request without a session.
func anonymous(nonce, name string) *locktable.Acquire {
	a := acquire(0, 0, name)
	a.Namespace, a.TTL, a.Nonce = "default", 30_000, nonce
	return a
}

type outcome struct {
	answer waiters.Answer
	err    error
	at     time.Time
}

// await begins a call and lets it get as far as it can while the log makes one pass.
func (r *rig) await(ctx context.Context, call waiters.Call) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		a, err := r.Await(ctx, call)
		done <- outcome{a, err, time.Now()}
	}()
	time.Sleep(2 * latency)
	synctest.Wait()
	return done
}

func (r *rig) want(o outcome, want locktable.Outcome) {
	r.Helper()
	if o.err != nil {
		r.Fatal(o.err)
	}
	if o.answer.Result.Outcome != want {
		r.Fatalf("outcome %d, want %d", o.answer.Result.Outcome, want)
	}
}

func (r *rig) wantUnknown(o outcome) {
	r.Helper()
	if !errors.Is(o.err, proposer.ErrOutcomeUnknown) {
		r.Fatalf("%+v, want outcome unknown", o)
	}
}

// HF-4.7
func TestAParkedCallEndsWithTheEntryThatGrantsIt(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		first := <-r.await(r.Context(), waiters.Call{Command: acquire(a, 1, "orders/42")})
		r.want(first, locktable.Granted)
		parked := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "orders/42")})
		if r.Parked() != 1 {
			t.Fatalf("%d calls are parked", r.Parked())
		}
		release := r.do(a, &locktable.Release{
			Caller: locktable.Caller{Session: a, Request: 2}, Grant: first.answer.Result.Grant.ID,
		})
		o := <-parked
		r.want(o, locktable.Granted)
		if o.answer.Index != release.At.Entry {
			t.Errorf("granted at %d, freed at %d", o.answer.Index, release.At.Entry)
		}
		got := o.answer.Result
		if got.Session != b || got.Grant.Token <= first.answer.Result.Grant.Token || got.Grant.Deadlines.Session == 0 {
			t.Errorf("%+v", got)
		}
		if o.answer.Time == 0 && got.At.Entry == 0 {
			t.Error("the answer has no place")
		}
	})
}

func TestRefusalsAndFinalOutcomesAreNotParked(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		r.want(<-r.await(r.Context(), waiters.Call{Command: acquire(a, 1, "x")}), locktable.Granted)
		try := acquire(b, 1, "x")
		try.WaitLimit = 0
		r.want(<-r.await(r.Context(), waiters.Call{Command: try}), locktable.Held)
		r.want(<-r.await(r.Context(), waiters.Call{Command: acquire(99, 1, "x")}), locktable.Refused)
	})
}

func TestAWaitLimitEndsAParkedCall(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		r.want(<-r.await(r.Context(), waiters.Call{Command: acquire(a, 1, "x")}), locktable.Granted)
		start := time.Now()
		short := acquire(b, 1, "x")
		short.WaitLimit = 1000
		o := <-r.await(r.Context(), waiters.Call{Command: short})
		r.want(o, locktable.WaitLimitReached)
		if took := o.at.Sub(start); took < time.Second-10*time.Millisecond || took > 1300*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// The request is queued and granted by one and the same entry; the call must not miss it.
func TestQueuedAndGrantedInOneEntry(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		grant := r.do(a, acquire(a, 1, "x")).Grant.ID
		r.log.Hold()
		plugs := []<-chan outcome{ // so that what follows goes into one entry
			r.await(r.Context(), waiters.Call{Command: acquire(a, 7, "plug/1")}),
			r.await(r.Context(), waiters.Call{Command: acquire(a, 8, "plug/2")}),
		}
		parked := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		again := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		go func() {
			_, _ = r.p.Submit(context.Background(), proposer.Batch{Session: a, Commands: []locktable.Command{
				&locktable.Release{Caller: locktable.Caller{Session: a, Request: 2}, Grant: grant},
			}})
		}()
		synctest.Wait()
		r.log.Release()
		for _, p := range plugs {
			<-p
		}
		o := <-parked
		r.want(o, locktable.Granted)
		r.want(<-again, locktable.Granted)
	})
}

// HF-7.5
func TestARetryOfAWaitParksBesideTheFirstCall(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		grant := r.do(a, acquire(a, 1, "x")).Grant.ID
		ctx, cancel := context.WithCancel(r.Context())
		first := r.await(ctx, waiters.Call{Command: acquire(b, 1, "x")})
		second := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		cancel()
		o := <-first
		r.wantUnknown(o)
		if !errors.Is(o.err, context.Canceled) {
			t.Errorf("the cause is lost: %v", o.err)
		}
		if r.Parked() != 1 {
			t.Errorf("%d calls are parked, want the second", r.Parked())
		}
		r.do(a, &locktable.Release{Caller: locktable.Caller{Session: a, Request: 2}, Grant: grant})
		r.want(<-second, locktable.Granted)
		r.want(<-r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")}), locktable.Granted)
	})
}

// HF-7.5: a broken call that names a session cancels nothing.
func TestABrokenCallWithASessionLeavesItsWait(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		grant := r.do(a, acquire(a, 1, "x")).Grant.ID
		ctx, cancel := context.WithCancel(r.Context())
		parked := r.await(ctx, waiters.Call{Command: acquire(b, 1, "x")})
		cancel()
		r.wantUnknown(<-parked)
		r.do(a, &locktable.Release{Caller: locktable.Caller{Session: a, Request: 2}, Grant: grant})
		r.want(<-r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")}), locktable.Granted)
	})
}

// HF-4.12
func TestABrokenCallWithoutASessionIsCancelled(t *testing.T) {
	for _, nodeNonce := range []bool{true, false} {
		bubble(t, func(r *rig) {
			a := r.open()
			r.do(a, acquire(a, 1, "x"))
			ctx, cancel := context.WithCancel(r.Context())
			call := waiters.Call{Command: anonymous("nonce", "x"), NodeNonce: nodeNonce}
			parked := r.await(ctx, call)
			cancel()
			r.wantUnknown(<-parked)
			r.want(<-r.await(r.Context(), call), locktable.Cancelled)
		})
	}
}

// HF-4.9, HF-4.12: the grant came first, so there is no cancelling it. A client that made the
// nonce can come back for it; nobody can come back for one that the node made.
func TestABrokenCallWithoutASessionThatWasGranted(t *testing.T) {
	for _, nodeNonce := range []bool{true, false} {
		bubble(t, func(r *rig) {
			r.log.Hold()
			ctx, cancel := context.WithCancel(r.Context())
			call := waiters.Call{Command: anonymous("nonce", "x"), NodeNonce: nodeNonce}
			broken := r.await(ctx, call)
			cancel()
			synctest.Wait()
			r.log.Release()
			r.wantUnknown(<-broken)
			b := r.open()
			want := locktable.Held
			if nodeNonce {
				want = locktable.Granted
			}
			try := acquire(b, 1, "x")
			try.WaitLimit = 0
			r.want(<-r.await(r.Context(), waiters.Call{Command: try}), want)
			if !nodeNonce {
				r.want(<-r.await(r.Context(), call), locktable.Granted)
			}
		})
	}
}

func TestACallThatEndsBeforeItWasProposedLeavesNothing(t *testing.T) {
	bubble(t, func(r *rig) {
		a := r.open()
		r.log.Hold()
		plugs := []<-chan outcome{
			r.await(r.Context(), waiters.Call{Command: acquire(a, 7, "plug/1")}),
			r.await(r.Context(), waiters.Call{Command: acquire(a, 8, "plug/2")}),
		}
		ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
		defer cancel()
		o := <-r.await(ctx, waiters.Call{Command: anonymous("n", "x")})
		if !errors.Is(o.err, proposer.ErrNoQuorum) {
			t.Errorf("%v", o.err)
		}
		r.log.Release()
		for _, p := range plugs {
			<-p
		}
		for _, e := range r.log.Proposed() {
			for _, c := range e.Commands {
				if _, ok := c.(*locktable.Cancel); ok {
					t.Error("something that never was is cancelled")
				}
			}
		}
	})
}

// HF-7.5: the old leader goes on applying, so its parked calls can stay.
func TestACallStaysParkedThroughAChangeOfLeaders(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		grant := r.do(a, acquire(a, 1, "x")).Grant.ID
		parked := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		r.log.Depose(true)
		time.Sleep(time.Second)
		r.log.Lead()
		time.Sleep(10 * time.Second)
		r.do(a, &locktable.Release{Caller: locktable.Caller{Session: a, Request: 2}, Grant: grant})
		r.want(<-parked, locktable.Granted)
	})
}

func TestACallDoesNotHangOnANodeThatIsCutOff(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		r.do(a, acquire(a, 1, "x"))
		parked := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		time.Sleep(time.Minute) // a long wait is no reason to end
		if r.Parked() != 1 {
			t.Fatal("it was ended while the node was well")
		}
		r.log.Depose(false)
		start := time.Now()
		o := <-parked
		r.wantUnknown(o)
		if took := o.at.Sub(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestASnapshotEndsParkedCalls(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		r.do(a, acquire(a, 1, "x"))
		parked := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		r.Restored()
		r.wantUnknown(<-parked)
	})
}

func TestCloseEndsParkedCalls(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.open(), r.open()
		r.do(a, acquire(a, 1, "x"))
		inSession := r.await(r.Context(), waiters.Call{Command: acquire(b, 1, "x")})
		ofClient := r.await(r.Context(), waiters.Call{Command: anonymous("client", "x")})
		ofNode := r.await(r.Context(), waiters.Call{Command: anonymous("node", "x"), NodeNonce: true})
		r.Close(r.Context())
		for _, parked := range []<-chan outcome{inSession, ofClient, ofNode} {
			r.wantUnknown(<-parked)
		}
		o := <-r.await(r.Context(), waiters.Call{Command: acquire(b, 2, "y")})
		if !errors.Is(o.err, proposer.ErrShuttingDown) {
			t.Errorf("%v", o.err)
		}
		var cancelled []string
		for _, e := range r.log.Proposed() {
			for _, c := range e.Commands {
				if c, ok := c.(*locktable.Cancel); ok {
					cancelled = append(cancelled, c.Nonce)
				}
			}
		}
		if !slices.Equal(cancelled, []string{"node"}) {
			t.Errorf("cancelled %q: only what nobody can find again should be", cancelled)
		}
	})
}

// Calls come, are granted, give up and retry all at once; in the end every request has had exactly
// one outcome, told alike to all who asked.
func TestParkCompleteAndBreakRace(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(r *rig) {
			rng := rand.New(rand.NewPCG(seed, 7))
			const sessions, rounds = 8, 12
			type end struct{ granted, told int }
			ends := make(chan end, sessions)
			for i := range sessions {
				pauses := make([]time.Duration, 4*rounds)
				for j := range pauses {
					pauses[j] = time.Duration(rng.IntN(5000)) * time.Microsecond
				}
				id := r.open()
				go func() {
					var e end
					for n := range rounds {
						e.granted += r.useLock(id, uint64(2*n+1), pauses[4*n:], &e.told)
					}
					ends <- end{e.granted, e.told}
				}()
				_ = i
			}
			for range sessions {
				if e := <-ends; e.granted != rounds {
					t.Errorf("seed %d: %d of %d requests were granted", seed, e.granted, rounds)
				}
			}
		})
	}
}

// useLock acquires with calls that break off at any time, until one of them is told; then it
// releases.
func (r *rig) useLock(id locktable.SessionID, request uint64, pauses []time.Duration, told *int) int {
	ctx := context.Background()
	var grant locktable.GrantID
	for try := 0; grant == 0; try++ {
		limit := pauses[try%2] + latency
		if try > 3 {
			limit = time.Hour
		}
		short, cancel := context.WithTimeout(ctx, limit)
		a, err := r.Await(short, waiters.Call{Command: acquire(id, request, "x")})
		cancel()
		if err == nil && a.Result.Outcome == locktable.Granted {
			grant = a.Result.Grant.ID
			*told++
		}
	}
	time.Sleep(pauses[2])
	a, err := r.p.Submit(ctx, proposer.Batch{Session: id, Commands: []locktable.Command{
		&locktable.Release{Caller: locktable.Caller{Session: id, Request: request + 1}, Grant: grant},
	}})
	if err != nil || a.Results[0].Outcome != locktable.Done {
		return 0
	}
	return 1
}
