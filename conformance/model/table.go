package model

import (
	"fmt"
	"slices"
)

// Tuning holds the numbers of SEMANTICS, so that tests can make them small.
type Tuning struct{ Work, Overtaking, Answers, Deadlocks int }

// Session is a session, or what is remembered of one.
type Session struct {
	ID                   uint64
	Namespace, Principal string
	TTL, Deadline        Millis
	Nonce, Metadata      string
	Implicit             bool // HF-4.12
	Floor                uint64
	Kept                 []Answer
	Ended, Detail        string
	Since, EndedAt       Millis

	grant int64  // of an implicit session
	key   string // contents of the command that opened it
}

// Answer is a kept answer (HF-7.2); the contents of a cancel of an unseen id are empty.
type Answer struct {
	Request  uint64
	contents string
	waits    bool // of an acquire, a conversion, or a cancel
	Result   Result
}

// Grant is a grant.
type Grant struct {
	ID, Token      int64
	Session        *Session
	Owner          Owner
	Named, Claims  []Claim
	Depth          uint32
	Lease          Millis
	LeaseAt, MaxAt Millis
	Delay          Millis
	Metadata       string
	Since          Millis
	Ending, Detail string // HF-2.3a
}

// Request is a waiting acquire or conversion.
type Request struct {
	Session     *Session
	Owner       Owner
	ID          uint64
	Arrival     Index
	Command     Command
	Claims      []Claim // those it waits for, implied ones too
	Pure        bool    // HF-4.4
	AtLimit     bool
	Passed      map[Index]bool
	LimitAt     Millis
	Converts    *Grant
	Final       *Result
	verdict     Result // decided, and still to be told
	grantEnding bool   // told together with the end of the grant
}

// Ghost is what an unclean end left (HF-4.11).
type Ghost struct {
	ID        int64
	Namespace string
	Claims    []Claim
	Until     Millis
	due       bool
}

// end is one thing in the backlog: an end to carry out, or grants owed in a namespace.
type end struct {
	namespace string
	session   *Session
	wait      *Request
	grant     *Grant
	ghost     *Ghost
}

// Deadlock is one of the report (HF-8.5).
type Deadlock struct {
	At        Index
	Time      Millis
	Namespace string
	Cycle     []Step
	Victim    Index
}

// Table is the whole state.
type Table struct {
	T           Millis
	Cluster     string
	Epoch       uint32
	Counter     int64
	LastSession uint64
	Limits      Limits
	Sessions    []*Session // by id
	Grants      []*Grant   // by id
	Ghosts      []*Ghost   // by id
	Order       []*Request // the order of each namespace, one within the other
	Decided     []*Request // out of the order, their outcome not yet told
	Deadlocks   []Deadlock
	tuning      Tuning
	backlog     []end
	gone        map[int64]Result // why grants ended
	marks       []*Session       // nonces that were cancelled before they were seen
	at          Index
	left        int // units of work left in this batch
	events      []Event
}

// New returns an empty table.
func New(tuning Tuning) *Table {
	return &Table{tuning: tuning, gone: map[int64]Result{},
		Limits: Limits{100_000, 100_000, 100_000}}
}

// Apply applies a batch, in the order of HF-2.8.
func (t *Table) Apply(b Batch) Effects {
	t.at, t.left, t.events = Index{Entry: b.Index}, t.tuning.Work, nil
	t.T = max(t.T, b.Stamp)
	forgotten := func(s *Session) bool { return s.Ended != "" && t.T >= s.EndedAt+600_000 }
	for _, c := range b.Commands {
		if s := t.named(c); s != nil && s.Ended == "" && s.Principal == c.Principal {
			s.Deadline = max(s.Deadline, t.T+s.TTL)
			if g := t.held(s, c.Grant); g != nil && c.Kind == "Renew" && g.Lease > 0 && s.first(c, t) {
				g.LeaseAt = max(g.LeaseAt, t.T+g.Lease)
			}
		}
	}
	t.Sessions = slices.DeleteFunc(t.Sessions, forgotten)
	t.marks = slices.DeleteFunc(t.marks, forgotten)
	t.passDeadlines()
	t.work()
	fx := Effects{Time: t.T}
	for i, c := range b.Commands {
		t.at.Offset = uint32(i)
		fx.Results = append(fx.Results, t.command(c))
	}
	fx.Events = t.events
	fx.Backlog = slices.ContainsFunc(t.backlog, t.real) ||
		slices.ContainsFunc(t.Order, func(r *Request) bool { return t.grantable(r) })
	return fx
}

