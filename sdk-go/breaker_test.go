package holdfast

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// breakerVectors is conformance/vectors/breaker.json: cases in a form that every language can run.
type breakerVectors struct {
	Settings struct {
		Failures uint32 `json:"consecutive_failures"`
		OpenMS   int64  `json:"open_ms"`
		Probes   int    `json:"half_open_attempts"`
	} `json:"settings"`
	Outcomes map[string]string `json:"outcomes"`
	Cases    []struct {
		Name  string `json:"name"`
		Steps []struct {
			AtMS    int64  `json:"at_ms"`
			Call    string `json:"call"`  // allow and done in one, with this outcome
			Allow   string `json:"allow"` // begin an attempt of this name
			Done    string `json:"done"`  // end the attempt of this name
			Outcome string `json:"outcome"`
			Times   int    `json:"times"`
			Allowed bool   `json:"allowed"`
			State   string `json:"state"`
		} `json:"steps"`
	} `json:"cases"`
}

// outcomes are the errors by which the client meets what the vectors name.
func outcomes() map[string]error {
	wire := func(code connect.Code, r v1.ErrorReason) error {
		return callError(wireError(code, &v1.Error{Reason: r}))
	}
	bare := func(code connect.Code) error {
		return callError(connect.NewError(code, errors.New("no detail")))
	}
	return map[string]error{
		"granted": nil, "held": nil, "queued": nil,
		"invalid_argument":    bare(connect.CodeInvalidArgument),
		"not_found":           wire(connect.CodeNotFound, v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND),
		"failed_precondition": wire(connect.CodeFailedPrecondition, v1.ErrorReason_ERROR_REASON_NOT_HOLDER),
		"out_of_range":        wire(connect.CodeOutOfRange, v1.ErrorReason_ERROR_REASON_COMPACTED),
		"permission_denied":   bare(connect.CodePermissionDenied),
		"unauthenticated":     bare(connect.CodeUnauthenticated),
		"not_leader":          wire(connect.CodeUnavailable, v1.ErrorReason_ERROR_REASON_NOT_LEADER),
		"transport_error":     callError(errors.New("connection reset")),
		"unavailable":         bare(connect.CodeUnavailable),
		"no_quorum":           wire(connect.CodeUnavailable, v1.ErrorReason_ERROR_REASON_NO_QUORUM),
		"outcome_unknown":     wire(connect.CodeUnavailable, v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN),
		"shutting_down":       wire(connect.CodeUnavailable, v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN),
		"attempt_timeout":     bare(connect.CodeDeadlineExceeded),
		"internal":            wire(connect.CodeInternal, v1.ErrorReason_ERROR_REASON_INTERNAL),
		"unknown":             bare(connect.CodeUnknown),
		"older_epoch":         &Error{Reason: ReasonForked},
		"caller_cancelled":    context.Canceled,
		"rate_limited":        wire(connect.CodeResourceExhausted, v1.ErrorReason_ERROR_REASON_RATE_LIMITED),
	}
}

// HF-11.8: the vectors that every SDK runs.
func TestBreakerVectors(t *testing.T) {
	data, err := os.ReadFile("../conformance/vectors/breaker.json")
	if err != nil {
		t.Fatal(err)
	}
	var all breakerVectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if all.Settings.Failures != breakerFailures || all.Settings.Probes != 1 ||
		time.Duration(all.Settings.OpenMS)*time.Millisecond != breakerOpenFor {
		t.Fatalf("the vectors are for other settings: %+v", all.Settings)
	}
	errs := outcomes()
	verdicts := map[string]verdict{"success": verdictSuccess, "failure": verdictFailure,
		"excluded": verdictExcluded}
	for name, want := range all.Outcomes {
		err, known := errs[name]
		if got := judge(err, name == "caller_cancelled"); !known || got != verdicts[want] {
			t.Errorf("outcome %s: verdict %d, want %s", name, got, want)
		}
	}
	for _, c := range all.Cases {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				b := newBreaker("n1", nil)
				reports := make(map[string]func(verdict))
				for i, s := range c.Steps {
					time.Sleep(time.Duration(s.AtMS)*time.Millisecond - time.Since(start))
					for range max(1, s.Times) {
						switch {
						case s.Done != "":
							reports[s.Done](judge(errs[s.Outcome], s.Outcome == "caller_cancelled"))
						default:
							report, ok := b.allow()
							if ok != s.Allowed {
								t.Fatalf("step %d: allowed %v", i, ok)
							}
							if s.Allow != "" {
								reports[s.Allow] = report
							} else if ok {
								report(judge(errs[s.Call], s.Call == "caller_cancelled"))
							}
						}
					}
					if got := b.state(); got != s.State {
						t.Fatalf("step %d: %s, want %s", i, got, s.State)
					}
				}
			})
		})
	}
}

// HF-11.7: full jitter from 50 ms, doubling to 2 s.
func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 50 * time.Millisecond,
		2: 100 * time.Millisecond, 5: 800 * time.Millisecond, 6: 1600 * time.Millisecond,
		7: 2 * time.Second, 100: 2 * time.Second} {
		if got := backoffCeiling(failures); got != want {
			t.Errorf("%d failures: %v", failures, got)
		}
		low, high := want, time.Duration(0)
		for range 1000 {
			d := backoff(failures)
			low, high = min(low, d), max(high, d)
		}
		if low > want/10 || high > want || high < want*9/10 {
			t.Errorf("%d failures: between %v and %v", failures, low, high)
		}
	}
	if d := pause(1, &Error{RetryAfter: time.Minute}); d != time.Minute {
		t.Errorf("the server's advice: %v", d)
	}
}
