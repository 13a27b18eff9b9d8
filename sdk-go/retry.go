package holdfast

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 2 * time.Second
)

// backoff is how long to wait before the next attempt after so many failures in a row (from 1 on):
// full jitter over 50 ms, doubling to 2 s (HF-11.7).
func backoff(failures int) time.Duration {
	return time.Duration(rand.Float64() * float64(backoffCeiling(failures)))
}

func backoffCeiling(failures int) time.Duration {
	ceiling := backoffMost
	if failures < 7 {
		ceiling = min(backoffMost, backoffFirst<<max(0, failures-1))
	}
	return ceiling
}

// pause is the wait before the next attempt after err: the server's advice if that is longer.
func pause(failures int, err error) time.Duration {
	wait := backoff(failures)
	if e := asError(err); e != nil && e.RetryAfter > wait {
		return e.RetryAfter
	}
	return wait
}

// retryable says whether the same call may do better later or elsewhere.
func retryable(err error) bool {
	e := asError(err)
	if e == nil {
		return false
	}
	return e.Reason.unavailable() || e.Reason == ReasonInternal && !e.final ||
		e.Reason == ReasonRateLimited || e.Reason == ReasonForked
}

// retrying makes a call until it is answered, its error is final, or ctx ends; a ctx without a
// deadline is given the call timeout. The error of the last attempt is told with the end of ctx.
func retrying[T any](ctx context.Context, t *transport, k callKind, what string,
	f func(context.Context, *clients) (T, error)) (T, timing, error) {
	var zero T
	if _, ok := ctx.Deadline(); !ok && k.bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.callTimeout,
			&Error{Reason: ReasonUnavailable, Message: "no answer within " + t.callTimeout.String()})
		defer cancel()
	}
	for failures := 1; ; failures++ {
		answer, at, err := once(ctx, t, k, f)
		if err == nil {
			return answer, at, nil
		}
		if ctx.Err() != nil {
			return zero, timing{}, callerGone(ctx, what, err)
		}
		if !retryable(err) {
			return zero, timing{}, err
		}
		if !sleep(ctx, pause(failures, err)) {
			return zero, timing{}, callerGone(ctx, what, err)
		}
	}
}

// sleep waits, and says whether it was not cut short by the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
