package locktable

import (
	"slices"
	"strings"
)

// convert changes one claim of a grant in place (HF-5.2).
func (t *Table) convert(c *Convert) {
	s := t.ofGrant(&c.Caller, c.Grant)
	if s == nil {
		return
	}
	digest := t.digestOf(c)
	if t.seen(s, &c.Caller, digest, waitAnswer) {
		return
	}
	g := t.heldGrant(s, c.Grant)
	if g == nil {
		t.keep(s, &c.Caller, digest, waitAnswer)
		return
	}
	if g.convert != nil && g.convert.inOrder() {
		t.refuse(ConversionWaiting)
		t.keep(s, &c.Caller, digest, waitAnswer)
		return
	}
	claim, refusal := g.claimToConvert(c.Name)
	if refusal == NoRefusal && c.Mode == None && len(g.named(nil)) == 1 {
		refusal = LastClaim
	}
	if refusal != NoRefusal {
		t.refuse(refusal)
		t.keep(s, &c.Caller, digest, waitAnswer)
		return
	}
	if claim.Mode.Covers(c.Mode) {
		t.lower(s, c, g, Claim{claim.Name, c.Mode}, claim.Mode == c.Mode, digest)
		return
	}
	t.arriveConversion(s, c, g, Claim{claim.Name, c.Mode}, digest)
}

// claimToConvert finds the named claim that a conversion is about.
func (g *grant) claimToConvert(name string) (Claim, Refusal) {
	named := g.named(nil)
	if name == "" && len(named) == 1 {
		return named[0], NoRefusal
	}
	for _, c := range named {
		if c.Name == name {
			return c, NoRefusal
		}
	}
	return Claim{}, NoSuchClaim
}

// lower weakens a claim at once, with the same token.
func (t *Table) lower(s *session, c *Convert, g *grant, to Claim, same bool, digest uint64) {
	if !same {
		t.setClaim(g, to)
		t.emit(Event{
			Kind: EventConverted, Namespace: s.namespace, Session: s.id, Owner: g.owner.key, Request: c.Request,
			Claims: []Claim{to}, Grant: t.info(g),
		})
	}
	t.granted(g)
	t.keep(s, &c.Caller, digest, waitAnswer)
	if !same {
		t.settleCommand(s.space)
	}
}

// arriveConversion judges a conversion that raises a claim.
func (t *Table) arriveConversion(s *session, c *Convert, g *grant, to Claim, digest uint64) {
	r := &request{
		arrival: t.at, arrivedAt: t.g.time, session: s, id: c.Request, digest: digest,
		ownerKey: g.owner.key, named: []Claim{to}, converts: g.id, until: t.g.time + c.WaitLimit,
		priority: c.Priority, conversion: true, onDeadlock: c.OnDeadlock,
		space: s.space, owner: g.owner, grant: g,
	}
	r.setPlaces(g.raised(to))
	t.request(r, c.WaitLimit, func() {
		t.raiseMode(g, to)
		t.granted(g)
		t.keep(s, &c.Caller, digest, waitAnswer)
		t.emit(Event{
			Kind: EventConverted, Namespace: s.namespace, Session: s.id, Owner: g.owner.key, Request: c.Request,
			Claims: []Claim{to}, Grant: t.info(g),
		})
	})
}

// raised gives the claims that a conversion waits for: the names whose mode in the grant changes,
// with the mode it would have there.
func (g *grant) raised(to Claim) []Claim {
	var changed []Claim
	for _, c := range expand(nil, g.with(to)) {
		if g.modeOn(c.Name) != c.Mode {
			changed = append(changed, c)
		}
	}
	return changed
}

// with gives the named claims as they would be with one of them changed, or dropped.
func (g *grant) with(to Claim) []Claim {
	named := g.named(nil)
	changed := named[:0]
	for _, c := range named {
		if c.Name == to.Name {
			c = to
		}
		if c.Mode != None {
			changed = append(changed, c)
		}
	}
	return changed
}

// raiseMode carries out a raising conversion; it brings a new token (HF-6.1).
func (t *Table) raiseMode(g *grant, to Claim) {
	t.setClaim(g, to)
	g.own().newToken = t.nextToken()
}

// setClaim changes one claim of a grant, and what it implies.
func (t *Table) setClaim(g *grant, to Claim) {
	t.es.touch(g)
	named := g.with(to)
	claims := t.expand(named)
	for end := &g.holds; *end != 0; {
		n := *end
		h := t.holds.at(n)
		name := t.lockOf(h).name
		at, implied := search(claims, name)
		if !implied {
			*end = h.next
			t.dropHold(n)
			continue
		}
		h.named = None
		if at, ok := search(named, name); ok {
			h.named = named[at].Mode
		}
		if mode := claims[at].Mode; mode != h.mode {
			t.setHold(h, mode, h.ending)
		}
		end = &h.next
	}
}

// search finds the claim on a name among claims in order of their names.
func search(claims []Claim, name string) (at int, found bool) {
	return slices.BinarySearchFunc(claims, name, func(c Claim, name string) int {
		return strings.Compare(c.Name, name)
	})
}
