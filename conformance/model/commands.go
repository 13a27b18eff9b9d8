package model

import "slices"

func (t *Table) held(s *Session, id int64) *Grant {
	return find(t.Grants, func(g *Grant) bool { return g.ID == id && g.Session == s && g.Ending == "" })
}

func (t *Table) waiting(s *Session, request uint64) *Request {
	return find(slices.Concat(t.Order, t.Decided), func(r *Request) bool {
		return r.Session == s && r.ID == request && request != 0
	})
}

func (s *Session) kept(request uint64) *Answer {
	if i := slices.IndexFunc(s.Kept, func(a Answer) bool { return a.Request == request }); i >= 0 {
		return &s.Kept[i]
	}
	return nil
}

// named is the session that a command names: by its id, by a nonce, or by the grant of an implicit one.
func (t *Table) named(c Command) *Session {
	return find(t.Sessions, func(s *Session) bool {
		if c.Session != 0 {
			return s.ID == c.Session
		}
		if c.Kind == "OpenSession" || c.Kind == "Acquire" || c.Kind == "Cancel" {
			return s.Nonce != "" && s.Nonce == c.Nonce && s.Implicit == (c.Kind != "OpenSession") &&
				s.Principal == c.Principal && s.Namespace == c.Namespace
		}
		return s.Implicit && c.Kind != "RevokeGrant" &&
			slices.ContainsFunc(t.Grants, func(g *Grant) bool { return g.ID == c.Grant && g.Session == s })
	})
}

func refused(refusal string) Result { return Result{Outcome: "REFUSED", Refusal: refusal} }

func (s *Session) expired() Result {
	return Result{Outcome: "REFUSED", Refusal: "SESSION_EXPIRED", Ended: s.Ended, Detail: s.Detail}
}

// command carries out a command with all that follows from it, and completes its answer.
func (t *Table) command(c Command) (result Result) {
	t.changed = false
	s, result, r := t.carryOut(c)
	if t.changed {
		t.serve(s.Namespace)
	}
	t.work()
	switch {
	case r != nil && r.Final.Outcome != "":
		result = r.Final
	case r != nil:
		i := slices.Index(t.Order, r)
		result = Result{Outcome: "QUEUED", Arrival: r.Arrival, Position: 1}.blocked(t.obstacles(r, i))
		for _, c := range r.Claims {
			result.Position = max(result.Position, t.Position(r, c.Name))
		}
	}
	result.Session = c.Session
	if s != nil {
		result.Session = s.ID
		if s.Ended == "" {
			result.SessionDeadline = s.Deadline
		}
	}
	result.At = t.at
	return result
}

// carryOut returns the session concerned, and the request if it waits or has only now ended.
func (t *Table) carryOut(c Command) (*Session, Result, *Request) {
	done, s := Result{Outcome: "DONE"}, t.named(c)
	byNonce := c.Session == 0 && (c.Kind == "Acquire" || c.Kind == "Cancel")
	if byNonce {
		c.Request, c.Acked = 1, 0
	}
	switch c.Kind {
	case "Bootstrap":
		if t.Cluster == "" {
			t.Cluster = c.Name
		}
		return nil, done, nil
	case "SetLimits":
		t.Limits = c.Limits
		return nil, done, nil
	case "SetSemantics":
		if c.Number != 1 {
			return nil, refused("INVALID_VERSION"), nil
		}
		return nil, done, nil
	case "RaiseEpoch":
		if c.Number <= t.Epoch || c.Number >= 1<<15 {
			return nil, refused("INVALID_EPOCH"), nil
		}
		t.Epoch = c.Number
		for _, o := range t.Sessions {
			if o.Ended == "" {
				t.expire(o, "RESTORED")
			}
		}
		return nil, done, nil
	case "RevokeGrant":
		g := find(t.Grants, func(g *Grant) bool { return g.ID == c.Grant })
		if g == nil {
			return nil, refused("NOT_HOLDER"), nil
		}
		return g.Session, t.release(g, "REVOKED", c.Reason), nil
	case "RevokeSession":
		c.Principal = "operator"
	case "OpenSession", "Acquire", "Cancel":
		if s == nil && c.Session == 0 {
			return t.open(c, byNonce)
		}
	}
	switch {
	case s == nil && c.Session == 0:
		return nil, refused("NOT_HOLDER"), nil
	case s == nil:
		return nil, refused("SESSION_NOT_FOUND"), nil
	case s.ID == 0:
		return nil, Result{Outcome: "CANCELLED", First: s.Floor}, nil
	case s.Principal != c.Principal && c.Principal != "operator":
		return nil, refused("PERMISSION_DENIED"), nil
	case (byNonce && c.Kind == "Acquire" || c.Kind == "OpenSession") && s.contents != contents(c):
		return s, refused("REQUEST_ID_REUSED"), nil
	case s.Ended != "" && !byNonce:
		return s, s.expired(), nil
	}
	switch c.Kind {
	case "OpenSession":
		return s, Result{Outcome: "DONE", TTL: s.TTL}, nil
	case "RenewSession":
		return s, done, nil
	case "RevokeSession":
		return s, t.close(s, "REVOKED", c.Reason), nil
	case "CloseSession":
		if c.Abandon {
			return s, t.close(s, "ABANDONED", ""), nil
		}
		return s, t.close(s, "CLOSED", ""), nil
	}
	return t.request(s, c)
}

