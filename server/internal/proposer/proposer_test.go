package proposer_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

func TestALoneCommandWaitsForNobody(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		start := time.Now()
		o := <-r.submit(r.Context(), 1, release(1, 7))
		r.wantOK(o)
		if took := o.at.Sub(start); took != latency {
			t.Errorf("took %v, want one pass of the log, %v", took, latency)
		}
		if len(o.answer.Results) != 1 || o.answer.Results[0].Grant.ID != 7 {
			t.Errorf("results %+v", o.answer.Results)
		}
		if o.answer.Index != o.answer.Results[0].At.Entry {
			t.Errorf("index %d, result at %v", o.answer.Index, o.answer.Results[0].At)
		}
	})
}

func TestWhatWaitsGoesIntoOneEntryAndTwoAreInFlight(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		var done []<-chan outcome
		for i := range 10 {
			done = append(done, r.submit(r.Context(), i+1, release(i+1, i)))
		}
		if _, most := r.log.InFlight(); most != 2 {
			t.Errorf("%d entries in flight, want 2", most)
		}
		r.log.Release()
		for i, d := range done {
			o := <-d
			r.wantOK(o)
			if got := o.answer.Results[0].Grant.ID; int(got) != i {
				t.Errorf("caller %d got the result of %d", i, got)
			}
		}
		if got, want := r.sizes(), []int{1, 1, 8}; !slices.Equal(got, want) {
			t.Errorf("entries of %v commands, want %v", got, want)
		}
	})
}

// A small entry behind another one would hardly be there sooner, and costs as much as a large one.
func TestASecondEntryIsWellFilled(t *testing.T) {
	leading(t, proposer.Config{FillCommands: 100}, func(r *rig) {
		r.log.Hold()
		var done []<-chan outcome
		for i := range 101 {
			done = append(done, r.submit(r.Context(), i+1, release(i+1, i)))
			want := 1
			if i == 100 {
				want = 2
			}
			if now, _ := r.log.InFlight(); now != want {
				t.Errorf("%d entries in flight after %d commands, want %d", now, i+1, want)
			}
		}
		r.log.Release()
		for _, d := range done {
			r.wantOK(<-d)
		}
		if got, want := r.sizes(), []int{1, 100}; !slices.Equal(got, want) {
			t.Errorf("entries of %v commands, want %v", got, want)
		}
	})
}

func TestCommandsOfASessionKeepTheirOrder(t *testing.T) {
	cfg := proposer.Config{EntryCommandsMax: 5}
	leading(t, cfg, func(r *rig) {
		r.log.Hold()
		var done []<-chan outcome
		for i := range 20 {
			done = append(done, r.submit(r.Context(), 1+i%2, releases(1+i%2, 10*i, 3)...))
		}
		r.log.Release()
		for _, d := range done {
			r.wantOK(<-d)
		}
		last := map[locktable.SessionID]locktable.GrantID{1: -1, 2: -1}
		for _, c := range r.commands() {
			c := c.(*locktable.Release)
			if c.Grant <= last[c.Session] {
				t.Fatalf("session %d: %d came after %d", c.Session, c.Grant, last[c.Session])
			}
			last[c.Session] = c.Grant
		}
		for _, n := range r.sizes() {
			if n != 3 {
				t.Errorf("an entry of %d commands: a batch was split without need", n)
			}
		}
	})
}

func TestABatchLargerThanAnEntryIsSplitInOrder(t *testing.T) {
	cfg := proposer.Config{EntryCommandsMax: 4}
	leading(t, cfg, func(r *rig) {
		r.set(func(l *ledger) { l.timed = true })
		other := r.submit(r.Context(), 2, release(2, 99))
		o := <-r.submit(r.Context(), 1, releases(1, 0, 10)...)
		r.wantOK(o)
		r.wantOK(<-other)
		if len(o.answer.Results) != 10 {
			t.Fatalf("%d results", len(o.answer.Results))
		}
		for i, res := range o.answer.Results {
			if int(res.Grant.ID) != i {
				t.Errorf("result %d is of command %d", i, res.Grant.ID)
			}
			if got, want := o.answer.TimeOf(i), r.stamps()[res.At.Entry-1]; got != want {
				t.Errorf("time of result %d is %d, its entry had %d", i, got, want)
			}
		}
		if last := o.answer.Results[9].At.Entry; o.answer.Index != last {
			t.Errorf("index %d, want the last entry's, %d", o.answer.Index, last)
		}
		for _, n := range r.sizes() {
			if n > 4 {
				t.Errorf("an entry of %d commands", n)
			}
		}
	})
}

