package model

import (
	"slices"
	"strings"
)

// mode is the owner's mode on a name: the join of its grants there (HF-3.2).
func (t *Table) mode(o Owner, name string) Mode {
	m := None
	for _, g := range t.Grants {
		if g.Owner == o && g.Ending == "" {
			m = join(m, modeOf(g.Claims, name))
		}
	}
	return m
}

// blockers are those in the way of a request at a place of the order (HF-4.2, HF-4.3). Modes of
// grants are looked at one by one: a join is compatible with what all its parts are.
func (t *Table) blockers(r *Request, place int) (all []Blocker) {
	ns := r.Session.Namespace
	open := slices.DeleteFunc(slices.Clone(r.Claims), func(c Claim) bool {
		return covers(t.mode(r.Owner, c.Name), c.Mode)
	})
	for _, c := range open {
		for _, g := range t.Grants {
			if m := modeOf(g.Claims, c.Name); g.Session.Namespace == ns && g.Owner != r.Owner && !compatible(m, c.Mode) {
				all = append(all, Blocker{Kind: "holder", Name: c.Name, Mode: m, Owner: g.Owner,
					Grant: g.ID, ending: g.Ending != ""})
			}
		}
	}
	for _, c := range open {
		for _, g := range t.Ghosts {
			if m := modeOf(g.Claims, c.Name); g.Namespace == ns && !compatible(m, c.Mode) {
				all = append(all, Blocker{Kind: "ghost", Name: c.Name, Mode: m, Grant: g.ID})
			}
		}
	}
	for _, c := range open {
		for i, w := range t.Order[:place] {
			if m := modeOf(w.Claims, c.Name); t.conflict(r, w, c.Name) {
				all = append(all, Blocker{Kind: "waiter", Name: c.Name, Mode: m, Owner: w.Owner,
					Request: w.ID, Arrival: w.Arrival, place: i})
			}
		}
	}
	return all
}

// conflict tells whether two requests are against each other on a name (HF-4.3).
func (t *Table) conflict(a, b *Request, name string) bool {
	x, y := modeOf(a.Claims, name), modeOf(b.Claims, name)
	return a.Session.Namespace == b.Session.Namespace && a.Owner != b.Owner && !compatible(x, y) &&
		!covers(t.mode(a.Owner, name), x) && !covers(t.mode(b.Owner, name), y)
}

func (t *Table) grantable(r *Request) bool {
	return len(t.blockers(r, slices.Index(t.Order, r))) == 0
}

// higher compares ranks (HF-4.4).
func higher(a, b *Request) bool {
	switch {
	case a.AtLimit != b.AtLimit:
		return a.AtLimit
	case a.AtLimit:
	case a.Pure != b.Pure:
		return a.Pure
	case a.Command.Priority != b.Command.Priority:
		return a.Command.Priority > b.Command.Priority
	}
	return a.Arrival.before(b.Arrival)
}

// place is where a newcomer stands: after the last waiter whose rank is not lower.
func place(order []*Request, r *Request) int {
	for i := len(order); i > 0; i-- {
		if w := order[i-1]; w.Session.Namespace == r.Session.Namespace && !higher(r, w) {
			return i
		}
	}
	return 0
}

// pass counts that r went ahead of others (HF-4.6).
func (t *Table) pass(r *Request, passed []*Request) {
	for _, c := range r.Claims {
		for _, w := range byArrival(passed) {
			if t.conflict(r, w, c.Name) {
				if w.Arrival.before(r.Arrival) {
					w.Passed[r.Arrival] = true
				}
				break
			}
		}
	}
}

// move gives r a place and counts whom it passes there.
func (t *Table) move(r *Request, place int) {
	before := slices.Index(t.Order, r)
	t.Order = slices.DeleteFunc(slices.Clone(t.Order), func(o *Request) bool { return o == r })
	if before < 0 {
		before = len(t.Order)
	}
	t.Order = slices.Insert(t.Order, place, r)
	if place < before {
		t.pass(r, t.Order[place+1:before+1])
	}
}

// limit moves those who have reached the limit of HF-4.6, the earliest first.
func (t *Table) limit() {
	for {
		full := func(w *Request) bool { return len(w.Passed) >= t.tuning.Overtaking && !w.AtLimit }
		all := byArrival(t.Order)
		i := slices.IndexFunc(all, full)
		if i < 0 {
			return
		}
		w := all[i]
		w.AtLimit = true
		t.move(w, place(slices.DeleteFunc(slices.Clone(t.Order), func(o *Request) bool { return o == w }), w))
	}
}

