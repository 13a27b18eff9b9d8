package locktable_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// words is one line of a transcript: a verb, things in their order, options by name.
type words struct {
	verb    string
	things  []string
	options map[string]string
	err     error // the first that reading met
}

func parse(line string) (*words, error) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return nil, errors.New("empty line")
	}
	w := &words{verb: fields[0], options: map[string]string{}}
	for _, field := range fields[1:] {
		name, value, isOption := strings.Cut(field, "=")
		switch _, twice := w.options[name]; {
		case !isOption && strings.HasPrefix(field, "no-"), !isOption && field == "abandon":
			w.options[field] = ""
		case !isOption:
			w.things = append(w.things, field)
		case twice:
			return nil, fmt.Errorf("%s stands twice", name)
		default:
			w.options[name] = value
		}
	}
	return w, nil
}

// next takes the next thing; "" if there is none.
func (w *words) next() string {
	if len(w.things) == 0 {
		return ""
	}
	thing := w.things[0]
	w.things = w.things[1:]
	return thing
}

func (w *words) has(option string) bool { _, ok := w.options[option]; return ok }

func (w *words) text(option, otherwise string) string {
	value, ok := w.options[option]
	delete(w.options, option)
	if !ok {
		return otherwise
	}
	return value
}

func (w *words) flag(option string) bool {
	ok := w.has(option)
	delete(w.options, option)
	return ok
}

func (w *words) number(option string, otherwise int64) int64 {
	value := w.text(option, "")
	if value == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(value, 10, 64)
	w.err = cmp.Or(w.err, err)
	return n
}

func (w *words) span(option string) locktable.Millis {
	value := w.text(option, "")
	if value == "" {
		return 0
	}
	return parseSpan(value, &w.err)
}

// unread is the error of a line that was read: a bad value, or a word that nobody asked for.
func (w *words) unread() error {
	if w.err == nil && len(w.things)+len(w.options) > 0 {
		return fmt.Errorf("unknown words %q", append(w.things, slices.Sorted(maps.Keys(w.options))...))
	}
	return w.err
}

func parseSpan(text string, err *error) locktable.Millis {
	d, wrong := time.ParseDuration(text)
	*err = cmp.Or(*err, wrong)
	return d.Milliseconds()
}

// command reads a command of the table.
func (s *script) command(w *words) (locktable.Command, error) {
	c := s.read(w)
	if c == nil {
		return nil, fmt.Errorf("unknown verb %q", w.verb)
	}
	return c, w.err
}

func (s *script) read(w *words) locktable.Command {
	switch w.verb {
	case "open":
		w.next() // the name that the next session will have, for readers
		return &locktable.OpenSession{
			Principal: w.text("principal", "alice"), Namespace: w.text("ns", locktable.DefaultNamespace),
			TTL: cmp.Or(w.span("ttl"), 30_000), Metadata: w.text("meta", ""), Nonce: w.text("nonce", ""),
		}
	case "renew":
		id := s.session(w, w.next())
		return &locktable.RenewSession{Principal: s.principal(w, id), Session: id}
	case "close":
		id := s.session(w, w.next())
		return &locktable.CloseSession{
			Principal: s.principal(w, id), Session: id, Abandon: w.flag("abandon"),
		}
	case "acquire":
		return s.acquire(w)
	case "release":
		caller, _ := s.caller(w)
		return &locktable.Release{Caller: caller, Grant: grant(w)}
	case "renew-lease":
		caller, _ := s.caller(w)
		return &locktable.Renew{Caller: caller, Grant: grant(w)}
	case "convert":
		return s.convert(w)
	case "cancel":
		caller, _ := s.caller(w)
		c := &locktable.Cancel{Caller: caller}
		if w.has("nonce") {
			c.Namespace, c.Nonce = w.text("ns", locktable.DefaultNamespace), w.text("nonce", "")
		}
		return c
	case "revoke":
		return &locktable.RevokeGrant{Grant: grant(w), Reason: w.rest()}
	case "revoke-session":
		return &locktable.RevokeSession{Session: s.session(w, w.next()), Reason: w.rest()}
	case "limits":
		d := locktable.DefaultLimits
		return &locktable.SetLimits{Limits: locktable.Limits{
			WaitersPerName:       uint32(w.number("waiters", int64(d.WaitersPerName))),
			GrantsPerSession:     uint32(w.number("grants", int64(d.GrantsPerSession))),
			SessionsPerPrincipal: uint32(w.number("sessions", int64(d.SessionsPerPrincipal))),
		}}
	case "semantics":
		return &locktable.SetSemantics{Version: uint32(w.count(w.next()))}
	case "epoch":
		return &locktable.RaiseEpoch{Epoch: uint32(w.count(w.next()))}
	}
	return nil
}

