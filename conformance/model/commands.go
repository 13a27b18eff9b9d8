package model

import "slices"

func (t *Table) find(id uint64) *Session {
	if i := slices.IndexFunc(t.Sessions, func(s *Session) bool { return s.ID == id }); i >= 0 {
		return t.Sessions[i]
	}
	return nil
}

func (t *Table) held(s *Session, id int64) *Grant {
	for _, g := range t.Grants {
		if g.ID == id && g.Session == s && g.Ending == "" {
			return g
		}
	}
	return nil
}

// named is the session that a command names: by its id, a nonce, or the grant of an implicit one.
func (t *Table) named(c Command) *Session {
	switch c.Kind {
	case "RenewSession", "CloseSession", "Acquire", "Release", "Convert", "Renew", "Cancel":
		if c.Session != 0 {
			return t.find(c.Session)
		}
	case "OpenSession":
	default:
		return nil
	}
	for _, s := range slices.Concat(t.Sessions, t.marks) {
		byNonce := c.Kind == "OpenSession" && !s.Implicit || (c.Kind == "Acquire" || c.Kind == "Cancel") && s.Implicit
		if byNonce && c.Nonce != "" && s.Nonce == c.Nonce && s.Principal == c.Principal && s.Namespace == c.Namespace {
			return s
		}
	}
	for _, g := range t.Grants {
		if g.ID == c.Grant && g.Session.Implicit {
			return g.Session
		}
	}
	return nil
}

func (t *Table) waiting(s *Session, request uint64) *Request {
	for _, r := range slices.Concat(t.Order, t.Decided) {
		if r.Session == s && r.ID == request && request != 0 {
			return r
		}
	}
	return nil
}

func (s *Session) kept(request uint64) *Answer {
	i := slices.IndexFunc(s.Kept, func(a Answer) bool { return a.Request == request })
	if i < 0 || request == 0 {
		return nil
	}
	return &s.Kept[i]
}

// first tells whether a request id has not been seen before (HF-2.8).
func (s *Session) first(c Command, t *Table) bool {
	return c.Request == 0 || c.Request > max(s.Floor, c.Acked) && s.kept(c.Request) == nil &&
		t.waiting(s, c.Request) == nil
}

func refused(refusal string) Result { return Result{Outcome: "REFUSED", Refusal: refusal} }

// command carries out a command and completes its answer.
func (t *Table) command(c Command) Result {
	s := t.named(c)
	namespace := ""
	var result Result
	var r *Request
	switch c.Kind {
	case "Bootstrap":
		if t.Cluster == "" {
			t.Cluster = c.Name
		}
		result = Result{Outcome: "DONE"}
	case "SetLimits":
		t.Limits, result = c.Limits, Result{Outcome: "DONE"}
	case "SetSemantics":
		if result = (Result{Outcome: "DONE"}); c.Number != 1 {
			result = refused("INVALID_VERSION")
		}
	case "RaiseEpoch":
		if c.Number <= t.Epoch || c.Number >= 1<<15 {
			result = refused("INVALID_EPOCH")
			break
		}
		t.Epoch, result = c.Number, Result{Outcome: "DONE"}
		for _, o := range t.Sessions {
			if o.Ended == "" {
				t.backlog = append(t.backlog, end{session: o})
				t.endSession(o, "RESTORED", "")
			}
		}
	case "RevokeGrant":
		result = refused("NOT_HOLDER")
		if i := slices.IndexFunc(t.Grants, func(g *Grant) bool { return g.ID == c.Grant }); i >= 0 {
			s, result = t.Grants[i].Session, t.release(t.Grants[i], "REVOKED", c.Reason)
			namespace = s.Namespace
		}
	case "RevokeSession":
		if s = t.find(c.Session); s == nil {
			result = refused("SESSION_NOT_FOUND")
		} else if s.Ended != "" {
			result = Result{Outcome: "REFUSED", Refusal: "SESSION_EXPIRED", Ended: s.Ended, Detail: s.Detail}
		} else {
			result, namespace = t.close(s, "REVOKED", c.Reason), s.Namespace
		}
	default:
		s, result, r = t.ofSession(s, c)
		if s != nil {
			namespace = s.Namespace
		}
	}
	if namespace != "" && t.settle(namespace) &&
		!slices.ContainsFunc(t.backlog, func(e end) bool { return e.namespace == namespace }) {
		t.backlog = append(t.backlog, end{namespace: namespace})
	}
	t.work()
	if r != nil && r.Final != nil {
		result = *r.Final
	} else if r != nil {
		result.Outcome, result.Arrival = "QUEUED", r.Arrival
		i := slices.Index(t.Order, r)
		result.Blockers, result.Position = t.blockers(r, i), 1
		for _, c := range r.Claims {
			ahead := 1
			for _, w := range t.Order[:i] {
				if t.conflict(r, w, c.Name) {
					ahead++
				}
			}
			result.Position = max(result.Position, ahead)
		}
	}
	if s != nil {
		result.Session = s.ID
		if s.Ended == "" {
			result.SessionDeadline = s.Deadline
		}
	}
	if result.Blockers != nil && result.BlockersTotal == 0 {
		result.BlockersTotal = len(result.Blockers)
		result.Blockers = result.Blockers[:min(16, len(result.Blockers))]
	}
	result.At = t.at
	return result
}

