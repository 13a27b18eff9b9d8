package rpc

import (
	"fmt"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// subject is what a command is about, for the message of its refusal.
type subject struct {
	session locktable.SessionID
	grant   locktable.GrantID
	request uint64
	name    string
}

func subjectOf(command locktable.Command) subject {
	switch c := command.(type) {
	case *locktable.RenewSession:
		return subject{session: c.Session}
	case *locktable.CloseSession:
		return subject{session: c.Session}
	case *locktable.Acquire:
		return subject{session: c.Session, request: c.Request}
	case *locktable.Release:
		return subject{session: c.Session, request: c.Request, grant: c.Grant}
	case *locktable.Convert:
		return subject{session: c.Session, request: c.Request, grant: c.Grant, name: c.Name}
	case *locktable.Renew:
		return subject{session: c.Session, request: c.Request, grant: c.Grant}
	case *locktable.Cancel:
		return subject{session: c.Session, request: c.Request}
	case *locktable.RevokeGrant:
		return subject{grant: c.Grant}
	case *locktable.RevokeSession:
		return subject{session: c.Session}
	}
	return subject{}
}

// refusal gives the error for a command that Apply refused.
func refusal(command locktable.Command, a *answer) *v1.Error {
	of := subjectOf(command)
	if of.session == 0 {
		of.session = a.Session
	}
	detail := refusalOf(of, command, a)
	detail.Ended = endReasons[a.Ended]
	detail.Stamp = a.stamp()
	return detail
}

func refusalOf(of subject, command locktable.Command, a *answer) *v1.Error {
	var at place
	switch a.Refusal {
	case locktable.SessionExpired:
		return fail(v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED, of.session, endWord(a.Ended, a.Detail))
	case locktable.SessionNotFound:
		return fail(v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND, of.session)
	case locktable.NotHolder:
		who := "anybody"
		if of.session != 0 {
			who = fmt.Sprintf("session %d", of.session)
		}
		return fail(v1.ErrorReason_ERROR_REASON_NOT_HOLDER, of.grant, who)
	case locktable.StaleRequest:
		return fail(v1.ErrorReason_ERROR_REASON_STALE_REQUEST, of.request, a.Floor)
	case locktable.RequestIDReused:
		return fail(v1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED, of.request, of.session)
	case locktable.ConversionWaiting:
		return fail(v1.ErrorReason_ERROR_REASON_CONVERSION_WAITING, of.grant)
	case locktable.LastClaim:
		return at.invalid("name", fmt.Sprintf("%s is the last name of grant %d", of.name, of.grant),
			"release the grant instead")
	case locktable.NoSuchClaim:
		if of.name == "" {
			return at.invalid("name", fmt.Sprintf("grant %d has several names", of.grant), "name one of them")
		}
		return at.invalid("name", fmt.Sprintf("%s is not a name of grant %d", of.name, of.grant), "")
	case locktable.QueueFull:
		detail := fail(v1.ErrorReason_ERROR_REASON_QUEUE_FULL, a.Name, a.Limit)
		return limited(detail, a, "a name of the request", "waiters")
	case locktable.QuotaExceeded:
		return quotaExceeded(of, command, a)
	case locktable.PermissionDenied:
		return fail(v1.ErrorReason_ERROR_REASON_PERMISSION_DENIED, of.session)
	case locktable.InvalidEpoch:
		return at.invalid("epoch", "would not rise", "from 1 to 32767, above the present one")
	case locktable.InvalidVersion:
		return at.invalid("version", "not a semantics version that this node knows", "")
	}
	return fail(v1.ErrorReason_ERROR_REASON_INTERNAL)
}

// limited names the limit that was passed. A refusal that is given again does not know it any more
// (HF-7.2).
func limited(detail *v1.Error, a *answer, who, what string) *v1.Error {
	if a.First != 0 {
		detail.Message = fmt.Sprintf("%s had the most %s allowed when this request was first answered, at index %d",
			who, what, a.First)
		return detail
	}
	detail.Limit = fmt.Sprintf("at most %d %s", a.Limit, what)
	return detail
}

func quotaExceeded(of subject, command locktable.Command, a *answer) *v1.Error {
	who, what := fmt.Sprintf("session %d", of.session), "grants"
	switch c := command.(type) {
	case *locktable.OpenSession:
		who, what = "the principal", "sessions"
	case *locktable.Acquire:
		if c.Session == 0 {
			who, what = "the principal", "sessions"
		}
	}
	return limited(fail(v1.ErrorReason_ERROR_REASON_QUOTA_EXCEEDED, who, a.Limit, what), a, who, what)
}

// endWords says in words why something ended.
var endWords = map[locktable.EndReason]string{
	locktable.NotEnded:          "it has not",
	locktable.Released:          "released",
	locktable.Closed:            "closed",
	locktable.Abandoned:         "abandoned by its client",
	locktable.SessionTTLPassed:  "session expired",
	locktable.LeasePassed:       "lease expired",
	locktable.MaxHoldPassed:     "longest hold reached",
	locktable.RevokedByOperator: "revoked",
	locktable.VictimReleased:    "victim of a deadlock",
	locktable.Restored:          "the cluster was restored",
}

func endWord(reason locktable.EndReason, detail string) string {
	if detail == "" {
		return endWords[reason]
	}
	return endWords[reason] + ": " + detail
}
