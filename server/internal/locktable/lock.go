package locktable

import (
	"iter"
	"strings"
)

func (t *Table) space(name string) *space {
	sp := t.spaces[name]
	if sp == nil {
		name = strings.Clone(name)
		sp = &space{
			name: name, number: uint64(len(t.spaces)), t: t, sorted: newSortedLocks(), waiting: map[*owner]bool{},
		}
		sp.order.links = func(r *request) *links[*request] { return &r.order }
		t.spaces[name] = sp
	}
	return sp
}

// find finds the lock of a name, nil if nothing stands there.
func (sp *space) find(name string) *lock {
	locks := &sp.t.locks
	n := sp.t.lockIndex.find(hashText(name, sp.number), func(n uint32) bool {
		l := locks.at(lockRef(n))
		return l.space == sp && l.name == name
	})
	if n == 0 {
		return nil
	}
	return locks.at(lockRef(n))
}

// lock finds or makes the lock of a name.
func (sp *space) lock(name string) *lock {
	if l := sp.find(name); l != nil {
		return l
	}
	return sp.newLock(name)
}

// newLock makes the lock of a name on which nothing stands.
func (sp *space) newLock(name string) *lock {
	n, l := sp.t.locks.take()
	l.name, l.space, l.self, l.crowd = strings.Clone(name), sp, n, &noCrowd
	sp.t.lockIndex.add(hashText(name, sp.number), uint32(n))
	sp.sorted.add(l)
	return l
}

// findAll finds the locks of all claims, nil for those that there are not. They are in room that is
// used again by the next call.
func (sp *space) findAll(claims []Claim) []*lock {
	found := sp.t.found[:0]
	for _, c := range claims {
		found = append(found, sp.find(c.Name))
	}
	sp.t.found = found
	return found
}

// tidy forgets a lock on which nothing stands any more (HF-1.4), and the crowd of one where a single
// hold is left that names it. Where that is implied, others will come to the names below.
func (l *lock) tidy() {
	if l.crowd == nil { // it is forgotten already
		return
	}
	if l.holds.size > 1 || l.queued > 0 || len(l.ghosts) > 0 {
		return
	}
	if l.crowd != &noCrowd {
		if l.holds.size == 1 && l.space.t.holds.at(l.holds.first).named == None {
			return
		}
		l.scatter()
	}
	if sp := l.space; l.holds.size == 0 {
		sp.t.lockIndex.remove(hashText(l.name, sp.number), uint32(l.self))
		sp.sorted.remove(l)
		sp.t.locks.give(l.self)
	}
}

// gather gives a lock a crowd of its own, before anything comes to stand beside its only hold.
func (l *lock) gather() {
	if l.crowd != &noCrowd {
		return
	}
	l.crowd = &crowd{lock: l}
	if l.holds.first != 0 {
		h := l.space.t.holds.at(l.holds.first)
		l.held[h.mode]++
		l.owners[h.mode]++
		l.space.t.addStance(l, l.space.t.ownerOf(h), uint32(l.holds.first))
	}
}

// scatter takes the crowd away when at most one hold is left.
func (l *lock) scatter() {
	t := l.space.t
	if l.holds.first != 0 {
		h := t.holds.at(l.holds.first)
		o := t.ownerOf(h)
		t.removeStance(l, o, t.stanceRef(l, o))
		if h.stake != 0 {
			t.stakes.give(h.stake)
			h.stake = 0
		}
	}
	l.crowd.lock = nil
	l.crowd = &noCrowd
}

// sole is the only hold of a lock without a crowd, nil if there is none.
func (l *lock) sole() *hold {
	if l.crowd != &noCrowd || l.holds.first == 0 {
		return nil
	}
	return l.space.t.holds.at(l.holds.first)
}

// ownersAgainst counts the owners whose mode here is not compatible with m.
func (l *lock) ownersAgainst(m Mode) int32 {
	if h := l.sole(); h != nil && !compatible[m][h.mode] {
		return 1
	}
	return l.owners.against(m)
}

// heldAgainst counts the grants whose mode here is not compatible with m.
func (l *lock) heldAgainst(m Mode) int32 {
	if h := l.sole(); h != nil && !compatible[m][h.mode] {
		return 1
	}
	return l.held.against(m)
}

