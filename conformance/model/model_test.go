package model

import (
	"reflect"
	"testing"
)

// world gives a table batches, one command each, at the time it is set to.
type world struct {
	*testing.T
	table *Table
	index uint64
	now   Millis
	last  Effects
}

func newWorld(t *testing.T, tuning Tuning) *world {
	w := &world{T: t, table: New(tuning), now: 1}
	for range 4 {
		w.do(Command{Kind: "OpenSession", Namespace: "default", TTL: 100_000})
	}
	return w
}

var standard = Tuning{Work: 1024, Overtaking: 64, Answers: 1024, Deadlocks: 1000}

func (w *world) do(commands ...Command) Result {
	w.index++
	w.last = w.table.Apply(Batch{Index: w.index, Stamp: w.now, Commands: commands})
	if len(w.last.Results) == 0 {
		return Result{}
	}
	return w.last.Results[len(w.last.Results)-1]
}

func acquire(session, request uint64, wait Millis, claims ...Claim) Command {
	return Command{Kind: "Acquire", Session: session, Request: request, Wait: wait, Claims: claims}
}

func (w *world) want(r Result, outcome string) Result {
	w.Helper()
	if r.Outcome != outcome {
		w.Fatalf("outcome %s %s, want %s", r.Outcome, r.Refusal, outcome)
	}
	return r
}

// outcomes are the outcomes that the last batch gave to waits, by request id.
func (w *world) outcomes() (all []string) {
	for _, e := range w.last.Events {
		if e.Kind == "outcome" {
			all = append(all, e.Result.Outcome)
		}
	}
	return all
}

// HF-3.1, HF-3.2: the table is symmetric, a join is compatible with what both its parts are.
func TestModes(t *testing.T) {
	for a := None; a <= X; a++ {
		for b := None; b <= X; b++ {
			if compatible(a, b) != compatible(b, a) {
				t.Errorf("compatible(%d, %d) is not symmetric", a, b)
			}
			for c := None; c <= X; c++ {
				if compatible(join(a, b), c) != (compatible(a, c) && compatible(b, c)) {
					t.Errorf("join(%d, %d) with %d", a, b, c)
				}
			}
		}
	}
	if join(S, IX) != SIX {
		t.Error("S and IX join to SIX")
	}
}

