package locktable

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

// ErrDamaged says that bytes given to Restore are not a snapshot.
var ErrDamaged = errors.New("not a snapshot of a lock table")

// recordMax bounds one record, so that damaged lengths do not take all memory.
const recordMax = 64 << 20

// Restore makes a table of what Snapshot gave.
func Restore(from io.Reader) (*Table, error) { return RestoreWith(Standard, from) }

// RestoreWith is Restore with other constants, for tests.
func RestoreWith(tuning Tuning, from io.Reader) (table *Table, err error) {
	l := loader{t: newTable(tuning)}
	in := bufio.NewReader(from)
	var room []byte
	for {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if size == 0 {
			break
		}
		if size > recordMax {
			return nil, fmt.Errorf("%w: record of %d bytes", ErrDamaged, size)
		}
		if uint64(cap(room)) < size {
			room = make([]byte, size)
		}
		room = room[:size]
		if _, err := io.ReadFull(in, room); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err := l.load(room); err != nil {
			return nil, err
		}
	}
	if err := l.build(); err != nil {
		return nil, err
	}
	return l.t, nil
}

// loader collects entities, then links them.
type loader struct {
	t        *Table
	globals  bool
	sessions []*session
	answers  []loadedAnswer
	grants   []loadedGrant
	requests []*request
	ghosts   []*ghost
	nonces   []*nonce
	backlog  []*backlogItem
	reports  []*report
	of       map[*request]SessionID
}

type loadedAnswer struct {
	*answer
	of SessionID
}

func (l *loader) load(record []byte) error {
	d := &decoder{rest: record[1:]}
	if l.of == nil {
		l.of = map[*request]SessionID{}
	}
	switch recordKind(record[0]) {
	case recordGlobals:
		l.globals = true
		l.t.g.decode(d)
		l.t.es.add(&l.t.g)
	case recordSession:
		s := &session{}
		s.decode(d)
		l.sessions = append(l.sessions, s)
	case recordAnswer:
		a := l.t.es.newAnswer()
		l.answers = append(l.answers, loadedAnswer{a, a.decode(d)})
	case recordGrant:
		g := loadedGrant{grant: l.t.es.newGrant()}
		g.decode(d)
		l.grants = append(l.grants, g)
	case recordRequest:
		r := &request{}
		l.of[r] = r.decode(d)
		l.requests = append(l.requests, r)
	case recordGhost:
		h := &ghost{}
		h.decode(d)
		l.ghosts = append(l.ghosts, h)
	case recordNonce:
		n := &nonce{}
		n.decode(d)
		l.nonces = append(l.nonces, n)
	case recordBacklog:
		it := &backlogItem{}
		it.decode(d)
		l.backlog = append(l.backlog, it)
	case recordReport:
		r := &report{}
		r.decode(d)
		l.reports = append(l.reports, r)
	default:
		return fmt.Errorf("%w: record of kind %d", ErrDamaged, record[0])
	}
	if d.bad || len(d.rest) > 0 {
		return fmt.Errorf("%w: record of kind %d is malformed", ErrDamaged, record[0])
	}
	return nil
}

// build links the entities and makes all that is derived. It takes them in the orders in which
// the table would have made them, and refuses what does not fit together.
func (l *loader) build() error {
	if !l.globals {
		return fmt.Errorf("%w: no globals", ErrDamaged)
	}
	t := l.t
	sort.Slice(l.sessions, func(i, j int) bool { return l.sessions[i].id < l.sessions[j].id })
	for _, s := range l.sessions {
		t.attachSession(s)
		t.es.add(s)
		if s.alive() {
			t.deadlines.set(&s.timer, s.deadline)
		}
	}
	ended := append([]*session(nil), l.sessions...)
	sort.SliceStable(ended, func(i, j int) bool { return ended[i].endedSeq < ended[j].endedSeq })
	for _, s := range ended {
		if !s.alive() {
			t.forgetting.push(s)
		}
	}
	buried, err := l.buildGrants()
	if err != nil {
		return err
	}
	if err := l.buildRequests(); err != nil {
		return err
	}
	for _, h := range l.ghosts {
		t.attachGhost(h)
		t.es.add(h)
	}
	if err := l.buildAnswers(buried); err != nil {
		return err
	}
	for _, s := range t.forgetting.all() {
		if !s.implicit && s.kept.size > 0 {
			t.emptying.push(s)
		}
	}
	l.buildNonces()
	sort.Slice(l.reports, func(i, j int) bool { return l.reports[i].seq < l.reports[j].seq })
	for _, r := range l.reports {
		t.reports.push(r)
		t.es.add(r)
	}
	if err := l.buildBacklog(); err != nil {
		return err
	}
	for _, sp := range t.spaces { // grants may be owed: all waiters are looked at
		for r := sp.order.first; r != nil; r = r.order.next {
			sp.ready = append(sp.ready, r)
		}
	}
	t.es.settle()
	return nil
}

