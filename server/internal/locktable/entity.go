package locktable

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// entity is one piece of the state. Everything that replicas must agree on is in some entity;
// everything else (indexes, counts, heaps) is derived from entities and can be rebuilt.
//
// The rule that the hash (HF-10.5) and the snapshots rest on: touch(e) comes before the first
// change of e in a batch, add(e) after it is made, drop(e) before it goes.
type entity interface {
	node() *entityNode
	encode(to []byte) []byte // canonical: equal states give equal bytes
}

// entityNode is embedded in every entity.
type entityNode struct {
	prev, next entity // all entities, in the order of their making
	hash       uint64 // as counted in the hash of the state
	dirty      bool   // on the dirty list
	counted    bool   // hash is counted
	gone       bool   // dropped
	member     bool   // added and not dropped
	era        uint32 // of the snapshot that holds it, or after whose start it was made
}

func (n *entityNode) node() *entityNode { return n }

// entities is the list of all entities, with the hash over them.
type entities struct {
	first, last entity
	hash        uint64 // sum over all entities; dirty ones with their old hash
	dirty       []entity
	era         uint32
	open        *Snapshot
	scratch     []byte
}

func (es *entities) add(e entity) {
	n := e.node()
	n.prev, n.era, n.member = es.last, es.era, true
	if es.last == nil {
		es.first = e
	} else {
		es.last.node().next = e
	}
	es.last = e
	es.mark(e, n)
}

func (es *entities) touch(e entity) {
	n := e.node()
	if !n.member {
		return // it is being made, or gone
	}
	if n.era != es.era {
		es.save(e)
	}
	es.mark(e, n)
}

func (es *entities) drop(e entity) {
	n := e.node()
	if n.era != es.era {
		es.save(e)
	}
	if es.open != nil && es.open.cursor == e {
		es.open.cursor = n.next
	}
	if n.prev == nil {
		es.first = n.next
	} else {
		n.prev.node().next = n.next
	}
	if n.next == nil {
		es.last = n.prev
	} else {
		n.next.node().prev = n.prev
	}
	n.prev, n.next = nil, nil
	n.gone, n.member = true, false
	if n.counted {
		es.hash -= n.hash
		n.counted = false
	}
}

func (es *entities) mark(e entity, n *entityNode) {
	if !n.dirty {
		n.dirty = true
		es.dirty = append(es.dirty, e)
	}
}

// save keeps the entity as it was when the open snapshot began.
func (es *entities) save(e entity) {
	e.node().era = es.era
	if es.open != nil {
		es.open.before = appendRecord(es.open.before, e)
	}
}

// settle brings the hash up to date with all that was touched.
func (es *entities) settle() {
	for i, e := range es.dirty {
		n := e.node()
		n.dirty = false
		es.dirty[i] = nil
		if n.gone {
			continue
		}
		if n.counted {
			es.hash -= n.hash
		}
		es.scratch = e.encode(es.scratch[:0])
		n.hash = xxhash.Sum64(es.scratch)
		n.counted = true
		es.hash += n.hash
	}
	es.dirty = es.dirty[:0]
}

// Snapshot is the state as it was when it was taken, on its way out. Its Next may be called
// between later calls of Apply; what they change is set aside as it was (HF-10.1).
type Snapshot struct {
	es     *entities
	cursor entity // next to be written
	before []byte // records of entities that changed before they were written
}

const snapshotChunk = 1000 // entities in one call of Next

// Snapshot begins a snapshot; it costs nothing of the state's size. There is one at a time: a new
// one ends the one before.
func (t *Table) Snapshot() *Snapshot {
	t.es.era++
	s := &Snapshot{es: &t.es, cursor: t.es.first}
	t.es.open = s
	return s
}

// Next appends the next part to dst and tells whether more follows. The caller holds a lock that
// keeps Apply out.
func (s *Snapshot) Next(dst []byte) (out []byte, more bool) {
	if s.es.open != s {
		return dst, false
	}
	dst = append(dst, s.before...)
	s.before = s.before[:0]
	for range snapshotChunk {
		if s.cursor == nil {
			s.Close()
			return append(dst, 0), false // an empty record ends it
		}
		n := s.cursor.node()
		if n.era != s.es.era {
			n.era = s.es.era
			dst = appendRecord(dst, s.cursor)
		}
		s.cursor = n.next
	}
	return dst, true
}

// Close ends the snapshot, finished or not.
func (s *Snapshot) Close() {
	if s.es.open == s {
		s.es.open = nil
	}
}

// appendRecord appends the encoding of an entity with its length before it.
func appendRecord(to []byte, e entity) []byte {
	start := len(to)
	to = append(to, 0, 0, 0, 0) // room for the length
	to = e.encode(to)
	size := len(to) - start - 4
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(size))
	copy(to[start+n:], to[start+4:])
	copy(to[start:], length[:n])
	return to[:start+n+size]
}
