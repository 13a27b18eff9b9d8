package model

import (
	"cmp"
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

// obstacle is a blocker with what is no part of the answer.
type obstacle struct {
	Blocker
	ending bool // grant
	place  int  // of a waiter
}

// obstacles are in the way of a request at a place of the order (HF-4.2, HF-4.3). Modes of grants
// are looked at one by one: a join is compatible with what all its parts are.
func (t *Table) obstacles(r *Request, place int) (holders []obstacle) {
	var ghosts, waiters []obstacle
	for _, c := range r.Claims {
		if covers(t.mode(r.Owner, c.Name), c.Mode) {
			continue
		}
		against := func(namespace string, claims []Claim) Mode {
			if m := modeOf(claims, c.Name); namespace == r.Session.Namespace && !compatible(m, c.Mode) {
				return m
			}
			return None
		}
		for _, g := range t.Grants {
			if m := against(g.Session.Namespace, g.Claims); m != None && g.Owner != r.Owner {
				b := Blocker{Kind: "holder", Name: c.Name, Mode: m, Owner: g.Owner, Grant: g.ID}
				holders = append(holders, obstacle{Blocker: b, ending: g.Ending != ""})
			}
		}
		for _, g := range t.Ghosts {
			if m := against(g.Namespace, g.Claims); m != None {
				ghosts = append(ghosts, obstacle{Blocker: Blocker{Kind: "ghost", Name: c.Name, Mode: m, Grant: g.ID}})
			}
		}
		for i, w := range t.Order[:place] {
			if t.conflict(r, w, c.Name) {
				b := Blocker{"waiter", c.Name, modeOf(w.Claims, c.Name), w.Owner, 0, w.ID, w.Arrival}
				waiters = append(waiters, obstacle{Blocker: b, place: i})
			}
		}
	}
	return slices.Concat(holders, ghosts, waiters)
}

// conflict tells whether two requests are against each other on a name (HF-4.3).
func (t *Table) conflict(a, b *Request, name string) bool {
	x, y := modeOf(a.Claims, name), modeOf(b.Claims, name)
	return a.Session.Namespace == b.Session.Namespace && a.Owner != b.Owner && !compatible(x, y) &&
		!covers(t.mode(a.Owner, name), x) && !covers(t.mode(b.Owner, name), y)
}

// Position is 1 more than the number of waiters ahead of one that conflict with it on a name (HF-4.2).
func (t *Table) Position(r *Request, name string) int {
	ahead := t.Order[:slices.Index(t.Order, r)]
	return 1 + len(without(ahead, func(w *Request) bool { return !t.conflict(r, w, name) }))
}

func (t *Table) grantable(r *Request) bool {
	return len(t.obstacles(r, slices.Index(t.Order, r))) == 0
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
	return byArrival(a, b) < 0
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
		first := find(sorted(passed, byArrival), func(w *Request) bool { return t.conflict(r, w, c.Name) })
		if first != nil && byArrival(first, r) < 0 {
			first.Passed[r.Arrival] = true
		}
	}
}

// move gives r a place and counts whom it passes there.
func (t *Table) move(r *Request, place int) {
	before := slices.Index(t.Order, r)
	t.Order = drop(t.Order, r)
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
	full := func(w *Request) bool { return len(w.Passed) >= t.tuning.Overtaking && !w.AtLimit }
	for w := find(sorted(t.Order, byArrival), full); w != nil; w = find(sorted(t.Order, byArrival), full) {
		w.AtLimit = true
		t.move(w, place(drop(t.Order, w), w))
	}
}

// covering is the grant that an acquire would re-enter (HF-5.1).
func (t *Table) covering(o Owner, claims []Claim) *Grant {
	return find(t.Grants, func(g *Grant) bool {
		return g.Owner == o && g.Ending == "" && !slices.ContainsFunc(claims, func(c Claim) bool {
			return !covers(modeOf(g.Claims, c.Name), c.Mode)
		})
	})
}

