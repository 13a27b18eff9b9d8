package locktable

import "strings"

// held finds a grant that a command of a session names and that its session holds; it refuses the
// command otherwise (HF-5.3).
func (t *Table) heldGrant(s *session, id GrantID) *grant {
	g := t.grant(id)
	if g == nil || g.session() != s || g.isEnding() {
		t.refuse(NotHolder)
		if g != nil && g.session() == s {
			t.result.Ended, t.result.Detail = g.endsBy()
		}
		return nil
	}
	return g
}

// release takes one from the depth of a grant; at 0 it ends (HF-5.3).
func (t *Table) release(c *Release) {
	s := t.ofGrant(&c.Caller, c.Grant)
	if s == nil {
		return
	}
	digest := t.digestOf(c)
	if t.seen(s, &c.Caller, digest, otherAnswer) {
		return
	}
	g := t.heldGrant(s, c.Grant)
	if g == nil {
		t.keep(s, &c.Caller, digest, otherAnswer)
		return
	}
	t.done()
	t.es.touch(g)
	g.depth--
	t.result.Grant = t.info(g)
	t.keep(s, &c.Caller, digest, otherAnswer)
	if g.depth > 0 {
		return
	}
	t.endGrant(g, Released, "")
	t.sessionIs(s)
	if !s.alive() {
		t.result.SessionDeadline = 0
	}
	t.settleCommand(s.space)
}

// renew raises the deadline of a lease (HF-2.5).
func (t *Table) renew(c *Renew) {
	s := t.ofGrant(&c.Caller, c.Grant)
	if s == nil {
		return
	}
	digest := t.digestOf(c)
	if t.seen(s, &c.Caller, digest, otherAnswer) {
		return
	}
	if g := t.heldGrant(s, c.Grant); g != nil {
		t.renewLease(g)
		t.done()
		t.result.Grant = t.info(g)
	}
	t.keep(s, &c.Caller, digest, otherAnswer)
}

// revokeGrant ends a grant on behalf of an operator, whoever holds it.
func (t *Table) revokeGrant(c *RevokeGrant) {
	g := t.grant(c.Grant)
	if g == nil || g.isEnding() {
		t.refuse(NotHolder)
		if g != nil {
			t.sessionIs(g.session())
			t.result.Ended, t.result.Detail = g.endsBy()
		}
		return
	}
	t.done()
	t.result.Grant = t.info(g)
	s := g.session()
	t.endGrant(g, RevokedByOperator, strings.Clone(c.Reason))
	t.sessionIs(s)
	t.settleCommand(s.space)
}
