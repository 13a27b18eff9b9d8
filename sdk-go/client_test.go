package holdfast

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBubble runs a test on virtual time with a fake service and one client of it.
func inBubble(t *testing.T, test func(t *testing.T, f *fake, c *Client), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client(nil, opts...)
		defer f.stop(c)
		test(t, f, c)
	})
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestAcquireAndRelease(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		ctx := t.Context()
		h := must[*Handle](t)(c.Lock("orders/42").Acquire(ctx))
		if h.Token() != 1<<48+1 || h.Name() != "orders/42" || h.Check() != nil || h.Remaining() <= 0 {
			t.Fatalf("token %d, name %s, check %v", h.Token(), h.Name(), h.Check())
		}
		if err := h.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if f.held() != 0 {
			t.Fatal("still held")
		}
		wantErr(t, h.Check(), ErrReleased)
		wantErr(t, context.Cause(h.Context()), ErrReleased)
		if isClosed(h.Lost()) {
			t.Fatal("a release is no loss")
		}
		if err := h.Release(ctx); err != nil {
			t.Fatalf("a second release: %v", err)
		}
	})
}

func TestTryAcquire(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h, ok, err := c.Lock("a").TryAcquire(t.Context())
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, ok, err := c.Lock("a").TryAcquire(t.Context()); ok || err != nil {
			t.Fatalf("a held lock: ok %v, err %v", ok, err)
		}
		_, err = c.Lock("a").Acquire(t.Context(), WithWaitLimit(0))
		wantErr(t, err, ErrHeld)
		_ = h.Release(t.Context())
	})
}

// HF-11.5: inside a handle's context the same owner re-enters without a call; outside it waits.
func TestReentrancy(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		outer := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		calls := f.count("Execute")
		inner := must[*Handle](t)(c.Lock("a").Acquire(outer.Context()))
		shared := must[*Handle](t)(c.Lock("a").Shared().Acquire(inner.Context()))
		if n := f.count("Execute"); n != calls {
			t.Fatalf("re-entering made %d calls", n-calls)
		}
		if inner.Token() != outer.Token() || inner.GrantID() != outer.GrantID() {
			t.Fatal("re-entering brought another grant")
		}
		_ = outer.Release(t.Context())
		_ = shared.Release(t.Context())
		if f.held() != 1 || inner.Check() != nil {
			t.Fatal("the grant ended while a handle was left")
		}
		_ = inner.Release(t.Context())
		if f.held() != 0 {
			t.Fatal("the last release did not end the grant")
		}
	})
}

// A re-entry with a lease is the server's to judge; its depth and ours must agree at the end.
func TestReentryByTheServerIsReleasedThereToo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		outer := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		inner := must[*Handle](t)(c.Lock("a").Acquire(outer.Context(), WithLease(time.Minute)))
		third := must[*Handle](t)(c.Lock("a").Acquire(inner.Context()))
		if inner.GrantID() != outer.GrantID() {
			t.Fatal("another grant")
		}
		for _, h := range []*Handle{outer, third} {
			_ = h.Release(t.Context())
		}
		if f.held() != 1 || inner.Check() != nil {
			t.Fatal("the grant ended while a handle was left")
		}
		_ = inner.Release(t.Context())
		if f.held() != 0 {
			t.Fatal("still held")
		}
	})
}

// HF-7.1, HF-11.7: an answer that is lost after the commit is asked for again with the same id.
func TestLostAnswerIsNoSecondGrant(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.on(func(k call) fault { return fault{lose: k.method == "Execute" && k.n <= 3} })
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		if f.held() != 1 || h.Token() != 1<<48+1 {
			t.Fatalf("%d grants, token %d", f.held(), h.Token())
		}
		f.on(func(k call) fault { return fault{lose: k.method == "Execute" && k.n%2 == 0} })
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.held() != 0 {
			t.Fatal("still held")
		}
	})
}

// HF-7.4: a session whose answer is lost is found again by its nonce.
func TestLostOpenSessionLeavesOneSession(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.on(func(k call) fault { return fault{lose: k.method == "OpenSession" && k.n <= 2} })
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		if len(f.sessions) != 1 {
			t.Fatalf("%d sessions", len(f.sessions))
		}
	})
}

// HF-4.9: a wait whose context ends is cancelled at the server.
func TestCancelledWaitLeavesTheQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Lock("a").Acquire(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		wantErr(t, err, ErrCancelled)
		var e *Error
		if !errors.As(err, &e) || len(e.Blockers) != 1 {
			t.Fatalf("the error does not say who was in the way: %v", err)
		}
		time.Sleep(time.Second)
		if n := f.waiting(); n != 0 {
			t.Fatalf("%d still wait", n)
		}
		_ = h.Release(t.Context())
		if f.held() != 0 {
			t.Fatal("a grant without an owner is left")
		}
	})
}

// HF-7.5: a grant that came before its cancel is given back.
func TestGrantWhoseCallerHasGoneIsReleased(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		f.on(func(k call) fault {
			if k.method == "Execute" {
				return fault{after: 2 * time.Second}
			}
			return fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Lock("a").Acquire(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		if f.held() != 1 {
			t.Fatal("the test wants the grant to come first")
		}
		time.Sleep(10 * time.Second)
		if f.held() != 0 {
			t.Fatal("a grant without an owner is left")
		}
	})
}

// The cancel may be the first that the server sees of a request.
func TestCancelOvertakesItsRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		first := true
		f.on(func(k call) fault {
			if k.method == "Execute" && first {
				first = false
				return fault{before: 2 * time.Second}
			}
			return fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Lock("a").Acquire(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		time.Sleep(10 * time.Second)
		if f.held() != 0 {
			t.Fatal("a grant without an owner is left")
		}
	})
}

func TestWaitLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		defer func() { _ = h.Release(t.Context()) }()
		go func() {
			time.Sleep(5 * time.Second)
			f.endWaits(v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED)
		}()
		_, err := c.Lock("a").Acquire(t.Context(), WithWaitLimit(5*time.Second))
		wantErr(t, err, ErrWaitLimit)
	})
}