// grant makes a grant, re-enters one, or converts one, and returns the outcome.
func (t *Table) grant(r *Request) Result {
	c, s, g := r.Command, r.Session, r.Converts
	if g != nil {
		g.Named, g.Claims = g.converted(c)
		g.Token = t.token()
		return Result{Outcome: "GRANTED", Grant: g.info()}
	}
	g = t.covering(r.Owner, c.Claims)
	switch {
	case g != nil && c.NoReentry:
		var self []obstacle
		for _, n := range sorted(c.Claims, byName) {
			b := Blocker{Kind: "holder", Name: n.Name, Mode: modeOf(g.Claims, n.Name), Owner: g.Owner, Grant: g.ID}
			self = append(self, obstacle{Blocker: b})
		}
		return Result{Outcome: "HELD"}.blocked(self)
	case g == nil:
		id := t.token()
		g = &Grant{ID: id, Token: id, Session: s, Owner: r.Owner, Named: sorted(c.Claims, byName), Since: t.T,
			Claims: full(c.Claims), Lease: c.Lease, Delay: c.LockDelay, Metadata: c.Metadata}
		g.renew(t.T)
		if c.MaxHold > 0 {
			g.MaxAt = t.T + c.MaxHold
		}
		t.Grants = append(t.Grants, g)
	case g.Lease > 0 && c.Lease > 0:
		g.LeaseAt = max(g.LeaseAt, t.T+c.Lease)
		g.Lease = max(g.Lease, c.Lease)
	}
	g.Depth++
	if s.Implicit && r.ID == 1 {
		s.Deadline = t.T + s.TTL
	}
	return Result{Outcome: "GRANTED", Grant: g.info()}
}

func (g *Grant) renew(now Millis) {
	if g.Lease > 0 {
		g.LeaseAt = max(g.LeaseAt, now+g.Lease)
	}
}

func (r Result) blocked(by []obstacle) Result {
	for _, o := range by[:min(16, len(by))] {
		r.Blockers = append(r.Blockers, o.Blocker)
	}
	r.BlockersTotal = len(by)
	return r
}

// converted are the claims of a grant after a conversion; claim is the name that it changes (HF-5.2).
func (g *Grant) converted(c Command) (named, claims []Claim) {
	named = without(g.Named, func(n Claim) bool { return n.Name == g.claim(c) })
	if c.Mode != None {
		named = with(named, g.claim(c), c.Mode)
	}
	return named, full(named)
}

func (g *Grant) claim(c Command) string {
	if c.Name == "" && len(g.Named) == 1 {
		return g.Named[0].Name
	}
	return c.Name
}

// Converted is the name that a waiting conversion changes.
func (r *Request) Converted() string { return r.Converts.claim(r.Command) }

func (t *Table) token() int64 {
	t.Counter++
	return int64(t.Epoch)<<48 | t.Counter
}

func (g *Grant) was() GrantInfo {
	return GrantInfo{ID: g.ID, Token: g.Token, Claims: g.Named, Depth: g.Depth}
}

func (g *Grant) info() GrantInfo {
	return GrantInfo{g.ID, g.Token, g.Named, g.Depth, g.Session.Deadline, g.LeaseAt, g.MaxAt}
}

// edge is one reason for which one owner waits for another (HF-8.1).
type edge struct {
	from   Owner
	bearer *Request
	place  int // of the bearer
	on     obstacle
}

func (t *Table) edges(namespace string) (all []edge) {
	for i, r := range t.Order {
		if r.Session.Namespace == namespace {
			for _, o := range t.obstacles(r, i) {
				if o.Kind != "ghost" && !o.ending {
					all = append(all, edge{r.Owner, r, i, o})
				}
			}
		}
	}
	return all
}

// reaches tells whether a path of at least one edge leads from one owner to another.
func reaches(edges []edge, from, to Owner) bool {
	reached := []Owner{from}
	for i := 0; i < len(reached); i++ {
		for _, e := range edges {
			if e.from == reached[i] && e.on.Owner == to {
				return true
			}
			if e.from == reached[i] && !slices.Contains(reached, e.on.Owner) {
				reached = append(reached, e.on.Owner)
			}
		}
	}
	return false
}

