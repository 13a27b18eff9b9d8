package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

type (
	// Session is a session, or what is remembered of one; without ID, a nonce cancelled unseen.
	Session struct {
		ID                                                             uint64
		Namespace, Principal, Nonce, Metadata, Ended, Detail, contents string
		TTL, Deadline, Since, EndedAt                                  Millis
		Implicit                                                       bool // HF-4.12
		Floor                                                          uint64
		Kept                                                           []Answer
	}
	// Answer is a kept answer (HF-7.2).
	Answer struct {
		Request        uint64
		kind, contents string
		Result         Result
	}
	// Grant is what an owner holds.
	Grant struct {
		ID, Token                    int64
		Session                      *Session
		Owner                        Owner
		Named, Claims                []Claim
		Depth                        uint32
		Lease, LeaseAt, MaxAt, Since Millis
		Delay                        Millis
		Metadata, Ending, Detail     string
	}
	// Ghost is what an unclean end left.
	Ghost struct {
		ID        int64
		Namespace string
		Claims    []Claim
		Until     Millis
	}
	// Request is a waiting acquire or conversion.
	Request struct {
		Session        *Session
		Owner          Owner
		ID             uint64
		Arrival        Index
		Command        Command
		Claims         []Claim // for which it waits, implied ones too
		Pure, AtLimit  bool    // HF-4.4
		Passed         map[Index]bool
		LimitAt        Millis
		Converts       *Grant
		verdict, Final Result // decided, and told
	}
	// Deadlock is one of the report (HF-8.5).
	Deadlock struct {
		At        Index
		Time      Millis
		Namespace string
		Cycle     []Step
		Victim    Index
	}
	// end is one thing of the backlog: an end to carry out, or grants owed in a namespace.
	end struct {
		at      Millis
		kind    int
		id      int64
		session *Session
		grant   *Grant
		ghost   *Ghost
		wait    *Request
		word    string // reason, or namespace
	}
	// Table is the whole state.
	Table struct {
		T, Counter     int64
		Cluster        string
		Epoch          uint32
		LastSession    uint64
		Limits         Limits
		Sessions       []*Session // by id
		Grants         []*Grant   // by id
		Ghosts         []*Ghost
		Order, Decided []*Request // that of each namespace, mixed; out of it with an untold outcome
		Deadlocks      []Deadlock
		tuning         Tuning
		backlog        []end
		gone           map[int64]Result // why grants ended
		at             Index
		left           int  // work that this batch may still do
		changed        bool // the command may have let others in
		events         []Event
	}
)

// New returns an empty table.
func New(tuning Tuning) *Table {
	return &Table{tuning: tuning, gone: map[int64]Result{}, Limits: Limits{100_000, 100_000, 100_000}}
}

// Apply applies a batch, in the order of HF-2.8.
func (t *Table) Apply(b Batch) (fx Effects) {
	t.T, t.at, t.left, t.events = max(t.T, b.Stamp), Index{Entry: b.Index}, t.tuning.Work, nil
	for _, c := range b.Commands {
		if s := t.named(c); s != nil && s.Ended == "" && s.Principal == c.Principal && c.Kind != "RevokeSession" {
			s.Deadline = max(s.Deadline, t.T+s.TTL)
			g, known := t.held(s, c.Grant), s.kept(c.Request) != nil || t.waiting(s, c.Request) != nil
			if c.Kind == "Renew" && g != nil && (c.Request == 0 || c.Request > max(s.Floor, c.Acked) && !known) {
				g.renew(t.T)
			}
		}
	}
	t.Sessions = without(t.Sessions, t.forgotten)
	t.passDeadlines()
	t.work()
	t.resolveRest()
	for i, c := range b.Commands {
		t.at.Offset = uint32(i)
		fx.Results = append(fx.Results, t.command(c))
	}
	fx.Time, fx.Events = t.T, t.events
	fx.Backlog = slices.ContainsFunc(t.backlog, t.real) || slices.ContainsFunc(t.Order, t.grantable)
	return fx
}

// forgotten tells whether a session ended 10 minutes ago, with all that was in it (HF-2.3).
func (t *Table) forgotten(s *Session) bool {
	untold := slices.ContainsFunc(t.backlog, func(e end) bool { return e.session == s })
	return s.Ended != "" && t.T >= s.EndedAt+600_000 && t.empty(s) && !untold
}

// empty tells whether nothing is held or waited for in a session.
func (t *Table) empty(s *Session) bool {
	return !slices.ContainsFunc(t.Grants, func(g *Grant) bool { return g.Session == s }) &&
		!slices.ContainsFunc(slices.Concat(t.Order, t.Decided), func(r *Request) bool { return r.Session == s })
}

