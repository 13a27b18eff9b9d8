package locktable

import (
	"slices"
	"strings"
)

// expand gives every name a request has a claim on, with the join of what it names and implies
// there (HF-3.3, HF-4.2), in byte order of the names. It appends to room.
func expand(room, named []Claim) []Claim {
	all := room
	for _, c := range named {
		implied := c.Mode.Implied()
		ancestors(c.Name, func(ancestor string) { all = append(all, Claim{ancestor, implied}) })
		all = append(all, c)
	}
	if len(named) > 1 { // one name comes behind its ancestors by itself
		sortByName(all)
	}
	joined := all[:0]
	for _, c := range all {
		if n := len(joined); n > 0 && joined[n-1].Name == c.Name {
			joined[n-1].Mode = joined[n-1].Mode.Join(c.Mode)
		} else {
			joined = append(joined, c)
		}
	}
	return joined
}

func sortClaims(claims []Claim) []Claim {
	sorted := append([]Claim(nil), claims...)
	sortByName(sorted)
	return sorted
}

func sortByName(claims []Claim) {
	slices.SortFunc(claims, func(a, b Claim) int { return strings.Compare(a.Name, b.Name) })
}

// expand is expand in room that lasts until the next call.
func (t *Table) expand(named []Claim) []Claim {
	t.expanded = expand(t.expanded[:0], named)
	return t.expanded
}

// covering finds the grant of an owner that covers all these claims by itself, the lowest id if
// several do (HF-5.1).
func (sp *space) covering(o *owner, claims []Claim) *grant {
	var least *stake // the name on which the owner has the fewest grants
	for _, c := range claims {
		l := sp.locks[c.Name]
		if l == nil {
			return nil
		}
		s := l.stakeOf(o)
		if s == nil || !s.cover.Covers(c.Mode) {
			return nil
		}
		if least == nil || s.holds < least.holds {
			least = s
		}
	}
	if least == nil {
		return nil
	}
	found := 0
	for h := least.lock.holds.first; h != nil && found < least.holds; h = h.next {
		if h.stake != least {
			continue
		}
		found++
		if g := h.grant; !g.isEnding() && g.covers(claims) {
			return g
		}
	}
	return nil
}

func (g *grant) covers(claims []Claim) bool {
	for _, c := range claims {
		if !g.modeOn(c.Name).Covers(c.Mode) {
			return false
		}
	}
	return true
}

// modeOn is the grant's mode on a name, implied ones too.
func (g *grant) modeOn(name string) Mode {
	for i := range g.holds {
		if h := &g.holds[i]; h.stake != nil && h.stake.lock.name == name {
			return h.mode
		}
	}
	return None
}

// terms are what an acquire lays down for its grant.
type terms struct {
	session   *session
	owner     *owner
	named     []Claim
	expanded  []Claim
	lease     Millis
	maxHold   Millis // length
	lockDelay Millis
	metadata  string
}

// newGrant makes a grant (HF-5.1).
func (t *Table) newGrant(a *terms) *grant {
	token := t.nextToken()
	g := &grant{
		id: GrantID(token), token: token, session: a.session, ownerKey: a.owner.key, named: a.named,
		depth: 1, lease: a.lease, lockDelay: a.lockDelay, metadata: a.metadata, grantedAt: t.g.time,
	}
	if a.lease > 0 {
		g.leaseEnd = t.g.time + a.lease
	}
	if a.maxHold > 0 {
		g.maxHold = t.g.time + a.maxHold
	}
	t.attachGrant(g, a.owner, a.expanded)
	t.es.add(g)
	return g
}

// attachGrant sets what is derived of a grant that lives.
func (t *Table) attachGrant(g *grant, o *owner, expanded []Claim) {
	t.grants[g.id] = g
	t.live++
	g.owner = o
	g.session.grants.pushBack(g)
	g.holds = make([]hold, len(expanded))
	for i, c := range expanded {
		g.holds[i].grant = g
		t.addHold(&g.holds[i], g.session.space.lock(c.Name), o, c.Mode)
	}
	if g.ending == NotEnded {
		t.setTimers(g)
	}
}

// setTimers sets the timers of lease and max_hold; most grants have none.
func (t *Table) setTimers(g *grant) {
	if g.leaseEnd == 0 && g.maxHold == 0 {
		return
	}
	if g.timers == nil {
		id := Index{Entry: uint64(g.id)}
		g.timers = &[2]timer{{kind: leaseTimer, id: id}, {kind: maxHoldTimer, id: id}}
	}
	if g.leaseEnd > 0 {
		t.deadlines.set(&g.timers[0], g.leaseEnd)
	}
	if g.maxHold > 0 {
		t.deadlines.set(&g.timers[1], g.maxHold)
	}
}