func (t *Table) close(s *Session, reason, detail string) Result {
	t.event(Event{Kind: "session ended", Namespace: s.Namespace, Owner: Owner{Session: s.ID},
		Result: Result{Ended: reason, Detail: detail}})
	t.endSession(s, reason, detail)
	return Result{Outcome: "DONE"}
}

// release ends a grant as a command's own doing.
func (t *Table) release(g *Grant, reason, detail string) Result {
	if g.Ending != "" {
		return Result{Outcome: "REFUSED", Refusal: "NOT_HOLDER", Ended: g.Ending, Detail: g.Detail}
	}
	t.endLater(g, reason, detail)
	t.endNow(g)
	return Result{Outcome: "DONE", Grant: t.info(g)}
}

// ofSession carries out the commands of clients. It returns the session, and the request if it waits
// or has only now ended.
func (t *Table) ofSession(s *Session, c Command) (*Session, Result, *Request) {
	byNonce := c.Session == 0 && (c.Kind == "Acquire" || c.Kind == "Cancel")
	if byNonce {
		c.Request, c.Acked = 1, 0
	}
	switch {
	case s == nil && c.Session == 0 && c.Kind == "Cancel":
		t.marks = append(t.marks, &Session{Principal: c.Principal, Namespace: c.Namespace, Nonce: c.Nonce,
			Implicit: true, Ended: "CLOSED", EndedAt: t.T, Floor: t.at.Entry})
		return nil, Result{Outcome: "CANCELLED"}, nil
	case s == nil && (byNonce || c.Kind == "OpenSession"):
		most := t.Limits.SessionsPerPrincipal
		for _, o := range t.Sessions {
			if o.Principal == c.Principal && o.Ended == "" {
				if most--; most == 0 {
					break
				}
			}
		}
		if most == 0 {
			return nil, Result{Outcome: "REFUSED", Refusal: "QUOTA_EXCEEDED", Limit: t.Limits.SessionsPerPrincipal}, nil
		}
		t.LastSession++
		s = &Session{ID: t.LastSession, Namespace: c.Namespace, Principal: c.Principal, TTL: c.TTL, Since: t.T,
			Deadline: t.T + c.TTL + c.Wait, Nonce: c.Nonce, Metadata: c.Metadata, Implicit: byNonce, key: contents(c)}
		t.Sessions = append(t.Sessions, s)
	case s == nil && c.Session == 0:
		return nil, refused("NOT_HOLDER"), nil
	case s == nil:
		return nil, refused("SESSION_NOT_FOUND"), nil
	case s.ID == 0:
		return nil, Result{Outcome: "CANCELLED", First: s.Floor}, nil
	case s.Principal != c.Principal:
		return nil, refused("PERMISSION_DENIED"), nil
	case (byNonce && c.Kind == "Acquire" || c.Kind == "OpenSession") && s.key != contents(c):
		return s, refused("REQUEST_ID_REUSED"), nil
	case s.Ended != "" && !byNonce:
		return s, Result{Outcome: "REFUSED", Refusal: "SESSION_EXPIRED", Ended: s.Ended, Detail: s.Detail}, nil
	}
	switch c.Kind {
	case "OpenSession":
		return s, Result{Outcome: "DONE", TTL: s.TTL}, nil
	case "RenewSession":
		return s, Result{Outcome: "DONE"}, nil
	case "CloseSession":
		if c.Abandon {
			return s, t.close(s, "ABANDONED", ""), nil
		}
		return s, t.close(s, "CLOSED", ""), nil
	}
	return t.request(s, c)
}

