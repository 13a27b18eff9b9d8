// Package waiters parks the calls that wait on this node for a lock, and ends each when the log
// says what came of its request (HF-4.7: nobody polls, and nobody else is woken).
//
// A wait belongs to the state, not to its call. A call is only a place where somebody listens, so
// ending a call changes nothing, except for an acquire without a session: that one is cancelled
// when its call breaks off (HF-4.12).
package waiters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// Submitter is what proposes commands.
type Submitter interface {
	Submit(context.Context, proposer.Batch) (proposer.Answer, error)
}

// Config sets up parked calls. Zero values stand for the defaults.
type Config struct {
	// Cleanup carries the cancel of a wait whose call broke off, and the release of a grant that
	// came too late, to wherever the leader is now. Nil: to the Submitter, which is the leader or
	// was.
	Cleanup func(context.Context, locktable.Command) (locktable.Result, error)
	// CleanupLimit bounds that; 2 s.
	CleanupLimit time.Duration
	// Silence is how long a call stays parked on a node that applies nothing; 2 s. A parked call
	// has a session, a session has a deadline, and while there is one a leader that has a quorum
	// proposes ten times a second: a silent node is cut off or stuck.
	Silence time.Duration
}

// Call is an acquire or a conversion that may wait.
type Call struct {
	Command locktable.Command // Acquire or Convert
	// NodeNonce says that this node made up the nonce of an acquire without a session, so that
	// nobody can ask for its outcome again.
	NodeNonce bool
}

// Answer is the final outcome of a call.
type Answer struct {
	Result locktable.Result
	Index  uint64           // Raft index of the entry that brought it
	Time   locktable.Millis // its cluster time T
}

// Waiters are the parked calls of this node. It is an observer of the log, after the proposer:
// the proposer parks a call whose command was queued by a batch, and then the events of that very
// batch are looked at for its outcome.
type Waiters struct {
	cfg    Config
	submit Submitter

	mu     sync.Mutex
	parked map[locktable.Index]map[*wait]struct{} // by arrival of the request
	count  int
	closed bool
	calls  sync.WaitGroup // that have not returned
	last   time.Time      // when something was applied
	silent *time.Timer    // looks whether that is long ago, while something is parked
}

// wait is one parked call.
type wait struct {
	arrival locktable.Index
	done    chan struct{}
	over    bool // it has its answer, or its caller has gone
	answer  Answer
	err     error
}

// New makes an empty set of parked calls.
func New(submit Submitter, cfg Config) *Waiters {
	cfg.CleanupLimit = cmp.Or(cfg.CleanupLimit, 2*time.Second)
	cfg.Silence = cmp.Or(cfg.Silence, 2*time.Second)
	return &Waiters{cfg: cfg, submit: submit, parked: make(map[locktable.Index]map[*wait]struct{})}
}

// Await submits an acquire or a conversion and waits for its final outcome, which a refusal is
// too. Its errors are those of proposer.Submit. proposer.ErrOutcomeUnknown also means that the
// request waits, or did when it was last heard of, and that the call ended first: ctx ended, the
// node stops, or the node has heard nothing for too long. A retry with the same request id or
// nonce finds it, on any node.
func (w *Waiters) Await(ctx context.Context, call Call) (Answer, error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return Answer{}, proposer.ErrShuttingDown
	}
	w.calls.Add(1)
	w.mu.Unlock()
	defer w.calls.Done()

	session := sessionOf(call.Command)
	mine := &wait{done: make(chan struct{})}
	_, err := w.submit.Submit(ctx, proposer.Batch{
		Session:   session,
		Commands:  []locktable.Command{call.Command},
		OnApplied: func(a proposer.Answer) { w.park(mine, a) },
	})
	if err == nil {
		select {
		case <-mine.done:
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", proposer.ErrOutcomeUnknown, context.Cause(ctx))
		}
	}
	if err != nil {
		w.leave(mine, err)
	}
	if errors.Is(mine.err, proposer.ErrOutcomeUnknown) {
		w.abandon(ctx, call)
	}
	return mine.answer, mine.err
}

func sessionOf(command locktable.Command) locktable.SessionID {
	switch c := command.(type) {
	case *locktable.Acquire:
		return c.Session
	case *locktable.Convert:
		return c.Session
	}
	return 0
}

// park takes the first answer to a call: it is final, or the call is parked. It runs on the
// goroutine that applies the log, before anything later is looked at.
func (w *Waiters) park(mine *wait, a proposer.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	result := a.Results[0]
	if mine.over {
		return
	}
	if result.Outcome != locktable.Queued {
		mine.end(Answer{Result: result, Index: a.Index, Time: a.Time}, nil)
		return
	}
	if w.closed {
		mine.end(Answer{}, errStopped)
		return
	}
	mine.arrival = result.Arrival
	set := w.parked[mine.arrival]
	if set == nil {
		set = make(map[*wait]struct{}, 1)
		w.parked[mine.arrival] = set
	}
	set[mine] = struct{}{}
	w.count++
	w.listen()
}