func (t *Table) stopTimers(g *grant) {
	if g.timers != nil {
		t.deadlines.remove(&g.timers[0])
		t.deadlines.remove(&g.timers[1])
	}
}

// reenter counts one more acquire on a grant (HF-5.1).
func (t *Table) reenter(g *grant, lease Millis) {
	t.es.touch(g)
	g.depth++
	if g.lease > 0 && lease > 0 {
		g.lease = max(g.lease, lease)
		g.leaseEnd = max(g.leaseEnd, t.g.time+lease)
		t.setTimers(g)
	}
}

func (t *Table) renewLease(g *grant) {
	if g.lease > 0 && t.g.time+g.lease > g.leaseEnd {
		t.es.touch(g)
		g.leaseEnd = t.g.time + g.lease
		t.setTimers(g)
	}
}

// setEnding decides the end of a grant: from now on it only excludes others (HF-2.3a), and a
// conversion of it waits no longer.
func (t *Table) setEnding(g *grant, why EndReason, detail string) {
	t.es.touch(g)
	g.ending, g.detail = why, detail
	t.stopTimers(g)
	if r := g.convert; r != nil && r.inOrder() {
		t.decide(r, Cancelled, why, detail)
	}
	for i := range g.holds {
		if h := &g.holds[i]; h.stake != nil {
			t.setHold(h, h.mode, true)
		}
	}
}

// unclean tells which ends leave a ghost (HF-4.11).
func (why EndReason) unclean() bool { return why != Released && why != Closed }

// endGrant carries out the end of a grant: what it held is free, unless it leaves a ghost.
func (t *Table) endGrant(g *grant, why EndReason, detail string) {
	if r := g.convert; r != nil {
		if r.inOrder() {
			t.decide(r, Cancelled, why, detail)
		}
		if r.decided == Cancelled {
			t.conclude(r)
		}
	}
	t.es.touch(g)
	info := g.info()
	info.Deadlines = Deadlines{}
	g.ended, g.detail = why, detail
	t.stopTimers(g)
	delete(t.grants, g.id)
	t.live--
	g.session.grants.remove(g)
	if g.lockDelay > 0 && why.unclean() {
		t.leaveGhost(g)
	}
	for i := range g.holds {
		if h := &g.holds[i]; h.stake != nil {
			t.dropHold(h)
		}
	}
	g.holds = nil
	t.emit(Event{
		Kind: EventGrantEnded, Namespace: g.session.namespace, Session: g.session.id, Owner: g.ownerKey,
		Claims: g.named, Grant: info, Ended: why, Detail: detail,
	})
	t.bury(g)
	t.endImplicit(g.session, why, detail)
}

// bury forgets an ended grant that no answer refers to.
func (t *Table) bury(g *grant) {
	if g.ended != NotEnded && g.refs == 0 && !g.gone {
		t.es.drop(g)
	}
}

// info shows the grant with its present deadlines.
func (g *grant) info() GrantInfo {
	return GrantInfo{
		ID: g.id, Token: g.token, Claims: g.named, Depth: g.depth,
		Deadlines: Deadlines{Session: g.session.deadline, Lease: g.leaseEnd, MaxHold: g.maxHold},
	}
}

// leaveGhost leaves behind what an unclean end shuts for the lock delay (HF-4.11).
func (t *Table) leaveGhost(g *grant) {
	h := &ghost{grant: g.id, namespace: g.session.namespace, until: t.g.time + g.lockDelay}
	for i := range g.holds {
		if held := &g.holds[i]; held.stake != nil {
			h.claims = append(h.claims, Claim{held.stake.lock.name, held.mode})
		}
	}
	t.attachGhost(h)
	t.es.add(h)
}

func (t *Table) attachGhost(h *ghost) {
	t.ghosts[h.grant] = h
	h.space = t.space(h.namespace)
	for _, c := range h.claims {
		l := h.space.lock(c.Name)
		at := len(l.ghosts) // by the grant that left them, on every replica
		for at > 0 && l.ghosts[at-1].grant > h.grant {
			at--
		}
		l.ghosts = slices.Insert(l.ghosts, at, h)
		l.shut[c.Mode]++
	}
	h.timer = timer{kind: ghostTimer, id: Index{Entry: uint64(h.grant)}}
	if !h.passed {
		t.deadlines.set(&h.timer, h.until)
	}
}

func (t *Table) dropGhost(h *ghost) {
	delete(t.ghosts, h.grant)
	for _, c := range h.claims {
		l := h.space.locks[c.Name]
		for i, other := range l.ghosts {
			if other == h {
				l.ghosts = append(l.ghosts[:i], l.ghosts[i+1:]...)
				break
			}
		}
		l.shut[c.Mode]--
		l.wake(c.Mode)
		l.tidy()
	}
	t.es.drop(h)
}
