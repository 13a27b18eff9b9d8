// Package watch keeps the recent events of the log and hands them to those who watch: the client
// of a session, or whoever looks at the locks below a prefix (HF-9.3). Every node has the same
// events in the same order, so a subscription that breaks resumes at any node.
package watch

import (
	"cmp"
	"errors"
	"sync"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

var (
	// ErrCompacted: events that the subscriber has not seen are gone. Begin anew without a cursor,
	// and look at the present state after subscribing.
	ErrCompacted = errors.New("compacted")
	// ErrClosed: the hub or the subscription was closed.
	ErrClosed = errors.New("closed")
)

// Config bounds what is kept for sessions, and as much again for prefixes. Zero values stand for
// the defaults.
type Config struct {
	EventsMax int // 65,536
	BytesMax  int // of those events, about; 32 MiB
}

// Hub is the recent events and those who wait for more. It is an observer of the log. Events that
// sessions must hear of are rare beside those of busy locks and are kept apart from them, so that
// a session that comes back after a break finds its own.
type Hub struct {
	mu       sync.RWMutex
	lives    ring // what concerns sessions
	locks    ring // what happens to locks
	history  History
	head     place                          // everything up to it has come by
	era      int                            // counts the gaps
	sessions map[locktable.SessionID]*topic // who waits for a session
	prefixes map[string]map[string]*topic   // namespace, prefix: who waits for what is there
	found    []*topic                       // of the event at hand
	closed   bool
}

// topic is what some subscriptions have in common, as long as there are any.
type topic struct {
	numbers []uint64 // of its events in the ring
	lost    uint64   // one more than the number of its last event that is gone
	subs    map[*Subscription]struct{}
}

// New makes an empty hub. It must see the log from its beginning, or be told by Restored where
// what it sees begins.
func New(cfg Config) *Hub {
	kept := ring{countMax: cmp.Or(cfg.EventsMax, 64<<10), bytesMax: cmp.Or(cfg.BytesMax, 32<<20)}
	return &Hub{
		lives:    kept,
		locks:    kept,
		sessions: make(map[locktable.SessionID]*topic),
		prefixes: make(map[string]map[string]*topic),
	}
}

// Applied takes in the events of a batch and wakes those whom they concern, and nobody else. It keeps
// nothing of what it is given.
func (h *Hub) Applied(a proposer.Applied) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.follow(a)
	for i := range a.Effects.Events {
		event := &a.Effects.Events[i]
		at := place{index: a.Effects.Index, seq: uint32(i)}
		if concernsSession(event) {
			h.keepLife(event, at, a.Effects.Time)
		}
		if event.Kind != locktable.EventSessionEnded {
			h.keepLock(event, at, a.Effects.Time)
		}
	}
	h.head = place{index: a.Effects.Index, seq: wholeBatch}
}

// keepLife keeps an event that its session must hear of, in the place of the oldest if need be.
func (h *Hub) keepLife(e *locktable.Event, at place, time locktable.Millis) {
	r := &h.lives
	for r.full() {
		if t := h.sessions[r.at(r.from).session]; t != nil {
			t.drop(r.from)
		}
		r.drop()
	}
	if t := h.sessions[e.Session]; t != nil {
		t.add(r.to)
	}
	r.add(e, at, time, h.history.Epoch)
}

// keepLock keeps an event of locks, in the place of the oldest if need be. If nobody watches locks,
// nobody looks at their names.
func (h *Hub) keepLock(e *locktable.Event, at place, time locktable.Millis) {
	r := &h.locks
	for r.full() {
		if len(h.prefixes) > 0 {
			oldest := r.item(r.from)
			for _, t := range h.topics(&oldest.Event) {
				t.drop(r.from)
			}
		}
		r.drop()
	}
	if len(h.prefixes) > 0 {
		for _, t := range h.topics(e) {
			t.add(r.to)
		}
	}
	r.add(e, at, time, h.history.Epoch)
}

