package rpc

import "github.com/holdfast-dev/holdfast/server/internal/locktable"

// kindOf names a command for those who count.
func kindOf(command locktable.Command) string {
	switch command.(type) {
	case *locktable.OpenSession:
		return "open_session"
	case *locktable.RenewSession:
		return "renew_session"
	case *locktable.CloseSession:
		return "close_session"
	case *locktable.Acquire:
		return "acquire"
	case *locktable.Release:
		return "release"
	case *locktable.Convert:
		return "convert"
	case *locktable.Renew:
		return "renew"
	case *locktable.Cancel:
		return "cancel"
	case *locktable.RevokeGrant:
		return "revoke_grant"
	case *locktable.RevokeSession:
		return "revoke_session"
	}
	return "other"
}

// outcomeWords name outcomes and refusals for those who count.
var (
	outcomeWords = [...]string{
		locktable.OutcomeNone:      "none",
		locktable.Done:             "done",
		locktable.Refused:          "refused",
		locktable.Granted:          "granted",
		locktable.Queued:           "queued",
		locktable.Held:             "held",
		locktable.WaitLimitReached: "wait_limit_reached",
		locktable.Cancelled:        "cancelled",
		locktable.DeadlockVictim:   "deadlock_victim",
		locktable.SessionEnded:     "session_ended",
		locktable.Revoked:          "revoked",
	}
	refusalWords = [...]string{
		locktable.NoRefusal:         "refused",
		locktable.SessionExpired:    "session_expired",
		locktable.SessionNotFound:   "session_not_found",
		locktable.NotHolder:         "not_holder",
		locktable.StaleRequest:      "stale_request",
		locktable.RequestIDReused:   "request_id_reused",
		locktable.ConversionWaiting: "conversion_waiting",
		locktable.LastClaim:         "last_claim",
		locktable.NoSuchClaim:       "no_such_claim",
		locktable.QueueFull:         "queue_full",
		locktable.QuotaExceeded:     "quota_exceeded",
		locktable.PermissionDenied:  "permission_denied",
		locktable.InvalidEpoch:      "invalid_epoch",
		locktable.InvalidVersion:    "invalid_version",
	}
)

// tally counts the commands of one call by what came of them. Calls are many and their commands are
// mostly of a kind or two, so the counters that all calls share are touched once for each.
type tally []counted

type counted struct {
	kind, outcome string
	n             int
}

func (t *tally) count(command locktable.Command, a *answer) {
	kind, word := kindOf(command), outcomeWords[a.Outcome]
	if a.Outcome == locktable.Refused {
		word = refusalWords[a.Refusal]
	}
	for i := range *t {
		if c := &(*t)[i]; c.kind == kind && c.outcome == word {
			c.n++
			return
		}
	}
	*t = append(*t, counted{kind, word, 1})
}

func (t tally) tell(o Observer) {
	for _, c := range t {
		o.Operations(c.kind, c.outcome, c.n)
	}
}
