package locktable

import "encoding/binary"

// decoder takes fields off the front; after the first fault all it gives is zero.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() string {
	size := d.uint()
	if size > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return ""
	}
	s := string(d.rest[:size])
	d.rest = d.rest[size:]
	return s
}

// size reads the number of elements of a list; each takes a byte at least.
func (d *decoder) size() int {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) flag() bool   { return d.uint() != 0 }
func (d *decoder) index() Index { return Index{d.uint(), uint32(d.uint())} }

func (d *decoder) mode() Mode {
	m := d.uint()
	if m >= uint64(modeCount) {
		d.bad = true
		return None
	}
	return Mode(m)
}

func (d *decoder) claims() []Claim {
	claims := make([]Claim, d.size())
	for i := range claims {
		claims[i] = Claim{d.text(), d.mode()}
	}
	return claims
}

func (d *decoder) steps() []CycleStep {
	steps := make([]CycleStep, d.size())
	for i := range steps {
		steps[i] = CycleStep{SessionID(d.uint()), d.text(), d.uint(), d.index(), d.text(), d.mode()}
	}
	return steps
}

func (g *globals) decode(d *decoder) {
	g.clusterID = d.text()
	g.index = d.uint()
	g.time = d.int()
	g.epoch = uint32(d.uint())
	g.counter = d.uint()
	g.lastSession = SessionID(d.uint())
	g.limits = Limits{uint32(d.uint()), uint32(d.uint()), uint32(d.uint())}
	g.version = uint32(d.uint())
	g.frontSeq = d.int()
	g.backSeq = d.int()
}

func (s *session) decode(d *decoder) {
	s.id = SessionID(d.uint())
	s.principal = d.text()
	s.namespace = d.text()
	s.metadata = d.text()
	s.nonce = d.text()
	s.ttl = d.int()
	s.deadline = d.int()
	s.openedAt = d.int()
	s.implicit = d.flag()
	s.floor = d.uint()
	s.ended = EndReason(d.uint())
	s.detail = d.text()
	s.endedAt = d.int()
	s.endedSeq = d.uint()
}

// decode gives the session too, which is still to be found.
func (a *answer) decode(d *decoder) SessionID {
	of := SessionID(d.uint())
	a.request = d.uint()
	a.completed = d.uint()
	a.digest = d.uint()
	a.kind = answerKind(d.uint())
	a.outcome = Outcome(d.uint())
	a.refusal = Refusal(d.uint())
	a.grantID = GrantID(d.int())
	token := Token(d.int())
	a.first = d.uint()
	a.ended = EndReason(d.uint())
	a.tell(token, d.text())
	return of
}

// loadedGrant is a grant with what is still to be found, and to be made of its claims.
type loadedGrant struct {
	*grant
	of    SessionID
	owner string
	named []Claim
}

func (g *loadedGrant) decode(d *decoder) {
	g.id = GrantID(d.int())
	if token := Token(d.int()); token != Token(g.id) {
		d.bad = d.bad || token == 0
		g.own().newToken = token
	}
	g.of = SessionID(d.uint())
	g.owner = d.text()
	g.named = d.claims()
	g.depth = uint32(d.uint())
	terms := grantTerms{newToken: g.newToken}
	terms.lease = d.int()
	terms.leaseEnd = d.int()
	terms.maxHold = d.int()
	terms.lockDelay = d.int()
	terms.metadata = d.text()
	g.grantedAt = d.int()
	g.ending = EndReason(d.uint())
	g.ended = EndReason(d.uint())
	terms.detail = d.text()
	if terms != noTerms {
		*g.own() = terms
	}
}

func (r *request) decode(d *decoder) SessionID {
	r.arrival = d.index()
	r.arrivedAt = d.int()
	of := SessionID(d.uint())
	r.id = d.uint()
	r.digest = d.uint()
	r.ownerKey = d.text()
	r.named = d.claims()
	r.converts = GrantID(d.int())
	r.until = d.int()
	r.priority = int32(d.int())
	r.conversion = d.flag()
	r.lease = d.int()
	r.maxHold = d.int()
	r.lockDelay = d.int()
	r.onDeadlock = DeadlockAction(d.uint())
	r.noReentry = d.flag()
	r.metadata = d.text()
	r.ahead = d.index()
	r.atLimit = d.flag()
	if n := d.size(); n > 0 {
		r.passers = make([]Index, n)
		for i := range r.passers {
			r.passers[i] = d.index()
		}
	}
	r.decided = Outcome(d.uint())
	r.ended = EndReason(d.uint())
	r.detail = d.text()
	return of
}

func (h *ghost) decode(d *decoder) {
	h.grant = GrantID(d.int())
	h.namespace = d.text()
	h.claims = d.claims()
	h.until = d.int()
	h.passed = d.flag()
}

func (n *nonce) decode(d *decoder) {
	n.acquire = d.flag()
	n.principal = d.text()
	n.namespace = d.text()
	n.nonce = d.text()
	n.session = SessionID(d.uint())
	n.digest = d.uint()
	n.cancelled = d.uint()
	n.until = d.int()
}

func (it *backlogItem) decode(d *decoder) {
	it.seq = d.int()
	it.kind = backlogKind(d.uint())
	it.session = SessionID(d.uint())
	it.wait = d.index()
	it.grant = GrantID(d.int())
	it.namespace = d.text()
	it.announced = d.flag()
	it.done = d.flag()
}

func (r *report) decode(d *decoder) {
	r.seq = d.uint()
	r.namespace = d.text()
	r.at = d.index()
	r.time = d.int()
	r.cycle = d.steps()
	r.victim = d.index()
}