// passDeadlines lets every deadline that T has reached take hold (HF-2.3a).
func (t *Table) passDeadlines() {
	var due []end
	for _, s := range t.Sessions {
		if s.Ended == "" {
			due = append(due, end{at: s.Deadline, id: int64(s.ID), session: s})
		}
	}
	for _, g := range t.Grants {
		due = append(due, end{at: g.LeaseAt, kind: 1, id: g.ID, grant: g, word: "LEASE_EXPIRED"},
			end{at: g.MaxAt, kind: 2, id: g.ID, grant: g, word: "MAX_HOLD_REACHED"})
	}
	for _, g := range t.Ghosts {
		if !slices.ContainsFunc(t.backlog, func(e end) bool { return e.ghost == g }) {
			due = append(due, end{at: g.Until, kind: 3, id: g.ID, ghost: g})
		}
	}
	for _, r := range sorted(t.Order, byArrival) {
		due = append(due, end{at: r.LimitAt, kind: 4, wait: r})
	}
	due = without(due, func(e end) bool { return e.at == 0 || e.at > t.T })
	for _, e := range sorted(due, func(a, b end) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	}) {
		switch {
		case e.session != nil:
			t.expire(e.session, "SESSION_EXPIRED")
		case e.grant != nil:
			t.endLater(e.grant, e.word, "")
		case e.ghost != nil:
			t.backlog = append(t.backlog, e)
		case e.wait != nil:
			t.decide(e.wait, Result{Outcome: "WAIT_LIMIT_REACHED"})
		}
	}
}

// work takes ends from the backlog, each followed by the grants it allows.
func (t *Table) work() {
	for len(t.backlog) > 0 && t.left > 0 {
		e := t.backlog[0]
		t.backlog = t.backlog[1:]
		namespace := e.word
		if t.real(e) {
			t.left--
			switch {
			case e.session != nil:
				namespace = e.session.Namespace
				t.sessionEnded(e.session)
			case e.wait != nil:
				namespace = e.wait.Session.Namespace
				t.finish(e.wait, e.wait.verdict)
			case e.grant != nil:
				namespace = e.grant.Session.Namespace
				t.endNow(e.grant)
			case e.ghost != nil:
				namespace = e.ghost.Namespace
				t.Ghosts = drop(t.Ghosts, e.ghost)
			}
		}
		if t.settle(namespace) {
			t.backlog = slices.Insert(drop(t.backlog, end{word: namespace}), 0, end{word: namespace})
		}
	}
}

// resolveRest resolves what cycles the rise has closed where the backlog did not come (HF-8.2).
func (t *Table) resolveRest() {
	var namespaces []string
	for _, r := range t.Order {
		namespaces = append(namespaces, r.Session.Namespace)
	}
	slices.Sort(namespaces)
	for _, namespace := range slices.Compact(namespaces) {
		if cycle(t.edges(namespace)) != nil {
			t.serve(namespace)
		}
	}
}

// serve settles a namespace outside of the backlog; what is owed then is put into it.
func (t *Table) serve(namespace string) {
	if owed := (end{word: namespace}); t.settle(namespace) && !slices.Contains(t.backlog, owed) {
		t.backlog = append(t.backlog, owed)
	}
}

// real tells whether an end is still to be carried out.
func (t *Table) real(e end) bool {
	return e.session != nil || e.ghost != nil || slices.Contains(t.Grants, e.grant) || slices.Contains(t.Decided, e.wait)
}

// settle grants what can be granted and resolves cycles, until neither is left (HF-8.2). It
// tells whether grants are owed because the work of this batch is used up.
func (t *Table) settle(namespace string) bool {
	for {
		r := find(t.Order, func(r *Request) bool { return r.Session.Namespace == namespace && t.grantable(r) })
		if r != nil && t.left > 0 {
			t.left--
			t.Order = drop(t.Order, r)
			t.finish(r, t.grant(r))
		} else if !t.resolve(namespace) {
			if r == nil {
				t.backlog = drop(t.backlog, end{word: namespace})
			}
			return r != nil
		}
	}
}

func (t *Table) expire(s *Session, reason string) {
	t.backlog = append(t.backlog, end{session: s})
	t.endSession(s, reason, "")
}

// endSession ends a session for all that follows; what it waited for and held goes to the backlog.
func (t *Table) endSession(s *Session, reason, detail string) {
	s.Ended, s.Detail, s.EndedAt = reason, detail, t.T
	outcome := "SESSION_ENDED"
	if reason == "REVOKED" {
		outcome = "REVOKED"
	}
	for _, r := range sorted(t.Order, byArrival) {
		if r.Session == s {
			t.decide(r, Result{Outcome: outcome, Ended: reason, Detail: detail})
		}
	}
	for _, g := range t.Grants {
		if g.Session == s {
			t.endLater(g, reason, detail)
		}
	}
}

