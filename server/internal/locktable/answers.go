package locktable

// Exactly once (HF-7): a request id has one answer, given again to whoever asks again.

// seen handles the request id of a command. It tells whether the command is answered by that: as
// a replay, or because the id cannot be used. Acknowledged answers are dropped first.
func (t *Table) seen(s *session, c *Caller, digest uint64, kind answerKind) bool {
	t.acknowledge(s, c.Acked)
	if c.Request == 0 {
		return false
	}
	if a := s.answers[c.Request]; a != nil {
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
	r.Ended, r.Detail = a.ended, a.detail
	if a.grantID == 0 {
		return
	}
	r.Grant = GrantInfo{ID: a.grantID, Token: a.token}
	switch g := a.grant; {
	case g == nil:
	case g.ended != NotEnded:
		r.Ended, r.Detail = g.ended, g.detail
	case g.isEnding():
		r.Ended, r.Detail = g.endsBy()
	default:
		r.Grant = g.info()
		r.Grant.Token = a.token
	}
}

// keep keeps the present result as the answer of a request id (HF-7.2).
func (t *Table) keep(s *session, c *Caller, digest uint64, kind answerKind) {
	if c.Request == 0 {
		return
	}
	t.keepAnswer(s, &answer{
		request: c.Request, digest: digest, kind: kind,
		outcome: t.result.Outcome, refusal: t.result.Refusal,
		grantID: t.result.Grant.ID, token: t.result.Grant.Token,
		first: t.at.Entry, ended: t.result.Ended, detail: t.result.Detail,
	})
}

// keepAnswer adds an answer; the oldest goes if there are too many, and the floor rises to it.
func (t *Table) keepAnswer(s *session, a *answer) {
	a.session = s.id
	if n := len(s.kept); n > 0 {
		a.completed = s.kept[n-1].completed + 1
	}
	t.attachAnswer(s, a)
	t.es.add(a)
	if len(s.kept) > t.tuning.KeptAnswers {
		oldest := s.kept[0]
		t.es.touch(s)
		s.floor = max(s.floor, oldest.request)
		t.dropAnswer(s, oldest)
		s.kept = s.kept[1:]
	}
}

func (t *Table) attachAnswer(s *session, a *answer) {
	if s.answers == nil {
		s.answers = map[uint64]*answer{}
	}
	s.answers[a.request] = a
	s.kept = append(s.kept, a)
	if g := t.grants[a.grantID]; g != nil {
		a.grant = g
		g.refs++
	}
}

// dropAnswer forgets an answer; the caller takes it out of s.kept.
func (t *Table) dropAnswer(s *session, a *answer) {
	delete(s.answers, a.request)
	t.es.drop(a)
	if g := a.grant; g != nil {
		g.refs--
		t.bury(g)
	}
}

// acknowledge drops the answers up to an id and raises the floor to it (HF-7.2).
func (t *Table) acknowledge(s *session, acked uint64) {
	if acked == 0 || acked <= s.floor && len(s.kept) == 0 {
		return
	}
	if acked > s.floor {
		t.es.touch(s)
		s.floor = acked
	}
	rest := s.kept[:0]
	for _, a := range s.kept {
		if a.request <= acked {
			t.dropAnswer(s, a)
		} else {
			rest = append(rest, a)
		}
	}
	clear(s.kept[len(rest):])
	s.kept = rest
}

func (t *Table) dropAnswers(s *session) {
	for _, a := range s.kept {
		t.dropAnswer(s, a)
	}
	s.kept, s.answers = nil, nil
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
	a, r := s.answers[id], s.waiting[id]
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
		n = &nonce{nonceKey: key, cancelled: t.at.Entry, until: t.g.time + memory}
		t.nonces[key] = n
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
