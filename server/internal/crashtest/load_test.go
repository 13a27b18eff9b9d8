package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

const (
	sessionTTL   = 30 * time.Second // no session may end while nodes are killed one at a time
	waitLimit    = 10 * time.Second
	sharedNames  = 4  // that the contending workers fight for
	keptGrants   = 50 // of each keeper
	keepers      = 2
	ownWorkers   = 4
	rawContend   = 6
	sdkClients   = 2
	sdkContend   = 3 // goroutines of each SDK client
	holdMost     = 5 * time.Millisecond
	verifyOneOf  = 20 // grants that are looked up while they are held
	longHoldOneO = 50 // contended grants that are held for a second, over a fail-over perhaps
)

// load is everything that uses the cluster while its nodes are killed.
type load struct {
	oracle    *oracle
	endpoints []*endpoint
	urls      []string
	keepers   []*keeper
	retries   atomic.Int64

	stop    chan struct{}
	workers sync.WaitGroup
}

func newLoad(urls []string) *load {
	return &load{oracle: newOracle(), urls: urls, endpoints: newEndpoints(urls), stop: make(chan struct{})}
}

// start opens all sessions and lets the workers go.
func (l *load) start(ctx context.Context) error {
	for i := range keepers {
		k := &keeper{client: l.client(i)}
		if err := k.fill(ctx, l.oracle, i); err != nil {
			return err
		}
		l.keepers = append(l.keepers, k)
	}
	for i := range ownWorkers {
		l.workers.Go(func() { l.runRaw(ctx, fmt.Sprintf("own-%d", i), i, l.ownStep) })
	}
	for i := range rawContend {
		l.workers.Go(func() { l.runRaw(ctx, fmt.Sprintf("raw-%d", i), i, l.contendStep) })
	}
	for i := range sdkClients {
		client, err := holdfast.New(ctx, holdfast.Endpoints(l.urls...), holdfast.WithTTL(sessionTTL))
		if err != nil {
			return err
		}
		var all sync.WaitGroup
		for j := range sdkContend {
			all.Go(func() { l.runSDK(ctx, client, fmt.Sprintf("sdk-%d-%d", i, j)) })
		}
		l.workers.Go(func() {
			all.Wait()
			if err := client.Close(ctx); err != nil {
				l.oracle.violated("sdk-%d: close: %v", i, err)
			}
		})
	}
	return nil
}

// end lets every worker finish what it does.
func (l *load) end() {
	close(l.stop)
	l.workers.Wait()
}

func (l *load) client(i int) *rawClient { return &rawClient{endpoints: l.endpoints, at: i} }

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// rest holds a lock for a while, or pauses between two.
func (l *load) rest(d time.Duration) {
	select {
	case <-l.stop:
	case <-time.After(d):
	}
}

// runRaw repeats a step of a raw client until the end. A step that fails ends the worker: every
// error that is not passing breaks a promise.
func (l *load) runRaw(ctx context.Context, who string, i int, step func(context.Context, *rawClient, string) error) {
	c := l.client(i)
	err := c.open(ctx, who)
	for err == nil && !l.stopped() {
		err = step(ctx, c, who)
	}
	if err == nil {
		err = c.close(ctx)
	}
	l.retries.Add(int64(c.retries))
	if err != nil && ctx.Err() == nil {
		l.oracle.violated("%s (session %d): %v", who, c.session, err)
	}
}

// ownStep acquires a lock that nobody else wants, looks whether it is held, and releases it.
func (l *load) ownStep(ctx context.Context, c *rawClient, who string) error {
	names := []string{fmt.Sprintf("own/%s/%d", who, rand.IntN(10))}
	floor := l.oracle.floor()
	res, err := c.acquire(ctx, names, v1.Mode_MODE_EXCLUSIVE, 0)
	if err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if res.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
		return fmt.Errorf("%s is wanted by nobody else, and the outcome is %v", names, res.GetOutcome())
	}
	return l.hold(ctx, c, who, names, false, floor, res, rand.N(holdMost))
}

// contendStep acquires one or two names that many want, for reading or writing.
func (l *load) contendStep(ctx context.Context, c *rawClient, who string) error {
	names, shared := contended()
	mode := v1.Mode_MODE_EXCLUSIVE
	if shared {
		mode = v1.Mode_MODE_SHARED
	}
	floor := l.oracle.floor()
	res, err := c.acquire(ctx, names, mode, waitLimit)
	if err != nil {
		return fmt.Errorf("acquire %v: %w", names, err)
	}
	switch res.GetOutcome() {
	case v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED:
		return nil
	case v1.Outcome_OUTCOME_GRANTED:
		return l.hold(ctx, c, who, names, shared, floor, res, holdFor())
	default:
		return fmt.Errorf("acquire %v: outcome %v", names, res.GetOutcome())
	}
}

