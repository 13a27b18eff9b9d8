package locktable

import (
	"iter"
	"sort"
	"strings"
)

// openSession opens a session, or finds it by its nonce (HF-2.1, HF-7.4).
func (t *Table) openSession(c *OpenSession) {
	key := nonceKey{principal: c.Principal, namespace: c.Namespace, nonce: c.Nonce}
	digest := t.digestOf(c)
	if n := t.nonces[key]; c.Nonce != "" && n != nil {
		s := t.sessions[n.session]
		if s.alive() {
			t.raise(s)
		}
		t.sessionIs(s)
		switch {
		case n.digest != digest:
			t.refuse(RequestIDReused)
		case !s.alive():
			t.sessionEnded(s)
		default:
			t.result.TTL = s.ttl
			t.done()
		}
		return
	}
	if !t.mayOpen(c.Principal) {
		return
	}
	s := t.newSession(c.Principal, c.Namespace, c.TTL, c.Metadata, c.Nonce)
	s.deadline = t.g.time + c.TTL
	t.deadlines.set(&s.timer, s.deadline)
	if c.Nonce != "" {
		t.remember(key, s, digest)
	}
	t.sessionIs(s)
	t.result.TTL = s.ttl
	t.done()
}

// mayOpen refuses what would be one session too many (HF-12).
func (t *Table) mayOpen(principal string) bool {
	if limit := t.g.limits.SessionsPerPrincipal; t.principals[principal] >= limit {
		t.refuse(QuotaExceeded)
		t.result.Limit = limit
		return false
	}
	return true
}

func (t *Table) newSession(principal, namespace string, ttl Millis, metadata, nonce string) *session {
	t.g.lastSession++
	s := &session{
		id: t.g.lastSession, principal: strings.Clone(principal), namespace: t.space(namespace).name,
		metadata: strings.Clone(metadata), nonce: strings.Clone(nonce), ttl: ttl, openedAt: t.g.time,
	}
	t.attachSession(s)
	t.es.add(s)
	return s
}

// attachSession sets what is derived of a session.
func (t *Table) attachSession(s *session) {
	s.space = t.space(s.namespace)
	s.waits.links = func(r *request) *links[*request] { return &r.mine }
	s.timer = timer{kind: sessionTimer, id: Index{Entry: uint64(s.id)}}
	t.sessions[s.id] = s
	if s.alive() {
		t.principals[s.principal]++
	}
}

// own gives the key with texts of its own: those of a command belong to its entry.
func (k nonceKey) own() nonceKey {
	k.principal, k.namespace = strings.Clone(k.principal), strings.Clone(k.namespace)
	k.nonce = strings.Clone(k.nonce)
	return k
}

func (t *Table) remember(key nonceKey, s *session, digest uint64) {
	n := &nonce{nonceKey: key.own(), session: s.id, digest: digest}
	t.nonces[n.nonceKey] = n
	t.es.add(n)
}

// raise renews a session that lives: its deadline is never lowered by this (HF-2.2).
func (t *Table) raise(s *session) {
	if deadline := t.g.time + s.ttl; deadline > s.deadline {
		t.es.touch(s)
		s.deadline = deadline // the timer follows when it goes off
	}
}

// sessionIs says in the result which session it is about.
func (t *Table) sessionIs(s *session) {
	t.result.Session = s.id
	if s.alive() {
		t.result.SessionDeadline = s.deadline
	}
}

func (t *Table) sessionEnded(s *session) {
	t.refuse(SessionExpired)
	t.result.Ended, t.result.Detail = s.ended, s.detail
}

// named finds the session that a command names, renews it, and refuses the command if the session
// does not live or is somebody else's (HF-2.2, HF-2.3).
func (t *Table) named(id SessionID, principal string) *session {
	s := t.sessions[id]
	switch {
	case s == nil:
		t.refuse(SessionNotFound)
		t.result.Session = id
		return nil
	case s.principal != principal:
		t.refuse(PermissionDenied)
		t.result.Session = id
		return nil
	}
	if s.alive() {
		t.raise(s)
	}
	t.sessionIs(s)
	if !s.alive() {
		t.sessionEnded(s)
		return nil
	}
	return s
}

// ofGrant finds the session of a command that names a grant: its own, or the implicit one in which
// the grant lives (HF-4.12).
func (t *Table) ofGrant(c *Caller, id GrantID) *session {
	if c.Session != 0 {
		return t.named(c.Session, c.Principal)
	}
	g := t.grant(id)
	if g == nil || !g.session().implicit {
		t.refuse(NotHolder)
		return nil
	}
	s := t.named(g.session().id, c.Principal)
	if s == nil && t.result.Refusal == PermissionDenied {
		t.result.Session = 0 // a stranger is not told what the grant belongs to
	}
	return s
}

func (t *Table) renewSession(c *RenewSession) {
	if s := t.named(c.Session, c.Principal); s != nil {
		t.done()
	}
}

// closeSession ends a session on behalf of its client (HF-2.3).
func (t *Table) closeSession(c *CloseSession) {
	s := t.named(c.Session, c.Principal)
	if s == nil {
		return
	}
	why := Closed
	if c.Abandon {
		why = Abandoned
	}
	t.endByCommand(s, why, "")
}

// revokeSession ends a session on behalf of an operator.
func (t *Table) revokeSession(c *RevokeSession) {
	s := t.sessions[c.Session]
	t.result.Session = c.Session
	switch {
	case s == nil:
		t.refuse(SessionNotFound)
	case !s.alive():
		t.sessionEnded(s)
	default:
		t.endByCommand(s, RevokedByOperator, strings.Clone(c.Reason))
	}
}