func (s *script) acquire(w *words) locktable.Command {
	caller, owner := s.caller(w)
	c := &locktable.Acquire{
		Caller: caller, Owner: owner, Claims: claims(w),
		WaitLimit: w.span("wait"), Priority: int32(w.number("prio", 0)),
		Lease: w.span("lease"), MaxHold: w.span("max-hold"), LockDelay: w.span("delay"),
		OnDeadlock: onDeadlock(w), NoReentry: w.flag("no-reentry"), Metadata: w.text("meta", ""),
	}
	if caller.Session == 0 {
		c.Namespace = w.text("ns", locktable.DefaultNamespace)
		c.TTL = cmp.Or(w.span("ttl"), 30_000)
		c.Nonce = w.text("nonce", "")
	}
	return c
}

// convert reads "convert s1 #1 [name] mode"; the mode none drops the name.
func (s *script) convert(w *words) locktable.Command {
	caller, _ := s.caller(w)
	c := &locktable.Convert{
		Caller: caller, Grant: grant(w),
		WaitLimit: w.span("wait"), Priority: int32(w.number("prio", 0)), OnDeadlock: onDeadlock(w),
	}
	if len(w.things) == 2 {
		c.Name = w.next()
	}
	switch word := w.next(); {
	case word == "none":
	case isMode(word):
		c.Mode = modes[word]
	default:
		w.err = cmp.Or(w.err, fmt.Errorf("%q is no mode", word))
	}
	return c
}

// caller reads "s1", "s1/owner" or "-" for no session, and the options that say which request it is.
func (s *script) caller(w *words) (locktable.Caller, string) {
	who, owner, _ := strings.Cut(w.next(), "/")
	c := locktable.Caller{
		Request: uint64(w.number("id", 0)), Acked: uint64(w.number("acked", 0)),
	}
	if who != "-" {
		c.Session = s.session(w, who)
	}
	c.Principal = s.principal(w, c.Session)
	return c, owner
}

// session reads "s7", and opens the sessions up to s7 for an acquire. "s7!" is taken as it is.
func (s *script) session(w *words, word string) locktable.SessionID {
	word, asItIs := strings.CutSuffix(word, "!")
	id := locktable.SessionID(w.count(strings.TrimPrefix(word, "s")))
	if !strings.HasPrefix(word, "s") {
		w.err = cmp.Or(w.err, fmt.Errorf("%q is no session", word))
	}
	if w.err == nil && w.verb == "acquire" && !asItIs {
		w.err = s.open(id)
	}
	return id
}

func (s *script) principal(w *words, id locktable.SessionID) string {
	return w.text("principal", cmp.Or(s.principals[id], "alice"))
}

// grant reads "#7", or "#2.7" of epoch 2.
func grant(w *words) locktable.GrantID {
	word, ok := strings.CutPrefix(w.next(), "#")
	if !ok {
		w.err = cmp.Or(w.err, errors.New("no grant id"))
	}
	epoch, counter, both := strings.Cut(word, ".")
	if !both {
		epoch, counter = "0", word
	}
	return locktable.GrantID(w.count(epoch)<<48 | w.count(counter))
}

func (w *words) count(word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	w.err = cmp.Or(w.err, err)
	return n
}

func (w *words) rest() string {
	text := strings.Join(w.things, " ")
	w.things = nil
	return text
}

var modes = map[string]locktable.Mode{
	"IS": locktable.IS, "IX": locktable.IX, "S": locktable.S, "SIX": locktable.SIX, "X": locktable.X,
}

func isMode(word string) bool { _, ok := modes[word]; return ok }

// claims reads "a S b c IX": a name without a mode is asked for exclusively.
func claims(w *words) []locktable.Claim {
	var all []locktable.Claim
	for len(w.things) > 0 {
		claim := locktable.Claim{Name: w.next(), Mode: locktable.X}
		if len(w.things) > 0 && isMode(w.things[0]) {
			claim.Mode = modes[w.next()]
		}
		all = append(all, claim)
	}
	return all
}

func onDeadlock(w *words) locktable.DeadlockAction {
	if w.text("deadlock", "abort") == "release" {
		return locktable.ReleaseOwner
	}
	return locktable.AbortWait
}
