package locktable

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Check restates every invariant of the table from scratch, without its indexes, and tells the
// first that does not hold. It is for tests: it costs the whole state.
func (t *Table) Check() error {
	for _, check := range []func() error{
		t.checkHash, t.checkSessions, t.checkGrants, t.checkLocks, t.checkOrder, t.checkGraph, t.checkTimers,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkHash: the hash that is kept up to date is the hash of all entities (HF-10.5).
func (t *Table) checkHash() error {
	sum, n := uint64(0), 0
	for e := t.es.first; e != nil; e = e.node().next {
		sum += xxhash.Sum64(e.encode(nil))
		n++
		if e.node().gone || !e.node().member {
			return fmt.Errorf("entity %T is in the list and gone", e)
		}
	}
	if sum != t.es.hash {
		return fmt.Errorf("hash is %x, that of all %d entities is %x", t.es.hash, n, sum)
	}
	if len(t.es.dirty) != 0 {
		return fmt.Errorf("%d entities are dirty after the batch", len(t.es.dirty))
	}
	return nil
}

// checkSessions: what lives has a deadline ahead; kept answers and floor fit (HF-2.3, HF-7.2).
func (t *Table) checkSessions() error {
	live := map[string]uint32{}
	for _, s := range t.sessionsByID() {
		if s.id > t.g.lastSession {
			return fmt.Errorf("session %d was never given", s.id)
		}
		if s.alive() {
			live[s.principal]++
			if s.deadline <= t.g.time {
				return fmt.Errorf("session %d lives past its deadline %d, T is %d", s.id, s.deadline, t.g.time)
			}
		}
		if len(s.kept) > t.tuning.KeptAnswers || len(s.kept) != len(s.answers) {
			return fmt.Errorf("session %d keeps %d answers, %d by id", s.id, len(s.kept), len(s.answers))
		}
		for i, a := range s.kept {
			if i > 0 && a.completed <= s.kept[i-1].completed {
				return fmt.Errorf("session %d: answers out of order", s.id)
			}
			if s.answers[a.request] != a || s.waiting[a.request] != nil {
				return fmt.Errorf("session %d: answer %d", s.id, a.request)
			}
		}
		for key, o := range s.owners {
			if o.stakes == 0 && len(o.requests) == 0 || o.key != key {
				return fmt.Errorf("owner %s has nothing and is kept", who(s.id, key))
			}
		}
	}
	for principal, n := range t.principals {
		if live[principal] != n {
			return fmt.Errorf("principal %q: %d sessions are counted, %d live", principal, n, live[principal])
		}
	}
	return nil
}

// checkGrants: tokens were given, claims are sorted, each hold is what the named claims imply, and
// nothing lives past its deadline but what is ending (HF-3.3, HF-5.1, HF-6.1).
func (t *Table) checkGrants() error {
	tokens := map[Token]bool{}
	for _, g := range t.grantsByID() {
		switch {
		case tokens[g.token]:
			return fmt.Errorf("token %d twice", g.token)
		case GrantID(g.token) < g.id || uint64(g.token)&(1<<counterBits-1) > t.g.counter:
			return fmt.Errorf("grant %d has token %d", g.id, g.token)
		case g.depth < 1 || g.ended != NotEnded:
			return fmt.Errorf("grant %d has depth %d, ended %d", g.id, g.depth, g.ended)
		case !g.isEnding() && (g.leaseEnd != 0 && g.leaseEnd <= t.g.time || g.maxHold != 0 && g.maxHold <= t.g.time):
			return fmt.Errorf("grant %d lives past its deadline", g.id)
		case g.ending != NotEnded && !t.isPutOff(endGrant, g.id) && g.session.alive():
			return fmt.Errorf("grant %d is ending and not in the backlog", g.id)
		}
		tokens[g.token] = true
		var held []Claim
		for i := range g.holds {
			if h := &g.holds[i]; h.stake != nil {
				held = append(held, Claim{h.stake.lock.name, h.mode})
			}
		}
		if want := expand(nil, g.named); !slices.Equal(held, want) {
			return fmt.Errorf("grant %d holds %v, its claims come to %v", g.id, held, want)
		}
	}
	return nil
}

func (t *Table) isPutOff(kind backlogKind, id GrantID) bool {
	for _, it := range t.backlog.all() {
		if it.kind == kind && it.grant == id {
			return true
		}
	}
	return false
}

// checkLocks: counts and joins are those of what stands on the name, and holders are compatible
// (HF-3.1, HF-3.2).
func (t *Table) checkLocks() error {
	for _, sp := range t.spacesByName() {
		if len(sp.locks) != sp.sorted.tree.Len() {
			return fmt.Errorf("%d locks, %d sorted", len(sp.locks), sp.sorted.tree.Len())
		}
		for name, l := range sp.locks {
			if l.holds.first == nil && l.queued == 0 && len(l.ghosts) == 0 {
				return fmt.Errorf("lock %s is empty and kept", name)
			}
			if err := l.check(); err != nil {
				return fmt.Errorf("lock %s: %w", name, err)
			}
		}
	}
	return nil
}

func (l *lock) check() error {
	covers, shuts := map[*owner]Mode{}, map[*owner]Mode{}
	var held, owners, waiting modeCounts
	last := GrantID(0)
	for h := l.holds.first; h != nil; h = h.next {
		if h.grant.id <= last {
			return fmt.Errorf("holds out of order")
		}
		last = h.grant.id
		held[h.mode]++
		o := h.grant.owner
		shuts[o] = shuts[o].Join(h.mode)
		if h.grant.ending == NotEnded {
			covers[o] = covers[o].Join(h.mode)
		}
		if h.stake.owner != o || h.stake.lock != l {
			return fmt.Errorf("hold of grant %d has a foreign stake", h.grant.id)
		}
	}
	for o, mode := range shuts {
		owners[mode]++
		s := l.stakeOf(o)
		if s == nil || s.cover != covers[o] || s.shuts != mode {
			return fmt.Errorf("stake of %s", who(o.session.id, o.key))
		}
		for p, other := range shuts {
			if p != o && !compatible[mode][other] {
				return fmt.Errorf("%s and %s hold it in %s and %s", who(o.session.id, o.key),
					who(p.session.id, p.key), mode, other)
			}
		}
	}
	queued := 0
	for p := l.first; p != nil; p = p.next {
		queued++
		if p.next != nil && p.next.request.label <= p.request.label {
			return fmt.Errorf("queue out of order")
		}
		if p.satisfied != covers[p.request.owner].Covers(p.mode) {
			return fmt.Errorf("place of %s", p.request.arrival)
		}
		if !p.satisfied {
			waiting[p.mode]++
		}
	}
	owners[None], l.owners[None], held[None], l.held[None] = 0, 0, 0, 0
	if held != l.held || owners != l.owners || waiting != l.waiting || queued != l.queued {
		return fmt.Errorf("counts: held %v, owners %v, waiting %v, queued %d", l.held, l.owners, l.waiting, l.queued)
	}
	return nil
}

// checkOrder: one order, the same on every name; nobody waits past a limit or could be granted
// unless grants are owed (HF-4.3, HF-4.4, HF-4.7).
func (t *Table) checkOrder() error {
	waits := 0
	for _, sp := range t.spacesByName() {
		var ahead Index
		label := uint64(0)
		for r := sp.order.first; r != nil; r = r.order.next {
			waits++
			switch {
			case r.ahead != ahead:
				return fmt.Errorf("waiter %s says it stands behind %s, it stands behind %s", r.arrival, r.ahead, ahead)
			case r.label <= label:
				return fmt.Errorf("waiter %s: labels do not rise", r.arrival)
			case !r.inOrder() || !r.session.alive() || r.until <= t.g.time:
				return fmt.Errorf("waiter %s should have left", r.arrival)
			case r.atLimit != (len(r.passers) >= t.tuning.PassLimit):
				return fmt.Errorf("waiter %s was passed %d times, at its limit: %v", r.arrival, len(r.passers), r.atLimit)
			case r.isGrantable() && !t.hasBacklog():
				return fmt.Errorf("waiter %s is grantable and waits", r.arrival)
			case !sp.waiting[r.owner] || !slices.Contains(r.owner.requests, r):
				return fmt.Errorf("waiter %s is not with its owner", r.arrival)
			}
			ahead, label = r.arrival, r.label
		}
		if len(sp.full) > 0 {
			return fmt.Errorf("waiters at their limit were not moved")
		}
	}
	if waits != t.waits {
		return fmt.Errorf("%d wait, %d are counted", waits, t.waits)
	}
	return nil
}

// checkGraph: after no index does the wait-for graph hold a cycle (HF-8.2). Owners nobody of whom
// waits are taken away again and again; on a cycle somebody is left.
func (t *Table) checkGraph() error {
	for _, sp := range t.spacesByName() {
		left := map[*owner][]*owner{}
		for r := sp.order.first; r != nil; r = r.order.next {
			exactly(r.owner, func(o *owner) { left[r.owner] = append(left[r.owner], o) })
			if left[r.owner] == nil {
				left[r.owner] = []*owner{}
			}
		}
		for shrunk := true; shrunk; {
			shrunk = false
			for o, edges := range left {
				if !slices.ContainsFunc(edges, func(p *owner) bool { _, waits := left[p]; return waits }) {
					delete(left, o)
					shrunk = true
				}
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("the wait-for graph of %s holds a cycle among %d owners", sp.name, len(left))
		}
	}
	return nil
}

// checkTimers: the heap is one, and everything that time can end is in it.
func (t *Table) checkTimers() error {
	for i, d := range t.deadlines {
		if d.pos != i+1 || i > 0 && d.before(t.deadlines[(i-1)/2]) {
			return fmt.Errorf("heap of deadlines at %d", i)
		}
	}
	want := t.waits
	for _, s := range t.sessions {
		if s.alive() {
			want++
		}
	}
	for _, g := range t.grants {
		if g.ending == NotEnded && g.leaseEnd > 0 {
			want++
		}
		if g.ending == NotEnded && g.maxHold > 0 {
			want++
		}
	}
	for _, h := range t.ghosts {
		if !h.passed {
			want++
		}
	}
	// A grant of a session that has ended may have timers until it goes.
	for _, d := range t.deadlines {
		if d.kind == leaseTimer || d.kind == maxHoldTimer {
			if g := t.grants[GrantID(d.id.Entry)]; g == nil {
				return fmt.Errorf("timer of a grant that is gone")
			}
		}
	}
	for _, g := range t.grants {
		if g.timers != nil && g.ending == NotEnded && !g.session.alive() {
			for i := range g.timers {
				if g.timers[i].pos == 0 && g.timers[i].at != 0 {
					want-- // it passed after its session
				}
			}
		}
	}
	if len(t.deadlines) != want {
		return fmt.Errorf("%d deadlines, %d things that time can end", len(t.deadlines), want)
	}
	return nil
}
