package locktable_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

var outcomes = map[locktable.Outcome]string{
	locktable.Done: "done", locktable.Refused: "refused", locktable.Granted: "granted",
	locktable.Queued: "queued", locktable.Held: "held", locktable.WaitLimitReached: "wait limit reached",
	locktable.Cancelled: "cancelled", locktable.DeadlockVictim: "deadlock victim",
	locktable.SessionEnded: "session ended", locktable.Revoked: "revoked",
}

var refusals = map[locktable.Refusal]string{
	locktable.SessionExpired: "session expired", locktable.SessionNotFound: "session not found",
	locktable.NotHolder: "not holder", locktable.StaleRequest: "stale request",
	locktable.RequestIDReused: "request id reused", locktable.ConversionWaiting: "conversion waiting",
	locktable.LastClaim: "last claim", locktable.NoSuchClaim: "no such claim",
	locktable.QueueFull: "queue full", locktable.QuotaExceeded: "quota exceeded",
	locktable.PermissionDenied: "permission denied", locktable.InvalidEpoch: "invalid epoch",
	locktable.InvalidVersion: "invalid version",
}

var reasons = map[locktable.EndReason]string{
	locktable.Released: "released", locktable.Closed: "closed", locktable.Abandoned: "abandoned",
	locktable.SessionTTLPassed: "ttl passed", locktable.LeasePassed: "lease passed",
	locktable.MaxHoldPassed: "max hold passed", locktable.RevokedByOperator: "revoked",
	locktable.VictimReleased: "victim released", locktable.Restored: "restored",
}

// sentence tells the answer to a command.
func sentence(c locktable.Command, r locktable.Result) string {
	s := word(outcomes, r.Outcome)
	switch r.Outcome {
	case locktable.Done:
		s = doneSentence(c, r)
	case locktable.Granted:
		s += grantWords(c, r)
	case locktable.Queued:
		s += fmt.Sprintf(" position=%d%s", r.Position, blockers(" behind ", r))
	case locktable.Held:
		s += blockers(" by ", r)
	case locktable.DeadlockVictim:
		s += cycle(": ", r.Cycle)
	case locktable.Refused:
		s += ": " + word(refusals, r.Refusal) + numbers(r)
	}
	s += ended(r.Ended, r.Detail)
	if r.First != 0 {
		s += fmt.Sprintf(", as first answered by entry %d", r.First)
	}
	return s
}

func doneSentence(c locktable.Command, r locktable.Result) string {
	switch c.(type) {
	case *locktable.OpenSession:
		return fmt.Sprintf("opened s%d for %s until %s", r.Session, span(r.TTL), span(r.SessionDeadline))
	case *locktable.RenewSession:
		return "renewed until " + span(r.SessionDeadline)
	case *locktable.Renew:
		return "renewed #" + token(int64(r.Grant.ID)) + deadlineWords(r.Grant)
	case *locktable.Release:
		if r.Grant.Depth > 0 {
			return fmt.Sprintf("released, depth %d is left", r.Grant.Depth)
		}
		return "released"
	}
	return "done"
}

// grantWords tells of a grant what the command does not say already.
func grantWords(c locktable.Command, r locktable.Result) string {
	g := r.Grant
	s := " #" + token(int64(g.ID))
	if int64(g.Token) != int64(g.ID) {
		s += " token=#" + token(int64(g.Token))
	}
	if r.Ended != locktable.NotEnded {
		return s // a replay: it is held no more
	}
	asked, isAcquire := c.(*locktable.Acquire)
	if !isAcquire || !sameClaims(asked.Claims, g.Claims) {
		s += " of " + claimWords(g.Claims)
	}
	if isAcquire && asked.Session == 0 {
		s += fmt.Sprintf(" in s%d", r.Session)
	}
	if g.Depth != 1 {
		s += fmt.Sprintf(" depth=%d", g.Depth)
	}
	return s + deadlineWords(g)
}

func deadlineWords(g locktable.GrantInfo) string {
	s := ""
	if g.Deadlines.Lease != 0 {
		s += " lease until " + span(g.Deadlines.Lease)
	}
	if g.Deadlines.MaxHold != 0 {
		s += " max hold until " + span(g.Deadlines.MaxHold)
	}
	return s
}

func numbers(r locktable.Result) string {
	if r.First != 0 {
		return "" // a replay does not tell them (HF-7.2)
	}
	switch r.Refusal {
	case locktable.QueueFull:
		return fmt.Sprintf(" (%d wait for %s)", r.Limit, r.Name)
	case locktable.QuotaExceeded:
		return fmt.Sprintf(" (limit %d)", r.Limit)
	case locktable.StaleRequest:
		return fmt.Sprintf(" (floor %d)", r.Floor)
	}
	return ""
}

func ended(reason locktable.EndReason, detail string) string {
	if reason == locktable.NotEnded && detail == "" {
		return ""
	}
	s := word(reasons, reason)
	if detail != "" {
		s += ": " + detail
	}
	return " (" + s + ")"
}

