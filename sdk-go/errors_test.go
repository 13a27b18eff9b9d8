package holdfast

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// HF-11.10: every reason of the catalogue, and every outcome, has a native error.
func TestEveryReasonHasASentinel(t *testing.T) {
	for n, text := range v1.ErrorReason_name {
		r := v1.ErrorReason(n)
		if r == v1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			continue
		}
		sentinel := sentinels[reasonIn(r)]
		if sentinel == nil {
			t.Errorf("%s has no sentinel", text)
			continue
		}
		err := callError(wireError(connect.CodeInternal, &v1.Error{Reason: r, Message: "m"}))
		if !errors.Is(err, sentinel) || !errors.Is(fmt.Errorf("wrapped: %w", err), sentinel) {
			t.Errorf("%s does not match its sentinel", text)
		}
		for reason, other := range sentinels {
			if reason != reasonIn(r) && reason != ReasonUnavailable && errors.Is(err, other) {
				t.Errorf("%s matches %s", text, reason)
			}
		}
	}
	for n, text := range v1.Outcome_name {
		switch o := v1.Outcome(n); o {
		case v1.Outcome_OUTCOME_UNSPECIFIED, v1.Outcome_OUTCOME_GRANTED, v1.Outcome_OUTCOME_QUEUED,
			v1.Outcome_OUTCOME_SESSION_ENDED: // a SESSION_ENDED wait fails as its session does
		default:
			if sentinels[outcomeIn(o)] == nil {
				t.Errorf("%s has no sentinel", text)
			}
		}
	}
}

func TestEveryEndReasonIsALoss(t *testing.T) {
	want := map[string]LostReason{
		"RELEASED": LostClosed, "CLOSED": LostClosed, "ABANDONED": LostExpired,
		"SESSION_EXPIRED": LostExpired, "LEASE_EXPIRED": LostExpired, "MAX_HOLD_REACHED": LostExpired,
		"REVOKED": LostRevoked, "DEADLOCK_VICTIM": LostVictim, "RESTORED": LostForked,
	}
	for n := range v1.EndReason_name {
		r := v1.EndReason(n)
		if r == v1.EndReason_END_REASON_UNSPECIFIED {
			continue
		}
		if got := lostByEnd(endReasonIn(r)); got != want[string(endReasonIn(r))] {
			t.Errorf("%s: %q", r, got)
		}
	}
}

func TestErrorsWithoutDetail(t *testing.T) {
	for code, want := range map[connect.Code]error{
		connect.CodeUnavailable:      ErrUnavailable,
		connect.CodeDeadlineExceeded: ErrUnavailable,
		connect.CodeInvalidArgument:  ErrInvalidArgument,
		connect.CodePermissionDenied: ErrPermissionDenied,
		connect.CodeUnauthenticated:  ErrUnauthenticated,
		connect.CodeInternal:         ErrInternal,
		connect.CodeUnimplemented:    ErrInternal,
		connect.CodeUnknown:          ErrInternal,
	} {
		if err := callError(connect.NewError(code, errors.New("m"))); !errors.Is(err, want) {
			t.Errorf("%v: %v", code, err)
		}
	}
	if !retryable(callError(errors.New("dial: refused"))) {
		t.Error("a transport error is worth another try")
	}
	if retryable(callError(connect.NewError(connect.CodeUnimplemented, errors.New("m")))) {
		t.Error("what is not implemented will not be in a second")
	}
}

func TestUnavailableIsAllOfItsKind(t *testing.T) {
	for _, r := range []Reason{ReasonNotLeader, ReasonNoQuorum, ReasonOutcomeUnknown,
		ReasonShuttingDown, ReasonCircuitOpen} {
		if !errors.Is(&Error{Reason: r}, ErrUnavailable) {
			t.Errorf("%s", r)
		}
	}
	if errors.Is(&Error{Reason: ReasonHeld}, ErrUnavailable) {
		t.Error("contention is no failure")
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Reason: ReasonHeld, Message: "a is held", Hint: "wait", cause: context.Canceled}
	if got, want := e.Error(), "a is held: context canceled (hint: wait)"; got != want {
		t.Errorf("%q", got)
	}
	if got := (&Error{Reason: ReasonHeld}).Error(); got != "held" {
		t.Errorf("%q", got)
	}
	l := &LostError{Name: "a", Token: 7, Reason: LostRevoked, Detail: "maintenance"}
	if got, want := l.Error(), "a (token 7) was lost: revoked: maintenance"; got != want {
		t.Errorf("%q", got)
	}
}

func TestModes(t *testing.T) {
	for m := Exclusive; m <= SharedIntentionExclusive; m++ {
		for _, text := range []string{m.String(), m.Short()} {
			if got, err := ParseMode(text); got != m || err != nil {
				t.Errorf("%q: %v, %v", text, got, err)
			}
		}
		if modeIn(modeOut(m)) != m {
			t.Errorf("%v does not survive the wire", m)
		}
	}
	_, err := ParseMode("Q")
	wantErr(t, err, ErrInvalidMode)

	// HF-3.1: what covers what; a row covers the columns with a 1.
	order := []Mode{IntentionShared, IntentionExclusive, Shared, SharedIntentionExclusive, Exclusive}
	for i, row := range []string{"10000", "11000", "10100", "11110", "11111"} {
		for j, m := range order {
			if got := order[i].covers(m); got != (row[j] == '1') {
				t.Errorf("%v covers %v: %v", order[i], m, got)
			}
		}
	}
}
