package locktable

import "github.com/tidwall/btree"

// lockIndex holds the locks of a namespace in byte order of their names.
type lockIndex struct{ tree btree.Map[string, *lock] }

func (t *Table) space(name string) *space {
	sp := t.spaces[name]
	if sp == nil {
		sp = &space{name: name, locks: map[string]*lock{}, waiting: map[*owner]bool{}}
		sp.order.links = func(r *request) *links[*request] { return &r.order }
		t.spaces[name] = sp
	}
	return sp
}

// lock finds or makes the lock of a name.
func (sp *space) lock(name string) *lock {
	l := sp.locks[name]
	if l == nil {
		l = &lock{name: name, space: sp}
		sp.locks[name] = l
		sp.sorted.tree.Set(name, l)
	}
	return l
}

// tidy forgets a lock on which nothing stands any more (HF-1.4).
func (l *lock) tidy() {
	if l.holds.first == nil && l.queued == 0 && len(l.ghosts) == 0 && l.space.locks[l.name] == l {
		delete(l.space.locks, l.name)
		l.space.sorted.tree.Delete(l.name)
	}
}

// stakeOf finds what an owner holds here, nil if nothing.
func (l *lock) stakeOf(o *owner) *stake {
	if l.stakes != nil {
		return l.stakes[o]
	}
	if l.sole != nil && l.sole.owner == o {
		return l.sole
	}
	return nil
}

// coverOf is an owner's mode here (HF-3.2).
func (l *lock) coverOf(o *owner) Mode {
	if s := l.stakeOf(o); s != nil {
		return s.cover
	}
	return None
}

func (l *lock) addStake(o *owner) *stake {
	s := &stake{owner: o, lock: l}
	o.stakes++
	switch {
	case l.stakes != nil:
		l.stakes[o] = s
	case l.sole == nil:
		l.sole = s
	default:
		l.stakes = map[*owner]*stake{l.sole.owner: l.sole, o: s}
		l.sole = nil
	}
	return s
}

func (l *lock) dropStake(s *stake) {
	if l.stakes != nil {
		delete(l.stakes, s.owner)
		if len(l.stakes) == 0 {
			l.stakes = nil
		}
	} else {
		l.sole = nil
	}
	s.owner.stakes--
}

// addHold makes a grant hold a name.
func (t *Table) addHold(h *hold, l *lock, o *owner, mode Mode) {
	s := l.stakeOf(o)
	if s == nil {
		s = l.addStake(o)
	}
	h.stake = s
	s.holds++
	h.prev = l.holds.last
	if h.prev == nil {
		l.holds.first = h
	} else {
		h.prev.next = h
	}
	l.holds.last = h
	t.setHold(h, mode, false)
}

// dropHold takes a grant off a name.
func (t *Table) dropHold(h *hold) {
	s := h.stake
	l := s.lock
	t.setHold(h, None, h.ending)
	if h.prev == nil {
		l.holds.first = h.next
	} else {
		h.prev.next = h.next
	}
	if h.next == nil {
		l.holds.last = h.prev
	} else {
		h.next.prev = h.prev
	}
	h.prev, h.next, h.stake = nil, nil, nil
	s.holds--
	if s.holds == 0 {
		l.dropStake(s)
		s.owner.leave()
	}
	l.tidy()
}

// setHold changes the mode of a hold, or whether it is ending, and all that follows from it.
func (t *Table) setHold(h *hold, mode Mode, ending bool) {
	s := h.stake
	l := s.lock
	s.counts(h.ending)[h.mode]--
	l.held[h.mode]--
	h.mode, h.ending = mode, ending
	s.counts(ending)[mode]++
	l.held[mode]++

	cover, shuts := s.live.join(), s.live.join().Join(s.ending.join())
	if shuts != s.shuts {
		was := s.shuts
		l.owners[was]--
		l.owners[shuts]++
		s.shuts = shuts
		if !shuts.Covers(was) {
			l.wake(was)
		}
		if len(s.owner.requests) > 0 {
			l.space.touch(s.owner)
		}
	}
	if cover != s.cover {
		s.cover = cover
		l.recover(s.owner, cover)
	}
}

func (s *stake) counts(ending bool) *modeCounts {
	if ending {
		return &s.ending
	}
	return &s.live
}

// recover judges anew which claims of an owner's waits its mode here satisfies (HF-4.3).
func (l *lock) recover(o *owner, cover Mode) {
	for _, r := range o.requests {
		for i := range r.places {
			p := &r.places[i]
			if p.lock != l || p.satisfied == cover.Covers(p.mode) {
				continue
			}
			p.satisfied = !p.satisfied
			if p.satisfied {
				l.waiting[p.mode]--
				l.wake(p.mode)
				l.space.ready = append(l.space.ready, r)
			} else {
				l.waiting[p.mode]++
				l.space.touch(o)
			}
		}
	}
}

// wake notes that waiters whose claims are not compatible with mode may have become grantable.
func (l *lock) wake(mode Mode) {
	if !l.isDirty && l.waiting.against(mode) > 0 {
		l.isDirty = true
		l.space.dirty = append(l.space.dirty, l)
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
	against := l.owners.against(mode)
	if against > 0 {
		if s := l.stakeOf(o); s != nil && !compatible[mode][s.shuts] {
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
	for _, l := range sp.dirty {
		r := l.firstGrantable()
		if r == nil {
			l.isDirty = false
			continue
		}
		consider(r)
		locks = append(locks, l)
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
func (l *lock) firstGrantable() *request {
	var closed *owner // it alone may get past
	if l.owners[X] > 0 {
		closed = l.exclusive()
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

// exclusive is the owner that holds X here.
func (l *lock) exclusive() *owner {
	if l.sole != nil {
		return l.sole.owner
	}
	for o, s := range l.stakes { // there is only one such
		if s.shuts == X {
			return o
		}
	}
	return nil
}