func (t *Table) sessionEnded(s *Session) {
	t.event(Event{Kind: "session ended", Namespace: s.Namespace, Owner: Owner{Session: s.ID},
		Result: Result{Ended: s.Ended, Detail: s.Detail}})
}

// decide takes a request out of the order; its outcome is told when the backlog comes to it, or
// to the grant that was to be converted.
func (t *Table) decide(r *Request, verdict Result) {
	if slices.Contains(t.Order, r) {
		t.Order, t.Decided, r.verdict = drop(t.Order, r), append(t.Decided, r), verdict
		if verdict.Outcome != "CANCELLED" {
			t.backlog = append(t.backlog, end{wait: r})
		}
	}
}

// endLater makes a grant `ending`.
func (t *Table) endLater(g *Grant, reason, detail string) {
	if g.Ending != "" {
		return
	}
	g.Ending, g.Detail = reason, detail
	for _, r := range t.Order {
		if r.Converts == g {
			t.decide(r, Result{Outcome: "CANCELLED", Ended: reason, Detail: detail})
			break
		}
	}
	t.backlog = append(t.backlog, end{grant: g})
}

// endNow carries out the end of a grant (HF-4.11).
func (t *Table) endNow(g *Grant) {
	if r := find(t.Decided, func(r *Request) bool { return r.Converts == g && r.verdict.Outcome == "CANCELLED" }); r != nil {
		t.finish(r, r.verdict)
	}
	if g.Delay > 0 && g.Ending != "RELEASED" && g.Ending != "CLOSED" {
		t.Ghosts = sorted(append(t.Ghosts, &Ghost{g.ID, g.Session.Namespace, g.Claims, t.T + g.Delay}),
			func(a, b *Ghost) int { return cmp.Compare(a.ID, b.ID) })
	}
	t.Grants = drop(t.Grants, g)
	t.gone[g.ID] = Result{Ended: g.Ending, Detail: g.Detail}
	t.event(Event{Kind: "grant ended", Namespace: g.Session.Namespace, Owner: g.Owner, Claims: g.Named,
		Result: Result{Grant: g.was(), Ended: g.Ending, Detail: g.Detail}})
	t.endImplicit(g.Session, g.Ending, g.Detail)
}

// endImplicit ends an implicit session with its grant, or with another outcome (HF-4.12).
func (t *Table) endImplicit(s *Session, reason, detail string) {
	if s.Implicit && s.Ended == "" && t.empty(s) {
		t.endSession(s, reason, detail)
		t.sessionEnded(s)
	}
}

// finish gives a waiting request its final outcome.
func (t *Table) finish(r *Request, outcome Result) {
	t.Order, t.Decided = drop(t.Order, r), drop(t.Decided, r)
	t.tell(r, "outcome", outcome)
	r.Final = t.keep(r.Session, r.ID, r.Command, outcome)
}

// keep keeps an answer (HF-7.2), and ends an implicit session in which nothing is left.
func (t *Table) keep(s *Session, request uint64, c Command, r Result) Result {
	r.At = t.at
	if request != 0 {
		s.Kept = append(s.Kept, Answer{request, c.Kind, contents(c), Result{First: t.at.Entry, Outcome: r.Outcome,
			Refusal: r.Refusal, Ended: r.Ended, Detail: r.Detail, Grant: GrantInfo{ID: r.Grant.ID, Token: r.Grant.Token}}})
	}
	if len(s.Kept) > t.tuning.Answers {
		s.Floor = max(s.Floor, s.Kept[0].Request)
		s.Kept = slices.Clone(s.Kept[1:])
	}
	t.endImplicit(s, "CLOSED", "")
	return r
}

// tell makes an event about a request.
func (t *Table) tell(r *Request, kind string, result Result) {
	e := Event{Kind: kind, Owner: r.Owner, Namespace: r.Session.Namespace, Request: r.ID,
		Claims: sorted(r.Command.Claims, byName), Result: result}
	if r.Converts != nil {
		e.Converts, e.Claims = r.Converts.ID, []Claim{{r.Converts.claim(r.Command), r.Command.Mode}}
	}
	if kind == "queued" || kind == "outcome" {
		e.Arrival = r.Arrival
	} else {
		e.Converts, e.Result.Outcome = 0, "" // the command's result tells it
	}
	t.event(e)
}

func (t *Table) event(e Event) {
	e.Result.At, e.Result.Blockers, e.Result.BlockersTotal = t.at, nil, 0
	t.events = append(t.events, e)
}

// contents are equal for equal commands (HF-7.1).
func contents(c Command) string {
	c.Principal, c.Session, c.Request, c.Acked, c.Claims = "", 0, 0, 0, sorted(c.Claims, byName)
	return fmt.Sprint(c)
}

func byName(a, b Claim) int { return strings.Compare(a.Name, b.Name) }

func byArrival(a, b *Request) int { return a.Arrival.compare(b.Arrival) }
