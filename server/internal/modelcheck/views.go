package modelcheck

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/conformance/model"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// viewsDiffer compares what those see who look (HF-9.1): the names of a namespace, one of its locks,
// its sessions; and the next deadline, which only counts when no backlog calls for a batch at once.
func (p *pair) viewsDiffer(index uint64, backlog bool) string {
	namespace := []string{"default", "other"}[index%2]
	names := locks(p.model, namespace)
	var seen []string
	views, _ := p.table.Locks(namespace, "", "", math.MaxInt)
	for _, v := range views {
		seen = append(seen, v.Name)
	}
	if !slices.Equal(names, seen) {
		return fmt.Sprintf("locks: table %v, model %v", seen, names)
	}
	if len(names) > 0 {
		name := names[int(index/2)%len(names)]
		if got, want := lockInTable(p.table, namespace, name), lockInModel(p.model, namespace, name); got != want {
			return fmt.Sprintf("lock %s:\n%s", name, lineDiff(got, want))
		}
	}
	if got, want := sessionsInTable(p.table, namespace), sessionsInModel(p.model, namespace); got != want {
		return "sessions:\n" + lineDiff(got, want)
	}
	alive := 0
	for _, s := range p.model.Sessions {
		if s.Ended == "" {
			alive++
		}
	}
	if s := p.table.Status(); s.Sessions != alive || s.Grants != len(p.model.Grants) || s.Waiting != len(p.model.Order) {
		return fmt.Sprintf("status: table %+v, model %d sessions, %d grants, %d waiting", s, alive,
			len(p.model.Grants), len(p.model.Order))
	}
	if got, want := deadlineInTable(p.table), deadlineInModel(p.model); got != want && !backlog {
		return fmt.Sprintf("next deadline: table %d, model %d", got, want)
	}
	return ""
}

// locks are the names on which something stands (HF-1.4).
func locks(m *model.Table, namespace string) (names []string) {
	add := func(in string, claims []model.Claim) {
		for _, c := range claims {
			if in == namespace && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	for _, g := range m.Grants {
		add(g.Session.Namespace, g.Claims)
	}
	for _, r := range m.Order {
		add(r.Session.Namespace, r.Claims)
	}
	for _, g := range m.Ghosts {
		add(g.Namespace, g.Claims)
	}
	slices.Sort(names)
	return names
}

func modeOn(claims []model.Claim, name string) locktable.Mode {
	for _, c := range claims {
		if c.Name == name {
			return locktable.Mode(c.Mode)
		}
	}
	return locktable.None
}

func lockInModel(m *model.Table, namespace, name string) string {
	var b strings.Builder
	for _, g := range m.Grants {
		if mode := modeOn(g.Claims, name); g.Session.Namespace == namespace && mode != locktable.None {
			fmt.Fprintf(&b, "held #%d %s %s implied=%v ending=%v since=%d\n", g.ID, who(g.Owner), mode,
				modeOn(g.Named, name) == locktable.None, g.Ending != "", g.Since)
		}
	}
	for _, r := range m.Order {
		if mode := modeOn(r.Claims, name); r.Session.Namespace == namespace && mode != locktable.None {
			fmt.Fprintf(&b, "waits %s %s %s position=%d until=%d\n", locktable.Index(r.Arrival), who(r.Owner), mode,
				m.Position(r, name), r.LimitAt)
		}
	}
	for _, g := range m.Ghosts {
		if mode := modeOn(g.Claims, name); g.Namespace == namespace && mode != locktable.None {
			fmt.Fprintf(&b, "ghost #%d %s until=%d\n", g.ID, mode, g.Until)
		}
	}
	return b.String()
}

func lockInTable(t *locktable.Table, namespace, name string) string {
	var b strings.Builder
	v := t.Lock(namespace, name)
	for _, h := range v.Holders {
		fmt.Fprintf(&b, "held #%d %s %s implied=%v ending=%v since=%d\n", h.Grant.ID, ownerOf(h.Session, h.Owner),
			h.Mode, h.Implied, h.Ending, h.GrantedAt)
	}
	for _, w := range v.Waiters {
		fmt.Fprintf(&b, "waits %s %s %s position=%d until=%d\n", w.Arrival, ownerOf(w.Session, w.Owner), w.Mode,
			w.Position, w.Until)
	}
	for _, g := range v.Ghosts {
		fmt.Fprintf(&b, "ghost #%d %s until=%d\n", g.Grant, g.Mode, g.Until)
	}
	return b.String()
}

func ownerOf(session locktable.SessionID, key string) string {
	return who(model.Owner{Session: uint64(session), Key: key})
}

func sessionsInTable(t *locktable.Table, namespace string) string {
	var b strings.Builder
	views, _ := t.Sessions(namespace, 0, math.MaxInt)
	for _, s := range views {
		fmt.Fprintf(&b, "s%d %s %q ttl=%d deadline=%d since=%d implicit=%v grants=%d\n", s.ID, s.Principal,
			s.Metadata, s.TTL, s.Deadline, s.OpenedAt, s.Implicit, s.Grants)
	}
	return b.String()
}

func sessionsInModel(m *model.Table, namespace string) string {
	var b strings.Builder
	for _, s := range m.Sessions {
		if s.Namespace != namespace || s.Ended != "" {
			continue
		}
		grants, metadata := 0, s.Metadata
		for _, g := range m.Grants {
			if g.Session == s {
				grants++
			}
		}
		if s.Implicit {
			metadata = "" // it is the grant's
		}
		fmt.Fprintf(&b, "s%d %s %q ttl=%d deadline=%d since=%d implicit=%v grants=%d\n", s.ID, s.Principal,
			metadata, s.TTL, s.Deadline, s.Since, s.Implicit, grants)
	}
	return b.String()
}

func deadlineInTable(t *locktable.Table) model.Millis {
	at, _ := t.NextDeadline()
	return at
}

// deadlineInModel is the first deadline that has not taken hold; 0 if there is none.
func deadlineInModel(m *model.Table) model.Millis {
	next := model.Millis(math.MaxInt64)
	add := func(at model.Millis) {
		if at > 0 {
			next = min(next, at)
		}
	}
	for _, s := range m.Sessions {
		if s.Ended == "" {
			add(s.Deadline)
		}
	}
	for _, g := range m.Grants {
		if g.Ending == "" {
			add(g.LeaseAt)
			add(g.MaxAt)
		}
	}
	for _, g := range m.Ghosts {
		if g.Until > m.T {
			add(g.Until)
		}
	}
	for _, r := range m.Order {
		add(r.LimitAt)
	}
	if next == math.MaxInt64 {
		return 0
	}
	return next
}
