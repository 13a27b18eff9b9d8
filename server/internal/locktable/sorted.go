package locktable

import (
	"cmp"
	"iter"
	"slices"

	"github.com/tidwall/btree"
)

// sortedLocks is the locks of a namespace in byte order of their names, for those who list them.
// Most locks are gone again before anybody lists them, and a place in a tree of a million names
// costs as much as all the rest of an acquire: the newest locks stand apart in no order.
type sortedLocks struct {
	tree  *btree.BTreeG[*lock]
	fresh []*lock
	hand  int // the next of the fresh ones that gives way to a new one
}

const freshLocks = 4096

func newSortedLocks() sortedLocks {
	byName := func(a, b *lock) bool { return a.name < b.name }
	return sortedLocks{tree: btree.NewBTreeGOptions(byName, btree.Options{NoLocks: true})}
}

func (s *sortedLocks) len() int { return s.tree.Len() + len(s.fresh) }

func (s *sortedLocks) add(l *lock) {
	if len(s.fresh) < freshLocks {
		s.fresh = append(s.fresh, l)
		l.fresh = uint32(len(s.fresh))
		return
	}
	s.hand = (s.hand + 1) % freshLocks
	old := s.fresh[s.hand]
	old.fresh = 0
	s.tree.Set(old)
	s.fresh[s.hand] = l
	l.fresh = uint32(s.hand + 1)
}

func (s *sortedLocks) remove(l *lock) {
	if l.fresh == 0 {
		s.tree.Delete(l)
		return
	}
	end := len(s.fresh) - 1
	last := s.fresh[end]
	s.fresh[l.fresh-1], last.fresh = last, l.fresh
	s.fresh[end] = nil
	s.fresh = s.fresh[:end]
}

// from goes through the locks with names from the given one on, of the fresh ones only those that
// are below prefix.
func (s *sortedLocks) from(name, prefix string) iter.Seq[*lock] {
	return func(yield func(*lock) bool) {
		var fresh []*lock
		for _, l := range s.fresh {
			if l.name >= name && isBelow(l.name, prefix) {
				fresh = append(fresh, l)
			}
		}
		slices.SortFunc(fresh, func(a, b *lock) int { return cmp.Compare(a.name, b.name) })
		goOn := true
		s.tree.Ascend(&lock{name: name}, func(l *lock) bool {
			for goOn && len(fresh) > 0 && fresh[0].name < l.name {
				goOn = yield(fresh[0])
				fresh = fresh[1:]
			}
			goOn = goOn && yield(l)
			return goOn
		})
		for goOn && len(fresh) > 0 {
			goOn = yield(fresh[0])
			fresh = fresh[1:]
		}
	}
}
