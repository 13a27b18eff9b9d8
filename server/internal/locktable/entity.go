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
	hash    uint64 // as counted in the hash of the state
	place   uint32 // its number in the slab of its kind
	era     uint32 // of the snapshot that holds it, or after whose start it was made
	dirty   bool   // on the dirty list
	counted bool   // hash is counted
	gone    bool   // dropped
	member  bool   // added and not dropped
}

func (n *entityNode) node() *entityNode { return n }

// entities is all entities, with the hash over them. Grants and answers, of which there are many,
// are in slabs; of the others the slab has pointers.
type entities struct {
	grants  slab[grantRef, grant]
	answers slab[answerRef, answer]
	others  slab[placeRef, entity]
	hash    uint64 // sum over all entities; dirty ones with their old hash
	dirty   []entity
	era     uint32
	open    *Snapshot
	scratch []byte
}

// newGrant makes room for a grant, which is to be added.
func (es *entities) newGrant() *grant {
	n, g := es.grants.take()
	g.place, g.grantTerms = uint32(n), &noTerms
	return g
}

// newAnswer makes room for an answer, which is to be added.
func (es *entities) newAnswer() *answer {
	n, a := es.answers.take()
	a.place = uint32(n)
	return a
}

// entityPlace goes through all entities: by kind, then by number.
type entityPlace struct{ kind, at uint32 }

const entityKinds = 3

// next gives the entity at a place, nil if there is none, and moves on. It tells whether the place
// was before the end.
func (es *entities) next(p *entityPlace) (e entity, more bool) {
	for ; p.kind < entityKinds; p.kind, p.at = p.kind+1, 0 {
		p.at++
		switch {
		case p.kind == 0 && p.at <= uint32(es.others.made):
			return *es.others.at(placeRef(p.at)), true
		case p.kind == 1 && p.at <= uint32(es.grants.made):
			if g := es.grants.at(grantRef(p.at)); g.member {
				return g, true
			}
			return nil, true
		case p.kind == 2 && p.at <= uint32(es.answers.made):
			if a := es.answers.at(answerRef(p.at)); a.member {
				return a, true
			}
			return nil, true
		}
	}
	return nil, false
}

func (es *entities) add(e entity) {
	n := e.node()
	n.era, n.member = es.era, true
	switch e.(type) {
	case *grant, *answer:
	default:
		place, other := es.others.take()
		n.place, *other = uint32(place), e
	}
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

// drop takes out an entity. Of a grant or an answer nothing is left: its room is used again.
func (es *entities) drop(e entity) {
	n := e.node()
	if n.era != es.era {
		es.save(e)
	}
	if n.counted {
		es.hash -= n.hash
		n.counted = false
	}
	n.gone, n.member = true, false
	switch e.(type) {
	case *grant:
		es.grants.give(grantRef(n.place))
	case *answer:
		es.answers.give(answerRef(n.place))
	default:
		es.others.give(placeRef(n.place))
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
		if !n.member {
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
	cursor entityPlace // all up to it are written
	before []byte      // records of entities that changed before they were written
}

const snapshotChunk = 1000 // entities in one call of Next

// Snapshot begins a snapshot; it costs nothing of the state's size. There is one at a time: a new
// one ends the one before.
func (t *Table) Snapshot() *Snapshot {
	t.es.era++
	s := &Snapshot{es: &t.es}
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
		e, more := s.es.next(&s.cursor)
		if !more {
			s.Close()
			return append(dst, 0), false // an empty record ends it
		}
		if e == nil {
			continue
		}
		if n := e.node(); n.era != s.es.era {
			n.era = s.es.era
			dst = appendRecord(dst, e)
		}
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
