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
	for p := (entityPlace{}); ; {
		e, more := t.es.next(&p)
		if !more {
			break
		}
		if e == nil {
			continue
		}
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
	live, kept := map[string]uint32{}, uint32(0)
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
		if err := t.checkAnswers(s); err != nil {
			return fmt.Errorf("session %d: %w", s.id, err)
		}
		kept += s.kept.size
		for o := range s.owners.each() {
			if o.stakes == 0 && len(o.requests) == 0 || s.owners.find(o.key) != o {
				return fmt.Errorf("owner %s has nothing and is kept", who(s.id, o.key))
			}
		}
	}
	if t.answerIndex.len() != int(kept) || t.es.answers.inUse() != int(kept) {
		return fmt.Errorf("%d answers, %d found by id, %d in their slab", kept, t.answerIndex.len(), t.es.answers.inUse())
	}
	for principal, n := range t.principals {
		if live[principal] != n {
			return fmt.Errorf("principal %q: %d sessions are counted, %d live", principal, n, live[principal])
		}
	}
	return nil
}

// checkAnswers: kept answers are in order of completion and found by their ids (HF-7.2).
func (t *Table) checkAnswers(s *session) error {
	if int(s.kept.size) > t.tuning.KeptAnswers {
		return fmt.Errorf("%d answers are kept", s.kept.size)
	}
	n, last := uint32(0), uint64(0)
	for a := range t.eachAnswer(s) {
		switch {
		case n > 0 && a.completed <= last:
			return fmt.Errorf("answers out of order")
		case t.answer(s, a.request) != a || s.waiting[a.request] != nil || a.session != s || a.request < s.lowest:
			return fmt.Errorf("answer %d", a.request)
		case a.grant != 0 && t.es.grants.at(a.grant).id != a.grantID:
			return fmt.Errorf("answer %d tells of another grant", a.request)
		}
		n, last = n+1, a.completed
	}
	if n != s.kept.size {
		return fmt.Errorf("%d answers, %d are counted", n, s.kept.size)
	}
	return nil
}

