package holdfast

import (
	"context"
	"fmt"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// Detached is a grant without a client that keeps it alive: it has a session of its own, which lives
// for its ttl and is renewed only by RenewDetached. It outlives the process: a script can acquire in
// one command and release in another.
type Detached struct {
	GrantInfo
	SessionID uint64
}

// AcquireDetached acquires without the client's session. The wait ends with ctx. WithDetachedTTL says
// how long the grant lives; with WithNonce a retry, even from another process, is the same request.
func (c *Client) AcquireDetached(ctx context.Context, l *Lock, opts ...AcquireOption) (*Detached, error) {
	cfg := l.config(opts)
	if cfg.nonce == "" {
		cfg.nonce = newNonce()
	}
	req := acquireOp(&owner{}, l.claims, cfg, wireWait(ctx, cfg)).acquire
	req.Namespace, req.Nonce, req.Ttl = c.cfg.namespace, cfg.nonce, durationOut(cfg.detachedTTL)
	if limit := c.patience(ctx, cfg); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	kind := callKind{bypass: true} // a call that waits would keep the breaker from another probe
	answer, _, err := retrying(ctx, c.transport, kind, l.label(),
		func(ctx context.Context, n *clients) (*v1.AcquireResponse, error) {
			return n.lock.Acquire(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	if answer.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
		o := &op{label: l.label()}
		return nil, o.refusal(outcome{kind: answer.GetOutcome(), ended: answer.GetEnded(),
			cycle: answer.GetCycle(), detail: answer.GetDetail(), position: answer.GetPosition(),
			blockers: answer.GetBlockers(), blocking: answer.GetBlockersTotal()})
	}
	if answer.GetEnded() != v1.EndReason_END_REASON_UNSPECIFIED {
		return nil, &Error{Reason: ReasonNotHolder, Ended: endReasonIn(answer.GetEnded()),
			Message: fmt.Sprintf("%s was granted to this nonce before and has ended", l.label()),
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
			return n.lock.Renew(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	return &Detached{GrantInfo: grantIn(answer.GetGrant())}, nil
}

// ReleaseDetached releases a detached grant and returns the depth that is left. It is tried for up to
// 5 s if ctx has ended. A retry after a lost answer cannot be told from a second release, so an
// answer that says the grant is gone after a failed attempt counts as success.
func (c *Client) ReleaseDetached(ctx context.Context, grantID int64) (depth int, err error) {
	ctx, cancel := graceful(ctx, c.cfg.callTimeout)
	defer cancel()
	req := &v1.ReleaseRequest{GrantId: grantID}
	kind := callKind{control: true, bypass: true, timeout: attemptTimeout}
	attempts := 0
	answer, _, err := retrying(ctx, c.transport, kind, fmt.Sprintf("release grant %d", grantID),
		func(ctx context.Context, n *clients) (*v1.ReleaseResponse, error) {
			attempts++
			return n.lock.Release(ctx, req)
		})
	if attempts > 1 && (reasonOf(err) == ReasonNotHolder || reasonOf(err) == ReasonSessionExpired) {
		return 0, nil
	}
	return int(answer.GetDepth()), err
}
