package holdfast

import (
	"errors"
	"sync"
	"testing"
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
