package locktable

// Bounded work (HF-2.3a): ends and grants beyond those of a batch's own commands are carried out
// from one backlog, oldest first, as far as the budget of the batch goes.

type backlog struct {
	items []*backlogItem
	head  int
}

func (b *backlog) all() []*backlogItem { return b.items[b.head:] }

func (b *backlog) pushFront(it *backlogItem) {
	if b.head == 0 {
		b.items = append([]*backlogItem{it}, b.items...)
		return
	}
	b.head--
	b.items[b.head] = it
}

func (b *backlog) pop() {
	b.items[b.head] = nil
	b.head++
	if b.head == len(b.items) {
		b.items, b.head = b.items[:0], 0
	}
}

// rise raises T and lets every deadline take hold that it passes (HF-2.8): the ends themselves
// follow from the backlog.
func (t *Table) rise(stamp Millis, commands []Command) {
	t.g.time = max(t.g.time, stamp)
	for _, c := range commands {
		t.renewNamed(c)
	}
	for len(t.deadlines) > 0 && t.deadlines[0].at <= t.g.time {
		t.pass(t.deadlines[0])
	}
	t.forget()
}

// pass lets one deadline take hold.
func (t *Table) pass(d *timer) {
	switch d.kind {
	case sessionTimer:
		s := t.sessions[SessionID(d.id.Entry)]
		if s.deadline != d.at { // it was raised since the timer was set, and has its turn later
			t.deadlines.set(d, s.deadline)
			return
		}
		t.endSession(s, SessionTTLPassed, "")
		t.putOff(&backlogItem{kind: endSession, session: s.id, s: s})
	case leaseTimer, maxHoldTimer:
		why := LeasePassed
		if d.kind == maxHoldTimer {
			why = MaxHoldPassed
		}
		t.deadlines.remove(d)
		if g := t.grant(GrantID(d.id.Entry)); !g.isEnding() {
			t.condemn(g, why, "")
		}
	case ghostTimer:
		t.deadlines.remove(d)
		h := t.ghosts[GrantID(d.id.Entry)]
		t.es.touch(h)
		h.passed = true
		t.putOff(&backlogItem{kind: endGhost, grant: h.grant, h: h})
	case waitTimer:
		r := d.request
		t.decide(r, WaitLimitReached, NotEnded, "")
		t.putOff(&backlogItem{kind: endWait, wait: r.arrival, r: r})
	}
}

// condemn decides the end of a grant; it comes from the backlog.
func (t *Table) condemn(g *grant, why EndReason, detail string) {
	t.setEnding(g, why, detail)
	t.putOff(&backlogItem{kind: endGrant, grant: g.id})
}

// putOff puts an end behind all that are waiting.
func (t *Table) putOff(it *backlogItem) {
	t.g.backSeq++
	it.seq = t.g.backSeq
	if it.kind == endSession {
		it.s = t.sessions[it.session]
		it.s.item = it
	}
	t.backlog.items = append(t.backlog.items, it)
	t.es.add(it)
}

// owe notes that grants are still to be made in a namespace. It stands in the backlog once.
func (t *Table) owe(sp *space, front bool) {
	if sp.owed != nil && !front {
		return
	}
	t.settled(sp)
	it := &backlogItem{kind: owedGrants, namespace: sp.name}
	sp.owed = it
	if !front {
		t.putOff(it)
		return
	}
	t.g.frontSeq--
	it.seq = t.g.frontSeq
	t.backlog.pushFront(it)
	t.es.add(it)
}

// settled notes that nothing is owed in a namespace any more.
func (t *Table) settled(sp *space) {
	if it := sp.owed; it != nil {
		t.es.touch(it)
		it.done, sp.owed = true, nil
	}
}

// workOff carries out ends from the backlog while the budget lasts, each followed by the grants it
// allows.
func (t *Table) workOff() {
	for len(t.backlog.all()) > 0 {
		it := t.backlog.all()[0]
		if t.isVoid(it) {
			t.backlog.pop()
			t.es.drop(it)
			continue
		}
		if t.budget <= 0 {
			return
		}
		sp := t.carryOut(it)
		if t.settle(sp) {
			t.owe(sp, true)
		}
	}
}

// isVoid tells whether there is nothing left to do for an item.
func (t *Table) isVoid(it *backlogItem) bool {
	switch it.kind {
	case endSession:
		return it.announced && it.s.waits.size == 0 && it.s.grants.size == 0
	case endWait:
		return it.r.gone
	case endGrant:
		return t.grant(it.grant) == nil
	case endGhost:
		return it.h.gone
	default:
		return it.done
	}
}

