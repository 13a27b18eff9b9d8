package locktable

// The order of waiters (HF-4.4): one list for a namespace, and on each name a queue that is the
// part of it with a claim there. A waiter's label rises along the list, so that two waiters can be
// compared without walking it.

const labelGap = 1 << 32

// outranks tells whether r may not be passed by a newcomer q: its rank is not lower (HF-4.4).
func (r *request) outranks(q *request) bool {
	if r.atLimit || q.atLimit {
		if r.atLimit != q.atLimit {
			return r.atLimit
		}
		return !q.arrival.before(r.arrival)
	}
	if r.conversion != q.conversion {
		return r.conversion
	}
	if r.priority != q.priority {
		return r.priority > q.priority
	}
	return !q.arrival.before(r.arrival)
}

// enqueue puts a request at its place as a newcomer: after the last waiter whose rank is not lower.
func (t *Table) enqueue(r *request) {
	at := r.space.order.last
	for at != nil && !at.outranks(r) {
		at = at.order.prev
	}
	t.insertAfter(r, at)
}

// insertAfter puts a request into the order behind at (first, if nil), and into its queues.
func (t *Table) insertAfter(r, at *request) {
	order := &r.space.order
	order.insertAfter(at, r)
	r.label = r.space.label(r)
	t.linkAhead(r)
	if next := r.order.next; next != nil {
		t.linkAhead(next)
	}
	for i := range r.places {
		r.places[i].insert()
	}
}

// leave takes a request out of the order and its queues.
func (t *Table) leave(r *request) {
	next := r.order.next
	r.space.order.remove(r)
	if next != nil {
		t.linkAhead(next)
	}
	for i := range r.places {
		r.places[i].remove()
	}
}

// linkAhead notes in the state who stands before r.
func (t *Table) linkAhead(r *request) {
	var ahead Index
	if r.order.prev != nil {
		ahead = r.order.prev.arrival
	}
	if r.ahead != ahead {
		t.es.touch(r)
		r.ahead = ahead
	}
}

// label finds a label between those of r's neighbours, relabelling all if there is no room.
func (sp *space) label(r *request) uint64 {
	prev, next := r.order.prev, r.order.next
	low := uint64(0)
	if prev != nil {
		low = prev.label
	}
	if next == nil {
		if low < 1<<63 {
			return low + labelGap
		}
	} else if next.label-low > 1 {
		return low + (next.label-low)/2
	}
	label := uint64(0)
	for q := sp.order.first; q != nil; q = q.order.next {
		label += labelGap
		q.label = label
	}
	return r.label
}

// insert puts a place into the queue of its lock, by the order.
func (p *place) insert() {
	l := p.lock
	at := l.last
	for at != nil && at.request.label > p.request.label {
		at = at.prev
	}
	p.prev = at
	if at == nil {
		p.next, l.first = l.first, p
	} else {
		p.next, at.next = at.next, p
	}
	if p.next == nil {
		l.last = p
	} else {
		p.next.prev = p
	}
	l.queued++
	p.satisfied = l.coverOf(p.request.owner).Covers(p.mode)
	if !p.satisfied {
		l.waiting[p.mode]++
	}
}

func (p *place) remove() {
	l := p.lock
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	l.queued--
	if !p.satisfied {
		l.waiting[p.mode]--
	}
}

// conflicts tells whether two waiters stand in each other's way on a name (HF-4.3 b).
func (p *place) conflicts(q *place) bool {
	return p.request.owner != q.request.owner && !p.satisfied && !q.satisfied &&
		!compatible[p.mode][q.mode]
}

// countPasses counts r against the waiters it went ahead of (HF-4.6): on each name the
// earliest-arrived of those that conflict with it. A newcomer passed all that stand behind it; one
// that moved passed those between its new place and its old, which began before until.
func (t *Table) countPasses(r *request, until *request) {
	for i := range r.places {
		p := &r.places[i]
		var passed *request
		for q := p.next; q != nil && (until == nil || q.request.label < until.label); q = q.next {
			w := q.request
			if w.arrival.before(r.arrival) && p.conflicts(q) && (passed == nil || w.arrival.before(passed.arrival)) {
				passed = w
			}
		}
		if passed != nil {
			t.countPasser(passed, r.arrival)
		}
	}
}

func (t *Table) countPasser(w *request, by Index) {
	for _, i := range w.passers {
		if i == by {
			return
		}
	}
	t.es.touch(w)
	w.passers = append(w.passers, by)
	if len(w.passers) == t.tuning.PassLimit && !w.atLimit {
		w.space.full = append(w.space.full, w)
	}
}

// placeFull gives waiters that may be passed no more their new places, the earliest-arrived first;
// this may count against others in turn (HF-4.6).
func (t *Table) placeFull(sp *space) {
	for len(sp.full) > 0 {
		first := 0
		for i, w := range sp.full {
			if w.arrival.before(sp.full[first].arrival) {
				first = i
			}
		}
		w := sp.full[first]
		sp.full = append(sp.full[:first], sp.full[first+1:]...)
		if !w.inOrder() || w.atLimit || w.gone {
			continue
		}
		t.es.touch(w)
		w.atLimit = true
		t.move(w, func() { t.enqueue(w) })
	}
}

// move takes a waiter out and lets place put it in again; what it passes by that is counted.
func (t *Table) move(w *request, place func()) {
	behind := w.order.next // what stood behind it before was not passed
	t.wakeBehind(w)
	t.leave(w)
	place()
	t.es.touch(w)
	t.countPasses(w, behind)
	w.space.ready = append(w.space.ready, w)
	w.space.touch(w.owner)
}
