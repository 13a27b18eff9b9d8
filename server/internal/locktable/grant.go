package locktable

import (
	"iter"
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

// sortClaims gives claims in byte order of their names.
func sortClaims(claims []Claim) []Claim {
	if len(claims) == 1 {
		return claims
	}
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
// several do (HF-5.1). At are the locks of the claims.
func (sp *space) covering(o *owner, claims []Claim, at []*lock) *grant {
	if o.stakes == 0 {
		return nil
	}
	var least *lock // the name on which the owner has the fewest grants
	fewest := int32(0)
	for i, c := range claims {
		l := at[i]
		if l == nil {
			return nil
		}
		s, holds := l.stanceOf(o)
		if holds == 0 || !s.cover.Covers(c.Mode) {
			return nil
		}
		if least == nil || holds < fewest {
			least, fewest = l, holds
		}
	}
	if least == nil {
		return nil
	}
	if h := least.onlyHoldOf(o); h != nil {
		return sp.coveringHold(h, claims)
	}
	for h := range least.eachHold() {
		if sp.t.ownerOf(h) != o {
			continue
		}
		if g := sp.coveringHold(h, claims); g != nil {
			return g
		}
		if fewest--; fewest == 0 {
			break
		}
	}
	return nil
}

// coveringHold gives the grant of a hold if it covers the claims by itself.
func (sp *space) coveringHold(h *hold, claims []Claim) *grant {
	if g := sp.t.grantOf(h); !g.isEnding() && g.covers(claims) {
		return g
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
	for h := range g.eachHold() {
		if g.table().lockOf(h).name == name {
			return h.mode
		}
	}
	return None
}

func (g *grant) table() *Table { return g.owner.session.space.t }

// eachHold goes through what a grant holds, by name. A hold may be dropped as it is visited.
func (g *grant) eachHold() iter.Seq[*hold] {
	return func(yield func(*hold) bool) {
		t := g.table()
		for n := g.holds; n != 0; {
			h := t.holds.at(n)
			n = h.next
			if !yield(h) {
				return
			}
		}
	}
}

// named appends the named claims of a grant, in byte order of their names.
func (g *grant) named(to []Claim) []Claim {
	t := g.table()
	for n := g.holds; n != 0; {
		h := t.holds.at(n)
		if h.named != None {
			to = append(to, Claim{t.lockOf(h).name, h.named})
		}
		n = h.next
	}
	return to
}

// terms are what an acquire lays down for its grant.
type terms struct {
	owner     *owner
	named     []Claim
	expanded  []Claim
	at        []*lock // of the expanded claims, nil for those that there are not
	lease     Millis
	maxHold   Millis // length
	lockDelay Millis
	metadata  string
}

// newGrant makes a grant (HF-5.1).
func (t *Table) newGrant(a *terms) *grant {
	g := t.es.newGrant()
	g.id, g.owner, g.depth, g.grantedAt = GrantID(t.nextToken()), a.owner, 1, t.g.time
	if a.lease > 0 {
		g.own().lease, g.own().leaseEnd = a.lease, t.g.time+a.lease
	}
	if a.maxHold > 0 {
		g.own().maxHold = t.g.time + a.maxHold
	}
	if a.lockDelay > 0 {
		g.own().lockDelay = a.lockDelay
	}
	if a.metadata != "" {
		g.own().metadata = strings.Clone(a.metadata)
	}
	t.attachGrant(g, a.named, a.expanded, a.at)
	t.es.add(g)
	return g
}

// attachGrant sets what is derived of a grant that lives, from its named claims and what they come
// to, and the locks of these.
func (t *Table) attachGrant(g *grant, named, expanded []Claim, at []*lock) {
	t.grantIndex.add(hashNumbers(uint64(g.id), 0), g.place)
	t.live++
	s := g.session()
	s.grants.push(grantRef(g.place), t.grantLinks)
	end := &g.holds
	for i, c := range expanded {
		claimed := None
		if len(named) > 0 && named[0].Name == c.Name {
			claimed, named = named[0].Mode, named[1:]
		}
		l := at[i]
		if l == nil {
			l = s.space.newLock(c.Name)
		}
		n := t.addHold(g, l, c.Mode, claimed)
		*end, end = n, &t.holds.at(n).next
	}
	if g.ending == NotEnded {
		t.setTimers(g)
	}
}

func (t *Table) grantLinks(n grantRef) *chainLinks[grantRef] { return &t.es.grants.at(n).links }

// grant finds a grant that lives, nil if there is none.
func (t *Table) grant(id GrantID) *grant {
	n := t.grantIndex.find(hashNumbers(uint64(id), 0), func(n uint32) bool {
		return t.es.grants.at(grantRef(n)).id == id
	})
	if n == 0 {
		return nil
	}
	return t.es.grants.at(grantRef(n))
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
	if g.lease > 0 && lease > 0 { // then its terms are its own
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
	g.ending = why
	g.tell(detail)
	t.stopTimers(g)
	if r := g.convert; r != nil && r.inOrder() {
		t.decide(r, Cancelled, why, detail)
	}
	for h := range g.eachHold() {
		t.setHold(h, h.mode, true)
	}
}

// tell keeps the operator's words about the end of a grant.
func (g *grant) tell(detail string) {
	if detail != g.detail {
		g.own().detail = detail
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
	s, info := g.session(), t.info(g)
	info.Deadlines = Deadlines{}
	g.ended = why
	g.tell(detail)
	t.stopTimers(g)
	t.grantIndex.remove(hashNumbers(uint64(g.id), 0), g.place)
	t.live--
	s.grants.remove(grantRef(g.place), t.grantLinks)
	if g.lockDelay > 0 && why.unclean() {
		t.leaveGhost(g)
	}
	for n := g.holds; n != 0; n = g.holds {
		g.holds = t.holds.at(n).next
		t.dropHold(n)
	}
	t.emit(Event{
		Kind: EventGrantEnded, Namespace: s.namespace, Session: s.id, Owner: g.owner.key,
		Claims: info.Claims, Grant: info, Ended: why, Detail: detail,
	})
	t.bury(g)
	t.endImplicit(s, why, detail)
}

// bury forgets an ended grant that no answer refers to. It must not be used after that.
func (t *Table) bury(g *grant) {
	if g.ended != NotEnded && g.refs == 0 {
		t.es.drop(g)
	}
}

// info shows the grant with its present deadlines.
func (g *grant) info(named []Claim) GrantInfo {
	return GrantInfo{
		ID: g.id, Token: g.token(), Claims: named, Depth: g.depth,
		Deadlines: Deadlines{Session: g.session().deadline, Lease: g.leaseEnd, MaxHold: g.maxHold},
	}
}

// info shows a grant in results and events.
func (t *Table) info(g *grant) GrantInfo { return g.info(t.show(g.named)) }

// show gives claims that results and events may keep, in room that is not used again.
func (t *Table) show(claims func(room []Claim) []Claim) []Claim {
	if cap(t.shown)-len(t.shown) < shownRoom/4 {
		t.shown = make([]Claim, 0, shownRoom)
	}
	start := len(t.shown)
	t.shown = claims(t.shown)
	return t.shown[start:len(t.shown):len(t.shown)]
}

const shownRoom = 256 // claims, of which a grant has 64 at most

// leaveGhost leaves behind what an unclean end shuts for the lock delay (HF-4.11).
func (t *Table) leaveGhost(g *grant) {
	h := &ghost{grant: g.id, namespace: g.session().namespace, until: t.g.time + g.lockDelay}
	for held := range g.eachHold() {
		h.claims = append(h.claims, Claim{t.lockOf(held).name, held.mode})
	}
	t.attachGhost(h)
	t.es.add(h)
}

func (t *Table) attachGhost(h *ghost) {
	t.ghosts[h.grant] = h
	h.space = t.space(h.namespace)
	for _, c := range h.claims {
		l := h.space.lock(c.Name)
		l.gather()
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
		l := h.space.find(c.Name)
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
