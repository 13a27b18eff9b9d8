package locktable

import (
	"slices"
	"sort"

	"github.com/holdfast-dev/holdfast/server/internal/waitgraph"
)

// Deadlocks (HF-8). The graph is not stored: an owner's edges follow from its waits. Before a batch
// there is no cycle, so one can only have closed through an owner that was touched since.

const (
	turnsTried  = 64   // soft edges of a cycle that are tried (HF-8.3)
	reportsKept = 1000 // resolved deadlocks (HF-8.5)
)

// waitsFor visits the owners that o waits for. Without exact it leaves out edges that change
// nothing about who reaches whom (HF-8.6).
func waitsFor(o *owner, exact bool, visit func(*owner)) {
	for _, r := range o.requests {
		for i := range r.places {
			if p := &r.places[i]; !p.satisfied {
				p.holdersAgainst(visit)
				p.waitersAgainst(exact, visit)
			}
		}
	}
}

func exactly(o *owner, visit func(*owner)) { waitsFor(o, true, visit) }

func (o *owner) searchPlace() *uint32 { return &o.place }

func roughly(o *owner, visit func(*owner)) { waitsFor(o, false, visit) }

// holdersAgainst visits the other owners that hold the name against a place, as far as they wait
// themselves: nobody else can be on a cycle.
func (p *place) holdersAgainst(visit func(*owner)) {
	l, o := p.lock, p.request.owner
	if l.owners.against(p.mode) == 0 {
		return
	}
	if int(l.holds.size) > len(l.space.waiting) {
		for w := range l.space.waiting { // the order does not show: visits only fill sets
			if w != o && !compatible[p.mode][l.coverOf(w)] {
				visit(w)
			}
		}
		return
	}
	for h := range l.eachHold() {
		if w := l.space.t.ownerOf(h); w != o && len(w.requests) > 0 && !compatible[p.mode][l.coverOf(w)] {
			visit(w)
		}
	}
}

// waitersAgainst visits the owners of conflicting waiters ahead. Behind one that waits for X the
// rest can be reached through it.
func (p *place) waitersAgainst(exact bool, visit func(*owner)) {
	if p.lock.waiting.against(p.mode) == 0 { // a thousand that wait below a name do not conflict there
		return
	}
	for q := p.prev; q != nil; q = q.prev {
		if q.conflicts(p) {
			visit(q.request.owner)
			if !exact && q.mode == X {
				return
			}
		}
	}
}

// isWaitedFor tells whether somebody may wait for an owner: if nobody does, no search is needed
// (HF-8.6). It looks at a few of its grants only; an owner with many is searched.
func (o *owner) isWaitedFor() bool {
	for _, r := range o.requests {
		for i := range r.places {
			if r.places[i].next != nil {
				return true
			}
		}
	}
	if o.stakes == 0 {
		return false
	}
	looks := 64
	for g := range o.session.eachGrant() {
		if looks--; looks < 0 {
			return true
		}
		if g.owner != o {
			continue
		}
		for h := range g.eachHold() {
			if g.table().lockOf(h).queued > 0 {
				return true
			}
		}
	}
	return false
}

// resolve resolves one cycle, and tells whether there was one (HF-8.2).
func (t *Table) resolve(sp *space) bool {
	var nodes []*owner
	on := map[*owner]bool{}
	touched := sp.touched[:0]
	for _, o := range sp.touched {
		if !on[o] {
			if len(o.requests) == 0 || !o.isWaitedFor() {
				o.touched = false
				continue
			}
			component := waitgraph.Component(o, roughly, (*owner).searchPlace)
			if component == nil {
				o.touched = false
				continue
			}
			for _, n := range component {
				if !on[n] {
					on[n] = true
					nodes = append(nodes, n)
				}
			}
		}
		touched = append(touched, o)
	}
	clear(sp.touched[len(touched):])
	sp.touched = touched
	if len(nodes) == 0 {
		return false
	}
	slices.SortFunc(nodes, (*owner).compare)
	cycle := waitgraph.Shortest(nodes, exactly)
	steps := stepsOf(cycle)
	if !t.turn(sp, cycle, steps) {
		t.abort(sp, cycle, steps)
	}
	return true
}

// bearing gives the requests of an owner that point at another, and for each the first name at
// which it does.
func bearing(o, at *owner) (requests []*request, names []*place) {
	for _, r := range o.requests {
		if p := r.pointsAt(at); p != nil {
			requests = append(requests, r)
			names = append(names, p)
		}
	}
	return requests, names
}

// pointsAt gives the first place at which a request waits for an owner, nil if it does not (HF-8.1).
func (r *request) pointsAt(o *owner) *place {
	for i := range r.places {
		p := &r.places[i]
		if p.satisfied {
			continue
		}
		if !compatible[p.mode][p.lock.coverOf(o)] {
			return p
		}
		for _, w := range o.requests {
			if w.label < r.label && w.conflictsAt(p) {
				return p
			}
		}
	}
	return nil
}

// conflictsAt tells whether a waiter conflicts with a place of another on that place's name.
func (r *request) conflictsAt(p *place) bool {
	for i := range r.places {
		if q := &r.places[i]; q.lock == p.lock {
			return q.conflicts(p)
		}
	}
	return false
}