// follow keeps up with which history it is.
func (h *Hub) follow(a proposer.Applied) {
	for i, command := range a.Commands {
		if i < len(a.Effects.Results) && a.Effects.Results[i].Outcome != locktable.Done {
			continue
		}
		switch c := command.(type) {
		case *locktable.Bootstrap:
			if h.history.ClusterID == "" {
				h.history = History{ClusterID: c.ClusterID, Epoch: h.history.Epoch}
			}
		case *locktable.RaiseEpoch:
			h.history = History{ClusterID: h.history.ClusterID, Epoch: c.Epoch}
		}
	}
}

// Leading does nothing: events are the same on every node.
func (h *Hub) Leading(uint64) {}

// Following does nothing.
func (h *Hub) Following() {}

// Restored tells that the table was replaced by a snapshot of it at an index, at the start or by
// the leader. What happened up to there is not known: whoever waits for it is told ErrCompacted.
func (h *Hub) Restored(history History, index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.history = history
	h.head = place{index: index, seq: wholeBatch}
	h.lives.clear(h.head)
	h.locks.clear(h.head)
	h.era++
	h.all((*topic).reset)
}

// Close ends all subscriptions.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.all((*topic).wake)
}

// all calls f with every topic.
func (h *Hub) all(f func(*topic)) {
	for _, t := range h.sessions {
		f(t)
	}
	for _, prefixes := range h.prefixes {
		for _, t := range prefixes {
			f(t)
		}
	}
}

// topics finds the topics of an event's names, some perhaps more than once. What it returns
// lasts until the next call.
func (h *Hub) topics(e *locktable.Event) []*topic {
	h.found = h.found[:0]
	prefixes := h.prefixes[e.Namespace]
	if prefixes == nil {
		return nil
	}
	names(e, func(name string) {
		if t := prefixes[""]; t != nil {
			h.found = append(h.found, t)
		}
		for i := range len(name) + 1 {
			if i < len(name) && name[i] != '/' {
				continue
			}
			if t := prefixes[name[:i]]; t != nil {
				h.found = append(h.found, t)
			}
		}
	})
	return h.found
}

// concernsSession tells whether the client of the event's session must hear of it: what it learns
// from the answers to its commands it need not hear again.
func concernsSession(e *locktable.Event) bool {
	switch e.Kind {
	case locktable.EventOutcome, locktable.EventSessionEnded:
		return true
	case locktable.EventGrantEnded:
		return e.Ended != locktable.Released
	}
	return false
}

// names calls f with every lock name that an event is about.
func names(e *locktable.Event, f func(string)) {
	claims := e.Claims
	if len(claims) == 0 {
		claims = e.Grant.Claims
	}
	for _, c := range claims {
		f(c.Name)
	}
	if e.Kind == locktable.EventDeadlock {
		for _, s := range e.Cycle {
			f(s.Name)
		}
	}
}

// below tells whether a name is the prefix or below it, by whole segments.
func below(name, prefix string) bool {
	n := len(prefix)
	return n == 0 || len(name) >= n && name[:n] == prefix && (len(name) == n || name[n] == '/')
}

func (t *topic) add(n uint64) {
	if last := len(t.numbers) - 1; last >= 0 && t.numbers[last] == n {
		return
	}
	t.numbers = append(t.numbers, n)
	t.wake()
}

func (t *topic) drop(n uint64) {
	if len(t.numbers) > 0 && t.numbers[0] == n {
		t.numbers = t.numbers[1:]
		t.lost = n + 1
	}
}

func (t *topic) reset() {
	t.numbers = nil
	t.wake()
}

// wake wakes the subscriptions that sleep; those that do not will find what is new by themselves.
func (t *topic) wake() {
	for s := range t.subs {
		if s.asleep {
			s.asleep = false
			select {
			case s.alarm <- struct{}{}:
			default: // of an earlier sleep that ended otherwise
			}
		}
	}
}