func (l *loader) missing(what string, id any) error {
	return fmt.Errorf("%w: %s %v is missing", ErrDamaged, what, id)
}

// buildGrants links the grants that live, and gives those that are remembered only.
func (l *loader) buildGrants() (buried map[GrantID]*grant, err error) {
	t := l.t
	buried = map[GrantID]*grant{}
	sort.Slice(l.grants, func(i, j int) bool { return l.grants[i].id < l.grants[j].id })
	for i := range l.grants {
		g := &l.grants[i]
		s := t.sessions[g.of]
		t.es.add(g.grant)
		switch {
		case s == nil:
			return nil, l.missing("session", g.of)
		case g.ended != NotEnded:
			g.grant.owner = &owner{session: s, key: g.owner}
			buried[g.id] = g.grant
			continue
		}
		g.grant.owner = s.owner(g.owner)
		claims := t.expand(g.named)
		t.attachGrant(g.grant, g.named, claims, s.space.findAll(claims))
		if g.ending != NotEnded {
			for h := range g.eachHold() {
				t.setHold(h, h.mode, true)
			}
		}
	}
	return buried, nil
}

// buildRequests links the waits, and puts those in the order that stand there.
func (l *loader) buildRequests() error {
	t := l.t
	sort.Slice(l.requests, func(i, j int) bool { return l.requests[i].arrival.before(l.requests[j].arrival) })
	behind := map[*space]map[Index]*request{}
	for _, r := range l.requests {
		s := t.sessions[l.of[r]]
		if s == nil {
			return l.missing("session", l.of[r])
		}
		r.session, r.space, r.owner = s, s.space, s.owner(r.ownerKey)
		claims := t.expand(r.named)
		if r.grant = t.grant(r.converts); r.grant != nil && len(r.named) == 1 {
			if r.inOrder() || r.decided == Cancelled { // of others the outcome alone is left to tell
				r.grant.own().convert = r
			}
			claims = r.grant.raised(r.named[0])
		} else if r.converts != 0 && r.inOrder() {
			return l.missing("grant", r.converts)
		}
		if r.inOrder() {
			r.setPlaces(claims)
			if behind[r.space] == nil {
				behind[r.space] = map[Index]*request{}
			}
			behind[r.space][r.ahead] = r
		}
		t.attachWait(r)
		t.es.add(r)
		r.owner.leave()
	}
	for _, sp := range t.spacesByName() {
		var at *request
		for place := (Index{}); len(behind[sp]) > 0; place = at.arrival {
			r := behind[sp][place]
			if r == nil {
				return l.missing("the waiter behind", place)
			}
			delete(behind[sp], place)
			t.insertAfter(r, at)
			at = r
		}
	}
	return nil
}

func (l *loader) buildAnswers(buried map[GrantID]*grant) error {
	t := l.t
	sort.Slice(l.answers, func(i, j int) bool { return l.answers[i].completed < l.answers[j].completed })
	for _, a := range l.answers {
		s := t.sessions[a.of]
		if s == nil {
			return l.missing("session", a.of)
		}
		a.session = s
		t.attachAnswer(s, a.answer)
		if g := t.grant(a.grantID); g != nil {
			t.refer(a.answer, g)
		} else if g := buried[a.grantID]; g != nil {
			t.refer(a.answer, g)
		}
		t.es.add(a.answer)
	}
	return nil
}

func (l *loader) buildNonces() {
	sort.SliceStable(l.nonces, func(i, j int) bool { return l.nonces[i].cancelled < l.nonces[j].cancelled })
	for _, n := range l.nonces {
		l.t.nonces[n.nonceKey] = n
		l.t.es.add(n)
		if n.session == 0 {
			l.t.fading.push(n)
		}
	}
}

func (l *loader) buildBacklog() error {
	t := l.t
	waits := map[Index]*request{}
	for _, r := range l.requests {
		waits[r.arrival] = r
	}
	sort.Slice(l.backlog, func(i, j int) bool { return l.backlog[i].seq < l.backlog[j].seq })
	for _, it := range l.backlog {
		it.s, it.r, it.h = t.sessions[it.session], waits[it.wait], t.ghosts[it.grant]
		switch {
		case it.kind == endSession && it.s == nil && it.announced:
			it.s = &session{}
		case it.kind == endSession && it.s == nil:
			return l.missing("session", it.session)
		case it.kind == endSession:
			it.s.item = it
		case it.kind == owedGrants && !it.done:
			t.space(it.namespace).owed = it
		case it.kind == endWait && it.r == nil:
			it.r = &request{entityNode: entityNode{gone: true}}
		case it.kind == endGhost && it.h == nil:
			it.h = &ghost{entityNode: entityNode{gone: true}}
		}
		t.backlog.items = append(t.backlog.items, it)
		t.es.add(it)
	}
	return nil
}
