package holdfast

import "context"

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
	panic("pending")
}

// RenewDetached lets a detached grant live for its ttl from now on.
func (c *Client) RenewDetached(ctx context.Context, grantID int64) (*Detached, error) {
	panic("pending")
}

// ReleaseDetached releases a detached grant. It returns the depth that is left.
func (c *Client) ReleaseDetached(ctx context.Context, grantID int64) (depth int, err error) {
	panic("pending")
}
