// Package holdfast is the Go client of Holdfast, a distributed lock service.
//
// # Hold a lock
//
// A [Client] talks to one cluster. A [Lock] is a name, or several, to acquire; a [Handle] is a lock
// that is held.
//
//	c, err := holdfast.New(ctx, holdfast.Endpoints("http://127.0.0.1:7480"))
//	defer c.Close(ctx)
//
//	h, err := c.Lock("orders/42").Acquire(ctx)
//	defer h.Release(ctx)
//	work(h.Context(), h.Token())
//
// Locks are exclusive unless [Lock.Shared] says otherwise. A lock on a name covers all names below it:
// nobody holds "orders/42" while somebody else holds "orders". [Client.LockAll] acquires several at
// once or not at all. [Lock.TryAcquire] does not wait, [WithWaitLimit] bounds the wait, and the end
// of the context cancels it.
//
// # Lose a lock
//
// The client keeps one session with the service and renews it in the background, at a third of its
// ttl. While that works, everything it holds stays held. When it does not, a handle is first at risk
// ([Handle.AtRisk]: a renewal is overdue) and then lost ([Handle.Lost], with a [LostReason]), and its
// context ends, before the service may give the lock to anybody else. A loss is final: nothing is
// acquired again behind your back. Let the work run within [Handle.Context], and ask [Handle.Check]
// before a step that cannot be undone.
//
// # Fence a write
//
// Neither this client nor any other can promise that a program which was stopped between Check and
// its write does not write too late. The resource can refuse such a write: every grant has a token
// greater than those before ([Handle.Token]). Package fence has the check for SQL, HTTP and
// compare-and-set stores.
//
// # Owners
//
// What waits for what is judged by owner, a line of work. Every acquire is a new owner, unless it is
// made within the context of a handle ([Handle.Context], [Handle.Bind]): then it is made for that
// handle's owner, which never waits for itself. Acquiring within such a context what the owner holds
// already costs no call; each handle is released for itself, and the last release gives the lock
// back. There is no other way to re-enter: goroutines have no identity here. [Client.Run] makes one
// owner for a function, and begins anew if that was chosen to resolve a deadlock.
//
// # Errors
//
// Contention is no failure: it shows as ok false from TryAcquire, or as [ErrHeld] and [ErrWaitLimit].
// Everything else is an [*Error] with a [Reason]; use [errors.Is] with the sentinels. Calls are
// retried, with the same request id, for as long as their context lasts; a request is carried out at
// most once, however often it was sent. Calls whose context has no deadline and that do not wait for
// a lock give up after [WithCallTimeout].
//
// # Time
//
// Deadlines are judged on a clock that runs while the machine sleeps (CLOCK_BOOTTIME on Linux).
// Elsewhere a wall clock that runs ahead of the monotonic one is taken for a sleep, and what is held
// counts as lost.
package holdfast
