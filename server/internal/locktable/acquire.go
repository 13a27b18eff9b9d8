package locktable

import "strings"

// implicitRequest is the request id of an acquire in the session that it opened (HF-4.12).
const implicitRequest = 1

// acquire asks for claims (HF-4).
func (t *Table) acquire(c *Acquire) {
	if c.Session == 0 {
		t.acquireAlone(c)
		return
	}
	s := t.named(c.Session, c.Principal)
	if s == nil {
		return
	}
	digest := t.digestOf(c)
	if t.seen(s, &c.Caller, digest, waitAnswer) {
		return
	}
	t.arrive(s, c, digest)
}

// acquireAlone opens an implicit session for an acquire, or finds it by its nonce (HF-4.12).
func (t *Table) acquireAlone(c *Acquire) {
	key := nonceKey{acquire: true, principal: c.Principal, namespace: c.Namespace, nonce: c.Nonce}
	digest := t.digestOf(c)
	if n := t.nonces[key]; c.Nonce != "" && n != nil {
		t.acquireAgain(n, digest)
		return
	}
	if !t.mayOpen(c.Principal) {
		return
	}
	s := t.newSession(c.Principal, c.Namespace, c.TTL, "", c.Nonce)
	s.implicit = true
	s.deadline = t.g.time + c.WaitLimit + c.TTL
	t.deadlines.set(&s.timer, s.deadline)
	if c.Nonce != "" {
		t.remember(key, s, digest)
	}
	named := *c
	named.Session, named.Request, named.Acked = s.id, implicitRequest, 0
	t.arrive(s, &named, digest)
	t.endImplicit(s, Closed, "")
	t.sessionIs(s)
	if !s.alive() {
		t.result.SessionDeadline = 0
	}
}

// acquireAgain answers a retry by its nonce.
func (t *Table) acquireAgain(n *nonce, digest uint64) {
	if n.session == 0 {
		t.result.Outcome, t.result.First = Cancelled, n.cancelled
		return
	}
	s := t.sessions[n.session]
	if s.alive() {
		t.raise(s)
	}
	t.sessionIs(s)
	if n.digest != digest {
		t.refuse(RequestIDReused)
		return
	}
	if a := t.answer(s, implicitRequest); a != nil {
		t.replay(a)
		return
	}
	if r := s.waiting[implicitRequest]; r != nil {
		if r.inOrder() {
			t.queuedIs(r)
		} else {
			t.concludeNow(r)
		}
		return
	}
	t.refuse(StaleRequest) // its answer was acknowledged, or went for room
	t.result.Floor = s.floor
}

// arrive judges a new acquire: re-entry, an immediate grant, a place in the queue, or HELD.
func (t *Table) arrive(s *session, c *Acquire, digest uint64) {
	sp := s.space
	named := sortClaims(c.Claims)
	claims := t.expand(named)
	at := sp.findAll(claims)
	o := s.owner(c.Owner)
	defer o.leave()

	if g := sp.covering(o, claims, at); g != nil {
		t.arriveCovered(s, c, g, digest)
		return
	}
	if limit := t.g.limits.GrantsPerSession; s.grants.size+uint32(s.acquiring) >= limit {
		t.refuse(QuotaExceeded)
		t.result.Limit = limit
		t.keep(s, &c.Caller, digest, waitAnswer)
		return
	}
	what := terms{
		owner: o, named: named, expanded: claims, at: at,
		lease: c.Lease, maxHold: c.MaxHold, lockDelay: c.LockDelay, metadata: c.Metadata,
	}
	if isFree(o, claims, at) {
		t.grantAtOnce(s, c, &what, digest)
		t.settleCommand(sp)
		return
	}
	r := &request{
		arrival: t.at, arrivedAt: t.g.time, session: s, id: c.Request, digest: digest,
		ownerKey: o.key, named: ownClaims(named), until: t.g.time + c.WaitLimit, priority: c.Priority,
		lease: c.Lease, maxHold: c.MaxHold, lockDelay: c.LockDelay, onDeadlock: c.OnDeadlock,
		noReentry: c.NoReentry, metadata: strings.Clone(c.Metadata), space: sp, owner: o,
	}
	r.conversion = sp.isPureConversion(o, named)
	r.setPlaces(claims)
	t.request(r, c.WaitLimit, func() {
		what.at = sp.findAll(claims)
		t.grantAtOnce(s, c, &what, digest)
	})
}

// isFree tells whether an acquire finds nothing in its way and nobody waiting where it goes. Then it
// needs no place in the order to be judged there: it is grantable and passes nobody (HF-4.3, HF-4.6).
func isFree(o *owner, claims []Claim, at []*lock) bool {
	for i, c := range claims {
		l := at[i]
		if l != nil && (l.queued > 0 || !l.coverOf(o).Covers(c.Mode) && l.isShut(o, c.Mode)) {
			return false
		}
	}
	return true
}

// grantAtOnce answers an acquire with its grant.
func (t *Table) grantAtOnce(s *session, c *Acquire, what *terms, digest uint64) {
	g := t.newGrant(what)
	t.started(s, c.Request)
	t.granted(g)
	t.keep(s, &c.Caller, digest, waitAnswer)
	t.emit(Event{
		Kind: EventGranted, Namespace: s.namespace, Session: s.id, Owner: g.owner.key, Request: c.Request,
		Claims: t.result.Grant.Claims, Grant: t.result.Grant,
	})
}

