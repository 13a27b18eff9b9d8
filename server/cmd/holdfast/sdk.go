package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// connectSDK makes a client for the commands that keep a session: `lock` and `bench`.
func (a *app) connectSDK(ctx context.Context, opts ...holdfast.Option) (*holdfast.Client, error) {
	if err := checkEndpoints(a.endpoints); err != nil {
		return nil, err
	}
	opts = append(opts, holdfast.Endpoints(a.endpoints...), holdfast.WithCallTimeout(a.timeout))
	if a.namespace != "" {
		opts = append(opts, holdfast.WithNamespace(a.namespace))
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return holdfast.New(ctx, opts...)
}

// How long to try to close a session before leaving: what is not closed ends with its ttl. After a
// loss the service may well be out of reach, and what was held is held no more.
const (
	closeLimit     = 5 * time.Second
	closeLimitLost = time.Second
)

func closeSDK(client *holdfast.Client, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = client.Close(ctx)
}

func (f *acquireFlags) sdkMode() (holdfast.Mode, error) {
	mode, err := f.parsedMode()
	if err != nil {
		return 0, err
	}
	return holdfast.ParseMode(modeName(mode))
}

func (f *acquireFlags) sdkOptions() []holdfast.AcquireOption {
	opts := []holdfast.AcquireOption{holdfast.WithPriority(int(f.priority)), holdfast.WithMetadata(f.metadata)}
	if f.wait >= 0 {
		opts = append(opts, holdfast.WithWaitLimit(f.wait))
	}
	if f.lease != 0 {
		opts = append(opts, holdfast.WithLease(f.lease))
	}
	if f.maxHold != 0 {
		opts = append(opts, holdfast.WithMaxHold(f.maxHold))
	}
	if f.lockDelay != 0 {
		opts = append(opts, holdfast.WithLockDelay(f.lockDelay))
	}
	return opts
}

// fromSDK shows an error of the SDK, or returns nil if it is none.
func fromSDK(err error) *exitError {
	var e *holdfast.Error
	if !errors.As(err, &e) {
		return nil
	}
	shown := &exitError{code: exitFailed, message: e.Message, hint: e.Hint, reason: string(e.Reason)}
	if shown.message == "" {
		shown.message = err.Error()
	}
	switch {
	case errors.Is(err, holdfast.ErrHeld), errors.Is(err, holdfast.ErrWaitLimit),
		errors.Is(err, holdfast.ErrDeadlockVictim), errors.Is(err, holdfast.ErrRevoked),
		errors.Is(err, holdfast.ErrCancelled):
		shown.code = exitNotGot
		if shown.hint == "" && len(e.Blockers) > 0 {
			shown.hint = "raise --wait, or see who is in the way: holdfast get " + e.Blockers[0].Name
		}
	case errors.Is(err, holdfast.ErrInvalidName), errors.Is(err, holdfast.ErrInvalidMode),
		errors.Is(err, holdfast.ErrInvalidTTL), errors.Is(err, holdfast.ErrInvalidArgument):
		shown.code = exitUsage
	case errors.Is(err, holdfast.ErrUnavailable), errors.Is(err, holdfast.ErrRateLimited):
		shown.code = exitUnavailable
		if shown.hint == "" {
			shown.hint = unreachableHint
		}
	case errors.Is(err, holdfast.ErrPermissionDenied), errors.Is(err, holdfast.ErrUnauthenticated):
		shown.code = exitDenied
	}
	if cause := errors.Unwrap(e); cause != nil {
		shown.message += ": " + cause.Error()
	}
	shown.message = fmt.Sprintf("%s (%s)", shown.message, e.Reason)
	return shown
}
