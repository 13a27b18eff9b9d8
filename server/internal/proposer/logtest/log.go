// Package logtest is a log in memory for tests: it commits what is proposed, when the test lets
// it, and applies it to a table on one goroutine, as a node would.
package logtest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// Table is what the log applies to.
type Table interface {
	proposer.Table
	Apply(locktable.Batch) locktable.Effects
}

// Log is the log of one node. Create it with New, and Close it.
type Log struct {
	observer proposer.Observer
	latency  time.Duration

	mu      sync.Mutex
	moved   *sync.Cond
	table   Table
	entries []*future // proposed, not applied
	past    []proposer.Entry
	index   uint64
	term    uint64
	leads   bool
	held    bool
	closed  bool
	flight  int // most entries that were ever proposed and not applied
	done    chan struct{}
}

type future struct {
	entry proposer.Entry
	due   time.Time
	err   error
	done  chan struct{}
	told  bool
}

// Err implements proposer.Future.
func (f *future) Err() error {
	<-f.done
	return f.err
}

func (f *future) tell(err error) {
	if !f.told {
		f.told, f.err = true, err
		close(f.done)
	}
}

// New makes a log that nobody leads. Each entry is applied after latency.
func New(table Table, observer proposer.Observer, latency time.Duration) *Log {
	l := &Log{table: table, observer: observer, latency: latency, done: make(chan struct{})}
	l.moved = sync.NewCond(&l.mu)
	go l.run()
	return l
}

// Propose implements proposer.Log.
func (l *Log) Propose(e proposer.Entry) proposer.Future {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &future{entry: e, due: time.Now().Add(l.latency), done: make(chan struct{})}
	if !l.leads || l.closed {
		f.tell(proposer.ErrLogNotLeader)
		return f
	}
	l.entries = append(l.entries, f)
	l.past = append(l.past, e)
	l.flight = max(l.flight, len(l.entries))
	l.moved.Broadcast()
	return f
}

// View implements proposer.Log.
func (l *Log) View(f func(proposer.Table)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.table)
}

// Leader implements proposer.Log.
func (l *Log) Leader() (id, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leads {
		return "n1", "127.0.0.1:1"
	}
	return "n2", "127.0.0.1:2"
}

// run is the goroutine that applies.
func (l *Log) run() {
	defer close(l.done)
	for {
		f := l.head()
		if f == nil {
			return
		}
		time.Sleep(time.Until(f.due))
		l.apply(f)
	}
}

// head waits for an entry that may be applied.
func (l *Log) head() *future {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil
		case len(l.entries) > 0 && !l.held:
			return l.entries[0]
		}
		l.moved.Wait()
	}
}

func (l *Log) apply(f *future) {
	l.mu.Lock()
	if l.held || len(l.entries) == 0 || l.entries[0] != f {
		l.mu.Unlock()
		return
	}
	l.entries = slices.Delete(l.entries, 0, 1)
	l.index++
	e := f.entry
	effects := l.table.Apply(locktable.Batch{
		Index: l.index, Stamp: e.Stamp, Version: e.Version, Commands: e.Commands,
	})
	l.mu.Unlock()
	l.observer.Applied(proposer.Applied{Proposal: e.Proposal, Commands: e.Commands, Effects: effects})
	l.mu.Lock()
	f.tell(nil)
	l.mu.Unlock()
}

// Lead makes the node the leader.
func (l *Log) Lead() {
	l.mu.Lock()
	l.leads, l.held = true, false
	l.term++
	term := l.term
	l.moved.Broadcast()
	l.mu.Unlock()
	l.observer.Leading(term)
}

// Depose makes it a follower. What is in flight has an unknown outcome: it is applied after all
// if kept, otherwise never.
func (l *Log) Depose(keep bool) {
	l.mu.Lock()
	l.leads, l.held = false, !keep
	for _, f := range l.entries {
		f.tell(fmt.Errorf("leadership lost"))
	}
	if !keep {
		l.entries = nil
	}
	l.moved.Broadcast()
	l.mu.Unlock()
	l.observer.Following()
}

// Hold stops commits, as a lost quorum or a stuck disk does; Release lets them go on.
func (l *Log) Hold() {
	l.mu.Lock()
	l.held = true
	l.mu.Unlock()
}

// Release ends Hold.
func (l *Log) Release() {
	l.mu.Lock()
	l.held = false
	l.moved.Broadcast()
	l.mu.Unlock()
}

// TimeOut tells the proposer that it is not known what becomes of the entries in flight, though
// they may still be applied.
func (l *Log) TimeOut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.entries {
		f.tell(fmt.Errorf("not committed in time"))
	}
}

// Refuse takes back the entries in flight: they surely have no effect.
func (l *Log) Refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.entries {
		f.tell(proposer.ErrLogNotDone)
	}
	l.entries = nil
}

// Proposed returns all entries that were taken, also those that were lost later.
func (l *Log) Proposed() []proposer.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.past)
}

// InFlight returns how many entries are proposed and not applied, and the most there ever were.
func (l *Log) InFlight() (now, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries), l.flight
}

// Close stops the log; what is in flight has an unknown outcome.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	for _, f := range l.entries {
		f.tell(fmt.Errorf("closed"))
	}
	l.moved.Broadcast()
	l.mu.Unlock()
	<-l.done
}