// endByCommand ends a session; what follows from it comes after what is in the backlog already.
func (t *Table) endByCommand(s *session, why EndReason, detail string) {
	t.done()
	t.endSession(s, why, detail)
	t.announceEnd(s)
	t.result.SessionDeadline = 0
	t.putOff(&backlogItem{kind: endSession, session: s.id, announced: true})
	t.settleCommand(s.space)
}

// endSession lets the end of a session take hold: from now on no command of it has effect, its
// waits are in neither order nor graph, and its grants only exclude others (HF-2.3, HF-2.3a). That
// its waits and grants end follows from the backlog.
func (t *Table) endSession(s *session, why EndReason, detail string) {
	t.es.touch(s)
	s.ended, s.detail, s.endedAt = why, detail, t.g.time
	t.deadlines.remove(&s.timer)
	t.principals[s.principal]--
	if t.principals[s.principal] == 0 {
		delete(t.principals, s.principal)
	}
	outcome := SessionEnded
	if why == RevokedByOperator {
		outcome = Revoked
	}
	for r := s.waits.first; r != nil; r = r.mine.next {
		if r.inOrder() {
			t.decide(r, outcome, why, detail)
		}
	}
	if last := t.forgetting.all(); len(last) > 0 {
		s.endedSeq = last[len(last)-1].endedSeq + 1
	}
	t.forgetting.push(s)
	if !s.implicit && s.kept.size > 0 {
		t.emptying.push(s)
	}
}

func (t *Table) announceEnd(s *session) {
	t.emit(Event{Kind: EventSessionEnded, Namespace: s.namespace, Session: s.id, Ended: s.ended, Detail: s.detail})
}

// endImplicit ends an implicit session with its grant or another final outcome (HF-4.12).
func (t *Table) endImplicit(s *session, why EndReason, detail string) {
	if !s.implicit || !s.alive() || s.grants.size > 0 || s.waits.size > 0 {
		return
	}
	t.endSession(s, why, detail)
	t.announceEnd(s)
}

// forget drops sessions and nonces whose time of memory has passed. A session with an end in the
// backlog is remembered until that has been carried out.
func (t *Table) forget() {
	var stuck []*session
	for t.forgetting.len() > 0 {
		s := t.forgetting.all()[0]
		if s.endedAt+memory > t.g.time {
			break
		}
		t.forgetting.pop()
		if s.item != nil && !t.isVoid(s.item) || s.waits.size > 0 || s.grants.size > 0 {
			stuck = append(stuck, s)
			continue
		}
		t.dropAnswers(s)
		if s.nonce != "" {
			key := nonceKey{acquire: s.implicit, principal: s.principal, namespace: s.namespace, nonce: s.nonce}
			if n := t.nonces[key]; n != nil {
				delete(t.nonces, key)
				t.es.drop(n)
			}
		}
		delete(t.sessions, s.id)
		t.es.drop(s)
	}
	if stuck != nil {
		t.forgetting.items = append(stuck, t.forgetting.all()...)
		t.forgetting.head = 0
	}
	for t.fading.len() > 0 && t.fading.all()[0].until <= t.g.time {
		n := t.fading.pop()
		delete(t.nonces, n.nonceKey)
		t.es.drop(n)
	}
}

func (t *Table) sessionsByID() []*session {
	all := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	return all
}

// eachGrant goes through the grants of a session, by id, ending ones too.
func (s *session) eachGrant() iter.Seq[*grant] {
	return func(yield func(*grant) bool) {
		grants := &s.space.t.es.grants
		for n := s.grants.first; n != 0; {
			g := grants.at(n)
			n = g.links.next
			if !yield(g) {
				return
			}
		}
	}
}

// ownerSet is the owners of a session that hold or wait. Many sessions have one only.
type ownerSet struct {
	one  *owner
	many map[string]*owner // all, once there were two
}

func (os *ownerSet) find(key string) *owner {
	if os.one != nil && os.one.key == key {
		return os.one
	}
	return os.many[key]
}

func (os *ownerSet) add(o *owner) {
	switch {
	case os.many != nil:
		os.many[o.key] = o
	case os.one == nil:
		os.one = o
	default:
		os.many = map[string]*owner{os.one.key: os.one, o.key: o}
		os.one = nil
	}
}

func (os *ownerSet) remove(o *owner) {
	if os.one == o {
		os.one = nil
		return
	}
	delete(os.many, o.key)
	if len(os.many) == 0 {
		os.many = nil
	}
}

// each goes through the owners in no order.
func (os *ownerSet) each() iter.Seq[*owner] {
	return func(yield func(*owner) bool) {
		if os.one != nil && !yield(os.one) {
			return
		}
		for _, o := range os.many {
			if !yield(o) {
				return
			}
		}
	}
}

// owner finds or makes the owner with this key.
func (s *session) owner(key string) *owner {
	o := s.owners.find(key)
	if o == nil {
		t := s.space.t
		t.ownersMade++
		o = &owner{session: s, key: strings.Clone(key), number: t.ownersMade}
		s.owners.add(o)
	}
	return o
}

// leave forgets an owner that neither holds nor waits.
func (o *owner) leave() {
	if o.stakes == 0 && len(o.requests) == 0 && o.session.owners.find(o.key) == o {
		o.session.owners.remove(o)
	}
}
