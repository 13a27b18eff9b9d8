package locktable

// decide takes a waiter out of order and graph: how it ends is certain from here on, and stands in
// its place until conclude gives the outcome (HF-2.3, HF-2.3a).
func (t *Table) decide(r *request, outcome Outcome, ended EndReason, detail string) {
	t.es.touch(r)
	t.wakeBehind(r)
	t.leaveOrder(r)
	r.decided, r.ended, r.detail = outcome, ended, detail
	t.tidyPlaces(r)
	r.owner.leave()
}

// leaveOrder takes a waiter out of the order and of what is derived from it.
func (t *Table) leaveOrder(r *request) {
	t.leave(r)
	t.deadlines.remove(&r.timer)
	t.waits--
	if r.converts == 0 {
		r.session.acquiring--
	}
	o := r.owner
	for i, other := range o.requests {
		if other == r {
			o.requests = append(o.requests[:i], o.requests[i+1:]...)
			break
		}
	}
	if len(o.requests) == 0 {
		delete(r.space.waiting, o)
	}
	r.ahead = Index{}
}

// conclude gives a decided waiter its outcome.
func (t *Table) conclude(r *request) {
	t.finish(r, Result{Outcome: r.decided, Ended: r.ended, Detail: r.detail})
}

// concludeNow gives the outcome of a decided waiter as the result of this command, too.
func (t *Table) concludeNow(r *request) {
	t.answering = r
	t.conclude(r)
	t.answering = nil
}

// finish ends a waiting request with its one final outcome (HF-4.2).
func (t *Table) finish(r *request, final Result) {
	s := r.session
	if r.id != 0 {
		delete(s.waiting, r.id)
	}
	s.waits.remove(r)
	if g := t.grant(r.converts); g != nil && g.convert == r {
		g.convert = nil
	}
	t.es.drop(r)
	if r.id != 0 && (s.alive() || s.implicit) {
		t.keepAnswer(s, r.id, r.digest, waitAnswer, &final)
	}
	t.emit(Event{
		Kind: EventOutcome, Namespace: s.namespace, Session: s.id, Owner: r.ownerKey, Request: r.id,
		Arrival: r.arrival, Outcome: final.Outcome, Converts: r.converts, Claims: r.named,
		Grant: final.Grant, Ended: final.Ended, Detail: final.Detail, Cycle: final.Cycle,
	})
	if t.answering == r {
		res := t.result
		res.Outcome, res.Grant, res.Cycle = final.Outcome, final.Grant, final.Cycle
		res.Ended, res.Detail = final.Ended, final.Detail
	}
	t.endImplicit(s, Closed, "")
	if t.answering == r {
		t.result.SessionDeadline = 0
		t.sessionIs(s)
	}
}

// give grants a waiter: it re-enters, is converted, or gets a new grant (HF-4.3, HF-5.1, HF-5.2).
func (t *Table) give(r *request) {
	t.es.touch(r)
	o, sp := r.owner, r.space
	var final Result
	if r.grant != nil {
		t.leaveOrder(r)
		t.raiseMode(r.grant, r.named[0])
		final = Result{Outcome: Granted, Grant: t.info(r.grant)}
	} else {
		final = t.giveAcquire(r)
	}
	sp.touch(o)
	t.finish(r, final)
	t.tidyPlaces(r)
	o.leave()
}

func (t *Table) giveAcquire(r *request) Result {
	claims := t.expand(r.named)
	at := r.space.findAll(claims)
	g := r.space.covering(r.owner, claims, at)
	if g != nil {
		t.wakeBehind(r) // otherwise its claims stay in the way, as holds
	}
	t.leaveOrder(r)
	if g != nil {
		if r.noReentry {
			return Result{Outcome: Held}
		}
		t.reenter(g, r.lease)
		t.started(r.session, r.id)
		return Result{Outcome: Granted, Grant: t.info(g)}
	}
	s := r.session
	g = t.newGrant(&terms{
		owner: r.owner, named: r.named, expanded: claims, at: at,
		lease: r.lease, maxHold: r.maxHold, lockDelay: r.lockDelay, metadata: r.metadata,
	})
	t.started(s, r.id)
	return Result{Outcome: Granted, Grant: t.info(g)}
}

// blockersShown is how many blockers an answer names (HF-4.2).
const blockersShown = 16

// inTheWay gives a request's position and those in its way (HF-4.2): holders by name and grant,
// ghosts likewise, waiters by name and place.
func (r *request) inTheWay() (position int, shown []Blocker, total int) {
	show := func(b Blocker) {
		if total++; len(shown) < blockersShown {
			shown = append(shown, b)
		}
	}
	for i := range r.places {
		p := &r.places[i]
		l := p.lock
		if p.satisfied || !l.isShut(r.owner, p.mode) && l.heldAgainst(p.mode) == 0 {
			continue
		}
		for h := range l.eachHold() {
			g := l.space.t.grantOf(h)
			if g.owner != r.owner && !compatible[p.mode][h.mode] {
				show(Blocker{
					Kind: Holder, Name: l.name, Mode: h.mode, Session: g.session().id,
					Owner: g.owner.key, Grant: g.id,
				})
			}
		}
	}
	for i := range r.places {
		p := &r.places[i]
		if p.satisfied {
			continue
		}
		for _, g := range p.lock.ghostsAgainst(p.mode) {
			show(g)
		}
	}
	most := 0
	for i := range r.places {
		p := &r.places[i]
		ahead := 0
		if !p.satisfied && p.lock.waiting.against(p.mode) > 0 {
			for q := p.lock.first; q != p; q = q.next {
				if p.next == nil && len(shown) == blockersShown { // the rest need not be walked
					rest := p.aheadOfLast() - ahead
					ahead, total = ahead+rest, total+rest
					break
				}
				if q.conflicts(p) {
					ahead++
					show(q.blocker())
				}
			}
		}
		most = max(most, ahead)
	}
	return 1 + most, shown, total
}

// aheadOfLast counts the waiters that conflict with the last one of a queue.
func (p *place) aheadOfLast() int {
	n := int(p.lock.waiting.against(p.mode))
	if !compatible[p.mode][p.mode] {
		n-- // itself
	}
	for _, r := range p.request.owner.requests {
		for i := range r.places {
			q := &r.places[i]
			if q != p && q.lock == p.lock && !q.satisfied && !compatible[p.mode][q.mode] {
				n--
			}
		}
	}
	return n
}

func (p *place) blocker() Blocker {
	r := p.request
	return Blocker{
		Kind: WaiterAhead, Name: p.lock.name, Mode: p.mode, Session: r.session.id, Owner: r.ownerKey,
		Request: r.id, Arrival: r.arrival,
	}
}

// ghostsAgainst lists the ghosts that are not compatible with mode, by the grant that left them.
func (l *lock) ghostsAgainst(mode Mode) []Blocker {
	if l.shut.against(mode) == 0 {
		return nil
	}
	var all []Blocker
	for _, h := range l.ghosts {
		for _, c := range h.claims {
			if c.Name == l.name && !compatible[mode][c.Mode] {
				all = append(all, Blocker{Kind: GhostLeft, Name: l.name, Mode: c.Mode, Grant: h.grant})
			}
		}
	}
	return all
}
