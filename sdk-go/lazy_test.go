package holdfast

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What a handle makes only when it is asked for is as if it had been there all along.
func TestContextAskedForLate(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		released := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		if err := released.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, context.Cause(released.Context()), ErrReleased)

		outer := must[*Handle](t)(c.Lock("b").Acquire(t.Context()))
		inner := must[*Handle](t)(c.Lock("c").Acquire(outer.Context()))
		lost := must[*Handle](t)(c.Lock("d").Acquire(t.Context()))
		f.revoke(outer.GrantID(), "")
		f.revoke(lost.GrantID(), "")
		synctest.Wait()
		_ = lost.Release(t.Context())
		_ = inner.Release(t.Context())
		for name, h := range map[string]*Handle{"lost": lost, "within the lost one": inner, "outer": outer} {
			var why *LostError
			if !errors.As(context.Cause(h.Context()), &why) || why.Reason != LostRevoked {
				t.Errorf("%s: %v", name, context.Cause(h.Context()))
			}
		}
		select {
		case <-lost.Lost():
		default:
			t.Error("the loss is not told")
		}
		select {
		case <-inner.Lost():
			t.Error("a loss of the outer handle only")
		default:
		}
	})
}

// The values of the acquire's context are in the handle's, its deadline is not.
func TestContextHasTheValuesOfTheAcquire(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *fake, c *Client) {
		type key struct{}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Minute)
		h := must[*Handle](t)(c.Lock("a").Acquire(ctx))
		cancel()
		if _, ok := h.Context().Deadline(); ok || h.Context().Err() != nil || h.Context().Value(key{}) != "v" {
			t.Fatal(h.Context())
		}
	})
}

// Callers with a wait limit, and releases, wait no longer than the call timeout allows, each from its own
// beginning on.
func TestPatienceEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.on(func(k call) fault { return fault{hang: k.method == "Execute"} })
		took := make(chan time.Duration, 2)
		start := time.Now()
		go func() {
			_, _, err := c.Lock("b").TryAcquire(t.Context())
			wantErr(t, err, ErrUnavailable)
			took <- time.Since(start)
		}()
		time.Sleep(700 * time.Millisecond)
		go func() {
			if err := h.Release(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			took <- time.Since(start)
		}()
		for _, want := range []time.Duration{10 * time.Second, 10*time.Second + 700*time.Millisecond} {
			if got := <-took; got != want {
				t.Errorf("took %v, want %v", got, want)
			}
		}
	})
}

// A release whose caller goes is tried for 5 s from its beginning, and goes on after that.
func TestReleaseOfACallerWhoGoes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.on(func(k call) fault { return fault{hang: k.method == "Execute"} })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		start := time.Now()
		if err := h.Release(ctx); !errors.Is(err, context.Canceled) || time.Since(start) != releaseGrace {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		f.on(nil)
		time.Sleep(10 * time.Second)
		if f.held() != 0 {
			t.Fatal("still held")
		}
	})
}
