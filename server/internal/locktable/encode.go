package locktable

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// The canonical encoding of entities: what replicas hash and what snapshots hold. Each begins with
// its kind. Derived fields are not in it.

type recordKind byte

const (
	recordGlobals recordKind = iota + 1
	recordSession
	recordAnswer
	recordGrant
	recordRequest
	recordGhost
	recordNonce
	recordBacklog
	recordReport
)

// encoder appends fields; integers take as few bytes as they need.
type encoder []byte

func (e *encoder) kind(k recordKind) { *e = append(*e, byte(k)) }
func (e *encoder) uint(v uint64)     { *e = binary.AppendUvarint(*e, v) }
func (e *encoder) int(v int64)       { *e = binary.AppendVarint(*e, v) }
func (e *encoder) text(s string)     { e.uint(uint64(len(s))); *e = append(*e, s...) }
func (e *encoder) index(i Index)     { e.uint(i.Entry); e.uint(uint64(i.Offset)) }

func (e *encoder) flag(b bool) {
	if b {
		*e = append(*e, 1)
	} else {
		*e = append(*e, 0)
	}
}

func (e *encoder) claims(claims []Claim) {
	e.uint(uint64(len(claims)))
	for _, c := range claims {
		e.text(c.Name)
		e.uint(uint64(c.Mode))
	}
}

// named appends the named claims of a grant; one that has ended has none.
func (e *encoder) named(g *grant) {
	count := 0
	for n := g.holds; n != 0; {
		h := g.table().holds.at(n)
		if n = h.next; h.named != None {
			count++
		}
	}
	e.uint(uint64(count))
	for n := g.holds; n != 0; {
		h := g.table().holds.at(n)
		if n = h.next; h.named != None {
			e.text(g.table().lockOf(h).name)
			e.uint(uint64(h.named))
		}
	}
}

func (e *encoder) steps(steps []CycleStep) {
	e.uint(uint64(len(steps)))
	for _, s := range steps {
		e.uint(uint64(s.Session))
		e.text(s.Owner)
		e.uint(s.Request)
		e.index(s.Arrival)
		e.text(s.Name)
		e.uint(uint64(s.Mode))
	}
}

func (g *globals) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordGlobals)
	e.text(g.clusterID)
	e.uint(g.index)
	e.int(g.time)
	e.uint(uint64(g.epoch))
	e.uint(g.counter)
	e.uint(uint64(g.lastSession))
	e.uint(uint64(g.limits.WaitersPerName))
	e.uint(uint64(g.limits.GrantsPerSession))
	e.uint(uint64(g.limits.SessionsPerPrincipal))
	e.uint(uint64(g.version))
	e.int(g.frontSeq)
	e.int(g.backSeq)
	return e
}

func (s *session) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordSession)
	e.uint(uint64(s.id))
	e.text(s.principal)
	e.text(s.namespace)
	e.text(s.metadata)
	e.text(s.nonce)
	e.int(s.ttl)
	e.int(s.deadline)
	e.int(s.openedAt)
	e.flag(s.implicit)
	e.uint(s.floor)
	e.uint(uint64(s.ended))
	e.text(s.detail)
	e.int(s.endedAt)
	e.uint(s.endedSeq)
	return e
}

func (a *answer) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordAnswer)
	e.uint(uint64(a.session.id))
	e.uint(a.request)
	e.uint(a.completed)
	e.uint(a.digest)
	e.uint(uint64(a.kind))
	e.uint(uint64(a.outcome))
	e.uint(uint64(a.refusal))
	e.int(int64(a.grantID))
	e.int(int64(a.token()))
	e.uint(a.first)
	e.uint(uint64(a.ended))
	e.text(a.detail())
	return e
}

func (g *grant) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordGrant)
	e.int(int64(g.id))
	e.int(int64(g.token()))
	e.uint(uint64(g.owner.session.id))
	e.text(g.owner.key)
	e.named(g)
	e.uint(uint64(g.depth))
	e.int(g.lease)
	e.int(g.leaseEnd)
	e.int(g.maxHold)
	e.int(g.lockDelay)
	e.text(g.metadata)
	e.int(g.grantedAt)
	e.uint(uint64(g.ending))
	e.uint(uint64(g.ended))
	e.text(g.detail)
	return e
}

func (r *request) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordRequest)
	e.index(r.arrival)
	e.int(r.arrivedAt)
	e.uint(uint64(r.session.id))
	e.uint(r.id)
	e.uint(r.digest)
	e.text(r.ownerKey)
	e.claims(r.named)
	e.int(int64(r.converts))
	e.int(r.until)
	e.int(int64(r.priority))
	e.flag(r.conversion)
	e.int(r.lease)
	e.int(r.maxHold)
	e.int(r.lockDelay)
	e.uint(uint64(r.onDeadlock))
	e.flag(r.noReentry)
	e.text(r.metadata)
	e.index(r.ahead)
	e.flag(r.atLimit)
	e.uint(uint64(len(r.passers)))
	for _, i := range r.passers {
		e.index(i)
	}
	e.uint(uint64(r.decided))
	e.uint(uint64(r.ended))
	e.text(r.detail)
	return e
}

func (h *ghost) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordGhost)
	e.int(int64(h.grant))
	e.text(h.namespace)
	e.claims(h.claims)
	e.int(h.until)
	e.flag(h.passed)
	return e
}

func (n *nonce) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordNonce)
	e.flag(n.acquire)
	e.text(n.principal)
	e.text(n.namespace)
	e.text(n.nonce)
	e.uint(uint64(n.session))
	e.uint(n.digest)
	e.uint(n.cancelled)
	e.int(n.until)
	return e
}

func (it *backlogItem) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordBacklog)
	e.int(it.seq)
	e.uint(uint64(it.kind))
	e.uint(uint64(it.session))
	e.index(it.wait)
	e.int(int64(it.grant))
	e.text(it.namespace)
	e.flag(it.announced)
	e.flag(it.done)
	return e
}

func (r *report) encode(to []byte) []byte {
	e := encoder(to)
	e.kind(recordReport)
	e.uint(r.seq)
	e.text(r.namespace)
	e.index(r.at)
	e.int(r.time)
	e.steps(r.cycle)
	e.index(r.victim)
	return e
}

// digestOf tells commands with the same request id or nonce apart (HF-7.1). What may differ
// between a command and its retry is not in it.
func (t *Table) digestOf(c Command) uint64 {
	e := encoder(t.es.scratch[:0])
	switch c := c.(type) {
	case *OpenSession:
		e.text("open")
		e.int(c.TTL)
		e.text(c.Metadata)
	case *Acquire:
		e.text("acquire")
		e.text(c.Owner)
		e.claims(sortClaims(c.Claims))
		e.int(c.WaitLimit)
		e.int(int64(c.Priority))
		e.int(c.Lease)
		e.int(c.MaxHold)
		e.int(c.LockDelay)
		e.uint(uint64(c.OnDeadlock))
		e.flag(c.NoReentry)
		e.text(c.Metadata)
		if c.Session == 0 {
			e.int(c.TTL)
		}
	case *Release:
		e.text("release")
		e.int(int64(c.Grant))
	case *Convert:
		e.text("convert")
		e.int(int64(c.Grant))
		e.text(c.Name)
		e.uint(uint64(c.Mode))
		e.int(c.WaitLimit)
		e.int(int64(c.Priority))
		e.uint(uint64(c.OnDeadlock))
	case *Renew:
		e.text("renew")
		e.int(int64(c.Grant))
	}
	t.es.scratch = e
	return xxhash.Sum64(e)
}
