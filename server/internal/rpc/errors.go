package rpc

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// entry is one line of the catalogue: how a reason travels and reads.
type entry struct {
	code       connect.Code
	form       string // of the message
	hint       string
	retryAfter time.Duration
}

// catalogue is the one table that maps reasons to codes and messages. What it says of a reason is
// also said, for people, by the comments of ErrorReason; a test keeps them equal.
var catalogue = map[v1.ErrorReason]entry{
	v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED: {
		code: connect.CodeFailedPrecondition,
		form: "session %d has ended (%s)",
		hint: "open a new session; everything the old one held is gone",
	},
	v1.ErrorReason_ERROR_REASON_NOT_HOLDER: {
		code: connect.CodeFailedPrecondition,
		form: "grant %d is not held by %s",
		hint: "it was released or has ended; acquire again",
	},
	v1.ErrorReason_ERROR_REASON_STALE_REQUEST: {
		code: connect.CodeFailedPrecondition,
		form: "request %d is at or below the floor %d and its answer is not kept",
		hint: "whether it took effect before is unknown; look at the lock",
	},
	v1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED: {
		code: connect.CodeFailedPrecondition,
		form: "request %d of session %d was used before for a different command",
		hint: "number the requests of a session 1, 2, 3, ... and repeat a number only to retry",
	},
	v1.ErrorReason_ERROR_REASON_FROZEN: {
		code: connect.CodeFailedPrecondition,
		form: "%s is frozen (%s)",
		hint: "wait until an operator thaws it",
	},
	v1.ErrorReason_ERROR_REASON_CONVERSION_WAITING: {
		code: connect.CodeFailedPrecondition,
		form: "grant %d already has a waiting conversion",
		hint: "wait for it or cancel it",
	},
	v1.ErrorReason_ERROR_REASON_COMPACTED: {
		code: connect.CodeOutOfRange,
		form: "events after this cursor are gone",
		hint: "begin without a cursor, and read the present state",
	},
	v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND: {
		code: connect.CodeNotFound,
		form: "session %d is not known",
		hint: "open a new session",
	},
	v1.ErrorReason_ERROR_REASON_NOT_LEADER: {
		code: connect.CodeUnavailable,
		form: "node %s is not the leader and could not reach it",
		hint: "try another node",
	},
	v1.ErrorReason_ERROR_REASON_NO_QUORUM: {
		code: connect.CodeUnavailable,
		form: "no quorum: no leader for %s",
		hint: "nothing was done; check that a majority of the nodes runs and can reach each other",
	},
	v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN: {
		code: connect.CodeUnavailable,
		form: "the command may or may not have taken effect: %s",
		hint: "repeat it with the same request id or nonce to learn which",
	},
	v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN: {
		code: connect.CodeUnavailable,
		form: "node %s is shutting down",
		hint: "try another node",
	},
	v1.ErrorReason_ERROR_REASON_QUEUE_FULL: {
		code:       connect.CodeResourceExhausted,
		form:       "%s has %d waiters, the most allowed",
		hint:       "try again later",
		retryAfter: time.Second,
	},
	v1.ErrorReason_ERROR_REASON_QUOTA_EXCEEDED: {
		code:       connect.CodeResourceExhausted,
		form:       "%s has %d %s, the most allowed",
		hint:       "release something first",
		retryAfter: time.Second,
	},
	v1.ErrorReason_ERROR_REASON_RATE_LIMITED: {
		code:       connect.CodeResourceExhausted,
		form:       "%s",
		hint:       "nothing was done; wait and try again",
		retryAfter: 100 * time.Millisecond,
	},
	v1.ErrorReason_ERROR_REASON_INVALID_NAME: {
		code: connect.CodeInvalidArgument,
		form: "%s: %s",
		hint: "a name is 1 to 32 segments joined by /, like orders/42",
	},
	v1.ErrorReason_ERROR_REASON_INVALID_MODE: {
		code: connect.CodeInvalidArgument,
		form: "%s: %s",
		hint: "the modes are MODE_INTENTION_SHARED, MODE_INTENTION_EXCLUSIVE, MODE_SHARED, " +
			"MODE_SHARED_INTENTION_EXCLUSIVE and MODE_EXCLUSIVE",
	},
	v1.ErrorReason_ERROR_REASON_INVALID_TTL: {
		code: connect.CodeInvalidArgument,
		form: "%s: %s",
	},
	v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT: {
		code: connect.CodeInvalidArgument,
		form: "%s: %s",
	},
	v1.ErrorReason_ERROR_REASON_PERMISSION_DENIED: {
		code: connect.CodePermissionDenied,
		form: "session %d belongs to another principal",
	},
	v1.ErrorReason_ERROR_REASON_UNAUTHENTICATED: {
		code: connect.CodeUnauthenticated,
		form: "no credentials",
	},
	v1.ErrorReason_ERROR_REASON_INTERNAL: {
		code: connect.CodeInternal,
		form: "internal error",
		hint: "this is a fault in the server; its log tells more",
	},
}

// Failure is an error of the catalogue as a Go error.
type Failure struct{ Detail *v1.Error }

func (f *Failure) Error() string { return f.Detail.GetMessage() }

// fail makes the error for a reason, its message formed from the catalogue.
func fail(reason v1.ErrorReason, args ...any) *v1.Error {
	e := catalogue[reason]
	detail := &v1.Error{Reason: reason, Message: fmt.Sprintf(e.form, args...), Hint: e.hint}
	if e.retryAfter > 0 {
		detail.RetryAfter = durationpb.New(e.retryAfter)
	}
	return detail
}

// toConnect turns an error on its way out of a handler into what connect sends. Errors that are
// not of the catalogue are faults of ours: they become internal, and say nothing of their cause.
func toConnect(err error) error {
	if err == nil {
		return nil
	}
	var f *Failure
	if !errors.As(err, &f) {
		f = &Failure{fail(v1.ErrorReason_ERROR_REASON_INTERNAL)}
	}
	return connectError(f.Detail)
}

func connectError(detail *v1.Error) *connect.Error {
	e, known := catalogue[detail.GetReason()]
	if !known {
		// A newer leader may answer with a reason that this node does not know.
		e.code = connect.CodeUnknown
	}
	message := detail.GetMessage()
	if hint := detail.GetHint(); hint != "" {
		message += " (hint: " + hint + ")"
	}
	out := connect.NewError(e.code, errors.New(message))
	if d, err := connect.NewErrorDetail(detail); err == nil {
		out.AddDetail(d)
	}
	if after := detail.GetRetryAfter(); after != nil {
		seconds := math.Ceil(after.AsDuration().Seconds())
		out.Meta().Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	return out
}

// Invalid is the error of a field, for those who check more than its form.
func Invalid(field, problem, limit string) error {
	return &Failure{place{}.invalid(field, problem, limit)}
}

// NotDone is the error of a change that could not be made at present.
func NotDone() error { return &Failure{noQuorum()} }

// Unknown is the error of a change that was proposed and whose fate is not known.
func Unknown() error { return &Failure{unknownOutcome(nil)} }