// carryOut does one unit of work and tells in which namespace.
func (t *Table) carryOut(it *backlogItem) *space {
	switch it.kind {
	case endSession:
		t.budget--
		s := it.s
		switch {
		case !it.announced:
			t.es.touch(it)
			it.announced = true
			t.announceEnd(s)
		case s.waits.size > 0:
			t.conclude(s.waits.first)
		default:
			t.endGrant(t.es.grants.at(s.grants.first), s.ended, s.detail)
		}
		return s.space
	case endWait:
		t.budget--
		t.conclude(it.r)
		return it.r.space
	case endGrant:
		t.budget--
		g := t.grant(it.grant)
		sp := g.session().space
		t.endGrant(g, g.ending, g.detail)
		return sp
	case endGhost:
		t.budget--
		t.dropGhost(it.h)
		return it.h.space
	default:
		sp := t.space(it.namespace)
		t.settled(sp)
		return sp
	}
}

// hasBacklog tells whether an empty batch would have something to do now.
func (t *Table) hasBacklog() bool { return len(t.backlog.all()) > 0 }

// resolveRest resolves the deadlocks that the rise has closed where the backlog did not come, for
// want of room: after no index does the graph hold a cycle (HF-8.2).
func (t *Table) resolveRest() {
	if t.budget > 0 {
		return
	}
	for _, sp := range t.spacesByName() {
		if t.resolve(sp) {
			t.settleCommand(sp)
		}
	}
}

// settleCommand makes the grants that a command allows.
func (t *Table) settleCommand(sp *space) {
	if t.settle(sp) {
		t.owe(sp, false)
	}
}

// settle makes grants until none can be made, then resolves one deadlock, and again until there is
// neither (HF-4.3, HF-8.2). It tells whether the budget cut it short.
func (t *Table) settle(sp *space) (cut bool) {
	for {
		cut = false
		if r := sp.firstGrantable(); r != nil {
			if t.budget > 0 {
				t.budget--
				t.give(r)
				continue
			}
			cut = true
		}
		if !t.resolve(sp) {
			if !cut {
				t.settled(sp)
			}
			return cut
		}
	}
}

// renewNamed renews the session that a command names, and the lease that a first Renew names, if
// they lived before the rise (HF-2.8).
func (t *Table) renewNamed(c Command) {
	switch c := c.(type) {
	case *OpenSession:
		key := nonceKey{principal: c.Principal, namespace: c.Namespace, nonce: c.Nonce}
		if n := t.nonces[key]; n != nil && c.Nonce != "" {
			t.raiseIfAlive(n.session, c.Principal)
		}
	case *RenewSession:
		t.raiseIfAlive(c.Session, c.Principal)
	case *CloseSession:
		t.raiseIfAlive(c.Session, c.Principal)
	case *Acquire:
		if c.Session != 0 {
			t.raiseIfAlive(c.Session, c.Principal)
			return
		}
		key := nonceKey{acquire: true, principal: c.Principal, namespace: c.Namespace, nonce: c.Nonce}
		if n := t.nonces[key]; n != nil && c.Nonce != "" {
			t.raiseIfAlive(n.session, c.Principal)
		}
	case *Release:
		t.raiseNamed(&c.Caller, c.Grant)
	case *Convert:
		t.raiseNamed(&c.Caller, c.Grant)
	case *Renew:
		t.raiseNamed(&c.Caller, c.Grant)
		t.renewEarly(c)
	case *Cancel:
		if c.Session != 0 {
			t.raiseIfAlive(c.Session, c.Principal)
			return
		}
		key := nonceKey{acquire: true, principal: c.Principal, namespace: c.Namespace, nonce: c.Nonce}
		if n := t.nonces[key]; n != nil {
			t.raiseIfAlive(n.session, c.Principal)
		}
	}
}

func (t *Table) raiseIfAlive(id SessionID, principal string) {
	if s := t.sessions[id]; s != nil && s.alive() && s.principal == principal {
		t.raise(s)
	}
}

// raiseNamed renews the session that a command names itself or by its grant.
func (t *Table) raiseNamed(c *Caller, id GrantID) {
	if s := t.sessionOf(c, id); s != nil && s.alive() && s.principal == c.Principal {
		t.raise(s)
	}
}

func (t *Table) sessionOf(c *Caller, id GrantID) *session {
	if c.Session != 0 {
		return t.sessions[c.Session]
	}
	if g := t.grant(id); g != nil && g.session().implicit {
		return g.session()
	}
	return nil
}

// renewEarly renews the lease that an authorised first Renew names.
func (t *Table) renewEarly(c *Renew) {
	s := t.sessionOf(&c.Caller, c.Grant)
	if s == nil || !s.alive() || s.principal != c.Principal {
		return
	}
	if id := c.Request; id != 0 {
		if id <= max(s.floor, c.Acked) || t.answer(s, id) != nil || s.waiting[id] != nil {
			return
		}
	}
	if g := t.grant(c.Grant); g != nil && g.session() == s && !g.isEnding() {
		t.renewLease(g)
	}
}