// eachHold goes through the holds on a lock, by grant id.
func (l *lock) eachHold() iter.Seq[*hold] {
	return func(yield func(*hold) bool) {
		for n := l.holds.first; n != 0; {
			h := l.space.t.holds.at(n)
			n = h.links.next
			if !yield(h) {
				return
			}
		}
	}
}

// wake notes that waiters whose claims are not compatible with mode may have become grantable.
func (l *lock) wake(mode Mode) {
	if !l.isDirty && l.waiting.against(mode) > 0 {
		l.isDirty = true
		l.space.dirty = append(l.space.dirty, l.crowd)
	}
}

// wakeBehind notes that a waiter goes, or moves, and that others may have waited for it.
func (t *Table) wakeBehind(r *request) {
	for i := range r.places {
		if p := &r.places[i]; !p.satisfied {
			p.lock.wake(p.mode)
		}
	}
}

// touch notes that a cycle through an owner may have closed (HF-8.2).
func (sp *space) touch(o *owner) {
	if !o.touched {
		o.touched = true
		sp.touched = append(sp.touched, o)
	}
}

// isShut tells whether other owners or ghosts keep an owner from a mode here (HF-4.3 a, c).
func (l *lock) isShut(o *owner, mode Mode) bool {
	if l.shut.against(mode) > 0 {
		return true
	}
	against := l.ownersAgainst(mode)
	if against > 0 {
		if s, _ := l.stanceOf(o); !compatible[mode][s.shuts] {
			against--
		}
	}
	return against > 0
}

// isBlocked tells whether a place must wait: shut out, or behind a waiter in conflict (HF-4.3).
func (p *place) isBlocked() bool {
	if p.satisfied {
		return false
	}
	l := p.lock
	if l.isShut(p.request.owner, p.mode) {
		return true
	}
	if l.waiting.against(p.mode) == 0 {
		return false
	}
	for q := l.first; q != p; q = q.next {
		if q.conflicts(p) {
			return true
		}
	}
	return false
}

// isGrantable tells whether every claim of a waiter may be held now (HF-4.3).
func (r *request) isGrantable() bool {
	for i := range r.places {
		if r.places[i].isBlocked() {
			return false
		}
	}
	return true
}

// firstGrantable finds the first waiter in the order that is grantable (HF-4.3). Only those can
// have become so that wait where something changed.
func (sp *space) firstGrantable() *request {
	var first *request
	consider := func(r *request) {
		if r != nil && (first == nil || r.label < first.label) {
			first = r
		}
	}
	locks := sp.dirty[:0]
	for _, c := range sp.dirty {
		r := c.firstGrantable()
		if r == nil {
			c.isDirty = false
			continue
		}
		consider(r)
		locks = append(locks, c)
	}
	clear(sp.dirty[len(locks):])
	sp.dirty = locks
	ready := sp.ready[:0]
	for _, r := range sp.ready {
		if r.inOrder() && !r.gone && r.isGrantable() {
			consider(r)
			ready = append(ready, r)
		}
	}
	clear(sp.ready[len(ready):])
	sp.ready = ready
	return first
}

// firstGrantable finds the first grantable waiter that this lock may have kept waiting. It stops
// where nobody further back can be: behind two owners that shut everybody out.
func (l *crowd) firstGrantable() *request {
	if l.first == nil {
		return nil
	}
	var closed *owner // it alone may get past
	if l.owners[X] > 0 {
		closed = l.lock.exclusive()
		if len(closed.requests) == 0 {
			return nil
		}
	}
	for p := l.first; p != nil; p = p.next {
		if p.satisfied {
			continue
		}
		o := p.request.owner
		if closed != nil && o != closed {
			if p.mode == X {
				return nil
			}
			continue
		}
		if p.request.isGrantable() {
			return p.request
		}
		if p.mode == X && closed == nil {
			closed = o
		}
	}
	return nil
}

// exclusive is the owner that holds X here: nobody else holds anything.
func (l *lock) exclusive() *owner {
	t := l.space.t
	return t.ownerOf(t.holds.at(l.holds.first))
}
