package holdfast

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// HF-7.2: no id 512 or more above the oldest that has had no answer.
func TestWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		stuck := f.count("Execute") + 1
		f.on(func(k call) fault { return fault{hang: k.method == "Execute" && k.n == stuck} })
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() { _, _ = c.Lock(name(i)).Acquire(t.Context()) })
		}
		time.Sleep(time.Second) // less than an attempt may take
		s := c.current.s
		s.mu.Lock()
		oldest := s.unanswered.Front().Value.(*op).id
		s.mu.Unlock()
		if most := f.greatestID(); most != oldest+windowIDs-1 {
			t.Errorf("id %d was sent while %d had no answer", most, oldest)
		}
		wg.Wait()
		f.checkWindow()
		if f.held() != 2000 {
			t.Errorf("%d held", f.held())
		}
	})
}

// The answer QUEUED may arrive after the events have begun behind the outcome of the wait.
func TestQueuedAnswerFromBeforeTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		one, two := f.client(nil), f.client(nil)
		defer f.stop(one, two)
		h := must[*Handle](t)(one.Lock("a").Acquire(t.Context()))
		synctest.Wait()
		slow := f.count("Execute") + 1
		f.on(func(k call) fault {
			switch {
			case k.method == "Events":
				return fault{before: 500 * time.Millisecond}
			case k.method == "Execute" && k.n == slow:
				return fault{after: time.Second}
			}
			return fault{}
		})
		start := time.Now()
		got := acquireLater(two, "a")
		time.Sleep(200 * time.Millisecond)
		f.releaseAtServer(h.GrantID())
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A stream that says nothing any more is taken for dead after a while.
func TestMutedStreamIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		synctest.Wait()
		f.mute(true)
		f.breakStreams()
		got := acquireLater(c, "a")
		time.Sleep(time.Second)
		f.mute(false)
		f.releaseAtServer(h.GrantID())
		start := time.Now()
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
		if took := time.Since(start); took > streamSilenceMax+backoffMost {
			t.Errorf("took %v", took)
		}
	})
}

func TestAbandonedUpgradeIsLowered(t *testing.T) {
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
		if f.mode(a.GrantID()) != v1.Mode_MODE_EXCLUSIVE {
			t.Fatal("the test wants the conversion to come first")
		}
		time.Sleep(10 * time.Second)
		if f.mode(a.GrantID()) != v1.Mode_MODE_SHARED || a.Claims()[0].Mode != Shared {
			t.Fatal(f.mode(a.GrantID()), a.Claims())
		}
	})
}

// While a conversion is on its way nobody here knows what the grant covers.
func TestReentryDuringAConversionAsksTheServer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		outer := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		slow := f.count("Execute") + 1
		f.on(func(k call) fault {
			if k.method == "Execute" && k.n == slow {
				return fault{after: time.Second}
			}
			return fault{}
		})
		done := make(chan error)
		go func() { done <- outer.Downgrade(t.Context()) }()
		time.Sleep(500 * time.Millisecond)
		inner := must[*Handle](t)(c.Lock("a").Acquire(outer.Context()))
		if inner.GrantID() == outer.GrantID() {
			t.Fatal("a shared grant was re-entered as an exclusive one")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