// request carries out a command under its request id, once (HF-7.1, HF-7.2).
func (t *Table) request(s *Session, c Command) (*Session, Result, *Request) {
	s.Kept = slices.DeleteFunc(slices.Clone(s.Kept), func(a Answer) bool { return a.Request <= c.Acked })
	s.Floor = max(s.Floor, c.Acked)
	cancel := c.Kind == "Cancel"
	waits := cancel || c.Kind == "Acquire" || c.Kind == "Convert"
	if r := t.waiting(s, c.Request); r != nil {
		if !cancel && contents(r.Command) != contents(c) {
			return s, refused("REQUEST_ID_REUSED"), nil
		}
		if r.verdict.Outcome != "" {
			t.finish(r, r.verdict)
		} else if cancel {
			t.finish(r, Result{Outcome: "CANCELLED"})
		}
		return s, Result{}, r
	}
	if a := s.kept(c.Request); a != nil {
		if a.contents == contents(c) || waits && a.contents == "" || cancel && a.waits {
			return s, t.replay(a.Result), nil
		}
		return s, refused("REQUEST_ID_REUSED"), nil
	}
	if c.Request != 0 && c.Request <= s.Floor {
		return s, Result{Outcome: "REFUSED", Refusal: "STALE_REQUEST", Floor: s.Floor}, nil
	}
	if cancel {
		t.keep(s, c.Request, "", true, Result{At: t.at, Outcome: "CANCELLED"})
		return s, Result{Outcome: "CANCELLED"}, nil
	}
	result, r := t.execute(s, c)
	if r == nil {
		result.At = t.at
		t.keep(s, c.Request, contents(c), waits, result)
		if s.Implicit && c.Request == 1 && result.Outcome != "GRANTED" {
			t.endImplicit(s, 0, "CLOSED", "")
		}
	}
	return s, result, r
}

// replay repeats a kept answer, with what is true of its grant now.
func (t *Table) replay(r Result) Result {
	if r.Grant.ID == 0 {
		return r
	}
	for _, g := range t.Grants {
		if g.ID == r.Grant.ID && g.Ending == "" {
			token := r.Grant.Token
			r.Grant = t.info(g)
			r.Grant.Token = token
		} else if g.ID == r.Grant.ID {
			r.Ended, r.Detail = g.Ending, g.Detail
		}
	}
	if end, ok := t.gone[r.Grant.ID]; ok {
		r.Ended, r.Detail = end.Ended, end.Detail
	}
	return r
}

