package proposer

import (
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// quantum is what a session may put into an entry, in bytes, before the next one has its turn.
const quantum = 4 << 10

type callState uint8

const (
	callWaiting  callState = iota // nothing of it has been proposed
	callProposed                  // some or all of it has
	callDone                      // its caller has been told
)

// call is a batch on its way.
type call struct {
	Batch
	size    int  // of all its commands in the log, about
	renewal bool // only renews sessions, and so may wait for company
	line    *line
	next    *call // in its line
	queued  bool  // it is in its line, or the rest of it is

	state  callState
	taken  int // commands that were put into entries
	flying int // entries in flight that carry some
	landed int // commands whose entry was applied
	done   chan struct{}
	answer Answer
	err    error
}

func newCall(b Batch) *call {
	c := &call{Batch: b, renewal: len(b.Commands) > 0, done: make(chan struct{})}
	for _, command := range b.Commands {
		c.size += sizeOf(command)
		if _, ok := command.(*locktable.RenewSession); !ok {
			c.renewal = false
		}
	}
	return c
}

// weight counts commands; a marker counts as one, so that markers are bounded too.
func (c *call) weight() int { return max(len(c.Commands)-c.taken, 1) }

// end tells the caller what came of it, once. The proposer's lock is held.
func (c *call) end(err error) {
	if c.state != callDone {
		c.state, c.err = callDone, err
		close(c.done)
	}
}

// line is what waits of one session, in order.
type line struct {
	session     locktable.SessionID
	first, last *call
	commands    int // that wait
	bytes       int
	credit      int // bytes it may still put into entries in this turn
	turn        bool
	prev, next  *line // in the round
}

// queue holds all lines that are not empty. They take turns by bytes: deficit round-robin.
type queue struct {
	lines      map[locktable.SessionID]*line // those of sessions
	head, tail *line                         // the round; head has its turn next
	commands   int
	bytes      int
	urgent     int       // calls that wait for nobody
	renewals   int       // calls that wait for company
	since      time.Time // when the first of those renewals came
}

func (q *queue) empty() bool { return q.head == nil }

// push puts a call at the end of its line.
func (q *queue) push(c *call, now time.Time) {
	l := q.lines[c.Session]
	if l == nil {
		l = &line{session: c.Session}
		if c.Session != 0 {
			q.lines[c.Session] = l
		}
		q.enter(l)
	}
	c.line = l
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	c.queued = true
	if c.renewal && q.renewals == 0 {
		q.since = now
	}
	q.count(c, 1)
}

// count adds a call's rest to the sums, or takes it away.
func (q *queue) count(c *call, sign int) {
	n, size := sign*c.weight(), sign*c.size
	c.line.commands += n
	c.line.bytes += size
	q.commands += n
	q.bytes += size
	if c.renewal {
		q.renewals += sign
	} else {
		q.urgent += sign
	}
}

// remove takes a call out of its line, if it is there.
func (q *queue) remove(c *call) {
	if !c.queued {
		return
	}
	var before *call
	for at := c.line.first; at != nil; before, at = at, at.next {
		if at == c {
			q.unlink(before, c)
			return
		}
	}
}

// unlink takes out a call whose predecessor is known, and its line if that was all of it.
func (q *queue) unlink(before, c *call) {
	l := c.line
	q.count(c, -1)
	if before == nil {
		l.first = c.next
	} else {
		before.next = c.next
	}
	if l.last == c {
		l.last = before
	}
	c.next, c.queued = nil, false
	if l.first == nil {
		q.leave(l)
		delete(q.lines, l.session)
	}
}

// enter puts a line at the end of the round.
func (q *queue) enter(l *line) {
	l.prev, l.next = q.tail, nil
	if q.tail == nil {
		q.head = l
	} else {
		q.tail.next = l
	}
	q.tail = l
}

// leave takes a line out of the round.
func (q *queue) leave(l *line) {
	if l.prev == nil {
		q.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		q.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
}

// fill moves calls into an entry, line by line, until the entry is full or nothing waits. A line
// whose call did not fit keeps its turn for the next entry.
func (q *queue) fill(e *entry) {
	for q.head != nil {
		l := q.head
		if !l.turn {
			l.turn = true
			l.credit += quantum
		}
		for l.first != nil && l.first.size <= l.credit {
			c := l.first
			if !e.fits(c) && len(e.parts) > 0 {
				return
			}
			if q.take(e, c); c.queued {
				return // it is larger than an entry; the rest goes into the next one
			}
		}
		if l.first != nil {
			l.turn = false
			q.leave(l)
			q.enter(l)
		}
	}
}

// take moves a call into an entry, or as much of it as there is room for.
func (q *queue) take(e *entry, c *call) {
	n, size := e.add(c)
	if c.flying++; c.state == callWaiting {
		c.state = callProposed
	}
	c.line.credit -= size
	if c.taken+n == len(c.Commands) {
		q.unlink(nil, c)
		c.taken += n
		return
	}
	q.count(c, -1)
	c.taken += n
	c.size -= size
	q.count(c, 1)
}

// drain takes out everything and passes it to f.
func (q *queue) drain(f func(*call)) {
	for q.head != nil {
		c := q.head.first
		q.unlink(nil, c)
		f(c)
	}
}