func TestEntriesStayUnderTheirSizeInBytes(t *testing.T) {
	cfg := proposer.Config{EntryBytesMax: 4000}
	leading(t, cfg, func(r *rig) {
		r.log.Hold()
		var done []<-chan outcome
		for i := range 40 {
			done = append(done, r.submit(r.Context(), i+1, &locktable.OpenSession{Metadata: string(make([]byte, 1000))}))
		}
		r.log.Release()
		for _, d := range done {
			r.wantOK(<-d)
		}
		for _, n := range r.sizes() {
			if n > 3 {
				t.Errorf("an entry of %d commands of 1 KB, want at most 3", n)
			}
		}
	})
}

// HF-10.6
func TestOneSessionWithAThousandOperationsDoesNotDelayTheOthers(t *testing.T) {
	cfg := proposer.Config{EntryBytesMax: 8 << 10}
	leading(t, cfg, func(r *rig) {
		r.log.Hold()
		plug := r.submit(r.Context(), 9, release(9, 0))
		plug2 := r.submit(r.Context(), 9, release(9, 1))
		hog := r.submit(r.Context(), 1, releases(1, 0, 1000)...)
		var hogs, others []<-chan outcome
		for i := range 1000 {
			hogs = append(hogs, r.submit(r.Context(), 1, release(1, 1000+i)))
		}
		for i := range 50 {
			others = append(others, r.submit(r.Context(), 2+i, release(2+i, i)))
		}
		r.log.Release()
		<-plug
		<-plug2
		slowest := uint64(0)
		for _, d := range others {
			o := <-d
			r.wantOK(o)
			slowest = max(slowest, o.answer.Index)
		}
		r.wantOK(<-hog)
		for _, d := range hogs {
			r.wantOK(<-d)
		}
		entries := r.log.Proposed()
		if slowest > 5 {
			t.Errorf("the others were served by entry %d of %d", slowest, len(entries))
		}
	})
}

func TestRenewalsWaitForCompany(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		start := time.Now()
		one := r.submit(r.Context(), 1, &locktable.RenewSession{Session: 1})
		time.Sleep(20 * time.Millisecond)
		two := r.submit(r.Context(), 2, &locktable.RenewSession{Session: 2})
		a, b := <-one, <-two
		r.wantOK(a)
		r.wantOK(b)
		if took := a.at.Sub(start); took != 50*time.Millisecond+latency {
			t.Errorf("a lone renewal took %v", took)
		}
		if a.answer.Index != b.answer.Index {
			t.Errorf("two renewals took two entries")
		}

		start = time.Now()
		one = r.submit(r.Context(), 1, &locktable.RenewSession{Session: 1})
		time.Sleep(5 * time.Millisecond)
		other := <-r.submit(r.Context(), 3, release(3, 1))
		a = <-one
		if took := a.at.Sub(start); took != 5*time.Millisecond+latency {
			t.Errorf("a renewal with company took %v", took)
		}
		if a.answer.Index != other.answer.Index {
			t.Error("the renewal did not go with the other command")
		}
	})
}

func TestAMarkerWaitsForAnEntryProposedAfterIt(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		before := r.submit(r.Context(), 1, release(1, 1))
		var markers []<-chan outcome
		for range 5 {
			markers = append(markers, r.submit(r.Context(), 0))
		}
		r.log.Release()
		at := (<-before).answer.Index
		last := uint64(0)
		for _, m := range markers {
			o := <-m
			r.wantOK(o)
			if o.answer.Index <= at {
				t.Errorf("marker at %d, proposed before it came: %d", o.answer.Index, at)
			}
			last = max(last, o.answer.Index)
		}
		if last > at+2 {
			t.Errorf("five markers took %d entries", last-at)
		}
	})
}

func TestASessionMayOnlyHaveSoMuchWaiting(t *testing.T) {
	cfg := proposer.Config{SessionCommandsMax: 10, CommandsMax: 30}
	leading(t, cfg, func(r *rig) {
		r.log.Hold()
		var done []<-chan outcome
		for i := range 2 { // fill what may be in flight
			done = append(done, r.submit(r.Context(), 100+i, release(1, 1)))
		}
		done = append(done, r.submit(r.Context(), 1, releases(1, 0, 8)...))
		o := <-r.submit(r.Context(), 1, releases(1, 0, 3)...)
		r.wantErr(o, proposer.ErrRateLimited)
		var limited *proposer.RateLimitedError
		if !errors.As(o.err, &limited) || limited.Session != 1 || limited.Commands != 8 || limited.RetryAfter <= 0 {
			t.Errorf("%+v", limited)
		}
		done = append(done, r.submit(r.Context(), 1, releases(1, 0, 2)...))
		done = append(done, r.submit(r.Context(), 2, releases(2, 0, 20)...)) // alone it may be larger
		o = <-r.submit(r.Context(), 3, release(3, 0))
		r.wantErr(o, proposer.ErrRateLimited)
		if errors.As(o.err, &limited) && limited.Session != 0 {
			t.Errorf("the node's bound was blamed on session %d", limited.Session)
		}
		r.log.Release()
		for _, d := range done {
			r.wantOK(<-d)
		}
		if n := len(r.commands()); n != 32 {
			t.Errorf("%d commands were applied: a refused one had an effect", n)
		}
		r.wantOK(<-r.submit(r.Context(), 1, releases(1, 0, 10)...))
	})
}