// cycle is the shortest cycle, and the least of those, written from its least owner (HF-8.2).
func cycle(edges []edge) []Owner {
	again := map[Owner]bool{} // owners from whom a path leads back to them
	for _, e := range edges {
		if _, ok := again[e.from]; !ok {
			again[e.from] = reaches(edges, e.from, e.from)
		}
	}
	edges = without(edges, func(e edge) bool { return !again[e.from] || !again[e.on.Owner] })
	edges = sorted(edges, func(a, b edge) int {
		return cmp.Or(a.from.compare(b.from), a.on.Owner.compare(b.on.Owner))
	})
	var search func(path []Owner, length int) []Owner
	search = func(path []Owner, length int) (found []Owner) {
		for _, e := range edges {
			switch {
			case found != nil || e.from != path[len(path)-1]:
			case e.on.Owner == path[0] && len(path) == length:
				found = path
			case len(path) < length && path[0].compare(e.on.Owner) < 0 && !slices.Contains(path, e.on.Owner):
				found = search(append(slices.Clone(path), e.on.Owner), length)
			}
		}
		return found
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

// sooner compares who is to be the victim (HF-8.3).
func sooner(a, b *Request) int {
	return cmp.Or(cmp.Compare(a.Command.Priority, b.Command.Priority), byArrival(b, a))
}

// resolve resolves one cycle of the namespace, if there is one (HF-8.3, HF-8.4).
func (t *Table) resolve(namespace string) bool {
	all := t.edges(namespace)
	owners := cycle(all)
	if owners == nil {
		return false
	}
	var soft []edge
	var steps []Step
	var bearers []*Request
	for i, from := range owners {
		edges := without(all, func(e edge) bool { return e.from != from || e.on.Owner != owners[(i+1)%len(owners)] })
		edges = sorted(edges, func(a, b edge) int {
			return cmp.Or(sooner(a.bearer, b.bearer), strings.Compare(a.on.Name, b.on.Name))
		})
		r, name := edges[0].bearer, edges[0].on.Name
		steps, bearers = append(steps, Step{from, r.ID, r.Arrival, name, modeOf(r.Claims, name)}), append(bearers, r)
		soft = append(soft, without(edges, func(e edge) bool { return e.on.Kind != "waiter" })...)
	}
	sameEdge := func(a, b edge) bool { return a.place == b.place && a.on.place == b.on.place }
	soft = slices.CompactFunc(sorted(soft, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.on.place, b.on.place))
	}), sameEdge)
	for _, e := range soft[:min(64, len(soft))] {
		if t.turn(e, all) {
			t.report(namespace, steps, Index{})
			t.limit()
			return true
		}
	}
	victim := slices.MinFunc(bearers, sooner)
	t.report(namespace, steps, victim.Arrival)
	t.finish(victim, Result{Outcome: "DEADLOCK_VICTIM", Cycle: steps})
	for _, r := range sorted(t.Order, byArrival) {
		if victim.Command.ReleaseOwner && r.Owner == victim.Owner {
			t.finish(r, Result{Outcome: "CANCELLED", Ended: "DEADLOCK_VICTIM"})
		}
	}
	for _, g := range t.Grants {
		if victim.Command.ReleaseOwner && g.Owner == victim.Owner {
			t.endLater(g, "DEADLOCK_VICTIM", "")
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
	old := t.Order
	for _, w := range old[e.on.place:e.place] {
		against := func(c Claim) bool { return t.conflict(e.bearer, w, c.Name) }
		if w.AtLimit && slices.ContainsFunc(e.bearer.Claims, against) && !reaches(edges, w.Owner, e.from) {
			return false
		}
	}
	t.Order = slices.Insert(drop(old, e.bearer), e.on.place, e.bearer)
	after := t.edges(e.bearer.Session.Namespace)
	t.Order = old
	for _, n := range after {
		same := func(o edge) bool { return o.from == n.from && o.on.Owner == n.on.Owner }
		added := !slices.ContainsFunc(edges, same)
		if same(e) || added && reaches(after, n.on.Owner, n.from) {
			return false
		}
	}
	t.move(e.bearer, e.on.place)
	return true
}
