package locktable

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

func (i Index) String() string { return fmt.Sprintf("%d.%d", i.Entry, i.Offset) }

func (c Claim) String() string { return c.Name + ":" + c.Mode.String() }

// who names an owner: s1, or s1/key.
func who(s SessionID, key string) string {
	if key == "" {
		return fmt.Sprintf("s%d", s)
	}
	return fmt.Sprintf("s%d/%s", s, key)
}

// String shows the locks as people think of them: who holds, what ghosts shut, who waits.
func (t *Table) String() string {
	var b strings.Builder
	for _, sp := range t.spacesByName() {
		if sp.name != DefaultNamespace && sp.sorted.len() > 0 {
			fmt.Fprintf(&b, "namespace %s\n", sp.name)
		}
		for l := range sp.sorted.from("", "") {
			l.print(&b)
		}
	}
	return b.String()
}

func (l *lock) print(b *strings.Builder) {
	fmt.Fprintln(b, l.name)
	var held, ghosts, queue []string
	for h := range l.eachHold() {
		g := l.space.t.grantOf(h)
		line := fmt.Sprintf("%s %s #%d", who(g.session().id, g.owner.key), h.mode, g.id)
		if g.depth > 1 {
			line += fmt.Sprintf(" x%d", g.depth)
		}
		if g.isEnding() {
			line += " ending"
		}
		held = append(held, line)
	}
	for _, h := range l.ghosts {
		for _, c := range h.claims {
			if c.Name == l.name {
				ghosts = append(ghosts, fmt.Sprintf("%s #%d", c.Mode, h.grant))
			}
		}
	}
	for p := l.first; p != nil; p = p.next {
		queue = append(queue, who(p.request.session.id, p.request.ownerKey)+" "+p.mode.String())
	}
	for _, row := range []struct {
		name  string
		items []string
	}{{"held", held}, {"ghost", ghosts}, {"queue", queue}} {
		if len(row.items) > 0 {
			fmt.Fprintf(b, "  %-6s %s\n", row.name, strings.Join(row.items, ", "))
		}
	}
}

// Dump shows the whole state, one entity a line.
func (t *Table) Dump() string {
	var b strings.Builder
	g := &t.g
	fmt.Fprintf(&b, "T=%d epoch=%d counter=%d last-session=%d version=%d limits=%d,%d,%d\n", g.time, g.epoch,
		g.counter, g.lastSession, g.version, g.limits.WaitersPerName, g.limits.GrantsPerSession,
		g.limits.SessionsPerPrincipal)
	for _, s := range t.sessionsByID() {
		t.dumpSession(&b, s)
	}
	for _, g := range t.grantsByID() {
		why, _ := g.endsBy()
		fmt.Fprintf(&b, "grant #%d token=%d %s depth=%d claims=%v lease=%d,%d max-hold=%d delay=%d ending=%d\n",
			g.id, g.token(), who(g.session().id, g.owner.key), g.depth, g.named(nil), g.lease, g.leaseEnd, g.maxHold,
			g.lockDelay, why)
	}
	for _, h := range t.ghostsByGrant() {
		fmt.Fprintf(&b, "ghost #%d in %s claims=%v until=%d passed=%v\n", h.grant, h.namespace, h.claims,
			h.until, h.passed)
	}
	for _, sp := range t.spacesByName() {
		for r := sp.order.first; r != nil; r = r.order.next {
			fmt.Fprintf(&b, "waiter %s in %s %s\n", r.arrival, sp.name, r.dump())
		}
	}
	for _, s := range t.sessionsByID() {
		for r := s.waits.first; r != nil; r = r.mine.next {
			if !r.inOrder() {
				fmt.Fprintf(&b, "decided %s %s outcome=%d ended=%d\n", r.arrival, who(s.id, r.ownerKey), r.decided, r.ended)
			}
		}
	}
	for _, d := range t.reports.all() {
		fmt.Fprintf(&b, "deadlock at %s T=%d in %s victim=%s", d.at, d.time, d.namespace, d.victim)
		for _, c := range d.cycle {
			fmt.Fprintf(&b, " %s:%s:%s", who(c.Session, c.Owner), c.Name, c.Mode)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (t *Table) dumpSession(b *strings.Builder, s *session) {
	fmt.Fprintf(b, "session s%d in %s principal=%q ttl=%d", s.id, s.namespace, s.principal, s.ttl)
	if s.implicit {
		b.WriteString(" implicit")
	}
	if s.alive() {
		fmt.Fprintf(b, " deadline=%d", s.deadline)
	} else {
		fmt.Fprintf(b, " ended=%d at=%d detail=%q", s.ended, s.endedAt, s.detail)
	}
	if !s.alive() && !s.implicit {
		b.WriteByte('\n')
		return
	}
	fmt.Fprintf(b, " floor=%d kept=", s.floor)
	separator := ""
	for a := range t.eachAnswer(s) {
		fmt.Fprintf(b, "%s%d", separator, a.request)
		separator = ","
	}
	b.WriteByte('\n')
}

func (r *request) dump() string {
	passers := slices.Clone(r.passers)
	slices.SortFunc(passers, Index.compare)
	return fmt.Sprintf("%s id=%d claims=%v converts=%d until=%d prio=%d conversion=%v limit=%v passers=%v",
		who(r.session.id, r.ownerKey), r.id, r.named, r.converts, r.until, r.priority, r.conversion, r.atLimit,
		passers)
}

func (i Index) compare(j Index) int {
	switch {
	case i.before(j):
		return -1
	case j.before(i):
		return 1
	default:
		return 0
	}
}

func (t *Table) spacesByName() []*space {
	all := make([]*space, 0, len(t.spaces))
	for _, sp := range t.spaces {
		all = append(all, sp)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
}

func (t *Table) grantsByID() []*grant {
	all := make([]*grant, 0, t.live)
	for _, s := range t.sessions {
		all = slices.AppendSeq(all, s.eachGrant())
	}
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	return all
}

func (t *Table) ghostsByGrant() []*ghost {
	all := make([]*ghost, 0, len(t.ghosts))
	for _, h := range t.ghosts {
		all = append(all, h)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].grant < all[j].grant })
	return all
}