func blockers(before string, r locktable.Result) string {
	var all []string
	for _, b := range r.Blockers {
		var s string
		switch b.Kind {
		case locktable.Holder:
			s = fmt.Sprintf("%s (%s %s #%s)", owner(b.Session, b.Owner), b.Name, b.Mode, token(int64(b.Grant)))
		case locktable.GhostLeft:
			s = fmt.Sprintf("ghost (%s %s #%s)", b.Name, b.Mode, token(int64(b.Grant)))
		case locktable.WaiterAhead:
			s = fmt.Sprintf("%s (%s %s waiting)", request(b.Session, b.Owner, b.Request), b.Name, b.Mode)
		}
		all = append(all, s)
	}
	if more := r.BlockersTotal - len(r.Blockers); more != 0 {
		all = append(all, fmt.Sprintf("%d more", more))
	}
	if all == nil {
		return ""
	}
	return before + strings.Join(all, ", ")
}

func cycle(before string, steps []locktable.CycleStep) string {
	var all []string
	for _, c := range steps {
		all = append(all, fmt.Sprintf("%s waits for %s %s", request(c.Session, c.Owner, c.Request), c.Name, c.Mode))
	}
	if all == nil {
		return ""
	}
	return before + strings.Join(all, ", ")
}

// happening tells an event.
func happening(e locktable.Event) string {
	who := request(e.Session, e.Owner, e.Request)
	g := "#" + token(int64(e.Grant.ID))
	switch e.Kind {
	case locktable.EventOutcome:
		s := who
		if e.Converts != 0 {
			s += " conversion of #" + token(int64(e.Converts))
		}
		s += " " + word(outcomes, e.Outcome)
		if e.Outcome == locktable.Granted {
			s += eventGrant(e)
		}
		return s + cycle(": ", e.Cycle) + ended(e.Ended, e.Detail)
	case locktable.EventQueued:
		return who + " queued"
	case locktable.EventGranted, locktable.EventConverted:
		return who + " granted" + eventGrant(e)
	case locktable.EventGrantEnded:
		return fmt.Sprintf("%s of %s ended%s", g, owner(e.Session, e.Owner), ended(e.Ended, e.Detail))
	case locktable.EventSessionEnded:
		return owner(e.Session, "") + " ended" + ended(e.Ended, e.Detail)
	case locktable.EventDeadlock:
		s := "deadlock" + cycle(": ", e.Cycle)
		if e.Victim == (locktable.Index{}) {
			return s + "; solved by a turn"
		}
		at := slices.IndexFunc(e.Cycle, func(c locktable.CycleStep) bool { return c.Arrival == e.Victim })
		if at < 0 {
			return s + "; victim outside the cycle"
		}
		v := e.Cycle[at]
		return s + "; victim " + request(v.Session, v.Owner, v.Request)
	}
	return fmt.Sprintf("unknown kind %d", e.Kind)
}

func eventGrant(e locktable.Event) string {
	s := " #" + token(int64(e.Grant.ID))
	if int64(e.Grant.Token) != int64(e.Grant.ID) {
		s += " token=#" + token(int64(e.Grant.Token))
	}
	if e.Converts != 0 {
		s += " of " + claimWords(e.Grant.Claims)
	}
	if e.Grant.Depth != 1 {
		s += fmt.Sprintf(" depth=%d", e.Grant.Depth)
	}
	return s + deadlineWords(e.Grant)
}

func owner(session locktable.SessionID, key string) string {
	if key == "" {
		return fmt.Sprintf("s%d", session)
	}
	return fmt.Sprintf("s%d/%s", session, key)
}

func request(session locktable.SessionID, key string, id uint64) string {
	if id == 0 {
		return owner(session, key)
	}
	return fmt.Sprintf("%s id=%d", owner(session, key), id)
}

func claimWords(claims []locktable.Claim) string {
	var all []string
	for _, c := range claims {
		all = append(all, c.Name+" "+c.Mode.String())
	}
	return strings.Join(all, ", ")
}

func sameClaims(a, b []locktable.Claim) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	order := func(a, b locktable.Claim) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(a, order)
	return slices.Equal(a, b) && slices.IsSortedFunc(b, order)
}

func sessionDeadline(r locktable.Result) string {
	if r.SessionDeadline == 0 {
		return fmt.Sprintf(" [s%d has ended]", r.Session)
	}
	return fmt.Sprintf(" [s%d until %s]", r.Session, span(r.SessionDeadline))
}

// token shows a token of epoch 0 as its counter, one of epoch 2 as 2.7.
func token(t int64) string {
	epoch, counter := t>>48, t&(1<<48-1)
	if epoch == 0 {
		return fmt.Sprint(counter)
	}
	return fmt.Sprintf("%d.%d", epoch, counter)
}

// span shows milliseconds as 90s, 1m30s or 250ms.
func span(ms locktable.Millis) string {
	s := (time.Duration(ms) * time.Millisecond).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func word[K comparable](of map[K]string, key K) string {
	if w, ok := of[key]; ok {
		return w
	}
	return fmt.Sprintf("%T(%v)", key, key)
}
