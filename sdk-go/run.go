package holdfast

import "context"

// Run runs fn as one line of work: all acquires within its context are made for one owner, and all
// that it still holds when fn returns is released. If fn fails because it was the victim of a
// deadlock (ErrDeadlockVictim), Run releases, backs off and runs it again, until ctx ends; so fn
// must be able to begin anew. The context ends when one of the locks is lost.
func (c *Client) Run(ctx context.Context, fn func(ctx context.Context) error) error {
	panic("pending")
}
