package holdfast

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	breakerFailures = 5               // so many in a row open the breaker
	breakerOpenFor  = 2 * time.Second // then it lets one probe through
)

// verdict is what an attempt says about the endpoint it was made at (HF-11.8).
type verdict int

const (
	verdictSuccess  verdict = iota // it answered; contention and refusals are answers
	verdictFailure                 // it is not well
	verdictExcluded                // it says nothing: the caller went away, or asked too much
)

// verdictError carries a verdict through the breaker, which speaks in errors.
type verdictError struct{ verdict verdict }

func (verdictError) Error() string { return "verdict" }

// breaker guards one endpoint. Allow returns nil if it is open, else a function to report with.
type breaker struct {
	steps *gobreaker.TwoStepCircuitBreaker[struct{}]
}

func newBreaker(name string, changed func(from, to string)) *breaker {
	return &breaker{steps: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        name,
		MaxRequests: 1,
		Timeout:     breakerOpenFor,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if changed != nil {
				changed(from.String(), to.String())
			}
		},
		IsSuccessful: func(err error) bool { return verdictOf(err) == verdictSuccess },
		IsExcluded:   func(err error) bool { return verdictOf(err) == verdictExcluded },
	})}
}

func verdictOf(err error) verdict {
	if v, ok := err.(verdictError); ok { //nolint:errorlint // made here and never wrapped
		return v.verdict
	}
	return verdictSuccess
}

// allow asks to make an attempt. report must be called once with its verdict.
func (b *breaker) allow() (report func(verdict), ok bool) {
	done, err := b.steps.Allow()
	if err != nil {
		return nil, false
	}
	return func(v verdict) { done(verdictError{v}) }, true
}

func (b *breaker) state() string { return b.steps.State().String() }

// judge says what the outcome of an attempt says about the endpoint. callerGone is true if the
// caller's own context ended, which is nobody's fault.
func judge(err error, callerGone bool) verdict {
	e := asError(err)
	switch {
	case err == nil:
		return verdictSuccess
	case callerGone:
		return verdictExcluded
	case e == nil:
		return verdictFailure
	}
	switch e.Reason {
	case ReasonNotLeader:
		return verdictSuccess
	case ReasonUnavailable, ReasonNoQuorum, ReasonOutcomeUnknown, ReasonShuttingDown,
		ReasonInternal, ReasonForked:
		return verdictFailure
	case ReasonRateLimited, ReasonQueueFull, ReasonQuotaExceeded:
		return verdictExcluded
	}
	return verdictSuccess
}