// covering is the grant that an acquire would re-enter (HF-5.1).
func (t *Table) covering(o Owner, claims []Claim) *Grant {
	for _, g := range t.Grants {
		if g.Owner == o && g.Ending == "" && !slices.ContainsFunc(claims, func(c Claim) bool {
			return !covers(modeOf(g.Claims, c.Name), c.Mode)
		}) {
			return g
		}
	}
	return nil
}

// granted makes the grant, re-enters one, or converts one, and returns the outcome.
func (t *Table) granted(r *Request) Result {
	c, s, g := r.Command, r.Session, r.Converts
	if g == nil {
		g = t.covering(r.Owner, c.Claims)
		if g != nil && c.NoReentry {
			held := Result{Outcome: "HELD", BlockersTotal: len(c.Claims)}
			for _, n := range byName(slices.Clone(c.Claims)) {
				held.Blockers = append(held.Blockers, Blocker{Kind: "holder", Name: n.Name,
					Mode: modeOf(g.Claims, n.Name), Owner: g.Owner, Grant: g.ID})
			}
			held.Blockers = held.Blockers[:min(16, len(held.Blockers))]
			return held
		}
		if g == nil {
			id := t.token()
			g = &Grant{ID: id, Token: id, Session: s, Owner: r.Owner, Claims: full(c.Claims), Lease: c.Lease,
				Named: byName(slices.Clone(c.Claims)), Delay: c.LockDelay, Metadata: c.Metadata, Since: t.T}
			if c.Lease > 0 {
				g.LeaseAt = t.T + c.Lease
			}
			if c.MaxHold > 0 {
				g.MaxAt = t.T + c.MaxHold
			}
			t.Grants = append(t.Grants, g)
		} else if g.Lease > 0 && c.Lease > 0 {
			g.Lease, g.LeaseAt = max(g.Lease, c.Lease), max(g.LeaseAt, t.T+c.Lease)
		}
		g.Depth++
		if s.Implicit && r.ID == 1 {
			s.grant, s.Deadline = g.ID, t.T+s.TTL
		}
	} else {
		g.Named, g.Claims = converted(g, c)
		g.Token = t.token()
	}
	return Result{Outcome: "GRANTED", Grant: t.info(g)}
}

func (t *Table) grant(r *Request) {
	t.Order = slices.DeleteFunc(slices.Clone(t.Order), func(o *Request) bool { return o == r })
	t.finish(r, t.granted(r))
}

func converted(g *Grant, c Command) (named, claims []Claim) {
	named = without(g.Named, g.claim(c))
	if c.Mode != None {
		named = with(named, g.claim(c), c.Mode)
	}
	return named, full(named)
}

// claim is the name that a conversion changes.
func (g *Grant) claim(c Command) string {
	if c.Name == "" && len(g.Named) == 1 {
		return g.Named[0].Name
	}
	return c.Name
}

func (t *Table) token() int64 {
	t.Counter++
	return int64(t.Epoch)<<48 | t.Counter
}

func (t *Table) info(g *Grant) GrantInfo {
	return GrantInfo{g.ID, g.Token, g.Named, g.Depth, g.Session.Deadline, g.LeaseAt, g.MaxAt}
}

// edge is one reason for which one owner waits for another (HF-8.1).
type edge struct {
	from, to Owner
	bearer   *Request
	on       Blocker
	soft     bool
	place    int
}

func (t *Table) edges(namespace string) (all []edge) {
	for i, r := range t.Order {
		if r.Session.Namespace == namespace {
			for _, b := range t.blockers(r, i) {
				if b.Kind == "waiter" || b.Kind == "holder" && !b.ending {
					all = append(all, edge{r.Owner, b.Owner, r, b, b.Kind == "waiter", i})
				}
			}
		}
	}
	return all
}

// reaches tells whether a path leads from one owner to another, of at least one edge.
func reaches(edges []edge, from, to Owner) bool {
	reached := []Owner{from}
	for i := 0; i < len(reached); i++ {
		for _, e := range edges {
			if e.from == reached[i] {
				if e.to == to {
					return true
				}
				if !slices.Contains(reached, e.to) {
					reached = append(reached, e.to)
				}
			}
		}
	}
	return false
}

