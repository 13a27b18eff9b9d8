package locktable_test

import (
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// view runs the words that show what those see who look (HF-9.1, HF-9.2, HF-8.5).
func (s *script) view(w *words) (out []string, ok bool) {
	t := s.begun()
	switch w.verb {
	case "look":
		ns := w.text("ns", locktable.DefaultNamespace)
		out = lockWords(t.Lock(ns, w.next()))
	case "list":
		ns, after := w.text("ns", locktable.DefaultNamespace), w.text("after", "")
		locks, more := t.Locks(ns, w.next(), after, int(w.number("limit", 1000)))
		for _, l := range locks {
			out = append(out, fmt.Sprintf("%s: %d held, %d waiting, %d ghosts",
				l.Name, l.HoldersTotal, l.WaitersTotal, len(l.Ghosts)))
		}
		out = andMore(out, more)
	case "sessions":
		ns, after := w.text("ns", locktable.DefaultNamespace), locktable.SessionID(w.number("after", 0))
		sessions, more := t.Sessions(ns, after, int(w.number("limit", 1000)))
		for _, v := range sessions {
			out = append(out, sessionWords(v))
		}
		out = andMore(out, more)
	case "explain":
		limit := int(w.number("limit", 100))
		if id := uint64(w.number("id", 0)); id != 0 {
			out = explanationWords(t.ExplainRequest(s.session(w, w.next()), id, limit))
		} else {
			ns := w.text("ns", locktable.DefaultNamespace)
			out = explanationWords(t.ExplainLock(ns, w.next(), limit))
		}
	case "deadlocks":
		ns := w.text("ns", locktable.DefaultNamespace)
		for _, d := range t.Deadlocks(ns, int(w.number("limit", 1000))) {
			e := locktable.Event{Kind: locktable.EventDeadlock, Cycle: d.Cycle, Victim: d.Victim}
			out = append(out, "at "+span(d.Time)+" "+happening(e))
		}
	default:
		return nil, false
	}
	if out == nil {
		out = []string{"nothing"}
	}
	return out, true
}

func andMore(lines []string, more bool) []string {
	if more {
		return append(lines, "and more")
	}
	return lines
}

func lockWords(l locktable.LockView) (out []string) {
	for _, h := range l.Holders {
		line := fmt.Sprintf("held by %s %s #%s token=#%s depth=%d since %s of %s", owner(h.Session, h.Owner),
			h.Mode, token(int64(h.Grant.ID)), token(int64(h.Grant.Token)), h.Grant.Depth,
			span(h.GrantedAt), claimWords(h.Grant.Claims))
		line += deadlineWords(h.Grant) + flagWord(h.Implied, "implied") + flagWord(h.Ending, "ending")
		out = append(out, line+metaWord("meta", h.Metadata)+metaWord("session-meta", h.SessionMetadata))
	}
	for _, g := range l.Ghosts {
		out = append(out, fmt.Sprintf("ghost of #%s %s until %s", token(int64(g.Grant)), g.Mode, span(g.Until)))
	}
	for _, v := range l.Waiters {
		out = append(out, waiterWords(v))
	}
	if l.HoldersTotal != len(l.Holders) || l.WaitersTotal != len(l.Waiters) {
		out = append(out, fmt.Sprintf("in all %d held, %d waiting", l.HoldersTotal, l.WaitersTotal))
	}
	return out
}

func waiterWords(v locktable.WaiterView) string {
	line := fmt.Sprintf("%d. %s %s for %s since %s until %s", v.Position, request(v.Session, v.Owner, v.Request),
		v.Mode, claimWords(v.Claims), span(v.ArrivedAt), span(v.Until))
	if v.Priority != 0 {
		line += fmt.Sprintf(" prio=%d", v.Priority)
	}
	if v.Converts != 0 {
		line += " converts #" + token(int64(v.Converts))
	}
	return line + metaWord("meta", v.Metadata)
}

func sessionWords(v locktable.SessionView) string {
	line := fmt.Sprintf("s%d of %s in %s for %s until %s since %s: %d held, %d waiting", v.ID, v.Principal,
		v.Namespace, span(v.TTL), span(v.Deadline), span(v.OpenedAt), v.Grants, v.Waiting)
	return line + flagWord(v.Implicit, "implicit") + metaWord("meta", v.Metadata)
}

func explanationWords(e locktable.Explanation) []string {
	if !e.Waiting {
		return []string{"does not wait"}
	}
	out := []string{waiterWords(e.Waiter)}
	for _, step := range e.Steps {
		one := locktable.Result{Blockers: []locktable.Blocker{step.Blocker}, BlockersTotal: 1}
		line := strings.Repeat("  ", step.Distance) + blockers("behind ", one) + " since " + span(step.Since)
		if step.Blocker.Session != 0 {
			line += " session until " + span(step.SessionDeadline)
		}
		out = append(out, line+flagWord(step.SessionEnded, "ended")+metaWord("session-meta", step.SessionMetadata))
	}
	return out
}

func flagWord(set bool, word string) string {
	if !set {
		return ""
	}
	return " " + word
}

func metaWord(name, value string) string {
	return flagWord(value != "", name+"="+value)
}
