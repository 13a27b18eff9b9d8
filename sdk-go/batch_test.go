package holdfast

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestConcurrentCallsTravelTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		flying, most := 0, 0
		f.on(func(k call) fault {
			if k.method != "Execute" {
				return fault{}
			}
			flying++
			most = max(most, flying)
			return fault{after: 10 * time.Millisecond, then: func() { flying-- }}
		})
		before := f.count("Execute")
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() {
				h, err := c.Lock(name(i)).Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				_ = h.Release(t.Context())
			})
		}
		wg.Wait()
		if n := f.count("Execute") - before; n > 40 {
			t.Errorf("4000 operations took %d calls", n)
		}
		if most > inFlightMost {
			t.Errorf("%d batches in flight", most)
		}
		f.checkWindow()
		if f.held() != 0 {
			t.Fatal("still held")
		}
	})
}

// One malformed request does not spoil the batch it travels in.
func TestBadRequestFailsAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		f.on(func(call) fault { return fault{after: 10 * time.Millisecond} })
		var wg sync.WaitGroup
		errs := make([]error, 20)
		for i := range errs {
			wg.Go(func() {
				n := name(i)
				if i == 13 {
					n = ""
				}
				_, errs[i] = c.Lock(n).Acquire(t.Context())
			})
		}
		wg.Wait()
		for i, err := range errs {
			if i != 13 && err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		wantErr(t, errs[13], ErrInvalidName)
		var e *Error
		if errors.As(errs[13], &e); e.Field != "claims[0].name" {
			t.Errorf("field %q", e.Field)
		}
	})
}

// A second batch goes beside the first if there is enough for it, or if the first is late; what is too
// little goes when the first comes back (HF-11.6).
func TestSecondBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		trip := 10 * time.Millisecond
		f.on(func(k call) fault { return fault{after: trip} })
		for range 40 { // for the client to learn how long a batch is away
			_ = must[*Handle](t)(c.Lock("a").Acquire(t.Context())).Release(t.Context())
		}
		start, first := time.Now(), f.count("Execute")+1
		var wg sync.WaitGroup
		acquire := func(n int) time.Duration {
			wg.Go(func() {
				if _, err := c.Lock(name(n)).Acquire(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			return time.Since(start)
		}
		acquire(0)
		time.Sleep(trip / 2)
		for i := range besideLeast - 1 {
			acquire(1 + i)
		}
		if n := f.count("Execute"); n != first {
			t.Errorf("%d calls for less than %d operations", n-first, besideLeast)
		}
		acquire(besideLeast)
		if n := f.count("Execute"); n != first+1 {
			t.Errorf("%d calls for %d operations", n-first, besideLeast)
		}
		wg.Wait()
		if took := time.Since(start); took != trip*3/2 {
			t.Errorf("took %v", took)
		}

		stuck := f.count("Execute") + 1
		f.on(func(k call) fault { return fault{hang: k.method == "Execute" && k.n == stuck, after: trip} })
		go func() { _, _ = c.Lock("stuck").Acquire(t.Context()) }()
		synctest.Wait()
		start = time.Now()
		h := must[*Handle](t)(c.Lock("b").Acquire(t.Context()))
		if took := time.Since(start); took < 2*trip || took > 4*trip {
			t.Errorf("beside a batch that is late an acquire took %v", took)
		}
		_ = h.Release(t.Context())
	})
}