// open opens a session, or notes that a nonce was cancelled before it was seen (HF-4.9).
func (t *Table) open(c Command, implicit bool) (*Session, Result, *Request) {
	s := &Session{Namespace: c.Namespace, Principal: c.Principal, TTL: c.TTL, Since: t.T, Deadline: t.T + c.TTL + c.Wait,
		Nonce: c.Nonce, Metadata: c.Metadata, Implicit: implicit, contents: contents(c)}
	if c.Kind == "Cancel" {
		s.Ended, s.EndedAt, s.Floor = "CLOSED", t.T, t.at.Entry
		t.Sessions = append(t.Sessions, s)
		return nil, Result{Outcome: "CANCELLED"}, nil
	}
	most := t.Limits.SessionsPerPrincipal
	if have := without(t.Sessions, func(o *Session) bool { return o.Principal != c.Principal || o.Ended != "" }); len(have) >= int(most) {
		return nil, Result{Outcome: "REFUSED", Refusal: "QUOTA_EXCEEDED", Limit: most}, nil
	}
	t.LastSession++
	s.ID = t.LastSession
	t.Sessions = append(t.Sessions, s)
	if implicit {
		return t.request(s, c)
	}
	return s, Result{Outcome: "DONE", TTL: s.TTL}, nil
}

func (t *Table) close(s *Session, reason, detail string) Result {
	s.Ended, s.Detail, t.changed = reason, detail, true
	t.sessionEnded(s)
	t.endSession(s, reason, detail)
	return Result{Outcome: "DONE"}
}

// release ends a grant as a command's own doing.
func (t *Table) release(g *Grant, reason, detail string) Result {
	if g.Ending != "" {
		return Result{Outcome: "REFUSED", Refusal: "NOT_HOLDER", Ended: g.Ending, Detail: g.Detail}
	}
	t.changed = true
	t.endLater(g, reason, detail)
	t.endNow(g)
	return Result{Outcome: "DONE", Grant: g.info()}
}

// request carries out a command under its request id, once (HF-7.1, HF-7.2).
func (t *Table) request(s *Session, c Command) (*Session, Result, *Request) {
	s.Kept = without(s.Kept, func(a Answer) bool { return a.Request <= c.Acked })
	s.Floor = max(s.Floor, c.Acked)
	cancel := c.Kind == "Cancel"
	waits := func(kind string) bool { return kind == "Acquire" || kind == "Convert" || kind == "Cancel" }
	if r := t.waiting(s, c.Request); r != nil {
		switch {
		case !cancel && contents(r.Command) != contents(c):
			return s, refused("REQUEST_ID_REUSED"), nil
		case r.verdict.Outcome != "":
			t.finish(r, r.verdict)
		case cancel:
			t.changed = true
			t.finish(r, Result{Outcome: "CANCELLED"})
		}
		return s, Result{}, r
	}
	if a := s.kept(c.Request); a != nil && c.Request != 0 {
		if a.contents == contents(c) || waits(a.kind) && waits(c.Kind) && (cancel || a.kind == "Cancel") {
			return s, t.replay(a.Result), nil
		}
		return s, refused("REQUEST_ID_REUSED"), nil
	}
	if c.Request != 0 && c.Request <= s.Floor {
		return s, Result{Outcome: "REFUSED", Refusal: "STALE_REQUEST", Floor: s.Floor}, nil
	}
	result, r := t.execute(s, c)
	if r == nil {
		t.keep(s, c.Request, c, result)
	}
	if g := t.held(s, c.Grant); g != nil && g.Depth == 0 {
		t.release(g, "RELEASED", "")
	}
	return s, result, r
}

// replay repeats a kept answer, with what is true of its grant now.
func (t *Table) replay(r Result) Result {
	if g := find(t.Grants, func(g *Grant) bool { return g.ID == r.Grant.ID }); g != nil && g.Ending == "" {
		token := r.Grant.Token
		r.Grant = g.info()
		r.Grant.Token = token
	} else if g != nil {
		r.Ended, r.Detail = g.Ending, g.Detail
	} else if end, ok := t.gone[r.Grant.ID]; ok {
		r.Ended, r.Detail = end.Ended, end.Detail
	}
	return r
}

