// Package integration runs the Go SDK against the real server.
package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

func client(t *testing.T, opts ...holdfast.Option) *holdfast.Client {
	t.Helper()
	c, err := holdfast.New(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// soon is a context for what must not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func acquire(t *testing.T, l *holdfast.Lock, opts ...holdfast.AcquireOption) *holdfast.Handle {
	t.Helper()
	h, err := l.Acquire(soon(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func release(t *testing.T, h *holdfast.Handle) {
	t.Helper()
	if err := h.Release(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func TestLocks(t *testing.T) {
	srv := holdfasttest.Start(t)
	c := client(t, holdfast.Endpoints(srv.URL()), holdfast.WithClientMetadata("integration"))
	other := client(t, holdfast.Endpoints(srv.URL()))

	t.Run("hand-off in order of arrival, with rising tokens", func(t *testing.T) {
		h := acquire(t, c.Lock("order/1"))
		got := make(chan *holdfast.Handle)
		go func() {
			next, err := other.Lock("order/1").Acquire(soon(t))
			if err != nil {
				t.Error(err)
			}
			got <- next
		}()
		waitFor(t, func() bool { return waiters(t, c, "order/1") == 1 })
		release(t, h)
		next := <-got
		if next.Token() <= h.Token() {
			t.Errorf("token %d after %d", next.Token(), h.Token())
		}
		release(t, next)
	})

	t.Run("try, wait limit, cancel", func(t *testing.T) {
		h := acquire(t, c.Lock("try"))
		if _, ok, err := other.Lock("try").TryAcquire(soon(t)); ok || err != nil {
			t.Fatal(ok, err)
		}
		start := time.Now()
		_, err := other.Lock("try").Acquire(soon(t), holdfast.WithWaitLimit(300*time.Millisecond))
		want(t, err, holdfast.ErrWaitLimit)
		var e *holdfast.Error
		if errors.As(err, &e); len(e.Blockers) != 1 || e.Blockers[0].GrantID != h.GrantID() {
			t.Errorf("blockers: %+v", e.Blockers)
		}
		if took := time.Since(start); took < 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = other.Lock("try").Acquire(ctx)
		want(t, err, context.DeadlineExceeded)
		waitFor(t, func() bool { return waiters(t, c, "try") == 0 })
		release(t, h)
	})

	t.Run("shared, upgrade, downgrade", func(t *testing.T) {
		a, b := acquire(t, c.Lock("rw").Shared()), acquire(t, other.Lock("rw").Shared())
		done := make(chan error, 1)
		go func() { done <- a.Upgrade(soon(t)) }()
		waitFor(t, func() bool { return waiters(t, c, "rw") == 1 })
		release(t, b)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if a.Token() <= b.Token() {
			t.Errorf("a raised conversion brings a new token: %d", a.Token())
		}
		if err := a.Downgrade(soon(t)); err != nil {
			t.Fatal(err)
		}
		release(t, acquire(t, other.Lock("rw").Shared()))
		release(t, a)
	})

	t.Run("several at once, and below", func(t *testing.T) {
		h, err := c.LockAll(soon(t), c.Lock("tree/a"), c.Lock("tree/b").Shared())
		if err != nil {
			t.Fatal(err)
		}
		for name, free := range map[string]bool{"tree": false, "tree/a/x": false, "tree/c": true} {
			got, ok, err := other.Lock(name).TryAcquire(soon(t))
			if err != nil || ok != free {
				t.Errorf("%s: %v, %v", name, ok, err)
			}
			if ok {
				release(t, got)
			}
		}
		if err := h.Drop(soon(t), "tree/b"); err != nil {
			t.Fatal(err)
		}
		release(t, acquire(t, other.Lock("tree/b")))
		release(t, h)
	})

	t.Run("reentrancy", func(t *testing.T) {
		outer := acquire(t, c.Lock("again"))
		inner, err := c.Lock("again").Acquire(outer.Context())
		if err != nil || inner.GrantID() != outer.GrantID() {
			t.Fatal(err)
		}
		leased, err := c.Lock("again").Acquire(outer.Context(), holdfast.WithLease(time.Minute))
		if err != nil || leased.GrantID() != outer.GrantID() {
			t.Fatal(err)
		}
		_, err = c.Lock("again").Acquire(outer.Context(), holdfast.WithoutReentry(), holdfast.WithWaitLimit(0))
		want(t, err, holdfast.ErrHeld)
		release(t, outer)
		release(t, inner)
		if _, ok, _ := other.Lock("again").TryAcquire(soon(t)); ok {
			t.Fatal("one use is left")
		}
		release(t, leased)
		release(t, acquire(t, other.Lock("again")))
	})

	t.Run("a lease ends without renewal", func(t *testing.T) {
		const lease = 5 * time.Second
		start := time.Now()
		h := acquire(t, c.Lock("leased"), holdfast.WithLease(lease))
		if err := h.Renew(soon(t)); err != nil {
			t.Fatal(err)
		}
		next := acquire(t, other.Lock("leased"))
		if took := time.Since(start); took < lease {
			t.Errorf("granted again after %v", took)
		}
		if h.LostReason() != holdfast.LostExpired {
			t.Errorf("granted again while its holder trusts it: %q", h.LostReason())
		}
		want(t, h.Check(), holdfast.ErrLost)
		release(t, next)
		release(t, h)
	})

	t.Run("revoked", func(t *testing.T) {
		h := acquire(t, c.Lock("revoked"))
		if err := other.Admin().RevokeGrant(soon(t), h.GrantID(), "maintenance"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-h.Lost():
		case <-soon(t).Done():
			t.Fatal("its holder was not told")
		}
		var lost *holdfast.LostError
		if !errors.As(h.Err(), &lost) || lost.Reason != holdfast.LostRevoked || lost.Detail != "maintenance" {
			t.Fatal(h.Err())
		}
	})

	t.Run("deadlock", func(t *testing.T) { testDeadlock(t, c, other) })
	t.Run("bad names", func(t *testing.T) {
		for _, name := range []string{"", "a//b", "/a", "a/../b"} {
			_, err := c.Lock(name).Acquire(soon(t))
			want(t, err, holdfast.ErrInvalidName)
		}
		release(t, acquire(t, c.Lock("good")))
	})

	t.Run("seeing", func(t *testing.T) { testSeeing(t, c, other) })
	t.Run("election", func(t *testing.T) { testElection(t, c, other) })
	t.Run("detached", func(t *testing.T) { testDetached(t, c) })
	t.Run("detached wait", func(t *testing.T) { testDetachedWait(t, srv.URL(), c) })
}

// testDeadlock makes two lines of work meet crosswise: on its first run each holds its first lock
// before either asks for its second.
func testDeadlock(t *testing.T, c, other *holdfast.Client) {
	before, err := c.Admin().Deadlocks(soon(t), 10)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var runs, victims atomic.Int32
	holds := []chan struct{}{make(chan struct{}), make(chan struct{})}
	for i, cl := range []*holdfast.Client{c, other} {
		first, second := fmt.Sprint("dead/", i), fmt.Sprint("dead/", 1-i)
		meet := sync.OnceFunc(func() {
			close(holds[i])
			select {
			case <-holds[1-i]:
			case <-soon(t).Done():
				t.Error("the other did not get its first lock")
			}
		})
		wg.Go(func() {
			err := cl.Run(soon(t), func(ctx context.Context) error {
				runs.Add(1)
				if _, err := cl.Lock(first).Acquire(ctx); err != nil {
					return err
				}
				meet()
				_, err := cl.Lock(second).Acquire(ctx)
				if errors.Is(err, holdfast.ErrDeadlockVictim) {
					victims.Add(1)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	resolved, err := c.Admin().Deadlocks(soon(t), 10)
	if err != nil || runs.Load() != 3 || victims.Load() != 1 || len(resolved) != len(before)+1 {
		t.Errorf("%d runs, %d victims, resolved %+v, %v", runs.Load(), victims.Load(), resolved, err)
	}
}

func testSeeing(t *testing.T, c, other *holdfast.Client) {
	h := acquire(t, c.Lock("seen/1"), holdfast.WithMetadata("who"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if next, err := other.Lock("seen/1").Acquire(soon(t)); err == nil {
			_ = next.Release(context.Background())
		}
	}()
	waitFor(t, func() bool { return waiters(t, c, "seen/1") == 1 })
	info, err := c.GetLock(soon(t), "seen/1")
	if err != nil || len(info.Holders) != 1 || info.Holders[0].Metadata != "who" ||
		info.Holders[0].Grant.Token != h.Token() || info.Holders[0].SessionMetadata != "integration" {
		t.Fatalf("%+v %v", info, err)
	}
	why, err := c.ExplainLock(soon(t), "seen/1")
	if err != nil || !why.Waiting || len(why.Steps) == 0 || why.Steps[0].Blocker.GrantID != h.GrantID() {
		t.Fatalf("%+v %v", why, err)
	}
	names := 0
	for info, err := range c.ListLocks(soon(t), "seen", holdfast.PageSize(1)) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Name != "" {
			names++
		}
	}
	if names != 2 { // seen, by its implied claim, and seen/1
		t.Errorf("%d locks", names)
	}
	sessions := 0
	for s, err := range c.ListSessions(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID == h.SessionID() && s.Metadata == "integration" {
			sessions++
		}
	}
	if sessions != 1 {
		t.Errorf("%d sessions", sessions)
	}
	begun := false
	for e, err := range c.WatchLocks(soon(t), "seen") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == holdfast.EventProgress && !begun {
			begun = true
			release(t, h)
		}
		if e.Kind == holdfast.EventGranted && e.Token > h.Token() {
			break
		}
	}
	<-done
}

func testElection(t *testing.T, c, other *holdfast.Client) {
	first, second := c.Election("leader"), other.Election("leader")
	if _, ok, err := first.Leader(soon(t)); ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := first.Campaign(soon(t), "one"); err != nil {
		t.Fatal(err)
	}
	led := make(chan error, 1)
	go func() {
		_, err := second.Campaign(soon(t), "two")
		led <- err
	}()
	var values []string
	for leader, err := range c.Election("leader").Observe(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, leader.Value)
		if leader.Value == "two" {
			break
		}
		if err := first.Resign(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-led; err != nil || fmt.Sprint(values) != "[one two]" {
		t.Fatal(values, err)
	}
	if err := second.Resign(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func testDetached(t *testing.T, c *holdfast.Client) {
	d, err := c.AcquireDetached(soon(t), c.Lock("detached"), holdfast.WithNonce("n-1"),
		holdfast.WithDetachedTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.AcquireDetached(soon(t), c.Lock("detached"), holdfast.WithNonce("n-1"),
		holdfast.WithDetachedTTL(time.Minute))
	if err != nil || again.ID != d.ID || again.Token != d.Token {
		t.Fatalf("%+v %v", again, err)
	}
	_, err = c.AcquireDetached(soon(t), c.Lock("detached"), holdfast.WithWaitLimit(0))
	want(t, err, holdfast.ErrHeld)
	if _, err := c.RenewDetached(soon(t), d.ID); err != nil {
		t.Fatal(err)
	}
	if depth, err := c.ReleaseDetached(soon(t), d.ID); err != nil || depth != 0 {
		t.Fatal(depth, err)
	}
	_, err = c.ReleaseDetached(soon(t), d.ID)
	if !errors.Is(err, holdfast.ErrNotHolder) && !errors.Is(err, holdfast.ErrSessionExpired) {
		t.Fatal(err)
	}
}

// wires is a dialer that can break the connections it made.
type wires struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (w *wires) transport() http.RoundTripper {
	return &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns = append(w.conns, conn)
		return conn, err
	}}
}

func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	w.conns = nil
}

// testDetachedWait breaks the connection over which a wait goes (HF-4.12).
func testDetachedWait(t *testing.T, url string, c *holdfast.Client) {
	h := acquire(t, c.Lock("alone"))
	w := &wires{}
	cl := client(t, holdfast.Endpoints(url), holdfast.WithTransport(w.transport))
	got := make(chan *holdfast.Detached, 1)
	go func() {
		d, err := cl.AcquireDetached(soon(t), cl.Lock("alone"))
		if err != nil {
			t.Error(err)
		}
		got <- d
	}()
	var waits uint64 // the session of who waits
	another := func() bool {
		info, err := c.GetLock(soon(t), "alone")
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Waiters) == 0 || info.Waiters[0].SessionID == waits {
			return false
		}
		waits = info.Waiters[0].SessionID
		return true
	}
	waitFor(t, another)
	w.cut()
	waitFor(t, another)
	release(t, h)
	if d := <-got; d != nil {
		if d.SessionID != waits {
			t.Errorf("granted to session %d, and %d waited", d.SessionID, waits)
		}
		if _, err := cl.ReleaseDetached(soon(t), d.ID); err != nil {
			t.Error(err)
		}
	}
}

// waiters is how many wait for a name.
func waiters(t *testing.T, c *holdfast.Client, name string) int {
	t.Helper()
	info, err := c.GetLock(soon(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return info.WaitersTotal
}

// waitFor waits until a condition holds; each look is a call that goes through the log.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for ctx := soon(t); !ok(); {
		if ctx.Err() != nil {
			t.Fatal("it did not come to that in time")
		}
	}
}
