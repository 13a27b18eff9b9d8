package modelcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/conformance/model"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// describe shows the whole state of the model, in the words of Table.Dump.
func describe(m *model.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "T=%d epoch=%d counter=%d last-session=%d version=1 limits=%d,%d,%d\n", m.T, m.Epoch, m.Counter,
		m.LastSession, m.Limits.WaitersPerName, m.Limits.GrantsPerSession, m.Limits.SessionsPerPrincipal)
	for _, s := range m.Sessions {
		if s.ID == 0 {
			continue
		}
		fmt.Fprintf(&b, "session s%d in %s principal=%q ttl=%d", s.ID, s.Namespace, s.Principal, s.TTL)
		if s.Implicit {
			b.WriteString(" implicit")
		}
		if s.Ended == "" {
			fmt.Fprintf(&b, " deadline=%d", s.Deadline)
		} else {
			fmt.Fprintf(&b, " ended=%d at=%d detail=%q", code(reasons[:], s.Ended), s.EndedAt, s.Detail)
		}
		if s.Ended != "" && !s.Implicit { // its answers are nobody's any more
			b.WriteByte('\n')
			continue
		}
		var kept []string
		for _, a := range s.Kept {
			kept = append(kept, fmt.Sprint(a.Request))
		}
		fmt.Fprintf(&b, " floor=%d kept=%s\n", s.Floor, strings.Join(kept, ","))
	}
	for _, g := range m.Grants {
		fmt.Fprintf(&b, "grant #%d token=%d %s depth=%d claims=%v lease=%d,%d max-hold=%d delay=%d ending=%d\n",
			g.ID, g.Token, who(g.Owner), g.Depth, spelled(g.Named), g.Lease, g.LeaseAt, g.MaxAt, g.Delay,
			code(reasons[:], g.Ending))
	}
	for _, g := range m.Ghosts {
		fmt.Fprintf(&b, "ghost #%d in %s claims=%v until=%d passed=%v\n", g.ID, g.Namespace, spelled(g.Claims),
			g.Until, m.T >= g.Until)
	}
	spaces := slices.Clone(m.Order)
	slices.SortStableFunc(spaces, func(a, b *model.Request) int {
		return strings.Compare(a.Session.Namespace, b.Session.Namespace)
	})
	for _, r := range spaces {
		fmt.Fprintf(&b, "waiter %s in %s %s\n", locktable.Index(r.Arrival), r.Session.Namespace, waiter(r))
	}
	decided := slices.Clone(m.Decided)
	slices.SortFunc(decided, func(a, b *model.Request) int {
		return cmp.Or(cmp.Compare(a.Session.ID, b.Session.ID), cmp.Compare(a.Arrival.Entry, b.Arrival.Entry),
			cmp.Compare(a.Arrival.Offset, b.Arrival.Offset))
	})
	for _, r := range decided {
		fmt.Fprintf(&b, "decided %s %s\n", locktable.Index(r.Arrival), who(r.Owner))
	}
	for _, d := range m.Deadlocks {
		fmt.Fprintf(&b, "deadlock at %s T=%d in %s victim=%s", locktable.Index(d.At), d.Time, d.Namespace,
			locktable.Index(d.Victim))
		for _, c := range d.Cycle {
			fmt.Fprintf(&b, " %s:%s:%s", who(c.Owner), c.Name, locktable.Mode(c.Mode))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func waiter(r *model.Request) string {
	var passers []locktable.Index
	for p := range r.Passed {
		passers = append(passers, locktable.Index(p))
	}
	slices.SortFunc(passers, func(a, b locktable.Index) int {
		return cmp.Or(cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Offset, b.Offset))
	})
	converts, named := int64(0), r.Command.Claims
	if r.Converts != nil {
		converts, named = r.Converts.ID, []model.Claim{{Name: r.Converted(), Mode: r.Command.Mode}}
	}
	return fmt.Sprintf("%s id=%d claims=%v converts=%d until=%d prio=%d conversion=%v limit=%v passers=%v",
		who(r.Owner), r.ID, spelled(named), converts, r.LimitAt, r.Command.Priority, r.Pure, r.AtLimit, passers)
}

func who(o model.Owner) string {
	if o.Key == "" {
		return fmt.Sprintf("s%d", o.Session)
	}
	return fmt.Sprintf("s%d/%s", o.Session, o.Key)
}

func spelled(claims []model.Claim) (all []locktable.Claim) {
	for _, c := range claims {
		all = append(all, locktable.Claim{Name: c.Name, Mode: locktable.Mode(c.Mode)})
	}
	slices.SortFunc(all, func(a, b locktable.Claim) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func code(words []string, word string) int { return slices.Index(words, word) }