func (r *request) conflictsWith(w *request) bool {
	for i := range w.places {
		if r.conflictsAt(&w.places[i]) {
			return true
		}
	}
	return false
}

func (o *owner) pointsAt(p *owner) bool {
	for _, r := range o.requests {
		if r.pointsAt(p) != nil {
			return true
		}
	}
	return false
}

// worse tells whether r is the victim rather than s: lowest priority, then latest arrival.
func (r *request) worse(s *request) bool {
	if r.priority != s.priority {
		return r.priority < s.priority
	}
	return s.arrival.before(r.arrival)
}

func stepsOf(cycle []*owner) []CycleStep {
	steps := make([]CycleStep, len(cycle))
	for i, o := range cycle {
		requests, places := bearing(o, cycle[(i+1)%len(cycle)])
		worst := 0
		for k := range requests {
			if requests[k].worse(requests[worst]) {
				worst = k
			}
		}
		r, p := requests[worst], places[worst]
		steps[i] = CycleStep{
			Session: o.session.id, Owner: o.key, Request: r.id, Arrival: r.arrival,
			Name: p.lock.name, Mode: p.mode,
		}
	}
	return steps
}

// abort ends the wait of exactly one request that bears an edge of the cycle (HF-8.3, HF-8.4).
func (t *Table) abort(sp *space, cycle []*owner, steps []CycleStep) {
	var victim *request
	for i, o := range cycle {
		requests, _ := bearing(o, cycle[(i+1)%len(cycle)])
		for _, r := range requests {
			if victim == nil || r.worse(victim) {
				victim = r
			}
		}
	}
	t.report(sp, steps, victim.arrival)
	o := victim.owner
	t.decide(victim, DeadlockVictim, NotEnded, "")
	t.finish(victim, Result{Outcome: DeadlockVictim, Cycle: steps})
	if victim.onDeadlock == ReleaseOwner {
		t.releaseOwner(o)
	}
}

// releaseOwner ends all waits of a victim's owner at once, and decides the end of its grants
// (HF-8.4).
func (t *Table) releaseOwner(o *owner) {
	for _, r := range slices.Clone(o.requests) {
		t.decide(r, Cancelled, VictimReleased, "")
		t.conclude(r)
	}
	for g := range o.session.eachGrant() {
		if g.owner == o && !g.isEnding() {
			t.condemn(g, VictimReleased, "")
		}
	}
}

// report keeps a resolved deadlock for those who ask (HF-8.5).
func (t *Table) report(sp *space, steps []CycleStep, victim Index) {
	d := &report{namespace: sp.name, at: t.at, time: t.g.time, cycle: steps, victim: victim}
	if t.reports.len() > 0 {
		d.seq = t.reports.all()[t.reports.len()-1].seq + 1
	}
	t.reports.push(d)
	t.es.add(d)
	if t.reports.len() > reportsKept {
		t.es.drop(t.reports.pop())
	}
	t.emit(Event{Kind: EventDeadlock, Namespace: sp.name, Cycle: steps, Victim: victim})
}

// softEdge is a waiter that waits behind another on some name.
type softEdge struct{ bearer, ahead *request }

// turn tries to resolve a cycle without a victim: a waiter of it goes just ahead of one that it
// waits behind (HF-8.3).
func (t *Table) turn(sp *space, cycle []*owner, steps []CycleStep) bool {
	var edges []softEdge
	for i, o := range cycle {
		for _, r := range o.requests {
			for _, w := range cycle[(i+1)%len(cycle)].requests {
				if w.label < r.label && w.conflictsWith(r) {
					edges = append(edges, softEdge{r, w})
				}
			}
		}
	}
	sort.Slice(edges, func(i, j int) bool {
		if edges[i].bearer != edges[j].bearer {
			return edges[i].bearer.label < edges[j].bearer.label
		}
		return edges[i].ahead.label < edges[j].ahead.label
	})
	for _, e := range edges[:min(len(edges), turnsTried)] {
		if t.tryTurn(e) {
			t.report(sp, steps, Index{})
			t.placeFull(sp)
			return true
		}
	}
	return false
}

// tryTurn makes a turn if it ends the edge and closes nothing else, and undoes it otherwise.
func (t *Table) tryTurn(e softEdge) bool {
	w := e.bearer
	var gains []*owner // owners that would wait for w's owner and did not
	for u := e.ahead; u != w; u = u.order.next {
		if !u.conflictsWith(w) {
			continue
		}
		if u.atLimit && !waitgraph.Reaches(u.owner, w.owner, roughly) {
			return false
		}
		if !u.owner.pointsAt(w.owner) {
			gains = append(gains, u.owner)
		}
	}
	before, behind := w.order.prev, w.order.next
	t.leave(w)
	t.insertAfter(w, e.ahead.order.prev)
	ok := !w.owner.pointsAt(e.ahead.owner)
	for _, o := range gains {
		ok = ok && !waitgraph.Reaches(w.owner, o, roughly)
	}
	if !ok {
		t.leave(w)
		t.insertAfter(w, before)
		return false
	}
	t.es.touch(w)
	t.countPasses(w, behind)
	w.space.ready = append(w.space.ready, w)
	w.space.touch(w.owner)
	return true
}
