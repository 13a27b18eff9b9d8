package holdfast

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// detachedLater acquires in the background.
func detachedLater(ctx context.Context, c *Client, opts ...AcquireOption) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, err := c.AcquireDetached(ctx, c.Lock("a"), opts...)
		got <- err
	}()
	return got
}

// cutAcquires breaks the connections of the first calls that wait, after a second each.
func cutAcquires(f *fake, most int) {
	f.on(func(k call) fault {
		if k.method == "Acquire" && k.n <= most {
			return fault{cut: time.Second}
		}
		return fault{}
	})
}

// HF-4.12: a broken connection cancels the wait, which is not what the caller asked for.
func TestDetachedWaitOutlivesItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		cutAcquires(f, 1)
		got := detachedLater(t.Context(), c, WithWaitLimit(time.Minute))
		time.Sleep(10 * time.Second)
		if f.waiting() != 1 {
			t.Fatal("nobody waits any more")
		}
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.acquired) != 3 {
			t.Fatalf("%d calls; want the first, its retry and another request", len(f.acquired))
		}
		first, retry, anew := f.acquired[0], f.acquired[1], f.acquired[2]
		if retry.GetNonce() != first.GetNonce() || anew.GetNonce() == first.GetNonce() {
			t.Error(first.GetNonce(), retry.GetNonce(), anew.GetNonce())
		}
		if left := anew.GetWait().AsDuration(); left > 59*time.Second || left < 50*time.Second {
			t.Errorf("the wait has %v left of a minute", left)
		}
	})
}

func TestDetachedWaitEndsAtItsLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		cutAcquires(f, 1)
		wantErr(t, <-detachedLater(t.Context(), c, WithWaitLimit(time.Second)), ErrWaitLimit)
	})
}

func TestDetachedWaitEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		cutAcquires(f, 1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantErr(t, <-detachedLater(ctx, c), context.DeadlineExceeded)
		synctest.Wait()
		if n := f.count("Acquire"); n < 20 || n > 120 {
			t.Errorf("%d calls in a minute", n)
		}
	})
}

// With a nonce of the caller it is one request, and that has its outcome.
func TestCallersNonceIsOneRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		cutAcquires(f, 1)
		wantErr(t, <-detachedLater(t.Context(), c, WithNonce("n-1")), ErrCancelled)
	})
}

// HF-7.1: a release that is sent again after a lost answer counts once.
func TestDetachedReleaseCountsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		d := must[*Detached](t)(c.AcquireDetached(t.Context(), c.Lock("a")))
		f.mu.Lock()
		f.grants[d.ID].depth = 2
		f.mu.Unlock()
		f.on(func(k call) fault { return fault{lose: k.method == "Release" && k.n%2 == 1} })
		for _, want := range []int{1, 0} {
			depth, err := c.ReleaseDetached(t.Context(), d.ID)
			if err != nil || depth != want {
				t.Fatal(depth, err)
			}
		}
		if f.held() != 0 || f.count("Release") != 4 {
			t.Fatal(f.held(), f.count("Release"))
		}
		_, err := c.ReleaseDetached(t.Context(), d.ID)
		if err != nil { // its first answer was lost too, so nobody can tell
			t.Fatal(err)
		}
		f.on(nil)
		_, err = c.ReleaseDetached(t.Context(), d.ID)
		wantErr(t, err, ErrNotHolder)
	})
}