// arriveCovered answers an acquire that one grant of its owner covers (HF-5.1).
func (t *Table) arriveCovered(s *session, c *Acquire, g *grant, digest uint64) {
	if c.NoReentry {
		t.heldBy(g, sortClaims(c.Claims))
	} else {
		t.reenter(g, c.Lease)
		t.granted(g)
		t.emit(Event{
			Kind: EventGranted, Namespace: s.namespace, Session: s.id, Owner: g.owner.key, Request: c.Request,
			Claims: ownClaims(sortClaims(c.Claims)), Grant: t.result.Grant,
		})
	}
	t.keep(s, &c.Caller, digest, waitAnswer)
}

// started sets the deadline of an implicit session when its grant comes: the only time a deadline
// is lowered (HF-4.12).
func (t *Table) started(s *session, request uint64) {
	if s.implicit && request == implicitRequest {
		t.es.touch(s)
		s.deadline = t.g.time + s.ttl
		t.deadlines.set(&s.timer, s.deadline)
	}
}

func (t *Table) granted(g *grant) {
	t.result.Outcome = Granted
	t.result.Grant = t.info(g)
	t.sessionIs(g.session())
}

// heldBy is the answer to an acquire that its owner's own grant forbids.
func (t *Table) heldBy(g *grant, named []Claim) {
	t.result.Outcome = Held
	t.result.BlockersTotal = len(named)
	for _, c := range named[:min(len(named), blockersShown)] {
		t.result.Blockers = append(t.result.Blockers, Blocker{
			Kind: Holder, Name: c.Name, Mode: g.modeOn(c.Name),
			Session: g.session().id, Owner: g.owner.key, Grant: g.id,
		})
	}
}

// isPureConversion tells whether every named claim strengthens a name that the owner holds (HF-4.4).
func (sp *space) isPureConversion(o *owner, named []Claim) bool {
	for _, c := range named {
		l := sp.find(c.Name)
		if l == nil {
			return false
		}
		if cover := l.coverOf(o); cover == None || cover.Covers(c.Mode) {
			return false
		}
	}
	return true
}

// ownClaims gives claims with names of their own: those of a command belong to its entry.
func ownClaims(claims []Claim) []Claim {
	own := make([]Claim, len(claims))
	for i, c := range claims {
		own[i] = Claim{strings.Clone(c.Name), c.Mode}
	}
	return own
}

func (r *request) setPlaces(claims []Claim) {
	r.places = make([]place, len(claims))
	for i, c := range claims {
		l := r.space.lock(c.Name)
		l.gather()
		r.places[i] = place{request: r, lock: l, mode: c.Mode}
	}
}

// request gives a new acquire or conversion its place and tests it there: it is granted at once,
// answered HELD if it may not wait, or stays (HF-4.3).
func (t *Table) request(r *request, wait Millis, grant func()) {
	t.enqueue(r)
	if r.isGrantable() {
		t.countPasses(r, nil)
		t.leave(r)
		grant()
		t.tidyPlaces(r)
		r.space.touch(r.owner)
		t.placeFull(r.space)
		t.settleCommand(r.space)
		return
	}
	if wait > 0 && !t.isFull(r) {
		t.wait(r)
		return
	}
	if wait > 0 {
		t.leave(r)
	} else {
		t.result.Outcome = Held
		_, t.result.Blockers, t.result.BlockersTotal = r.inTheWay()
		t.leave(r)
	}
	t.tidyPlaces(r)
	t.keep(r.session, &Caller{Request: r.id}, r.digest, waitAnswer)
}

// isFull refuses a wait where too many wait already (HF-12).
func (t *Table) isFull(r *request) bool {
	limit := t.g.limits.WaitersPerName
	for i := range r.places {
		if l := r.places[i].lock; uint32(l.queued-1) >= limit {
			t.refuse(QueueFull)
			t.result.Name, t.result.Limit = l.name, limit
			return true
		}
	}
	return false
}

// wait makes a request that stands in the order a waiter.
func (t *Table) wait(r *request) {
	t.attachWait(r)
	t.es.add(r)
	if r.grant != nil {
		r.grant.own().convert = r
	}
	t.emit(Event{
		Kind: EventQueued, Namespace: r.space.name, Session: r.session.id, Owner: r.ownerKey, Request: r.id,
		Arrival: r.arrival, Converts: r.converts, Claims: r.named,
	})
	t.countPasses(r, nil)
	r.space.touch(r.owner)
	t.placeFull(r.space)
	t.answering = r
	t.settleCommand(r.space)
}

// attachWait sets what is derived of a waiter, but for its place.
func (t *Table) attachWait(r *request) {
	s := r.session
	s.waits.pushBack(r)
	if r.id != 0 {
		if s.waiting == nil {
			s.waiting = map[uint64]*request{}
		}
		s.waiting[r.id] = r
	}
	if !r.inOrder() {
		return
	}
	t.waits++
	if r.converts == 0 {
		s.acquiring++
	}
	if len(r.owner.requests) == 0 {
		r.space.waiting[r.owner] = true
	}
	r.owner.requests = append(r.owner.requests, r)
	r.timer = timer{kind: waitTimer, id: r.arrival, request: r}
	t.deadlines.set(&r.timer, r.until)
}

// queuedIs answers with the present place of a waiter (HF-4.2).
func (t *Table) queuedIs(r *request) {
	t.result.Outcome = Queued
	t.result.Arrival = r.arrival
	t.sessionIs(r.session)
	t.result.Position, t.result.Blockers, t.result.BlockersTotal = r.inTheWay()
}

// tidyPlaces forgets the locks on which a request that is gone stood alone.
func (t *Table) tidyPlaces(r *request) {
	for i := range r.places {
		r.places[i].lock.tidy()
	}
}