func TestACommandTakenBackBeforeItWasProposedIsNotDone(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		proposed := r.submit(r.Context(), 1, release(1, 1))
		r.submit(r.Context(), 1, release(1, 2))
		ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
		defer cancel()
		waiting := r.submit(ctx, 1, release(1, 3))
		renewal := r.submit(ctx, 2, &locktable.RenewSession{Session: 2})
		o := <-waiting
		r.wantErr(o, proposer.ErrNoQuorum)
		r.wantErr(o, context.DeadlineExceeded)
		r.wantErr(<-renewal, proposer.ErrNoQuorum)
		r.log.Release()
		r.wantOK(<-proposed)
		time.Sleep(time.Second)
		for _, c := range r.commands() {
			if c, ok := c.(*locktable.Release); !ok || c.Grant == 3 {
				t.Errorf("%+v was applied", c)
			}
		}
		if s := r.Stats(); s.WaitingCommands != 0 || s.WaitingBytes != 0 {
			t.Errorf("something still counts as waiting: %+v", s)
		}
	})
}

func TestNothingIsProposedForACallerThatHasGone(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		gone, cancel := context.WithCancel(r.Context())
		cancel()
		o := <-r.submit(gone, 1, release(1, 1))
		r.wantErr(o, proposer.ErrNoQuorum)
		r.wantErr(o, context.Canceled)
		time.Sleep(time.Second)
		if n := len(r.commands()); n != 0 {
			t.Errorf("%d commands were applied", n)
		}
	})
}

func TestACallerThatLeavesAfterProposingLearnsNothing(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		ctx, cancel := context.WithCancel(r.Context())
		proposed := r.submit(ctx, 1, release(1, 1))
		cancel()
		o := <-proposed
		r.wantErr(o, proposer.ErrOutcomeUnknown)
		r.wantErr(o, context.Canceled)
		r.log.Release()
		synctest.Wait()
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 2)))
		if len(r.commands()) != 2 {
			t.Errorf("%d commands were applied", len(r.commands()))
		}
	})
}

// HF-10.2
func TestWithoutAQuorumCommandsFailInTwoSeconds(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		start := time.Now()
		flying := r.submit(r.Context(), 1, release(1, 1))
		time.Sleep(time.Second)
		flying2 := r.submit(r.Context(), 1, release(1, 2))
		waiting := r.submit(r.Context(), 1, release(1, 3))
		a, b, c := <-flying, <-flying2, <-waiting
		r.wantErr(a, proposer.ErrOutcomeUnknown)
		r.wantErr(b, proposer.ErrOutcomeUnknown)
		r.wantErr(c, proposer.ErrNoQuorum)
		for _, o := range []outcome{a, b, c} {
			if took := o.at.Sub(start); took > 2*time.Second {
				t.Errorf("failed after %v", took)
			}
		}
		o := <-r.submit(r.Context(), 2, release(2, 1))
		r.wantErr(o, proposer.ErrNoQuorum)

		r.log.Release() // the log moves again
		time.Sleep(time.Second)
		r.wantOK(<-r.submit(r.Context(), 2, release(2, 2)))
		var ids []locktable.GrantID
		for _, c := range r.commands() {
			ids = append(ids, c.(*locktable.Release).Grant)
		}
		if !slices.Equal(ids, []locktable.GrantID{1, 2, 2}) {
			t.Errorf("applied %v: what was called not done was done, or the other way round", ids)
		}
	})
}

func TestNotTheLeader(t *testing.T) {
	bubble(t, proposer.Config{}, func(r *rig) {
		var notLeader *proposer.NotLeaderError
		o := <-r.submit(r.Context(), 1, release(1, 1))
		r.wantErr(o, proposer.ErrNotLeader)
		if !errors.As(o.err, &notLeader) || notLeader.LeaderID != "n2" || notLeader.LeaderAddr == "" {
			t.Errorf("%+v", notLeader)
		}
		r.log.Lead()
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 1)))
	})
}

