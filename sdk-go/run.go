package holdfast

import (
	"context"
	"errors"
	"slices"
)

// Run runs fn as one line of work: all acquires within its context are made for one owner, and all
// that it still holds when fn returns is released. If fn fails because it was the victim of a
// deadlock (ErrDeadlockVictim), Run releases, backs off and runs it again, until ctx ends; so fn
// must be able to begin anew. The context ends when one of the locks is lost.
//
// Within the context of a handle, or of another Run, fn runs for the owner that is there; a deadlock
// is then for the outermost Run to retry, since only it can release everything.
func (c *Client) Run(ctx context.Context, fn func(ctx context.Context) error) error {
	outer := scopeOf(ctx, c)
	for failures := 1; ; failures++ {
		err := c.runOnce(ctx, outer, fn)
		if outer != nil || !errors.Is(err, ErrDeadlockVictim) || ctx.Err() != nil {
			return err
		}
		if !sleep(ctx, backoff(failures)) {
			return err
		}
	}
}

func (c *Client) runOnce(ctx context.Context, outer *scope, fn func(context.Context) error) (err error) {
	run := &runScope{}
	sc := &scope{c: c, run: run}
	if outer != nil {
		sc.own, sc.handle = outer.own, outer.handle
		if outer.run != nil && sc.own == nil {
			run.parent = outer.run
		}
	}
	runCtx, cancel := context.WithCancelCause(withScope(ctx, sc))
	run.cancel = cancel
	defer func() {
		cancel(context.Canceled)
		if released := run.releaseAll(ctx); err == nil {
			err = released
		}
	}()
	return fn(runCtx)
}

// releaseAll releases what was acquired within the run and not released yet, the last one first.
func (r *runScope) releaseAll(ctx context.Context) error {
	r.mu.Lock()
	handles := r.handles
	r.handles = nil
	r.mu.Unlock()
	var errs []error
	for _, h := range slices.Backward(handles) {
		errs = append(errs, h.Release(ctx))
	}
	return errors.Join(errs...)
}
