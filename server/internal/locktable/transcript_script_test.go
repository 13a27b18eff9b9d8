package locktable_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// script is the table of one case and what the words of the language need to know about it.
type script struct {
	under  keeper
	tuning locktable.Tuning
	table  *locktable.Table // nil until the first entry
	twin   *locktable.Table // is given the same entries; must stay the same

	clock      locktable.Millis // of the next entry
	index      uint64           // of the last entry
	opened     locktable.SessionID
	principals map[locktable.SessionID]string
	deadlines  bool // results show the deadline of their session
	quiet      bool // many entries that nobody looks at: nothing is done between them
	rules      rules
}

func newScript(under keeper) *script {
	return &script{
		under:      under,
		tuning:     locktable.Tuning{BatchWork: 1024, PassLimit: 64, KeptAnswers: 1024},
		principals: map[locktable.SessionID]string{},
		rules:      newRules(),
	}
}

// block runs the input lines that stand above one "----".
func (s *script) block(lines []string) ([]string, error) {
	var out []string
	for len(lines) > 0 {
		line := lines[0]
		lines = lines[1:]
		if verb, _, _ := strings.Cut(line, " "); verb == "batch" {
			end := slices.Index(lines, "end")
			if end < 0 {
				return out, fmt.Errorf("%q has no end", line)
			}
			got, err := s.batch(line, lines[:end])
			if err != nil {
				return out, err
			}
			out = append(out, got...)
			lines = lines[end+1:]
			continue
		}
		got, err := s.line(line)
		if err != nil {
			return out, fmt.Errorf("%q: %w", line, err)
		}
		out = append(out, got...)
	}
	return out, nil
}

// line runs one line that is not a batch.
func (s *script) line(line string) ([]string, error) {
	if rest, ok := strings.CutPrefix(line, "quietly "); ok {
		s.quiet = true
		_, err := s.line(rest)
		s.quiet = false
		return nil, err
	}
	if rest, ok := strings.CutPrefix(line, "for "); ok {
		return s.each(rest)
	}
	w, err := parse(line)
	if err != nil {
		return nil, err
	}
	if out, ok, err := s.look(w); ok || err != nil {
		return out, err
	}
	if w.verb == "advance" {
		stamp, err := s.stamp(w)
		if err != nil {
			return nil, err
		}
		out, err := s.apply(stamp, nil)
		return append([]string{"time " + span(s.table.Time())}, out...), err
	}
	command, err := s.command(w)
	if err != nil {
		return nil, err
	}
	stamp, err := s.stamp(w)
	if err != nil {
		return nil, err
	}
	if err := w.unread(); err != nil {
		return nil, err
	}
	return s.apply(stamp, []locktable.Command{command})
}