// Applied ends the calls whose requests got their final outcome.
func (w *Waiters) Applied(a proposer.Applied) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		return
	}
	w.last = time.Now()
	for i := range a.Effects.Events {
		event := &a.Effects.Events[i]
		if event.Kind != locktable.EventOutcome {
			continue
		}
		set, ok := w.parked[event.Arrival]
		if !ok {
			continue
		}
		answer := Answer{Result: resultOf(event), Index: a.Effects.Index, Time: a.Effects.Time}
		for mine := range set {
			mine.end(answer, nil)
		}
		w.count -= len(set)
		delete(w.parked, event.Arrival)
	}
}

// Leading changes nothing for calls that are parked.
func (w *Waiters) Leading(uint64) {}

// Following changes nothing either: a follower applies the same log a little later. If it is cut
// off, the silence ends the calls.
func (w *Waiters) Following() {}

// Restored tells that the table was replaced by a snapshot. The outcomes of parked calls may have
// come in between, untold, so all of them end; their retries find what there is.
func (w *Waiters) Restored() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endAll(fmt.Errorf("%w: the node was given a snapshot", proposer.ErrOutcomeUnknown))
}

// resultOf is the final answer that an event stands for. It shares nothing with the event, which is
// good only until the next entry is applied.
func resultOf(e *locktable.Event) locktable.Result {
	grant := e.Grant
	grant.Claims = slices.Clone(grant.Claims)
	return locktable.Result{
		At: e.At, Outcome: e.Outcome, Session: e.Session, Arrival: e.Arrival,
		SessionDeadline: grant.Deadlines.Session,
		Grant:           grant, Ended: e.Ended, Detail: e.Detail, Cycle: slices.Clone(e.Cycle),
	}
}

// end answers a call, once.
func (m *wait) end(a Answer, err error) {
	if !m.over {
		m.over, m.answer, m.err = true, a, err
		close(m.done)
	}
}

// leave ends a call whose caller waits no longer, unless it has its answer.
func (w *Waiters) leave(mine *wait, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mine.over {
		return
	}
	mine.end(Answer{}, err)
	if set := w.parked[mine.arrival]; set != nil {
		if _, ok := set[mine]; ok {
			delete(set, mine)
			w.count--
		}
		if len(set) == 0 {
			delete(w.parked, mine.arrival)
		}
	}
}

// listen begins to look out for silence.
func (w *Waiters) listen() {
	w.last = time.Now()
	if w.count > 1 {
		return
	}
	if w.silent == nil {
		w.silent = time.AfterFunc(w.cfg.Silence, w.checkSilence)
		return
	}
	w.silent.Reset(w.cfg.Silence)
}

// checkSilence ends all calls if nothing has been applied for too long.
func (w *Waiters) checkSilence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		return
	}
	if left := w.cfg.Silence - time.Since(w.last); left > 0 {
		w.silent.Reset(left)
		return
	}
	w.endAll(fmt.Errorf("%w: nothing was applied for %v", proposer.ErrOutcomeUnknown, w.cfg.Silence))
}

func (w *Waiters) endAll(err error) {
	for _, set := range w.parked {
		for mine := range set {
			mine.end(Answer{}, err)
		}
	}
	clear(w.parked)
	w.count = 0
}

// errStopped is the answer to the calls that Close ends.
var errStopped = fmt.Errorf("%w: %w", proposer.ErrOutcomeUnknown, proposer.ErrShuttingDown)

// Close answers all parked calls with proposer.ErrOutcomeUnknown, since their requests still wait
// and a retry elsewhere finds them (the error is a proposer.ErrShuttingDown too, to say why). Then
// it waits until all calls have returned or ctx ends. Close it before the proposer, which it may
// need to cancel what nobody can find again.
func (w *Waiters) Close(ctx context.Context) {
	w.mu.Lock()
	w.closed = true
	w.endAll(errStopped)
	if w.silent != nil {
		w.silent.Stop()
	}
	w.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		w.calls.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// Parked tells how many calls are parked.
func (w *Waiters) Parked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// abandon cancels an acquire without a session if its caller has gone, or if the node stops and
// nobody else knows its nonce (HF-4.12). Otherwise somebody will ask again with that nonce, and
// the wait stays for them; so does a grant that came first, unless nobody can ask for it.
func (w *Waiters) abandon(ctx context.Context, call Call) {
	acquire, ok := call.Command.(*locktable.Acquire)
	if !ok || acquire.Session != 0 || acquire.Nonce == "" {
		return
	}
	if ctx.Err() == nil && !(call.NodeNonce && w.stopping()) {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.CleanupLimit)
	defer stop()
	cancel := &locktable.Cancel{
		Caller:    locktable.Caller{Principal: acquire.Principal},
		Namespace: acquire.Namespace,
		Nonce:     acquire.Nonce,
	}
	result, err := w.cleanup(ctx, cancel)
	if err == nil && result.Outcome == locktable.Granted && call.NodeNonce {
		release := &locktable.Release{Caller: cancel.Caller, Grant: result.Grant.ID}
		_, _ = w.cleanup(ctx, release) // if it fails the session's ttl ends the grant
	}
}

func (w *Waiters) stopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// cleanup carries out one command after a call.
func (w *Waiters) cleanup(ctx context.Context, command locktable.Command) (locktable.Result, error) {
	if w.cfg.Cleanup != nil {
		return w.cfg.Cleanup(ctx, command)
	}
	answer, err := w.submit.Submit(ctx, proposer.Batch{Commands: []locktable.Command{command}})
	if err != nil {
		return locktable.Result{}, err
	}
	return answer.Results[0], nil
}
