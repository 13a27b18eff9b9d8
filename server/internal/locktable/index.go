package locktable

import (
	"hash/maphash"
	"math/bits"
)

// index finds values in slabs by a hash of their keys; the keys themselves are only in the values.
// It is made of many small tables, each of which grows by itself, so that no command waits until a
// million entries have moved.
type index struct{ tables [indexTables]indexTable }

const indexTables = 256

type indexTable struct {
	slots []indexSlot // a power of two; a value is at the place its tag says or in the next free one
	used  int
}

type indexSlot struct {
	tag uint32 // of the hash
	ref uint32 // 0: free
}

// table gives the small table for a hash, and what the hash is called in it.
func (x *index) table(hash uint64) (*indexTable, uint32) {
	return &x.tables[hash>>56], uint32(hash)
}

// find gives the value with this hash that is the one, 0 if there is none.
func (x *index) find(hash uint64, is func(ref uint32) bool) uint32 {
	t, tag := x.table(hash)
	mask := len(t.slots) - 1
	if mask < 0 {
		return 0
	}
	for at := int(tag) & mask; ; at = (at + 1) & mask {
		s := t.slots[at]
		if s.ref == 0 {
			return 0
		}
		if s.tag == tag && is(s.ref) {
			return s.ref
		}
	}
}

// add puts in a value that is not there.
func (x *index) add(hash uint64, ref uint32) {
	t, tag := x.table(hash)
	if 4*(t.used+1) > 3*len(t.slots) {
		t.resize(max(2*len(t.slots), 8))
	}
	t.put(indexSlot{tag, ref})
	t.used++
}

func (t *indexTable) put(s indexSlot) {
	mask := len(t.slots) - 1
	at := int(s.tag) & mask
	for t.slots[at].ref != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = s
}

// replace puts one value in the place of another with the same key.
func (x *index) replace(hash uint64, old, ref uint32) {
	t, tag := x.table(hash)
	mask := len(t.slots) - 1
	at := int(tag) & mask
	for t.slots[at].ref != old {
		at = (at + 1) & mask
	}
	t.slots[at].ref = ref
}

// remove takes out a value that is there. Those behind it move up, so that none has a gap before it.
func (x *index) remove(hash uint64, ref uint32) {
	t, tag := x.table(hash)
	mask := len(t.slots) - 1
	at := int(tag) & mask
	for t.slots[at].ref != ref {
		at = (at + 1) & mask
	}
	for next := (at + 1) & mask; t.slots[next].ref != 0; next = (next + 1) & mask {
		home := int(t.slots[next].tag) & mask
		if (next-home)&mask >= (next-at)&mask {
			t.slots[at], at = t.slots[next], next
		}
	}
	t.slots[at] = indexSlot{}
	t.used--
	if len(t.slots) > 8 && 8*t.used < len(t.slots) {
		t.resize(len(t.slots) / 2)
	}
}

func (t *indexTable) resize(size int) {
	old := t.slots
	t.slots = make([]indexSlot, size)
	for _, s := range old {
		if s.ref != 0 {
			t.put(s)
		}
	}
}

// len counts the values.
func (x *index) len() int {
	n := 0
	for i := range x.tables {
		n += x.tables[i].used
	}
	return n
}

// seed makes hashes differ from process to process, so that nobody can choose names that collide.
// It decides where a value is found and nothing that anybody sees.
var seed = maphash.MakeSeed()

var seedNumber = maphash.String(seed, "") | 1

func hashText(s string, in uint64) uint64 { return hashNumbers(maphash.String(seed, s), in) }

func hashNumbers(a, b uint64) uint64 {
	high, low := bits.Mul64(a^seedNumber, bits.RotateLeft64(b, 32)^0x9e3779b97f4a7c15)
	high, low = bits.Mul64(high^low, seedNumber)
	return high ^ low
}
