package locktable

import (
	"iter"
	"math"
	"strings"
)

// Exactly once (HF-7): a request id has one answer, given again to whoever asks again.

// seen handles the request id of a command. It tells whether the command is answered by that: as
// a replay, or because the id cannot be used. Acknowledged answers are dropped first.
func (t *Table) seen(s *session, c *Caller, digest uint64, kind answerKind) bool {
	t.acknowledge(s, c.Acked)
	if c.Request == 0 {
		return false
	}
	if a := t.answer(s, c.Request); a != nil {
		switch {
		case a.kind == cancelledMark && kind == waitAnswer:
			t.replay(a)
		case a.digest != digest || a.kind == cancelledMark:
			t.refuse(RequestIDReused)
		default:
			t.replay(a)
		}
		return true
	}
	if r := s.waiting[c.Request]; r != nil {
		switch {
		case r.digest != digest:
			t.refuse(RequestIDReused)
		case !r.inOrder():
			t.concludeNow(r)
		default:
			t.queuedIs(r)
		}
		return true
	}
	if c.Request <= s.floor {
		t.refuse(StaleRequest)
		t.result.Floor = s.floor
		return true
	}
	return false
}

// replay gives a kept answer again; its deadlines are the present ones (HF-7.2, HF-2.9).
func (t *Table) replay(a *answer) {
	r := t.result
	r.First, r.Outcome, r.Refusal = a.first, a.outcome, a.refusal
	r.Ended, r.Detail = a.ended, a.detail()
	if a.grantID == 0 {
		return
	}
	r.Grant = GrantInfo{ID: a.grantID, Token: a.token()}
	if a.grant == 0 {
		return
	}
	switch g := t.es.grants.at(a.grant); {
	case g.ended != NotEnded:
		r.Ended, r.Detail = g.ended, g.detail
	case g.isEnding():
		r.Ended, r.Detail = g.endsBy()
	default:
		r.Grant = t.info(g)
		r.Grant.Token = a.token()
	}
}

func (a *answer) token() Token {
	if a.more != nil {
		return a.more.token
	}
	return Token(a.grantID)
}

func (a *answer) detail() string {
	if a.more != nil {
		return a.more.detail
	}
	return ""
}

// tell sets the token and the operator's words, which are rarely worth the room.
func (a *answer) tell(token Token, detail string) {
	if token != Token(a.grantID) || detail != "" {
		a.more = &answerDetails{token, strings.Clone(detail)}
	}
}

// keep keeps the present result as the answer of a request id (HF-7.2).
func (t *Table) keep(s *session, c *Caller, digest uint64, kind answerKind) {
	if c.Request == 0 {
		return
	}
	t.keepAnswer(s, c.Request, digest, kind, t.result)
}

// keepAnswer adds an answer; the oldest goes if there are too many, and the floor rises to it.
func (t *Table) keepAnswer(s *session, request, digest uint64, kind answerKind, r *Result) {
	a := t.es.newAnswer()
	a.session, a.request, a.digest, a.kind = s, request, digest, kind
	a.outcome, a.refusal, a.ended = r.Outcome, r.Refusal, r.Ended
	a.grantID, a.first = r.Grant.ID, t.at.Entry
	a.tell(r.Grant.Token, r.Detail)
	if s.kept.last != 0 {
		a.completed = t.es.answers.at(s.kept.last).completed + 1
	}
	if g := t.grant(a.grantID); g != nil {
		t.refer(a, g)
	}
	t.attachAnswer(s, a)
	t.es.add(a)
	if s.kept.size > uint32(t.tuning.KeptAnswers) {
		oldest := t.es.answers.at(s.kept.first)
		t.es.touch(s)
		s.floor = max(s.floor, oldest.request)
		t.dropAnswer(s, oldest)
	}
}

// attachAnswer sets what is derived of an answer, but for its grant.
func (t *Table) attachAnswer(s *session, a *answer) {
	if s.kept.size == 0 || a.request < s.lowest {
		s.lowest = a.request
	}
	s.kept.push(answerRef(a.place), t.answerLinks)
	t.answerIndex.add(answerHash(s, a.request), a.place)
}

func (t *Table) answerLinks(n answerRef) *chainLinks[answerRef] { return &t.es.answers.at(n).links }

// refer notes that an answer tells of a grant, which is remembered as long.
func (t *Table) refer(a *answer, g *grant) {
	a.grant = grantRef(g.place)
	g.refs++
}

func answerHash(s *session, request uint64) uint64 { return hashNumbers(uint64(s.id), request) }

