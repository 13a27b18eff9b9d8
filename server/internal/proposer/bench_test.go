package proposer_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// instant is a log that applies each entry as soon as it is proposed, on a goroutine of its own.
type instant struct {
	to      proposer.Observer
	entries chan promise
	batches atomic.Int64
}

func (l *instant) Propose(e proposer.Entry) proposer.Future {
	f := promise{e, make(chan struct{})}
	l.entries <- f
	return f
}

func (l *instant) View(f func(proposer.Table)) { f(&ledger{}) }

func (l *instant) Leader() (id, addr string) { return "n1", "" }

func (l *instant) run() {
	index := uint64(0)
	for f := range l.entries {
		e := f.entry
		index++
		l.batches.Add(1)
		l.to.Applied(proposer.Applied{
			Proposal: e.Proposal, Commands: e.Commands,
			Effects: locktable.Effects{Index: index, Results: make([]locktable.Result, len(e.Commands))},
		})
		close(f.applied)
	}
}

// promise is an entry that will be applied.
type promise struct {
	entry   proposer.Entry
	applied chan struct{}
}

func (f promise) Err() error {
	<-f.applied
	return nil
}

// BenchmarkSubmit is the whole cost in this process of a command that is submitted and answered,
// the log and the table left out: ns/op is for one command.
func BenchmarkSubmit(b *testing.B) {
	for _, c := range []struct{ callers, batch int }{{1, 1}, {100, 1}, {10_000, 1}, {50, 16}, {50, 100}} {
		b.Run(fmt.Sprintf("callers=%d/commands=%d", c.callers, c.batch), func(b *testing.B) {
			p := proposer.New(proposer.Config{})
			l := &instant{to: p, entries: make(chan promise, 2)}
			go l.run()
			p.Start(l)
			p.Leading(1)
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			for i := range c.callers {
				commands := releases(i+1, 0, c.batch)
				all.Go(func() {
					for left.Add(-int64(c.batch)) >= 0 {
						batch := proposer.Batch{Session: locktable.SessionID(i + 1), Commands: commands}
						if _, err := p.Submit(b.Context(), batch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/float64(l.batches.Load()), "commands/entry")
			p.Close(context.Background())
			close(l.entries)
		})
	}
}