// cycle is the shortest cycle, and the least of those, written from its least owner (HF-8.2).
func cycle(edges []edge) []Owner {
	edges = slices.DeleteFunc(slices.Clone(edges), func(e edge) bool { return !reaches(edges, e.to, e.from) })
	slices.SortFunc(edges, func(a, b edge) int {
		return cmpOr(int64(a.from.Session)-int64(b.from.Session), int64(strings.Compare(a.from.Key, b.from.Key)),
			int64(a.to.Session)-int64(b.to.Session), int64(strings.Compare(a.to.Key, b.to.Key)))
	})
	var search func(path []Owner, length int) []Owner
	search = func(path []Owner, length int) []Owner {
		for _, e := range edges {
			if e.from != path[len(path)-1] {
				continue
			}
			if e.to == path[0] && len(path) == length {
				return path
			}
			if len(path) < length && path[0].less(e.to) && !slices.Contains(path, e.to) {
				if found := search(append(slices.Clone(path), e.to), length); found != nil {
					return found
				}
			}
		}
		return nil
	}
	for length := 2; len(edges) > 0; length++ {
		for _, e := range edges {
			if found := search([]Owner{e.from}, length); found != nil {
				return found
			}
		}
	}
	return nil
}

// resolve resolves one cycle of the namespace, if there is one (HF-8.3).
func (t *Table) resolve(namespace string) bool {
	edges := t.edges(namespace)
	owners := cycle(edges)
	if owners == nil {
		return false
	}
	var soft []edge
	var steps []Step
	var victim *Request
	less := func(a, b *Request) bool { // a rather than b is to be the victim
		return b == nil || a.Command.Priority < b.Command.Priority ||
			a.Command.Priority == b.Command.Priority && b.Arrival.before(a.Arrival)
	}
	for i, from := range owners {
		var bearer *Request
		var on Blocker
		for _, e := range edges {
			if e.from == from && e.to == owners[(i+1)%len(owners)] {
				if e.bearer != bearer && less(e.bearer, bearer) || e.bearer == bearer && e.on.Name < on.Name {
					bearer, on = e.bearer, e.on
				}
				if e.soft && !slices.ContainsFunc(soft, func(s edge) bool { return s.place == e.place && s.on.place == e.on.place }) {
					soft = append(soft, e)
				}
			}
		}
		steps = append(steps, Step{from, bearer.ID, bearer.Arrival, on.Name, modeOf(bearer.Claims, on.Name)})
		if less(bearer, victim) {
			victim = bearer
		}
	}
	slices.SortFunc(soft, func(a, b edge) int { return cmpOr(int64(a.place-b.place), int64(a.on.place-b.on.place)) })
	for _, e := range soft[:min(64, len(soft))] {
		if t.turn(e, edges) {
			t.report(namespace, steps, Index{})
			return true
		}
	}
	t.report(namespace, steps, victim.Arrival)
	t.finish(victim, Result{Outcome: "DEADLOCK_VICTIM", Cycle: steps})
	if victim.Command.ReleaseOwner {
		for _, r := range byArrival(t.Order) {
			if r.Owner == victim.Owner {
				t.finish(r, Result{Outcome: "CANCELLED", Ended: "DEADLOCK_VICTIM"})
			}
		}
		for _, g := range t.Grants {
			if g.Owner == victim.Owner {
				t.endLater(g, "DEADLOCK_VICTIM", "")
			}
		}
	}
	return true
}

func (t *Table) report(namespace string, steps []Step, victim Index) {
	t.Deadlocks = append(t.Deadlocks, Deadlock{t.at, t.T, namespace, steps, victim})
	t.Deadlocks = t.Deadlocks[max(0, len(t.Deadlocks)-t.tuning.Deadlocks):]
	t.event(Event{Kind: "deadlock", Namespace: namespace, Result: Result{Cycle: steps}, Victim: victim})
}

// turn moves the waiter that bears a soft edge ahead of the one it points at, if it may.
func (t *Table) turn(e edge, edges []edge) bool {
	old, passed := t.Order, t.Order[e.on.place:e.place]
	for _, w := range passed {
		if w.AtLimit && t.against(e.bearer, w) && !reaches(edges, w.Owner, e.from) {
			return false
		}
	}
	t.Order = slices.Insert(slices.Delete(slices.Clone(old), e.place, e.place+1), e.on.place, e.bearer)
	after := t.edges(e.bearer.Session.Namespace)
	t.Order = old
	for _, n := range after {
		added := !slices.ContainsFunc(edges, func(o edge) bool { return o.from == n.from && o.to == n.to })
		if n.from == e.from && n.to == e.to || added && reaches(after, n.to, n.from) {
			return false
		}
	}
	t.move(e.bearer, e.on.place)
	t.limit()
	return true
}

func (t *Table) against(a, b *Request) bool {
	return slices.ContainsFunc(a.Claims, func(c Claim) bool { return t.conflict(a, b, c.Name) })
}