// execute does what a command says for the first time. It returns the request if it waits.
func (t *Table) execute(s *Session, c Command) (Result, *Request) {
	switch c.Kind {
	case "Cancel":
		return Result{Outcome: "CANCELLED"}, nil
	case "Acquire":
		return t.acquire(s, c)
	}
	g := find(t.Grants, func(g *Grant) bool { return g.ID == c.Grant && g.Session == s })
	switch {
	case g == nil:
		return refused("NOT_HOLDER"), nil
	case g.Ending != "":
		return Result{Outcome: "REFUSED", Refusal: "NOT_HOLDER", Ended: g.Ending, Detail: g.Detail}, nil
	case c.Kind == "Convert":
		return t.convert(g, c)
	case c.Kind == "Renew":
		g.renew(t.T)
	default:
		g.Depth--
	}
	return Result{Outcome: "DONE", Grant: g.info()}, nil
}

func (t *Table) acquire(s *Session, c Command) (Result, *Request) {
	r := &Request{Session: s, Owner: Owner{s.ID, c.Owner}, ID: c.Request, Arrival: t.at, Command: c,
		Claims: full(c.Claims), Passed: map[Index]bool{}}
	if t.covering(r.Owner, c.Claims) != nil {
		return t.atOnce(r, "granted"), nil
	}
	have := len(without(t.Grants, func(g *Grant) bool { return g.Session != s })) +
		len(without(t.Order, func(w *Request) bool { return w.Session != s || w.Converts != nil }))
	if most := t.Limits.GrantsPerSession; have >= int(most) {
		return Result{Outcome: "REFUSED", Refusal: "QUOTA_EXCEEDED", Limit: most}, nil
	}
	r.Pure = !slices.ContainsFunc(c.Claims, func(c Claim) bool {
		m := t.mode(r.Owner, c.Name)
		return m == None || covers(m, c.Mode)
	})
	return t.arrive(r)
}

func (t *Table) convert(g *Grant, c Command) (Result, *Request) {
	r := &Request{Session: g.Session, Owner: g.Owner, ID: c.Request, Arrival: t.at, Command: c,
		Pure: true, Converts: g, Passed: map[Index]bool{}}
	old := modeOf(g.Named, g.claim(c))
	named, claims := g.converted(c)
	switch {
	case slices.ContainsFunc(t.Order, func(w *Request) bool { return w.Converts == g }):
		return refused("CONVERSION_WAITING"), nil
	case old == None:
		return refused("NO_SUCH_CLAIM"), nil
	case len(named) == 0:
		return refused("LAST_CLAIM"), nil
	case old == c.Mode:
		return Result{Outcome: "GRANTED", Grant: g.info()}, nil
	case covers(old, c.Mode):
		result := Result{Outcome: "GRANTED"}
		g.Named, g.Claims, t.changed = named, claims, true
		result.Grant = g.info()
		t.tell(r, "converted", result)
		return result, nil
	}
	r.Claims = without(claims, func(n Claim) bool { return modeOf(g.Claims, n.Name) == n.Mode })
	return t.arrive(r)
}

// atOnce grants a request on arrival.
func (t *Table) atOnce(r *Request, kind string) Result {
	result := t.grant(r)
	if result.Outcome == "GRANTED" {
		t.tell(r, kind, result)
	}
	return result
}

// arrive grants a newcomer, turns it away, or gives it a place in the order (HF-4.3, HF-4.6).
func (t *Table) arrive(r *Request) (Result, *Request) {
	i := place(t.Order, r)
	obstacles := t.obstacles(r, i)
	if len(obstacles) == 0 {
		t.changed = true
		t.pass(r, t.Order[i:])
		kind := "granted"
		if r.Converts != nil {
			kind = "converted"
		}
		result := t.atOnce(r, kind)
		t.limit()
		return result, nil
	}
	if r.Command.Wait == 0 {
		return Result{Outcome: "HELD"}.blocked(obstacles), nil
	}
	for _, c := range r.Claims {
		waiters := without(t.Order, func(w *Request) bool {
			return w.Session.Namespace != r.Session.Namespace || modeOf(w.Claims, c.Name) == None
		})
		if most := t.Limits.WaitersPerName; len(waiters) >= int(most) {
			return Result{Outcome: "REFUSED", Refusal: "QUEUE_FULL", Name: c.Name, Limit: most}, nil
		}
	}
	t.changed = true
	r.LimitAt = t.T + r.Command.Wait
	t.tell(r, "queued", Result{})
	t.move(r, i)
	t.limit()
	return Result{}, r
}