// checkGrants: tokens were given, claims are sorted, each hold is what the named claims imply, and
// nothing lives past its deadline but what is ending (HF-3.3, HF-5.1, HF-6.1).
func (t *Table) checkGrants() error {
	if noTerms != (grantTerms{}) {
		return fmt.Errorf("the terms that grants share are %v", noTerms)
	}
	tokens, holds := map[Token]bool{}, 0
	all := t.grantsByID()
	if t.grantIndex.len() != len(all) || t.live != len(all) {
		return fmt.Errorf("%d grants, %d found by id, %d counted", len(all), t.grantIndex.len(), t.live)
	}
	for _, g := range all {
		token := g.token()
		switch {
		case t.grant(g.id) != g:
			return fmt.Errorf("grant %d is not found", g.id)
		case tokens[token]:
			return fmt.Errorf("token %d twice", token)
		case GrantID(token) < g.id || uint64(token)&(1<<counterBits-1) > t.g.counter:
			return fmt.Errorf("grant %d has token %d", g.id, token)
		case g.depth < 1 || g.ended != NotEnded:
			return fmt.Errorf("grant %d has depth %d, ended %d", g.id, g.depth, g.ended)
		case !g.isEnding() && (g.leaseEnd != 0 && g.leaseEnd <= t.g.time || g.maxHold != 0 && g.maxHold <= t.g.time):
			return fmt.Errorf("grant %d lives past its deadline", g.id)
		case g.ending != NotEnded && !t.isPutOff(endGrant, g.id) && g.session().alive():
			return fmt.Errorf("grant %d is ending and not in the backlog", g.id)
		}
		tokens[token] = true
		var held []Claim
		for h := range g.eachHold() {
			held = append(held, Claim{t.lockOf(h).name, h.mode})
			if t.grantOf(h) != g {
				return fmt.Errorf("grant %d has a hold of another", g.id)
			}
		}
		if want := expand(nil, g.named(nil)); !slices.Equal(held, want) {
			return fmt.Errorf("grant %d holds %v, its claims come to %v", g.id, held, want)
		}
		holds += len(held)
	}
	if t.holds.inUse() != holds {
		return fmt.Errorf("%d holds, %d in their slab", holds, t.holds.inUse())
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
	if c := &noCrowd; c.queued != 0 || c.first != nil || c.ghosts != nil || c.isDirty || c.lock != nil ||
		c.owners != (modeCounts{}) || c.held != (modeCounts{}) || c.waiting != (modeCounts{}) {
		return fmt.Errorf("the crowd that locks share is %v", noCrowd)
	}
	locks, stances := 0, 0
	for _, sp := range t.spacesByName() {
		locks += sp.sorted.len()
		last, seen := "", 0
		for l := range sp.sorted.from("", "") {
			switch {
			case seen > 0 && l.name <= last:
				return fmt.Errorf("lock %s is listed behind %s", l.name, last)
			case sp.find(l.name) != l || l.space != sp || t.locks.at(l.self) != l:
				return fmt.Errorf("lock %s is not found", l.name)
			case l.fresh > 0 && sp.sorted.fresh[l.fresh-1] != l:
				return fmt.Errorf("lock %s is not fresh", l.name)
			case l.holds.first == 0 && l.queued == 0 && len(l.ghosts) == 0:
				return fmt.Errorf("lock %s is empty and kept", l.name)
			}
			n, err := l.check()
			if err != nil {
				return fmt.Errorf("lock %s: %w", l.name, err)
			}
			last, seen, stances = l.name, seen+1, stances+n
		}
		if seen != sp.sorted.len() {
			return fmt.Errorf("%d locks are listed, there are %d", seen, sp.sorted.len())
		}
	}
	if t.lockIndex.len() != locks || t.locks.inUse() != locks {
		return fmt.Errorf("%d locks, %d found by name, %d in their slab", locks, t.lockIndex.len(), t.locks.inUse())
	}
	if t.stances.len() != stances {
		return fmt.Errorf("owners have %d stances, %d are found", stances, t.stances.len())
	}
	return nil
}

// check checks a lock, and counts the owners that are to be found by it.
func (l *lock) check() (stances int, err error) {
	covers, shuts, counts := map[*owner]Mode{}, map[*owner]Mode{}, map[*owner]int32{}
	var held, owners, waiting modeCounts
	last, holds := GrantID(0), uint32(0)
	for h := range l.eachHold() {
		g := l.space.t.grantOf(h)
		if g.id <= last {
			return 0, fmt.Errorf("holds out of order")
		}
		last = g.id
		holds++
		held[h.mode]++
		o := g.owner
		counts[o]++
		shuts[o] = shuts[o].Join(h.mode)
		if g.ending == NotEnded {
			covers[o] = covers[o].Join(h.mode)
		}
		if h.lock != l.self || (h.stake != 0) != (l.space.t.stanceRef(l, o)&stakeBit != 0) {
			return 0, fmt.Errorf("hold of grant %d is astray", g.id)
		}
	}
	if holds != l.holds.size || l.crowd == &noCrowd && holds > 1 {
		return 0, fmt.Errorf("%d holds, %d counted", holds, l.holds.size)
	}
	for o, mode := range shuts {
		owners[mode]++
		if s, n := l.stanceOf(o); s != (stance{covers[o], mode}) || n != counts[o] {
			return 0, fmt.Errorf("stance of %s", who(o.session.id, o.key))
		}
		for p, other := range shuts {
			if p != o && !compatible[mode][other] {
				return 0, fmt.Errorf("%s and %s hold it in %s and %s", who(o.session.id, o.key),
					who(p.session.id, p.key), mode, other)
			}
		}
	}
	queued := 0
	for p := l.first; p != nil; p = p.next {
		queued++
		if p.next != nil && p.next.request.label <= p.request.label {
			return 0, fmt.Errorf("queue out of order")
		}
		if p.satisfied != covers[p.request.owner].Covers(p.mode) {
			return 0, fmt.Errorf("place of %s", p.request.arrival)
		}
		if !p.satisfied {
			waiting[p.mode]++
		}
	}
	if l.crowd == &noCrowd {
		return 0, nil
	}
	owners[None], l.owners[None], held[None], l.held[None] = 0, 0, 0, 0
	if l.holds.size == 0 && l.queued == 0 && len(l.ghosts) == 0 {
		return 0, fmt.Errorf("a crowd of nobody")
	}
	if held != l.held || owners != l.owners || waiting != l.waiting || queued != l.queued {
		return 0, fmt.Errorf("counts: held %v, owners %v, waiting %v, queued %d", l.held, l.owners, l.waiting, l.queued)
	}
	return len(shuts), nil
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
	grants := t.grantsByID()
	for _, g := range grants {
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
			if g := t.grant(GrantID(d.id.Entry)); g == nil {
				return fmt.Errorf("timer of a grant that is gone")
			}
		}
	}
	for _, g := range grants {
		if g.timers != nil && g.ending == NotEnded && !g.session().alive() {
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
