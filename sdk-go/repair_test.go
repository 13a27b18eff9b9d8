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
			if i == 0 {
				synctest.Wait() // the one that is stuck goes alone
			}
		}
		time.Sleep(time.Second) // less than an attempt may take
		s := c.current.s
		s.mu.Lock()
		oldest := s.unanswered.first.id
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

// HF-11.1: a lease is for its holder to renew. Events that begin anew do not renew it either.
func TestNewEventsRenewNoLease(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		start := time.Now()
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context(), WithLease(4*time.Second)))
		plain := must[*Handle](t)(c.Lock("b").Acquire(t.Context()))
		time.Sleep(3 * time.Second)
		f.compact()
		f.breakStreams()
		<-h.Lost()
		if d := time.Since(start); d > 4*time.Second-marginLeast {
			t.Errorf("lost after %v", d)
		}
		if f.count("Events") < 2 || f.count("GetLock") == 0 {
			t.Error("the test wants the events to begin anew before that")
		}
		for _, r := range f.renewals() {
			if r.GetGrantId() != plain.GrantID() {
				t.Errorf("grant %d was renewed", r.GetGrantId())
			}
		}
	})
}

// A timed lock that was revoked while nobody listened is found out before its deadline.
func TestLeaseEndedWhileNobodyListened(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context(), WithLease(time.Hour)))
		kept := must[*Handle](t)(c.Lock("b").Acquire(t.Context(), WithLease(time.Hour)))
		synctest.Wait()
		f.compact()
		f.breakStreams()
		f.releaseAtServer(h.GrantID())
		f.on(func(k call) fault {
			if k.method == "GetLock" && k.n < 3 {
				return fault{lose: true}
			}
			return fault{}
		})
		start := time.Now()
		<-h.Lost()
		if d := time.Since(start); d > 5*time.Second || h.LostReason() != LostRevoked {
			t.Errorf("lost after %v: %s", d, h.LostReason())
		}
		synctest.Wait()
		if kept.Check() != nil {
			t.Error(kept.Check())
		}
	})
}

// A name that is given up while its grant is looked at is no loss of the grant.
func TestDroppedNameIsNoLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.All(c.Lock("a"), c.Lock("b")).Acquire(t.Context(), WithLease(time.Hour)))
		_ = must[*Handle](t)(c.Lock("c").Acquire(t.Context())).Release(t.Context())
		synctest.Wait()
		begun := f.count("GetLock") + 1
		f.on(func(k call) fault {
			switch {
			case k.method == "GetLock" && k.n == begun:
				return fault{before: time.Second}
			case k.method == "Execute":
				return fault{after: 2 * time.Second}
			}
			return fault{}
		})
		f.compact()
		f.breakStreams()
		time.Sleep(500 * time.Millisecond)
		if err := h.Drop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if f.count("GetLock") <= begun {
			t.Error("the test wants a look at the name before it was given up")
		}
		if h.Check() != nil || h.Name() != "b" || len(f.renewals()) > 0 {
			t.Fatal(h.Check(), h.Claims(), f.renewals())
		}
	})
}

// An answer that is given again after the grant has ended tells no claims any more.
func TestGrantThatEndedBeforeItsAnswerHasItsNames(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		lost := f.count("Execute") + 1
		f.on(func(k call) fault {
			if k.method == "Execute" && k.n == lost {
				f.muted = true
				return fault{lose: true}
			}
			return fault{before: time.Second}
		})
		f.breakStreams()
		got := acquireLater(c, "a")
		synctest.Wait()
		f.mu.Lock()
		id := f.lastGrant
		f.mu.Unlock()
		f.releaseAtServer(id)
		r := <-got
		if r.err != nil {
			t.Fatal(r.err)
		}
		wantErr(t, r.h.Check(), ErrLost)
		if r.h.Name() != "a" {
			t.Fatal(r.h.Claims())
		}
	})
}