func contended() (names []string, shared bool) {
	first := rand.IntN(sharedNames)
	names = []string{fmt.Sprintf("hot/%d", first)}
	if rand.IntN(4) == 0 {
		names = append(names, fmt.Sprintf("hot/%d", (first+1)%sharedNames))
	}
	return names, rand.IntN(3) == 0
}

func holdFor() time.Duration {
	if rand.IntN(longHoldOneO) == 0 {
		return time.Second
	}
	return rand.N(holdMost)
}

// hold is in the critical section for a while, and then releases the lock, which must still be
// held.
func (l *load) hold(ctx context.Context, c *rawClient, who string, names []string, shared bool, floor int64,
	res *v1.AcquireResponse, d time.Duration,
) error {
	g := res.GetGrant()
	if g.GetDepth() != 1 || res.GetEnded() != v1.EndReason_END_REASON_UNSPECIFIED {
		return fmt.Errorf("granted %v with depth %d, ended %v: the request counted twice, or the grant was lost",
			names, g.GetDepth(), res.GetEnded())
	}
	l.oracle.entered(who, names, shared, g.GetToken(), floor)
	l.rest(d)
	if rand.IntN(verifyOneOf) == 0 || d >= time.Second {
		lock, err := c.get(ctx, names[0])
		if err == nil {
			err = heldBy(lock, g.GetId(), g.GetToken())
		}
		if err != nil {
			return fmt.Errorf("look at what is held: %w", err)
		}
	}
	l.oracle.leaves(who, names)
	released, err := c.release(ctx, g.GetId())
	if err != nil {
		return fmt.Errorf("release %v (grant %d): %w", names, g.GetId(), err)
	}
	if released.GetDepth() != 0 {
		return fmt.Errorf("release %v: depth %d is left", names, released.GetDepth())
	}
	return nil
}

// runSDK does as contendStep, as a program would.
func (l *load) runSDK(ctx context.Context, client *holdfast.Client, who string) {
	for !l.stopped() {
		if err := l.sdkStep(ctx, client, who); err != nil && ctx.Err() == nil {
			l.oracle.violated("%s: %v", who, err)
			return
		}
	}
}

func (l *load) sdkStep(ctx context.Context, client *holdfast.Client, who string) error {
	names, shared := contended()
	locks := make([]*holdfast.Lock, len(names))
	for i, n := range names {
		locks[i] = client.Lock(n)
		if shared {
			locks[i] = locks[i].Shared()
		}
	}
	floor := l.oracle.floor()
	h, err := client.All(locks...).Acquire(ctx, holdfast.WithWaitLimit(waitLimit))
	if errors.Is(err, holdfast.ErrWaitLimit) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("acquire %v: %w", names, err)
	}
	l.oracle.entered(who, names, shared, h.Token(), floor)
	l.rest(holdFor())
	if err := h.Check(); err != nil {
		return fmt.Errorf("held %v: %w", names, err)
	}
	l.oracle.leaves(who, names)
	if err := h.Release(ctx); err != nil {
		return fmt.Errorf("release %v: %w", names, err)
	}
	return nil
}

// keeper holds many grants from the beginning to the end.
type keeper struct {
	client *rawClient
	grants map[string]*v1.Grant
	prefix string
}

func (k *keeper) fill(ctx context.Context, o *oracle, i int) error {
	k.prefix = fmt.Sprintf("kept/%d", i)
	k.grants = make(map[string]*v1.Grant)
	if err := k.client.open(ctx, k.prefix); err != nil {
		return err
	}
	for n := range keptGrants {
		name := fmt.Sprintf("%s/%d", k.prefix, n)
		floor := o.floor()
		res, err := k.client.acquire(ctx, []string{name}, v1.Mode_MODE_EXCLUSIVE, 0)
		if err != nil || res.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
			return fmt.Errorf("acquire %s: %v %w", name, res.GetOutcome(), err)
		}
		o.entered(k.prefix, []string{name}, false, res.GetGrant().GetToken(), floor)
		k.grants[name] = res.GetGrant()
	}
	return nil
}

// verify renews the session and looks whether everything is still held.
func (k *keeper) verify(ctx context.Context) error {
	if err := k.client.renew(ctx); err != nil {
		return fmt.Errorf("%s: renew: %w", k.prefix, err)
	}
	locks, err := k.client.list(ctx, k.prefix)
	if err != nil {
		return fmt.Errorf("%s: list: %w", k.prefix, err)
	}
	for name, g := range k.grants {
		if err := heldBy(locks[name], g.GetId(), g.GetToken()); err != nil {
			return fmt.Errorf("an acknowledged grant of %s was lost: %w", name, err)
		}
	}
	return nil
}

// release gives everything back.
func (k *keeper) release(ctx context.Context) error {
	for name, g := range k.grants {
		if _, err := k.client.release(ctx, g.GetId()); err != nil {
			return fmt.Errorf("release %s: %w", name, err)
		}
	}
	return k.client.close(ctx)
}