func TestLossOfLeadershipFailsAtOnceWhatWasNotProposed(t *testing.T) {
	for _, keep := range []bool{true, false} {
		leading(t, proposer.Config{}, func(r *rig) {
			r.log.Hold()
			start := time.Now()
			flying := r.submit(r.Context(), 1, release(1, 1))
			r.submit(r.Context(), 1, release(1, 2))
			waiting := r.submit(r.Context(), 1, release(1, 3))
			r.log.Depose(keep)
			w, f := <-waiting, <-flying
			r.wantErr(w, proposer.ErrNotLeader)
			r.wantErr(f, proposer.ErrOutcomeUnknown)
			if !w.at.Equal(start) || !f.at.Equal(start) {
				t.Error("they had to wait to be told")
			}
			time.Sleep(time.Second)
			r.log.Lead()
			r.wantOK(<-r.submit(r.Context(), 1, release(1, 4)))
			if n, want := len(r.commands()), map[bool]int{true: 3, false: 1}[keep]; n != want {
				t.Errorf("keep=%v: %d commands applied, want %d", keep, n, want)
			}
		})
	}
}

func TestARefusedEntryIsNotDone(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		refused := r.submit(r.Context(), 1, release(1, 1))
		r.log.Refuse()
		r.wantErr(<-refused, proposer.ErrNoQuorum)
		r.log.Release()
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 2)))
	})
}

func TestASplitBatchThatIsCutShortIsUnknown(t *testing.T) {
	cfg := proposer.Config{EntryCommandsMax: 2}
	leading(t, cfg, func(r *rig) {
		r.log.Hold()
		split := r.submit(r.Context(), 1, releases(1, 0, 6)...) // two entries in flight, one to come
		r.log.Depose(true)
		r.wantErr(<-split, proposer.ErrOutcomeUnknown)
		time.Sleep(time.Second)
		if s := r.Stats(); s.WaitingCommands != 0 {
			t.Errorf("%d commands still wait", s.WaitingCommands)
		}
		if n := len(r.commands()); n != 4 {
			t.Errorf("%d commands were applied, want the 4 that were proposed", n)
		}
	})
}

func TestCloseLetsWhatIsThereFinish(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		var done []<-chan outcome
		for i := range 4 {
			done = append(done, r.submit(r.Context(), 1, release(1, i)))
		}
		go r.Close(r.Context())
		synctest.Wait()
		r.wantErr(<-r.submit(r.Context(), 1, release(1, 9)), proposer.ErrShuttingDown)
		r.log.Release()
		for _, d := range done {
			r.wantOK(<-d)
		}
	})
}

func TestCloseThatCannotWaitTellsTheDifference(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		flying := r.submit(r.Context(), 1, release(1, 1))
		r.submit(r.Context(), 1, release(1, 2))
		waiting := r.submit(r.Context(), 1, release(1, 3))
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		r.Close(ctx)
		r.wantErr(<-flying, proposer.ErrOutcomeUnknown)
		r.wantErr(<-waiting, proposer.ErrShuttingDown)
	})
}

func TestOnAppliedComesBeforeTheAnswer(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		var seen proposer.Answer
		a, err := r.Submit(r.Context(), proposer.Batch{
			Session: 1, Commands: releases(1, 5, 2), OnApplied: func(a proposer.Answer) { seen = a },
		})
		if err != nil || seen.Index != a.Index || len(seen.Results) != 2 {
			t.Errorf("seen %+v, answer %+v, %v", seen, a, err)
		}
	})
}

func TestAForeignEntryWithTheSameCommandsIsNobodysAnswer(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		mine := r.submit(r.Context(), 1, release(1, 1))
		r.Applied(proposer.Applied{Proposal: 1, Effects: locktable.Effects{Results: make([]locktable.Result, 1)}})
		select {
		case o := <-mine:
			t.Errorf("answered by an entry of somebody else: %+v", o)
		default:
		}
		r.log.Release()
		r.wantOK(<-mine)
	})
}

// An entry that the log lost without a word must not hold its place in flight for ever.
func TestAnEntryThatTheLogPassedByIsGivenUp(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.log.Hold()
		lost := r.submit(r.Context(), 1, release(1, 1))
		r.log.TimeOut()
		r.wantErr(<-lost, proposer.ErrOutcomeUnknown)
		r.log.Refuse() // nobody is told any more
		r.log.Release()
		for i := range 5 {
			r.wantOK(<-r.submit(r.Context(), 1, release(1, 2+i)))
			time.Sleep(time.Second)
		}
		if s := r.Stats(); s.EntriesInFlight != 0 || s.Stalls != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// HF-10.7
func TestEntriesCarryTheSemanticsVersionInForce(t *testing.T) {
	leading(t, proposer.Config{}, func(r *rig) {
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 1)))
		r.wantOK(<-r.submit(r.Context(), 0, &locktable.SetSemantics{Version: 4}))
		r.wantOK(<-r.submit(r.Context(), 1, release(1, 2)))
		var versions []uint32
		for _, e := range r.log.Proposed() {
			versions = append(versions, e.Version)
		}
		if n := len(versions); n < 3 || versions[0] != 3 || versions[n-2] != 3 || versions[n-1] != 4 {
			t.Errorf("versions %v, want that of the table, 3, and the new one, 4, after it was switched on", versions)
		}
	})
}
