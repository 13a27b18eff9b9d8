package holdfast

import (
	"context"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

type opKind uint8

const (
	opAcquire opKind = iota
	opRelease
	opConvert
	opRenew
	opCancel
)

// op is one operation on its way. What it asks for is not changed after it has an id. Everything from
// id on is guarded by the session's mutex, and may be read by its caller after the wake-up.
type op struct {
	kind    opKind
	owner   *owner
	label   string             // names it in messages
	claims  []Claim            // of an acquire
	cfg     *acquireConfig     // of an acquire
	wait    time.Duration      // of an acquire: its wait limit
	grant   int64              // of a release or renewal
	convert *v1.ConvertRequest // of a conversion
	target  *op                // of a cancel

	id        uint64
	wake      chan struct{} // its caller waits here; nil if nobody does, or is woken already
	wakeUp    chan struct{} // the same, of one that is being woken
	nextAwake *op           // in the list of those to wake
	until     time.Duration // when its caller's patience ends; 0 means never
	overdue   bool          // the caller's patience has ended
	solo      bool          // goes in a batch of its own, to find out whose fault a refusal is
	pending   bool          // is in the queue
	waiting   bool          // was answered QUEUED
	abandoned bool          // its caller has gone
	// handsOver is set on a conversion that is undone: the undoing takes the hold's token to convert.
	handsOver bool
	final     bool
	queuedAt  uint64 // index of the answer QUEUED
	links     [2]link
	position  int // as last heard
	blocking  uint32
	blockers  []*v1.Blocker
	failure   error // of the last attempt to send it

	hold   *hold // where a grant goes; of the handle that is converted or renewed
	before Mode  // of a conversion: the mode to go back to
	err    error
}

// link is the place of an operation in one list.
type link struct {
	prev, next *op
	in         bool
}

// The lists that an operation can be in at the same time.
const (
	unansweredLinks = iota
	unfinishedLinks
)

// opList is a list of operations in order of their ids, with its links in the operations.
type opList struct {
	links       int
	first, last *op
	len         int
}

func (l *opList) append(o *op) {
	o.links[l.links] = link{prev: l.last, in: true}
	if l.last == nil {
		l.first = o
	} else {
		l.last.links[l.links].next = o
	}
	l.last = o
	l.len++
}

// remove takes an operation out, if it is in.
func (l *opList) remove(o *op) {
	at := o.links[l.links]
	if !at.in {
		return
	}
	if at.prev == nil {
		l.first = at.next
	} else {
		at.prev.links[l.links].next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		at.next.links[l.links].prev = at.prev
	}
	o.links[l.links] = link{}
	l.len--
}

func (l *opList) next(o *op) *op { return o.links[l.links].next }

// find looks for an id. The lists it is asked of are short: see windowIDs.
func (l *opList) find(id uint64) *op {
	for o := l.last; o != nil && o.id >= id; o = o.links[l.links].prev {
		if o.id == id {
			return o
		}
	}
	return nil
}

// ticks is the time by which patience is measured.
func (s *session) ticks() time.Duration { return time.Since(s.start) }

// submit puts an operation on its way and returns where its outcome is waited for. A patience of 0
// has no end.
func (s *session) submit(o *op, patience time.Duration) (chan struct{}, error) {
	s.lock()
	defer s.unlock()
	return s.submitLocked(o, patience)
}

func (s *session) submitLocked(o *op, patience time.Duration) (chan struct{}, error) {
	if s.ended != nil {
		return nil, s.ended
	}
	wake := s.c.wakeUps.get()
	o.wake = wake
	if patience > 0 {
		s.boundLocked(o, patience)
	}
	s.enqueueLocked(o)
	s.pumpLocked()
	return wake, nil
}

// boundLocked makes watch wake the caller when its patience ends.
func (s *session) boundLocked(o *op, patience time.Duration) {
	o.until = s.ticks() + patience
	if o.until < s.lookTicks {
		s.nudgeLocked()
	}
}

// impatientLocked wakes the callers whose patience has ended, and says when the next one's does.
func (s *session) impatientLocked(now time.Duration) (next time.Duration) {
	look := func(o *op) {
		switch {
		case o.until == 0 || o.wake == nil:
		case o.until <= now:
			o.overdue = true
			s.wakeLocked(o)
		case next == 0 || o.until < next:
			next = o.until
		}
	}
	for o := s.unfinished.first; o != nil; o = s.unfinished.next(o) {
		look(o)
	}
	for _, o := range s.fresh {
		look(o)
	}
	return next
}

// wait waits for the outcome of an operation. If ctx ends first, or patience runs out, it is
// abandoned: the wait is cancelled, and a grant that came first is given back (HF-7.5).
func (s *session) wait(ctx context.Context, o *op, wake chan struct{}) error {
	if s.awaitWake(ctx, o, wake) {
		return nil
	}
	s.lock()
	defer s.unlock()
	if o.final {
		return nil
	}
	var err error
	if ctx.Err() != nil {
		err = callerGone(ctx, o.label, o.failure)
	} else {
		err = &Error{Reason: ReasonUnavailable, Message: o.label + ": no answer in time",
			cause: o.failure}
	}
	if e := asError(err); e != nil && e.Reason == ReasonCancelled && o.waiting {
		o.describe(e)
	}
	s.abandonLocked(o)
	return err
}

// awaitWake waits for the wake-up, or for the end of ctx, and says whether the outcome is known.
func (s *session) awaitWake(ctx context.Context, o *op, wake chan struct{}) bool {
	woken := true
	select {
	case <-wake:
	case <-ctx.Done():
		woken = s.leave(o, wake)
	}
	s.c.wakeUps.put(wake)
	return woken && !o.overdue
}

// leave stops waiting for the wake-up, and says whether it came at the last moment. After it nobody
// sends on wake any more.
func (s *session) leave(o *op, wake chan struct{}) (woken bool) {
	s.lock()
	woken, o.wake = o.wake == nil, nil
	s.unlock()
	if woken {
		<-wake
	}
	return woken
}

// abandonLocked cancels an operation whose caller has gone.
func (s *session) abandonLocked(o *op) {
	o.abandoned = true
	switch {
	case o.id == 0: // it was never sent
		s.finishLocked(o, &Error{Reason: ReasonCancelled, Message: o.label})
	case o.kind == opAcquire || o.kind == opConvert:
		s.enqueueLocked(&op{kind: opCancel, owner: o.owner, label: o.label, target: o})
		s.pumpLocked()
	}
}

// size is what an operation takes up in a batch at most.
func (o *op) size() int {
	const rest = 256 // everything of bounded length
	switch o.kind {
	case opAcquire:
		size := rest + len(o.cfg.metadata)
		for _, c := range o.claims {
			size += claimRest + len(c.Name)
		}
		return size
	case opConvert:
		return rest + len(o.convert.GetName())
	}
	return 64
}

// claimRest is what a claim takes up besides its name.
const claimRest = 16