// HF-3.3: claims imply intentions on ancestors, and there is one claim a name.
func TestImpliedClaims(t *testing.T) {
	got := full([]Claim{{"a/b/c", X}, {"a/b", S}, {"a", IS}})
	want := []Claim{{"a", IX}, {"a/b", SIX}, {"a/b/c", X}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// HF-4.3, HF-4.5: a late reader does not pass a waiting writer; both are granted in turn.
func TestReaderBehindWriter(t *testing.T) {
	w := newWorld(t, standard)
	first := w.want(w.do(acquire(1, 1, 0, Claim{"a", S})), "GRANTED")
	w.want(w.do(acquire(2, 1, 1000, Claim{"a", X})), "QUEUED")
	if r := w.want(w.do(acquire(3, 1, 1000, Claim{"a", S})), "QUEUED"); r.Position != 2 {
		t.Errorf("position %d, want 2", r.Position)
	}
	w.do(Command{Kind: "Release", Session: 1, Request: 2, Grant: first.Grant.ID})
	if got := w.outcomes(); !reflect.DeepEqual(got, []string{"GRANTED"}) {
		t.Errorf("outcomes %v", got)
	}
	w.now += 1000 // HF-4.8
	w.do()
	if got := w.outcomes(); !reflect.DeepEqual(got, []string{"WAIT_LIMIT_REACHED"}) {
		t.Errorf("outcomes %v", got)
	}
}

// HF-8.3, HF-8.4: of two owners that wait for each other the latest arrival is the victim.
func TestVictim(t *testing.T) {
	w := newWorld(t, standard)
	w.do(acquire(1, 1, 0, Claim{"a", X}), acquire(2, 1, 0, Claim{"b", X}))
	w.want(w.do(acquire(1, 2, 1000, Claim{"b", X})), "QUEUED")
	r := w.want(w.do(acquire(2, 2, 1000, Claim{"a", X})), "DEADLOCK_VICTIM")
	if len(r.Cycle) != 2 || r.Cycle[0].Owner.Session != 1 || r.Cycle[0].Name != "b" {
		t.Errorf("cycle %v", r.Cycle)
	}
}

// HF-8.3: a cycle with an edge from the order alone is resolved by a turn, not by a victim.
func TestTurn(t *testing.T) {
	w := newWorld(t, standard)
	w.do(acquire(1, 1, 0, Claim{"a", IS}), acquire(3, 1, 0, Claim{"b", X}))
	w.want(w.do(acquire(2, 1, 1000, Claim{"a", X}, Claim{"b", X})), "QUEUED")
	w.want(w.do(acquire(1, 2, 1000, Claim{"a", S}, Claim{"c", X})), "GRANTED") // turned ahead of session 2
	if d := w.table.Deadlocks; len(d) != 1 || d[0].Victim != (Index{}) {
		t.Errorf("deadlocks %v", d)
	}
}

// HF-4.6: a waiter that has been passed as often as may be goes ahead.
func TestOvertaking(t *testing.T) {
	w := newWorld(t, Tuning{Work: 1024, Overtaking: 2, Answers: 10, Deadlocks: 10})
	w.do(acquire(1, 1, 0, Claim{"a", S}))
	w.do(acquire(2, 1, 1000, Claim{"a", X}))
	high := acquire(3, 0, 0, Claim{"a", S})
	high.Priority = 1
	for _, key := range []string{"x", "y"} {
		high.Owner = key
		w.want(w.do(high), "GRANTED")
	}
	high.Owner = "z"
	w.want(w.do(high), "HELD")
}

// HF-2.3a: ends that do not fit into a batch come in the next ones; meanwhile grants are ending.
func TestBacklog(t *testing.T) {
	w := newWorld(t, Tuning{Work: 1, Overtaking: 64, Answers: 10, Deadlocks: 10})
	for _, name := range []string{"a", "b"} {
		c := acquire(1, 0, 0, Claim{name, X})
		c.Lease = 10
		w.do(c)
	}
	w.now += 10
	w.do()
	if !w.last.Backlog || len(w.table.Grants) != 1 {
		t.Fatalf("backlog %v, %d grants", w.last.Backlog, len(w.table.Grants))
	}
	left := w.table.Grants[0]
	r := w.table.Apply(Batch{Index: 99, Stamp: w.now - 1, Commands: []Command{{Kind: "Renew", Session: 1, Grant: left.ID}}})
	if r.Results[0].Refusal != "NOT_HOLDER" || r.Backlog {
		t.Errorf("%+v", r)
	}
}

// HF-4.9, HF-7.1, HF-7.2: an id has one answer, whatever comes first.
func TestRequestIDs(t *testing.T) {
	w := newWorld(t, standard)
	w.want(w.do(Command{Kind: "Cancel", Session: 1, Request: 7}), "CANCELLED")
	w.want(w.do(acquire(1, 7, 0, Claim{"a", X})), "CANCELLED")
	first := w.want(w.do(acquire(1, 8, 0, Claim{"a", X})), "GRANTED")
	again := w.want(w.do(acquire(1, 8, 0, Claim{"a", X})), "GRANTED")
	if again.First != first.At.Entry || again.Grant.Token != first.Grant.Token {
		t.Errorf("replayed %+v", again)
	}
	if r := w.do(acquire(1, 8, 0, Claim{"b", X})); r.Refusal != "REQUEST_ID_REUSED" {
		t.Errorf("%+v", r)
	}
	c := acquire(1, 9, 0, Claim{"b", X})
	c.Acked = 8
	w.want(w.do(c), "GRANTED")
	if r := w.do(acquire(1, 8, 0, Claim{"a", X})); r.Refusal != "STALE_REQUEST" {
		t.Errorf("%+v", r)
	}
}

// HF-4.11: an unclean end leaves a ghost, which excludes its former owner too.
func TestGhost(t *testing.T) {
	w := newWorld(t, standard)
	c := acquire(1, 0, 0, Claim{"a", X})
	c.LockDelay = 50
	grant := w.do(c).Grant.ID
	w.do(Command{Kind: "RevokeGrant", Grant: grant})
	if r := w.want(w.do(acquire(1, 0, 0, Claim{"a", X})), "HELD"); r.Blockers[0].Kind != "ghost" {
		t.Errorf("blockers %v", r.Blockers)
	}
	w.now += 50
	w.want(w.do(acquire(1, 0, 0, Claim{"a", X})), "GRANTED")
}

// HF-5.2: raising waits and brings a new token, lowering lets others in.
func TestConvert(t *testing.T) {
	w := newWorld(t, standard)
	g := w.do(acquire(1, 0, 0, Claim{"a", S})).Grant
	other := w.do(acquire(2, 0, 0, Claim{"a", S})).Grant
	w.want(w.do(Command{Kind: "Convert", Session: 1, Grant: g.ID, Mode: X, Wait: 1000}), "QUEUED")
	w.do(Command{Kind: "Release", Session: 2, Grant: other.ID})
	if got := w.table.Grants[0]; got.ID != g.ID || got.Token <= other.Token || got.Named[0].Mode != X {
		t.Errorf("converted %+v", got)
	}
	w.want(w.do(acquire(2, 0, 1000, Claim{"a", S})), "QUEUED")
	w.want(w.do(Command{Kind: "Convert", Session: 1, Grant: g.ID, Name: "a", Mode: IS}), "GRANTED")
	if len(w.table.Grants) != 2 {
		t.Errorf("%d grants, want 2", len(w.table.Grants))
	}
}
