package watch

import (
	"encoding/binary"
	"sort"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Item is one event with what a client needs to know about it.
type Item struct {
	Event   locktable.Event
	Time    locktable.Millis // cluster time of its batch
	History History
	place   place
}

// Cursor is the place just after the event; a subscription resumes from it.
func (i Item) Cursor() string { return i.History.cursor(i.place) }

// ring keeps the last events, numbered from 0 on as they come. It keeps them as bytes: most are never
// read, and a hundred thousand of them without a pointer cost the garbage collector nothing.
type ring struct {
	slots    []slot // event n is in slot n modulo the length, which is a power of two
	from, to uint64 // numbers that are kept: from <= n < to
	floor    place  // every event after it is kept
	bytes    int
	countMax int
	bytesMax int

	chunks [][]byte // the events, the oldest chunk first
	begun  uint32   // chunks before those
	spare  []byte   // a chunk that is empty again
	event  []byte   // the event at hand
}

// slot tells where an event is, and what is asked for most often.
type slot struct {
	place   place
	session locktable.SessionID
	chunk   uint32
	offset  uint32
	size    uint32
}

const (
	chunkBytes = 64 << 10
	slotBytes  = 40
)

func (r *ring) at(n uint64) *slot { return &r.slots[n&uint64(len(r.slots)-1)] }

// item gives event n.
func (r *ring) item(n uint64) Item {
	s := r.at(n)
	data := r.chunks[s.chunk-r.begun][s.offset : s.offset+s.size]
	time, data := readNumber(data)
	epoch, data := readNumber(data)
	return Item{
		Event: readEvent(data), Time: locktable.Millis(time), History: History{Epoch: uint32(epoch)}, place: s.place,
	}
}

// add keeps one more event; there must be room.
func (r *ring) add(e *locktable.Event, at place, time locktable.Millis, epoch uint32) {
	if int(r.to-r.from) == len(r.slots) {
		r.grow()
	}
	r.event = binary.AppendUvarint(r.event[:0], uint64(time))
	r.event = binary.AppendUvarint(r.event, uint64(epoch))
	r.event = appendEvent(r.event, e)
	last := len(r.chunks) - 1
	if last < 0 || len(r.chunks[last])+len(r.event) > cap(r.chunks[last]) {
		r.chunks = append(r.chunks, r.empty(len(r.event)))
		last++
	}
	r.to++
	*r.at(r.to - 1) = slot{
		place: at, session: e.Session,
		chunk: r.begun + uint32(last), offset: uint32(len(r.chunks[last])), size: uint32(len(r.event)),
	}
	r.chunks[last] = append(r.chunks[last], r.event...)
	r.bytes += slotBytes + len(r.event)
}

// empty gives an empty chunk with room for some bytes at least.
func (r *ring) empty(size int) []byte {
	chunk := r.spare
	r.spare = nil
	if cap(chunk) < size {
		chunk = make([]byte, 0, max(chunkBytes, size))
	}
	return chunk
}

func (r *ring) grow() {
	old := *r
	r.slots = make([]slot, max(2*len(old.slots), 1024))
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
	s := r.at(r.from)
	r.bytes -= slotBytes + int(s.size)
	r.floor = s.place
	r.from++
	if r.from < r.to && r.at(r.from).chunk == s.chunk {
		return
	}
	if c := r.chunks[0]; cap(c) == chunkBytes {
		r.spare = c[:0]
	}
	r.chunks[0] = nil
	r.chunks = r.chunks[1:]
	r.begun++
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
