package locktable

// What grants hold on locks, and how owners stand there by it (HF-3.2).

func (t *Table) holdLinks(n holdRef) *chainLinks[holdRef] { return &t.holds.at(n).links }

func (t *Table) grantOf(h *hold) *grant { return t.es.grants.at(h.grant) }

func (t *Table) ownerOf(h *hold) *owner { return t.grantOf(h).owner }

func (t *Table) lockOf(h *hold) *lock { return t.locks.at(h.lock) }

// What owners have on locks with a crowd is found by owner and lock: a hold if it is the only one,
// a stake if there are several. They share one space of numbers.
const stakeBit = 1 << 31

func (l *lock) stanceHash(o *owner) uint64 { return hashNumbers(uint64(l.self), uint64(o.number)) }

// stanceRef finds what an owner has on a lock with a crowd; 0 if nothing.
func (t *Table) stanceRef(l *lock, o *owner) uint32 {
	return t.stances.find(l.stanceHash(o), func(n uint32) bool {
		if n&stakeBit != 0 {
			s := t.stakes.at(stakeRef(n &^ stakeBit))
			return s.owner == o && s.lock == l.self
		}
		h := t.holds.at(holdRef(n))
		return h.lock == l.self && t.ownerOf(h) == o
	})
}

func (t *Table) addStance(l *lock, o *owner, n uint32) { t.stances.add(l.stanceHash(o), n) }

func (t *Table) removeStance(l *lock, o *owner, n uint32) { t.stances.remove(l.stanceHash(o), n) }

// stanceOf tells how an owner stands here, and how many holds it has.
func (l *lock) stanceOf(o *owner) (s stance, holds int32) {
	t := l.space.t
	if l.crowd == &noCrowd {
		if l.holds.first == 0 {
			return stance{}, 0
		}
		if h := t.holds.at(l.holds.first); t.ownerOf(h) == o {
			return h.alone(), 1
		}
		return stance{}, 0
	}
	n := t.stanceRef(l, o)
	switch {
	case n == 0:
		return stance{}, 0
	case n&stakeBit != 0:
		s := t.stakes.at(stakeRef(n &^ stakeBit))
		return s.stance, s.holds
	default:
		return t.holds.at(holdRef(n)).alone(), 1
	}
}

// alone is the stance of an owner that has no other hold.
func (h *hold) alone() stance {
	if h.ending {
		return stance{shuts: h.mode}
	}
	return stance{cover: h.mode, shuts: h.mode}
}

// onlyHoldOf gives the hold of an owner that has one here.
func (l *lock) onlyHoldOf(o *owner) *hold {
	t := l.space.t
	if l.crowd == &noCrowd {
		return l.sole()
	}
	if n := t.stanceRef(l, o); n&stakeBit == 0 {
		return t.holds.at(holdRef(n))
	}
	return nil
}

// coverOf is an owner's mode here (HF-3.2).
func (l *lock) coverOf(o *owner) Mode {
	s, _ := l.stanceOf(o)
	return s.cover
}

// addHold makes a grant hold a name.
func (t *Table) addHold(g *grant, l *lock, mode, named Mode) holdRef {
	n, h := t.holds.take()
	h.grant, h.lock, h.named = grantRef(g.place), l.self, named
	o := g.owner
	if l.holds.size > 0 {
		l.gather()
	}
	l.holds.push(n, t.holdLinks)
	if l.crowd == &noCrowd {
		o.stakes++
		t.setHold(h, mode, false)
		return n
	}
	switch beside := t.stanceRef(l, o); {
	case beside == 0:
		o.stakes++
		t.addStance(l, o, uint32(n))
	case beside&stakeBit != 0:
		h.stake = stakeRef(beside &^ stakeBit)
		t.stakes.at(h.stake).holds++
	default:
		h.stake = t.newStake(l, o, holdRef(beside))
	}
	t.setHold(h, mode, false)
	return n
}

// newStake joins an owner's only hold on a lock with one that comes to it.
func (t *Table) newStake(l *lock, o *owner, only holdRef) stakeRef {
	n, s := t.stakes.take()
	h := t.holds.at(only)
	*s = stake{owner: o, lock: l.self, stance: h.alone(), holds: 2}
	s.counts(h.ending)[h.mode]++
	h.stake = n
	t.stances.replace(l.stanceHash(o), uint32(only), uint32(n)|stakeBit)
	return n
}

// dropHold takes a grant off a name. The caller takes the hold out of the grant.
func (t *Table) dropHold(n holdRef) {
	h := t.holds.at(n)
	l, o := t.lockOf(h), t.ownerOf(h)
	t.setHold(h, None, h.ending)
	l.holds.remove(n, t.holdLinks)
	last := true
	if h.stake != 0 {
		s := t.stakes.at(h.stake)
		s.holds--
		if last = s.holds == 0; last {
			t.removeStance(l, o, uint32(h.stake)|stakeBit)
			t.stakes.give(h.stake)
		}
	} else if l.crowd != &noCrowd {
		t.removeStance(l, o, uint32(n))
	}
	t.holds.give(n)
	if last {
		o.stakes--
		o.leave()
	}
	l.tidy()
}

// setHold changes the mode of a hold, or whether it is ending, and all that follows from it.
func (t *Table) setHold(h *hold, mode Mode, ending bool) {
	l, o := t.lockOf(h), t.ownerOf(h)
	was, is := t.change(h, mode, ending)
	if l.crowd != &noCrowd {
		l.held[was.mode]--
		l.held[mode]++
		l.owners[was.shuts]--
		l.owners[is.shuts]++
	}
	if is.shuts != was.shuts {
		if !is.shuts.Covers(was.shuts) {
			l.wake(was.shuts)
		}
		if l.queued > 0 && len(o.requests) > 0 { // edges by a hold come from those who wait here
			l.space.touch(o)
		}
	}
	if is.cover != was.cover {
		l.recover(o, is.cover)
	}
}

// changed is how a hold and its owner stood on a lock.
type changed struct {
	mode Mode
	stance
}

// change changes a hold, and tells how its owner stands there before and after.
func (t *Table) change(h *hold, mode Mode, ending bool) (was, is changed) {
	was = changed{h.mode, h.alone()}
	if h.stake == 0 {
		h.mode, h.ending = mode, ending
		return was, changed{mode, h.alone()}
	}
	s := t.stakes.at(h.stake)
	was.stance = s.stance
	s.counts(h.ending)[h.mode]--
	h.mode, h.ending = mode, ending
	s.counts(ending)[mode]++
	cover, shuts := s.live.join(), s.live.join().Join(s.ending.join())
	s.stance = stance{cover, shuts}
	return was, changed{mode, s.stance}
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
