package holdfast

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// asError finds the *Error in err; nil if there is none.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok { //nolint:errorlint // the quick way first; errors.As allocates
		return e
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// reasonOf is the reason of err; empty if it has none.
func reasonOf(err error) Reason {
	if e := asError(err); e != nil {
		return e.Reason
	}
	return ""
}

// errorIn turns an error of the contract into one of ours.
func errorIn(e *v1.Error) *Error {
	return &Error{Reason: reasonIn(e.GetReason()), Message: e.GetMessage(), Hint: e.GetHint(),
		Field: e.GetField(), Limit: e.GetLimit(), RetryAfter: e.GetRetryAfter().AsDuration(),
		Ended: endReasonIn(e.GetEnded()), leader: e.GetLeader()}
}

// callError turns the error of a call into one of ours: by the detail that the server sends, or by
// the code if there is none, as when the server could not be reached.
func callError(err error) *Error {
	if e := asError(err); e != nil {
		return e
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return &Error{Reason: ReasonUnavailable, Message: "the call failed", cause: err}
	}
	for _, d := range ce.Details() {
		if m, err := d.Value(); err == nil {
			if e, ok := m.(*v1.Error); ok && e.GetReason() != v1.ErrorReason_ERROR_REASON_UNSPECIFIED {
				return errorIn(e)
			}
		}
	}
	out := &Error{Message: "the call failed", cause: err}
	switch ce.Code() {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange:
		out.Reason = ReasonInvalidArgument
	case connect.CodePermissionDenied:
		out.Reason = ReasonPermissionDenied
	case connect.CodeUnauthenticated:
		out.Reason = ReasonUnauthenticated
	case connect.CodeResourceExhausted:
		out.Reason = ReasonRateLimited
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled,
		connect.CodeAborted:
		out.Reason = ReasonUnavailable
	case connect.CodeUnimplemented, connect.CodeNotFound:
		out.Reason, out.final = ReasonInternal, true
		out.Hint = "does the endpoint serve Holdfast, of this version?"
	default:
		out.Reason = ReasonInternal
	}
	return out
}

// callerGone is the error of a call whose context ended: it is the context's error, and if the call
// was failing before, that too.
func callerGone(ctx context.Context, what string, last error) error {
	return givenUp(ctx.Err(), context.Cause(ctx), what, last)
}

func givenUp(err, cause error, what string, last error) error {
	if e := asError(cause); e != nil && last == nil {
		return cause
	}
	e := &Error{Reason: ReasonCancelled, Message: what, cause: cause}
	if !errors.Is(cause, err) {
		e.cause = fmt.Errorf("%w: %w", err, cause)
	}
	if last != nil {
		if reason := reasonOf(last); reason.unavailable() {
			e.Reason = reason
		}
		e.cause = fmt.Errorf("%w: %w", e.cause, last)
	}
	return e
}
