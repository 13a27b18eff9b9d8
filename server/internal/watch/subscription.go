package watch

import (
	"context"
	"sort"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

const (
	scanMax  = 2048 // events looked at under one lock
	itemsMax = 256  // items given at once
)

// Subscription is one reader of the hub. It is used by one goroutine.
type Subscription struct {
	hub       *Hub
	ring      *ring
	session   locktable.SessionID // 0: it is about a prefix
	namespace string
	prefix    string

	topic  *topic // nil while it reads the ring to catch up
	next   uint64 // number of the first event not yet looked at
	seen   place  // everything up to it has been given or does not concern it
	era    int
	closed bool
	asleep bool
	alarm  chan struct{}
}

// Session subscribes to what happens to a session: final outcomes of its waits, grants that ended
// otherwise than by release, its own end. An empty cursor begins now; otherwise the events after
// the cursor come first. Look at the session only after subscribing, then nothing is missed.
func (h *Hub) Session(id locktable.SessionID, cursor string) (*Subscription, error) {
	return h.subscribe(&Subscription{ring: &h.lives, session: id}, cursor)
}

// Prefix subscribes to what happens to the locks at and below a name; all of the namespace if it
// is empty.
func (h *Hub) Prefix(namespace, prefix, cursor string) (*Subscription, error) {
	return h.subscribe(&Subscription{ring: &h.locks, namespace: namespace, prefix: prefix}, cursor)
}

func (h *Hub) subscribe(s *Subscription, cursor string) (*Subscription, error) {
	s.hub, s.alarm = h, make(chan struct{}, 1)
	if cursor == "" {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.seen, s.next, s.era = h.head, s.ring.to, h.era
		h.attach(s)
		return s, h.gone()
	}
	history, at, err := parseCursor(cursor)
	if err != nil {
		return nil, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if history != h.history || at.compare(s.ring.floor) < 0 {
		return nil, ErrCompacted
	}
	s.seen, s.next, s.era = at, s.ring.after(at), h.era
	return s, h.gone()
}

func (h *Hub) gone() error {
	if h.closed {
		return ErrClosed
	}
	return nil
}

// Next waits for events and returns at least one, in order. Its error is ErrCompacted if events
// were lost because the reader was too slow or the node was given a snapshot, ErrClosed, or the
// cause of ctx.
func (s *Subscription) Next(ctx context.Context) ([]Item, error) { return s.NextUntil(ctx, nil) }

// NextUntil is Next, but returns nothing if a tick comes first.
func (s *Subscription) NextUntil(ctx context.Context, tick <-chan time.Time) ([]Item, error) {
	for {
		items, err := s.read()
		if len(items) > 0 || err != nil {
			return items, err
		}
		if s.topic == nil {
			s.attach()
			continue
		}
		select {
		case <-s.alarm:
		case <-tick:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Cursor is the place up to which everything has been given by Next. It moves on even if nothing
// happens that concerns the subscription, so send it from time to time.
func (s *Subscription) Cursor() string {
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	if s.topic != nil && len(s.unread()) == 0 && s.era == s.hub.era {
		s.skip()
	}
	return s.hub.history.cursor(s.seen)
}

// Close ends the subscription.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.closed = true
	if s.topic != nil {
		h.detach(s)
	}
}

// read takes what there is, or goes to sleep if it is not catching up.
func (s *Subscription) read() ([]Item, error) {
	h := s.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch {
	case h.closed || s.closed:
		return nil, ErrClosed
	case s.era != h.era:
		return nil, ErrCompacted
	case s.topic == nil:
		return s.scan()
	case s.topic.lost > s.next:
		return nil, ErrCompacted
	}
	var items []Item
	numbers := s.unread()
	for _, n := range numbers[:min(len(numbers), itemsMax)] {
		items = s.take(items, n)
	}
	if len(numbers) <= itemsMax {
		s.skip()
	}
	s.asleep = len(items) == 0
	return items, nil
}

// scan reads the ring itself, some of it at a time.
func (s *Subscription) scan() ([]Item, error) {
	r := s.ring
	var items []Item
	for {
		if s.next < r.from || s.era != s.hub.era {
			return nil, ErrCompacted
		}
		for end := min(s.next+scanMax, r.to); s.next < end && len(items) < itemsMax; {
			items = s.look(items, s.next)
		}
		if len(items) > 0 || s.next == r.to {
			return items, nil
		}
		s.hub.mu.RUnlock() // let the log go on
		s.hub.mu.RLock()
	}
}

// look appends event n if it concerns the subscription.
func (s *Subscription) look(items []Item, n uint64) []Item {
	if s.session != 0 {
		if s.ring.at(n).session == s.session {
			return s.take(items, n)
		}
	} else if event := s.ring.item(n).Event; event.Namespace == s.namespace {
		found := false
		names(&event, func(name string) { found = found || below(name, s.prefix) })
		if found {
			return s.take(items, n)
		}
	}
	s.pass(n)
	return items
}

// take appends event n, unless a cursor says that it was seen on another node.
func (s *Subscription) take(items []Item, n uint64) []Item {
	if s.ring.at(n).place.compare(s.seen) > 0 {
		item := s.ring.item(n)
		item.History.ClusterID = s.hub.history.ClusterID
		items = append(items, item)
	}
	s.pass(n)
	return items
}

// pass notes that event n has been dealt with.
func (s *Subscription) pass(n uint64) {
	s.next = n + 1
	s.see(s.ring.at(n).place)
}

// skip notes that everything there is has been dealt with.
func (s *Subscription) skip() {
	s.next = s.ring.to
	s.see(s.hub.head)
}

func (s *Subscription) see(p place) {
	if p.compare(s.seen) > 0 {
		s.seen = p
	}
}

// unread are the events of the topic that were not looked at.
func (s *Subscription) unread() []uint64 {
	numbers := s.topic.numbers
	i := sort.Search(len(numbers), func(i int) bool { return numbers[i] >= s.next })
	return numbers[i:]
}

// attach makes a subscription that has caught up one that is woken.
func (s *Subscription) attach() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.era == h.era && s.next == s.ring.to {
		h.attach(s)
	}
}

func (h *Hub) attach(s *Subscription) {
	t := h.find(s)
	if t == nil {
		t = &topic{subs: make(map[*Subscription]struct{})}
		if s.session != 0 {
			h.sessions[s.session] = t
		} else {
			if h.prefixes[s.namespace] == nil {
				h.prefixes[s.namespace] = make(map[string]*topic)
			}
			h.prefixes[s.namespace][s.prefix] = t
		}
	}
	t.subs[s] = struct{}{}
	s.topic = t
}

// detach leaves the topic, which goes with its last subscription.
func (h *Hub) detach(s *Subscription) {
	t := s.topic
	s.topic = nil
	delete(t.subs, s)
	if len(t.subs) > 0 {
		return
	}
	if s.session != 0 {
		delete(h.sessions, s.session)
		return
	}
	delete(h.prefixes[s.namespace], s.prefix)
	if len(h.prefixes[s.namespace]) == 0 {
		delete(h.prefixes, s.namespace)
	}
}

func (h *Hub) find(s *Subscription) *topic {
	if s.session != 0 {
		return h.sessions[s.session]
	}
	return h.prefixes[s.namespace][s.prefix]
}