// answer finds the kept answer of a request id, nil if there is none.
func (t *Table) answer(s *session, request uint64) *answer {
	n := t.answerIndex.find(answerHash(s, request), func(n uint32) bool {
		a := t.es.answers.at(answerRef(n))
		return a.request == request && a.session == s
	})
	if n == 0 {
		return nil
	}
	return t.es.answers.at(answerRef(n))
}

// eachAnswer goes through the kept answers of a session, in order of completion. The one that is
// visited may be dropped.
func (t *Table) eachAnswer(s *session) iter.Seq[*answer] {
	return func(yield func(*answer) bool) {
		for n := s.kept.first; n != 0; {
			a := t.es.answers.at(n)
			n = a.links.next
			if !yield(a) {
				return
			}
		}
	}
}

// dropAnswer forgets an answer.
func (t *Table) dropAnswer(s *session, a *answer) {
	grant := a.grant
	s.kept.remove(answerRef(a.place), t.answerLinks)
	t.answerIndex.remove(answerHash(s, a.request), a.place)
	t.es.drop(a)
	if grant != 0 {
		g := t.es.grants.at(grant)
		g.refs--
		t.bury(g)
	}
}

// acknowledge drops the answers up to an id and raises the floor to it (HF-7.2).
func (t *Table) acknowledge(s *session, acked uint64) {
	if acked == 0 || acked <= s.floor && s.kept.size == 0 {
		return
	}
	if acked > s.floor {
		t.es.touch(s)
		s.floor = acked
	}
	if acked < s.lowest {
		return
	}
	if acked-s.lowest < uint64(s.kept.size) { // few ids are new
		for n := range acked - s.lowest + 1 {
			if a := t.answer(s, s.lowest+n); a != nil {
				t.dropAnswer(s, a)
			}
		}
		s.lowest = acked + 1
		return
	}
	s.lowest = math.MaxUint64
	for a := range t.eachAnswer(s) {
		if a.request <= acked {
			t.dropAnswer(s, a)
		} else {
			s.lowest = min(s.lowest, a.request)
		}
	}
}

// dropsPerBatch bounds how many answers of ended sessions a batch drops: nobody asks for them any
// more, and ten thousand sessions that end together may have millions.
const dropsPerBatch = 4096

func (t *Table) dropEnded() {
	for left := dropsPerBatch; left > 0 && t.emptying.len() > 0; left-- {
		s := t.emptying.all()[0]
		if s.kept.size == 0 {
			t.emptying.pop()
			continue
		}
		t.dropAnswer(s, t.es.answers.at(s.kept.first))
	}
}

func (t *Table) dropAnswers(s *session) {
	for a := range t.eachAnswer(s) {
		t.dropAnswer(s, a)
	}
}

// cancel ends a wait (HF-4.9). If it never came it will be cancelled when it comes.
func (t *Table) cancel(c *Cancel) {
	if c.Session == 0 {
		t.cancelByNonce(c)
		return
	}
	s := t.named(c.Session, c.Principal)
	if s == nil {
		return
	}
	t.acknowledge(s, c.Acked)
	t.cancelRequest(s, c.Request)
}

func (t *Table) cancelRequest(s *session, id uint64) {
	a, r := t.answer(s, id), s.waiting[id]
	switch {
	case a != nil && a.kind == otherAnswer:
		t.refuse(RequestIDReused)
	case a != nil:
		t.replay(a)
	case r != nil && !r.inOrder():
		t.concludeNow(r)
	case r != nil:
		t.decide(r, Cancelled, NotEnded, "")
		t.concludeNow(r)
		t.settleCommand(s.space)
	case id <= s.floor:
		t.refuse(StaleRequest)
		t.result.Floor = s.floor
	default:
		t.result.Outcome = Cancelled
		t.keep(s, &Caller{Request: id}, 0, cancelledMark)
	}
}

// cancelByNonce cancels an acquire without a session (HF-4.12).
func (t *Table) cancelByNonce(c *Cancel) {
	key := nonceKey{acquire: true, principal: c.Principal, namespace: c.Namespace, nonce: c.Nonce}
	n := t.nonces[key]
	switch {
	case n == nil:
		n = &nonce{nonceKey: key.own(), cancelled: t.at.Entry, until: t.g.time + memory}
		t.nonces[n.nonceKey] = n
		t.fading.push(n)
		t.es.add(n)
		t.result.Outcome = Cancelled
	case n.session == 0:
		t.result.Outcome, t.result.First = Cancelled, n.cancelled
	default:
		s := t.sessions[n.session]
		if s.alive() {
			t.raise(s)
		}
		t.sessionIs(s)
		t.cancelRequest(s, implicitRequest)
	}
}