// passDeadlines lets every deadline that T has reached take hold (HF-2.3a).
func (t *Table) passDeadlines() {
	type due struct {
		at   Millis
		kind int
		id   uint64
		then func()
	}
	var all []due
	add := func(at Millis, kind int, id uint64, then func()) {
		if at <= t.T && at > 0 {
			all = append(all, due{at, kind, id, then})
		}
	}
	for _, s := range t.Sessions {
		if s.Ended == "" {
			add(s.Deadline, 0, s.ID, func() {
				t.backlog = append(t.backlog, end{session: s})
				t.endSession(s, "SESSION_EXPIRED", "")
			})
		}
	}
	for _, g := range t.Grants {
		add(g.LeaseAt, 1, uint64(g.ID), func() { t.endLater(g, "LEASE_EXPIRED", "") })
		add(g.MaxAt, 2, uint64(g.ID), func() { t.endLater(g, "MAX_HOLD_REACHED", "") })
	}
	for _, g := range t.Ghosts {
		if !g.due {
			add(g.Until, 3, uint64(g.ID), func() { g.due, t.backlog = true, append(t.backlog, end{ghost: g}) })
		}
	}
	for _, r := range byArrival(t.Order) {
		add(r.LimitAt, 4, 0, func() { t.decide(r, Result{Outcome: "WAIT_LIMIT_REACHED"}) })
	}
	slices.SortStableFunc(all, func(a, b due) int {
		return cmpOr(a.at-b.at, int64(a.kind-b.kind), int64(a.id)-int64(b.id))
	})
	for _, d := range all {
		d.then()
	}
}

func cmpOr(differences ...int64) int {
	for _, d := range differences {
		if d != 0 {
			return int(max(-1, min(1, d)))
		}
	}
	return 0
}

// work takes ends from the backlog, each followed by the grants it allows.
func (t *Table) work() {
	for len(t.backlog) > 0 && t.left > 0 {
		e := t.backlog[0]
		t.backlog = t.backlog[1:]
		if !t.real(e) {
			continue
		}
		ns := e.namespace
		if ns == "" {
			t.left--
			switch {
			case e.session != nil:
				ns = e.session.Namespace
				t.event(Event{Kind: "session ended", Namespace: ns, Owner: Owner{Session: e.session.ID},
					Result: Result{Ended: e.session.Ended, Detail: e.session.Detail}})
			case e.wait != nil:
				ns = e.wait.Session.Namespace
				t.finish(e.wait, e.wait.verdict)
			case e.grant != nil:
				ns = e.grant.Session.Namespace
				t.endNow(e.grant)
			case e.ghost != nil:
				ns = e.ghost.Namespace
				t.Ghosts = slices.DeleteFunc(t.Ghosts, func(g *Ghost) bool { return g == e.ghost })
			}
		}
		if t.settle(ns) {
			t.backlog = append([]end{{namespace: ns}}, t.backlog...)
		}
	}
}

// real tells whether an end is still to be carried out.
func (t *Table) real(e end) bool {
	switch {
	case e.wait != nil:
		return e.wait.Final == nil
	case e.grant != nil:
		return slices.Contains(t.Grants, e.grant)
	case e.namespace != "":
		return slices.ContainsFunc(t.Order, func(r *Request) bool {
			return r.Session.Namespace == e.namespace && t.grantable(r)
		})
	}
	return true
}

// settle grants what can be granted and resolves cycles, until neither is left (HF-8.2). It
// tells whether grants are owed because the work of this batch is used up.
func (t *Table) settle(namespace string) bool {
	for {
		i := slices.IndexFunc(t.Order, func(r *Request) bool {
			return r.Session.Namespace == namespace && t.grantable(r)
		})
		if i >= 0 && t.left > 0 {
			t.left--
			t.grant(t.Order[i])
		} else if !t.resolve(namespace) {
			return i >= 0
		}
	}
}