// execute does what a command says for the first time. It returns the request if it waits.
func (t *Table) execute(s *Session, c Command) (Result, *Request) {
	r := &Request{Session: s, Owner: Owner{s.ID, c.Owner}, ID: c.Request, Arrival: t.at, Command: c,
		Passed: map[Index]bool{}}
	if c.Kind == "Acquire" {
		r.Claims = full(c.Claims)
		if t.covering(r.Owner, c.Claims) != nil {
			return t.atOnce(r), nil
		}
		have := 0
		for _, g := range t.Grants {
			if g.Session == s {
				have++
			}
		}
		for _, w := range slices.Concat(t.Order, t.Decided) {
			if w.Session == s && w.Converts == nil {
				have++
			}
		}
		if most := t.Limits.GrantsPerSession; have >= int(most) {
			return Result{Outcome: "REFUSED", Refusal: "QUOTA_EXCEEDED", Limit: most}, nil
		}
		r.Pure = !slices.ContainsFunc(c.Claims, func(c Claim) bool {
			m := t.mode(r.Owner, c.Name)
			return m == None || covers(m, c.Mode)
		})
		return t.arrive(r)
	}
	g := t.held(s, c.Grant)
	if g == nil {
		for _, e := range t.Grants {
			if e.ID == c.Grant && e.Session == s {
				return Result{Outcome: "REFUSED", Refusal: "NOT_HOLDER", Ended: e.Ending, Detail: e.Detail}, nil
			}
		}
		return refused("NOT_HOLDER"), nil
	}
	switch c.Kind {
	case "Release":
		if g.Depth--; g.Depth == 0 {
			return t.release(g, "RELEASED", ""), nil
		}
		return Result{Outcome: "DONE", Grant: t.info(g)}, nil
	case "Renew":
		if g.Lease > 0 {
			g.LeaseAt = max(g.LeaseAt, t.T+g.Lease)
		}
		return Result{Outcome: "DONE", Grant: t.info(g)}, nil
	}
	if slices.ContainsFunc(t.Order, func(w *Request) bool { return w.Converts == g }) {
		return refused("CONVERSION_WAITING"), nil
	}
	old := modeOf(g.Named, g.claim(c))
	switch {
	case old == None:
		return refused("NO_SUCH_CLAIM"), nil
	case c.Mode == None && len(g.Named) == 1:
		return refused("LAST_CLAIM"), nil
	case old == c.Mode:
		return Result{Outcome: "GRANTED", Grant: t.info(g)}, nil
	case covers(old, c.Mode):
		g.Named, g.Claims = converted(g, c)
		result := Result{Outcome: "GRANTED", Grant: t.info(g)}
		r.Owner, r.Converts = g.Owner, g
		t.event(t.about(r, "converted", result))
		return result, nil
	}
	r.Owner, r.Converts, r.Pure = g.Owner, g, true
	_, claims := converted(g, c)
	for _, n := range claims {
		if modeOf(g.Claims, n.Name) != n.Mode {
			r.Claims = append(r.Claims, n)
		}
	}
	return t.arrive(r)
}

// atOnce grants a request on arrival.
func (t *Table) atOnce(r *Request) Result {
	result := t.granted(r)
	if result.Outcome == "GRANTED" {
		kind := "granted"
		if r.Converts != nil {
			kind = "converted"
		}
		t.event(t.about(r, kind, result))
	}
	return result
}

// arrive grants a newcomer, turns it away, or gives it a place in the order (HF-4.3, HF-4.6).
func (t *Table) arrive(r *Request) (Result, *Request) {
	i := place(t.Order, r)
	blockers := t.blockers(r, i)
	if len(blockers) == 0 {
		t.pass(r, t.Order[i:])
		result := t.atOnce(r)
		t.limit()
		return result, nil
	}
	if r.Command.Wait == 0 {
		return Result{Outcome: "HELD", Blockers: blockers}, nil
	}
	for _, c := range r.Claims {
		n := uint32(0)
		for _, w := range t.Order {
			if w.Session.Namespace == r.Session.Namespace && modeOf(w.Claims, c.Name) != None {
				n++
			}
		}
		if n >= t.Limits.WaitersPerName {
			return Result{Outcome: "REFUSED", Refusal: "QUEUE_FULL", Name: c.Name, Limit: t.Limits.WaitersPerName}, nil
		}
	}
	r.LimitAt = t.T + r.Command.Wait
	t.event(t.about(r, "queued", Result{}))
	t.move(r, i)
	t.limit()
	return Result{}, r
}