// batch runs the commands between "batch" and "end" in one entry.
func (s *script) batch(first string, lines []string) ([]string, error) {
	w, err := parse(first)
	if err != nil {
		return nil, err
	}
	var commands []locktable.Command
	for _, line := range lines {
		w, err := parse(line)
		if err != nil {
			return nil, err
		}
		command, err := s.command(w)
		if err == nil {
			err = w.unread()
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		commands = append(commands, command)
	}
	stamp, err := s.stamp(w)
	if err != nil {
		return nil, err
	}
	if err := w.unread(); err != nil {
		return nil, err
	}
	return s.apply(stamp, commands)
}

// each runs "for 3..20 LINE" with {i} replaced by the number.
func (s *script) each(rest string) ([]string, error) {
	var from, to int
	span, line, _ := strings.Cut(rest, " ")
	if _, err := fmt.Sscanf(span, "%d..%d", &from, &to); err != nil {
		return nil, err
	}
	var out []string
	for i := from; i <= to; i++ {
		got, err := s.line(strings.ReplaceAll(line, "{i}", fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

// look runs the words that change nothing in the table.
func (s *script) look(w *words) (out []string, ok bool, err error) {
	switch w.verb {
	case "tuning":
		if s.table != nil {
			return nil, true, fmt.Errorf("tuning comes first")
		}
		s.tuning.BatchWork = int(w.number("batch-work", int64(s.tuning.BatchWork)))
		s.tuning.PassLimit = int(w.number("pass-limit", int64(s.tuning.PassLimit)))
		s.tuning.KeptAnswers = int(w.number("kept", int64(s.tuning.KeptAnswers)))
	case "show":
		s.deadlines = w.next() == "deadlines"
	case "print":
		for line := range strings.SplitSeq(s.begun().String(), "\n") {
			if strings.TrimSpace(line) != "" {
				out = append(out, strings.TrimRight(line, " "))
			}
		}
		if out == nil {
			out = []string{"nothing"}
		}
	case "next":
		out = []string{"none"}
		if at, ok := s.begun().NextDeadline(); ok {
			out = []string{span(at)}
		}
	default:
		if out, ok = s.view(w); !ok {
			return nil, false, nil
		}
	}
	return out, true, w.unread()
}

// stamp reads when an entry is applied: at the clock, "after=5s" later, or at "stamp=5s", which
// leaves the clock alone. The line "advance 5s" is an entry without commands.
func (s *script) stamp(w *words) (locktable.Millis, error) {
	if w.has("stamp") {
		return w.span("stamp"), w.err
	}
	if w.verb == "advance" {
		s.clock += parseSpan(w.next(), &w.err)
	}
	s.clock += w.span("after")
	return s.clock, w.err
}

// begun returns the table; the first entry of every log is a Bootstrap.
func (s *script) begun() *locktable.Table {
	if s.table == nil {
		s.table, s.twin = s.under.make(s.tuning), s.under.make(s.tuning)
		boot := []locktable.Command{&locktable.Bootstrap{ClusterID: "transcript"}}
		if out, err := s.apply(0, boot); err != nil || len(out) != 1 || out[0] != "done" {
			panic(fmt.Sprintf("bootstrap: %v, %v", out, err))
		}
	}
	return s.table
}

// open opens sessions so that there is one of this number.
func (s *script) open(number locktable.SessionID) error {
	for s.opened < number {
		c := &locktable.OpenSession{
			Principal: "alice", Namespace: locktable.DefaultNamespace, TTL: 30_000,
		}
		if _, err := s.apply(s.clock, []locktable.Command{c}); err != nil {
			return err
		}
	}
	return nil
}

// apply gives an entry to the table and tells what it did: a line for each command, then a line
// for each event that tells more than the answers do.
func (s *script) apply(stamp locktable.Millis, commands []locktable.Command) ([]string, error) {
	s.begun()
	s.index++
	batch := locktable.Batch{Index: s.index, Stamp: stamp, Version: 1, Commands: commands}
	before := s.table.Time()
	effects := s.table.Apply(batch)
	s.twin.Apply(batch)
	if err := s.rules.keep(batch, before, effects); err != nil {
		return nil, fmt.Errorf("entry %d: %w", s.index, err)
	}
	if !s.quiet {
		var err error
		if s.table, err = s.under.between(s.table); err != nil {
			return nil, fmt.Errorf("after entry %d: %w\n%s", s.index, err, s.table)
		}
	}
	if a, b := s.table.Hash(), s.twin.Hash(); a != b {
		return nil, fmt.Errorf("entry %d: two tables with the same entries have hashes %x and %x", s.index, a, b)
	}
	if got := s.table.Time(); got != effects.Time {
		return nil, fmt.Errorf("entry %d: time %d after effects at %d", s.index, got, effects.Time)
	}

	var out []string
	for i, r := range effects.Results {
		if r.Session > s.opened && r.Outcome != locktable.Refused {
			s.opened = r.Session
			s.principals[r.Session] = principal(commands[i])
		}
		line := sentence(commands[i], r)
		if s.deadlines && r.Session != 0 {
			line += sessionDeadline(r)
		}
		out = append(out, line)
	}
	for _, e := range effects.Events {
		if !told(effects.Results, commands, e) {
			out = append(out, "event: "+happening(e))
		}
	}
	if effects.Backlog {
		out = append(out, "backlog left")
	}
	return out, nil
}

func principal(c locktable.Command) string {
	switch c := c.(type) {
	case *locktable.OpenSession:
		return c.Principal
	case *locktable.Acquire:
		return c.Principal
	}
	return ""
}