// endSession ends a session for all that follows; what it waited for and held goes to the backlog.
func (t *Table) endSession(s *Session, reason, detail string) {
	s.Ended, s.Detail, s.EndedAt = reason, detail, t.T
	outcome := "SESSION_ENDED"
	if reason == "REVOKED" {
		outcome = "REVOKED"
	}
	for _, r := range byArrival(t.Order) {
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

// decide takes a request out of the order; its outcome is told when the backlog comes to it.
func (t *Table) decide(r *Request, verdict Result) {
	if i := slices.Index(t.Order, r); i >= 0 {
		t.Order = slices.Delete(slices.Clone(t.Order), i, i+1)
		t.Decided = append(t.Decided, r)
		r.verdict = verdict
		if !r.grantEnding {
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
			r.grantEnding = true
			t.decide(r, Result{Outcome: "CANCELLED", Ended: reason, Detail: detail})
			break
		}
	}
	t.backlog = append(t.backlog, end{grant: g})
}

// endNow carries out the end of a grant (HF-4.11).
func (t *Table) endNow(g *Grant) {
	for _, r := range t.Decided {
		if r.Converts == g && r.grantEnding {
			t.finish(r, r.verdict)
			break
		}
	}
	if g.Delay > 0 && g.Ending != "RELEASED" && g.Ending != "CLOSED" {
		t.Ghosts = append(t.Ghosts, &Ghost{g.ID, g.Session.Namespace, g.Claims, t.T + g.Delay, false})
		slices.SortFunc(t.Ghosts, func(a, b *Ghost) int { return cmpOr(a.ID - b.ID) })
	}
	t.Grants = slices.DeleteFunc(slices.Clone(t.Grants), func(o *Grant) bool { return o == g })
	g.Depth = 0
	t.gone[g.ID] = Result{Ended: g.Ending, Detail: g.Detail}
	t.event(Event{Kind: "grant ended", Namespace: g.Session.Namespace, Owner: g.Owner, Claims: g.Named,
		Result: Result{Grant: t.info(g), Ended: g.Ending, Detail: g.Detail}})
	t.endImplicit(g.Session, g.ID, g.Ending, g.Detail)
}

// endImplicit ends an implicit session with its grant, or with another outcome (HF-4.12).
func (t *Table) endImplicit(s *Session, grant int64, reason, detail string) {
	if s.Implicit && s.Ended == "" && s.grant == grant {
		t.endSession(s, reason, detail)
		t.event(Event{Kind: "session ended", Namespace: s.Namespace, Owner: Owner{Session: s.ID},
			Result: Result{Ended: reason, Detail: detail}})
	}
}

// finish gives a request its final outcome.
func (t *Table) finish(r *Request, outcome Result) {
	same := func(o *Request) bool { return o == r }
	t.Order = slices.DeleteFunc(slices.Clone(t.Order), same)
	t.Decided = slices.DeleteFunc(slices.Clone(t.Decided), same)
	outcome.At = t.at
	r.Final = &outcome
	t.keep(r.Session, r.ID, contents(r.Command), true, outcome)
	t.event(t.about(r, "outcome", outcome))
	if outcome.Outcome != "GRANTED" && r.ID == 1 {
		t.endImplicit(r.Session, 0, "CLOSED", "")
	}
}

func (t *Table) about(r *Request, kind string, result Result) Event {
	e := Event{Kind: kind, Owner: r.Owner, Namespace: r.Session.Namespace, Request: r.ID,
		Arrival: r.Arrival, Claims: r.Command.Claims, Result: result}
	if r.Converts != nil {
		e.Converts, e.Claims = r.Converts.ID, []Claim{{r.Converts.claim(r.Command), r.Command.Mode}}
	}
	return e
}

func (t *Table) event(e Event) {
	e.Result.At = t.at
	t.events = append(t.events, e)
}

// keep keeps an answer (HF-7.2).
func (t *Table) keep(s *Session, request uint64, contents string, waits bool, r Result) {
	if request == 0 {
		return
	}
	s.Kept = append(s.Kept, Answer{request, contents, waits, Result{First: r.At.Entry, Outcome: r.Outcome,
		Refusal: r.Refusal, Ended: r.Ended, Detail: r.Detail,
		Grant: GrantInfo{ID: r.Grant.ID, Token: r.Grant.Token}}})
	if len(s.Kept) > t.tuning.Answers {
		s.Floor = max(s.Floor, s.Kept[0].Request)
		s.Kept = slices.Clone(s.Kept[1:])
	}
}

// contents are equal for equal commands (HF-7.1).
func contents(c Command) string {
	c.Principal, c.Session, c.Request, c.Acked = "", 0, 0, 0
	c.Claims = byName(slices.Clone(c.Claims))
	return fmt.Sprint(c)
}

func byArrival(all []*Request) []*Request {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *Request) int {
		return cmpOr(int64(a.Arrival.Entry)-int64(b.Arrival.Entry), int64(a.Arrival.Offset)-int64(b.Arrival.Offset))
	})
	return all
}
