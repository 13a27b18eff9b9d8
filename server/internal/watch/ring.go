package watch

import (
	"sort"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Item is one event with what a client needs to know about it.
type Item struct {
	Event   locktable.Event
	Time    locktable.Millis // cluster time of its batch
	History *History
	place   place
}

// Cursor is the place just after the event; a subscription resumes from it.
func (i Item) Cursor() string { return i.History.cursor(i.place) }

// ring keeps the last events, numbered from 0 on as they come.
type ring struct {
	slots    []Item // event n is in slot n modulo the length, which is a power of two
	from, to uint64 // numbers that are kept: from <= n < to
	floor    place  // every event after it is kept
	bytes    int
	countMax int
	bytesMax int
}

func (r *ring) at(n uint64) *Item { return &r.slots[n&uint64(len(r.slots)-1)] }

// add makes a place for one more event, which the caller fills; there must be room.
func (r *ring) add() *Item {
	if int(r.to-r.from) == len(r.slots) {
		r.grow()
	}
	r.to++
	return r.at(r.to - 1)
}

func (r *ring) grow() {
	old := *r
	r.slots = make([]Item, max(2*len(old.slots), 1024))
	for n := r.from; n < r.to; n++ {
		*r.at(n) = *old.at(n)
	}
}

// full tells whether the oldest event must go before another one comes.
func (r *ring) full() bool {
	return r.from < r.to && (int(r.to-r.from) >= r.countMax || r.bytes >= r.bytesMax)
}

// drop forgets the oldest event.
func (r *ring) drop() {
	item := r.at(r.from)
	r.bytes -= sizeOf(&item.Event)
	r.floor = item.place
	*item = Item{}
	r.from++
}

// clear forgets everything up to a place.
func (r *ring) clear(floor place) {
	for r.from < r.to {
		r.drop()
	}
	r.floor = floor
}

// after finds the first event that comes after a place.
func (r *ring) after(p place) uint64 {
	n := sort.Search(int(r.to-r.from), func(i int) bool {
		return r.at(r.from+uint64(i)).place.compare(p) > 0
	})
	return r.from + uint64(n)
}

// sizeOf tells about how many bytes an event keeps alive.
func sizeOf(e *locktable.Event) int {
	n := 384 + len(e.Namespace) + len(e.Owner) + len(e.Detail)
	for _, c := range e.Claims {
		n += 24 + len(c.Name)
	}
	for _, c := range e.Grant.Claims {
		n += 24 + len(c.Name)
	}
	for _, s := range e.Cycle {
		n += 80 + len(s.Owner) + len(s.Name)
	}
	return n
}