// A request with a wait limit does not hang when nobody can be reached.
func TestWaitLimitWithoutAServer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("b").Acquire(t.Context()))
		f.setDown("n1", true)
		start := time.Now()
		_, err := c.Lock("a").Acquire(t.Context(), WithWaitLimit(2*time.Second))
		wantErr(t, err, ErrUnavailable)
		if took := time.Since(start); took > 2*time.Second+callTimeoutDefault+time.Second {
			t.Fatalf("took %v", took)
		}
		f.setDown("n1", false)
	})
}

// HF-11.9.
func TestCloseReleasesWhatIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		waits := acquireLater(c, "a")
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if f.held() != 0 {
			t.Fatal("still held")
		}
		if h.LostReason() != LostClosed || context.Cause(h.Context()) == nil {
			t.Fatal(h.LostReason())
		}
		wantErr(t, (<-waits).err, ErrClosed)
		_, err := c.Lock("a").Acquire(t.Context())
		wantErr(t, err, ErrClosed)
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseOfAnEndedSessionIsSuccess(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.on(func(k call) fault {
			if k.method != "CloseSession" {
				return fault{}
			}
			return fault{err: wireError(connect.CodeFailedPrecondition, &v1.Error{
				Reason: v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED})}
		})
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// HF-11.9: release is attempted although the caller's context has ended.
func TestReleaseWithACancelledContext(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.Release(ctx); err != nil || f.held() != 0 {
			t.Fatal(err, f.held())
		}
		h = must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.setDown("n1", true)
		start := time.Now()
		wantErr(t, h.Release(ctx), ErrUnavailable)
		if took := time.Since(start); took < releaseGrace || took > releaseGrace+time.Second {
			t.Fatalf("took %v", took)
		}
		f.setDown("n1", false)
		time.Sleep(3 * time.Second)
		if f.held() != 0 {
			t.Fatal("the release did not go on in the background")
		}
	})
}

func TestConvert(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		a := must[*Handle](t)(c.Lock("a").Shared().Acquire(t.Context()))
		b := must[*Handle](t)(c.Lock("a").Shared().Acquire(t.Context()))
		before := a.Token()
		wantErr(t, a.Upgrade(t.Context(), WithWaitLimit(0)), ErrHeld)
		if err := b.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.Token() <= before || a.Claims()[0].Mode != Exclusive {
			t.Fatal(a.Token(), a.Claims())
		}
		if err := a.Downgrade(t.Context()); err != nil || a.Claims()[0].Mode != Shared {
			t.Fatal(err, a.Claims())
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		calls := f.count("Execute")
		wantErr(t, a.Upgrade(ended), context.Canceled)
		if f.count("Execute") != calls {
			t.Error("it was sent for a caller who has gone")
		}
	})
}

// A raised conversion whose caller has gone is undone before the next one begins, so that the next
// one's answer stays true.
func TestAbandonedConversionIsUndone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		a := must[*Handle](t)(c.Lock("a").Shared().Acquire(t.Context()))
		f.on(func(k call) fault {
			if k.method == "Execute" {
				return fault{after: 2 * time.Second}
			}
			return fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, a.Upgrade(ctx), context.DeadlineExceeded)
		f.on(nil)
		if err := a.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := f.mode(a.GrantID()); m != v1.Mode_MODE_EXCLUSIVE {
			t.Fatalf("an upgrade was answered, and the mode is %v", m)
		}
		if err := a.Downgrade(t.Context()); err != nil || f.mode(a.GrantID()) != v1.Mode_MODE_SHARED {
			t.Fatal(err, f.mode(a.GrantID()))
		}
	})
}

func TestLockAll(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.LockAll(t.Context(), c.Lock("a"), c.Lock("b").Shared()))
		if got := h.Claims(); len(got) != 2 || got[1] != (Claim{"b", Shared}) {
			t.Fatal(got)
		}
		if _, ok, _ := c.Lock("b").TryAcquire(t.Context()); ok {
			t.Fatal("b is held")
		}
		_ = h.Release(t.Context())
		_, err := c.LockAll(t.Context())
		wantErr(t, err, ErrInvalidArgument)
	})
}

func TestRunRetriesADeadlockVictim(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		busy := must[*Handle](t)(c.Lock("busy").Acquire(t.Context()))
		attempts := 0
		err := c.Run(t.Context(), func(ctx context.Context) error {
			attempts++
			if _, err := c.Lock("a").Acquire(ctx); err != nil {
				return err
			}
			if f.held() != 2 {
				t.Errorf("attempt %d: %d held", attempts, f.held())
			}
			if attempts > 2 {
				return nil
			}
			go func() {
				time.Sleep(time.Second)
				f.endWaits(v1.Outcome_OUTCOME_DEADLOCK_VICTIM)
			}()
			_, err := c.Lock("busy").Acquire(ctx)
			return err
		})
		if err != nil || attempts != 3 {
			t.Fatal(err, attempts)
		}
		if f.held() != 1 || busy.Check() != nil {
			t.Fatal("Run left something held")
		}
	})
}

type result struct {
	h   *Handle
	err error
}

func acquireLater(c *Client, name string) <-chan result {
	got := make(chan result, 1)
	go func() {
		h, err := c.Lock(name).Acquire(context.Background())
		got <- result{h, err}
	}()
	return got
}
