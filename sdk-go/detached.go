package holdfast

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// Detached is a grant without a client that keeps it alive: it has a session of its own, which lives
// for its ttl and is renewed only by RenewDetached. It outlives the process: a script can acquire in
// one command and release in another.
type Detached struct {
	GrantInfo
	SessionID uint64
}

// AcquireDetached acquires without the client's session. The wait ends with ctx; a grant that came at
// the same moment then ends with its ttl. WithDetachedTTL says how long the grant lives; with WithNonce
// a retry, even from another process, is the same request.
//
// The service cancels a wait whose connection breaks. Then it is asked for again, at the end of the
// queue; but not with a nonce of the caller, whose request has its outcome: ErrCancelled.
func (c *Client) AcquireDetached(ctx context.Context, l *Lock, opts ...AcquireOption) (*Detached, error) {
	cfg := *l.config(opts)
	until := time.Now().Add(cfg.waitLimit)
	if limit := c.patience(ctx, &cfg); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	for failures := 1; ; failures++ {
		answer, err := c.acquireAlone(ctx, l, cfg)
		if err != nil {
			return nil, err
		}
		out := outcome{kind: answer.GetOutcome(), ended: answer.GetEnded(), cycle: answer.GetCycle(),
			detail: answer.GetDetail(), position: answer.GetPosition(),
			blockers: answer.GetBlockers(), blocking: answer.GetBlockersTotal()}
		switch {
		case out.kind == v1.Outcome_OUTCOME_GRANTED:
			return detachedOf(answer, l.label())
		case out.kind == v1.Outcome_OUTCOME_CANCELLED && cfg.nonce == "":
		case out.kind == v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED && cfg.nonce == "" && !cfg.hasLimit:
		default:
			return nil, (&op{label: l.label()}).refusal(out)
		}
		if !sleep(ctx, backoff(failures)) {
			return nil, callerGone(ctx, l.label(), nil)
		}
		if cfg.waitLimit = time.Until(until); cfg.hasLimit && cfg.waitLimit <= 0 {
			out.kind = v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED
			return nil, (&op{label: l.label()}).refusal(out)
		}
	}
}

// acquireAlone makes one acquire without a session, repeated under one nonce until it is answered.
func (c *Client) acquireAlone(ctx context.Context, l *Lock, cfg acquireConfig) (*v1.AcquireResponse, error) {
	req := &v1.AcquireRequest{Claims: claimsOut(l.claims), Wait: durationOut(wireWait(ctx, &cfg))}
	cfg.out(req)
	req.Namespace, req.Nonce, req.Ttl = c.cfg.namespace, cfg.nonce, durationOut(cfg.detachedTTL)
	if req.GetNonce() == "" {
		req.Nonce = newNonce()
	}
	kind := callKind{bypass: true} // a call that waits would keep the breaker from another probe
	answer, _, err := retrying(ctx, c.transport, kind, l.label(),
		func(ctx context.Context, n *clients) (*v1.AcquireResponse, error) {
			return n.lock().Acquire(ctx, req)
		})
	return answer, err
}

func detachedOf(answer *v1.AcquireResponse, label string) (*Detached, error) {
	if answer.GetEnded() != v1.EndReason_END_REASON_UNSPECIFIED {
		return nil, &Error{Reason: ReasonNotHolder, Ended: endReasonIn(answer.GetEnded()),
			Message: fmt.Sprintf("%s was granted to this nonce before and has ended", label),
			Hint:    "acquire with another nonce"}
	}
	return &Detached{GrantInfo: grantIn(answer.GetGrant()), SessionID: answer.GetSessionId()}, nil
}

// RenewDetached lets a detached grant live for its ttl from now on.
func (c *Client) RenewDetached(ctx context.Context, grantID int64) (*Detached, error) {
	req := &v1.RenewRequest{GrantId: grantID}
	kind := callKind{control: true, bypass: true, bounded: true, timeout: attemptTimeout}
	answer, _, err := retrying(ctx, c.transport, kind, fmt.Sprintf("renew grant %d", grantID),
		func(ctx context.Context, n *clients) (*v1.RenewResponse, error) {
			return n.lock().Renew(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	return &Detached{GrantInfo: grantIn(answer.GetGrant())}, nil
}

// ReleaseDetached releases a detached grant and returns the depth that is left. It is tried for up to
// 5 s if ctx has ended, and counts once however often it is sent. With the grant the service forgets
// who released it, so an answer that says it is gone after a failed attempt counts as success.
func (c *Client) ReleaseDetached(ctx context.Context, grantID int64) (depth int, err error) {
	ctx, cancel := graceful(ctx, c.cfg.callTimeout)
	defer cancel()
	req := &v1.ReleaseRequest{GrantId: grantID, RequestId: randomID()}
	kind := callKind{control: true, bypass: true, timeout: attemptTimeout}
	attempts := 0
	answer, _, err := retrying(ctx, c.transport, kind, fmt.Sprintf("release grant %d", grantID),
		func(ctx context.Context, n *clients) (*v1.ReleaseResponse, error) {
			attempts++
			return n.lock().Release(ctx, req)
		})
	if attempts > 1 && (reasonOf(err) == ReasonNotHolder || reasonOf(err) == ReasonSessionExpired) {
		return 0, nil
	}
	return int(answer.GetDepth()), err
}

// randomID is a request id for a session that no client numbers requests in: its acquire has id 1.
func randomID() uint64 { return 1<<32 + rand.Uint64N(1<<62) }
