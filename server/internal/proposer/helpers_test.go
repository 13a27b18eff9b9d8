package proposer_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/proposer/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a table that says Done to everything and notes when and in which order it came.
type ledger struct {
	t        locktable.Millis
	timed    bool // something has a deadline
	backlog  int  // batches that it will take to end what is left over
	commands []locktable.Command
	stamps   []locktable.Millis // T after each batch
}

func (l *ledger) Time() locktable.Millis { return l.t }

func (l *ledger) NextDeadline() (locktable.Millis, bool) { return l.t + 1000, l.timed }

func (l *ledger) SemanticsVersion() uint32 { return 3 }

func (l *ledger) Apply(b locktable.Batch) locktable.Effects {
	l.t = max(l.t, b.Stamp)
	l.stamps = append(l.stamps, l.t)
	l.commands = append(l.commands, b.Commands...)
	e := locktable.Effects{Index: b.Index, Time: l.t}
	if l.backlog > 0 {
		l.backlog--
		e.Backlog = l.backlog > 0
	}
	for i, c := range b.Commands {
		r := locktable.Result{At: locktable.Index{Entry: b.Index, Offset: uint32(i)}, Outcome: locktable.Done}
		if release, ok := c.(*locktable.Release); ok {
			r.Grant.ID = release.Grant
		}
		e.Results = append(e.Results, r)
	}
	return e
}

const latency = 2 * time.Millisecond

// rig is a proposer on a log in memory, inside a bubble of virtual time.
type rig struct {
	*testing.T
	*proposer.Proposer
	log   *logtest.Log
	table *ledger
}

// bubble runs f with a rig that does not lead yet.
func bubble(t *testing.T, cfg proposer.Config, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, table: &ledger{}}
		cfg.NodeID = "n1"
		cfg.FillCommands = cmp.Or(cfg.FillCommands, 1) // so that little fills what may be in flight
		r.Proposer = proposer.New(cfg)
		r.log = logtest.New(r.table, r.Proposer, latency)
		r.Start(r.log)
		f(r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r.Close(ctx)
		r.log.Close()
	})
}

// leading runs f with a rig that leads and has nothing in flight.
func leading(t *testing.T, cfg proposer.Config, f func(*rig)) {
	bubble(t, cfg, func(r *rig) {
		r.log.Lead()
		time.Sleep(10 * latency)
		f(r)
	})
}

// release is a command that can be told from others.
func release(session, n int) locktable.Command {
	return &locktable.Release{
		Caller: locktable.Caller{Session: locktable.SessionID(session)}, Grant: locktable.GrantID(n),
	}
}

func releases(session, from, n int) []locktable.Command {
	var commands []locktable.Command
	for i := range n {
		commands = append(commands, release(session, from+i))
	}
	return commands
}

// outcome is what a submit returned, and when.
type outcome struct {
	answer proposer.Answer
	err    error
	at     time.Time
}

// submit begins a submit and lets it get as far as it can without time passing.
func (r *rig) submit(ctx context.Context, session int, commands ...locktable.Command) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		a, err := r.Submit(ctx, proposer.Batch{Session: locktable.SessionID(session), Commands: commands})
		done <- outcome{a, err, time.Now()}
	}()
	synctest.Wait()
	return done
}

func (r *rig) wantErr(o outcome, want error) {
	r.Helper()
	if !errors.Is(o.err, want) {
		r.Fatalf("error is %v, want %v", o.err, want)
	}
}

func (r *rig) wantOK(o outcome) {
	r.Helper()
	if o.err != nil {
		r.Fatal(o.err)
	}
}

// sizes returns how many commands each proposed entry had, ticks left out.
func (r *rig) sizes() []int {
	var sizes []int
	for _, e := range r.log.Proposed() {
		if len(e.Commands) > 0 {
			sizes = append(sizes, len(e.Commands))
		}
	}
	return sizes
}

// commands returns what was applied.
func (r *rig) commands() (commands []locktable.Command) {
	r.log.View(func(proposer.Table) { commands = slices.Clone(r.table.commands) })
	return commands
}

// stamps returns T after each batch.
func (r *rig) stamps() (stamps []locktable.Millis) {
	r.log.View(func(proposer.Table) { stamps = slices.Clone(r.table.stamps) })
	return stamps
}

// now returns T.
func (r *rig) now() (t locktable.Millis) {
	r.log.View(func(proposer.Table) { t = r.table.t })
	return t
}

// set changes the table.
func (r *rig) set(f func(*ledger)) {
	r.log.View(func(proposer.Table) { f(r.table) })
}
