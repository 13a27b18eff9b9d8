package holdfast

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// HF-11.1: a session is renewed at a third of its ttl, with 10 % jitter, and by nothing else.
func TestSessionIsRenewed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		time.Sleep(10 * time.Minute)
		if h.Check() != nil || isClosed(h.AtRisk()) {
			t.Fatal(h.Check())
		}
		if n := f.count("RenewSession"); n < 54 || n > 67 {
			t.Fatalf("%d renewals in 10 minutes at a ttl of 30 s", n)
		}
	})
}

// Every command renews; a busy session needs no renewals of its own.
func TestCommandsRenewToo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		for range 100 {
			h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
			time.Sleep(3 * time.Second)
			_ = h.Release(t.Context())
		}
		if n := f.count("RenewSession"); n > 0 {
			t.Fatalf("%d renewals", n)
		}
	})
}

// HF-11.3: first at risk, then lost, before the server ends the session; and that is final.
func TestLossWhenRenewalsFail(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context(), WithLockDelay(time.Second)))
		waiting := acquireLater(c, "a")
		work, stop := h.Bind(t.Context())
		defer stop()
		synctest.Wait()
		start := time.Now()
		f.setDown("n1", true)
		<-h.AtRisk()
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("at risk after %v", d)
		}
		if h.Check() != nil {
			t.Errorf("at risk is not lost: %v", h.Check())
		}
		<-h.Lost()
		usable := 30*time.Second*99/100 - marginLeast
		if d := time.Since(start); d > usable || d < usable-time.Second {
			t.Errorf("lost after %v, usable for %v", d, usable)
		}
		var lost *LostError
		if err := h.Check(); !errors.As(err, &lost) || lost.Reason != LostExpired || lost.Name != "a" {
			t.Errorf("check: %v", err)
		}
		<-work.Done()
		wantErr(t, context.Cause(work), ErrLost)
		wantErr(t, context.Cause(h.Context()), ErrLost)
		wantErr(t, (<-waiting).err, ErrSessionExpired)
		_, err := c.Lock("b").Acquire(h.Context())
		wantErr(t, err, ErrLost)

		f.setDown("n1", false)
		time.Sleep(5 * time.Second)
		f.mu.Lock()
		closed := f.closed
		f.mu.Unlock()
		if len(closed) == 0 || !closed[0].GetAbandon() {
			t.Errorf("the session was not abandoned: %v", closed)
		}
		if h.Check() == nil {
			t.Error("a loss is final")
		}
		again := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		if again.SessionID() == h.SessionID() {
			t.Error("a new lock needs a new session")
		}
	})
}

func TestRiskPasses(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.setDown("n1", true)
		<-h.AtRisk()
		f.setDown("n1", false)
		time.Sleep(5 * time.Second)
		if isClosed(h.AtRisk()) || h.Check() != nil {
			t.Fatal("still at risk", h.Check())
		}
	})
}

// HF-11.2: the clock decides at every use, not only the timer.
func TestCheckLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		clk := &jumpClock{fakeClock: fakeClock{f.start}}
		c := f.client(nil, func(cfg *config) { cfg.transport = nil })
		c.transport.clock, c.cfg.clock = clk, clk
		c.transport.newHTTP = func(bool) http.RoundTripper { return f.transport() }
		for _, n := range c.transport.nodes {
			n.redial()
		}
		defer f.stop(c)
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		clk.ahead = time.Minute // the machine slept, and no timer has fired yet
		wantErr(t, h.Check(), ErrLost)
		if h.Remaining() != 0 || !isClosed(h.Lost()) {
			t.Fatal("lost is lost")
		}
	})
}

type jumpClock struct {
	fakeClock
	ahead time.Duration
}

func (c *jumpClock) Now() time.Duration { return c.fakeClock.Now() + c.ahead }

// HF-2.9: an answer bounds deadlines from the instant its command was sent, not from its arrival.
func TestSlowAnswersAnchorAtTheirSending(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.on(func(k call) fault {
			if k.method == "OpenSession" {
				return fault{before: time.Second, after: time.Second}
			}
			return fault{hang: k.method == "RenewSession" || k.method == "Events"}
		})
		start := time.Now()
		s, err := c.session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-s.ctx.Done()
		// sent at 0, T taken at 1 s: 30 s x 0.99 from the sending on, less twice the round trip
		want := 30*time.Second*99/100 - 2*2*time.Second
		if d := time.Since(start); d > want || d < want-time.Second {
			t.Fatalf("lost after %v, want %v", d, want)
		}
	})
}

func TestAnchors(t *testing.T) {
	s := &session{c: &Client{}, nudge: make(chan struct{}, 1), clock: fakeClock{}}
	at := func(sent, took time.Duration, ms int64) {
		s.anchorLocked(timing{sent, took}, &v1.Stamp{TimeMs: ms}, &v1.Deadlines{})
	}
	at(10*time.Second, 0, 5_000)
	if got := s.usableLocked(35_000); got != 10*time.Second+29_700*time.Millisecond-marginLeast {
		t.Fatal(got)
	}
	at(11*time.Second, 0, 6_500) // cluster time ran ahead: the older anchor is the better one
	if got := s.usableLocked(35_000); got != 10*time.Second+29_700*time.Millisecond-marginLeast {
		t.Fatal(got)
	}
	at(21*time.Second, 0, 15_000) // cluster time stood still for a while: the newer one is
	if got := s.usableLocked(35_000); got != 21*time.Second+19_800*time.Millisecond-marginLeast {
		t.Fatal(got)
	}
	s.anchorLocked(timing{sent: time.Hour}, nil, &v1.Deadlines{SessionMs: 99_000}) // errors alone
	if got := s.usableLocked(35_000); got != 21*time.Second+19_800*time.Millisecond-marginLeast {
		t.Fatal("an answer without a stamp anchored", got)
	}
}

// HF-2.5: a lease runs out unless it is renewed, and takes nothing else with it.
func TestTimedLock(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		other := must[*Handle](t)(c.Lock("other").Acquire(t.Context()))
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context(), WithLease(4*time.Second)))
		for range 5 {
			time.Sleep(3 * time.Second)
			if err := h.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		<-h.Lost()
		want := 4*time.Second*99/100 - marginLeast
		if d := time.Since(start); d > want || d < want-10*time.Millisecond {
			t.Errorf("lost after %v, want %v", d, want)
		}
		if h.LostReason() != LostExpired || other.Check() != nil {
			t.Error(h.LostReason(), other.Check())
		}
		wantErr(t, h.Renew(t.Context()), ErrLost)
	})
}

func TestSafetyMargin(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.setDown("n1", true)
		start := time.Now()
		<-h.Lost()
		if d := time.Since(start); d > 20*time.Second {
			t.Fatalf("lost after %v", d)
		}
		f.setDown("n1", false)
	}, WithSafetyMargin(10*time.Second))
}

func TestRevokedLock(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		other := must[*Handle](t)(c.Lock("b").Acquire(h.Context()))
		synctest.Wait()
		f.revoke(h.GrantID(), "maintenance")
		<-h.Lost()
		if h.LostReason() != LostRevoked {
			t.Fatal(h.LostReason())
		}
		var lost *LostError
		if !errors.As(h.Err(), &lost) || lost.Detail != "maintenance" {
			t.Fatal(h.Err())
		}
		<-other.Context().Done() // it was acquired within the work that h protected
		wantErr(t, context.Cause(other.Context()), ErrLost)
		if other.Check() != nil {
			t.Fatal("the other lock is still held")
		}
		if err := h.Release(t.Context()); err != nil {
			t.Fatalf("release of a lost lock: %v", err)
		}
	})
}

// HF-6.2: a cluster that was restored has ended all sessions, and says so by its epoch.
func TestRestoredClusterIsAFork(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.mu.Lock()
		f.epoch = 2
		f.mu.Unlock()
		<-h.Lost()
		if h.LostReason() != LostForked {
			t.Fatal(h.LostReason())
		}
	})
}

func TestUnknownSessionIsAFork(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		f.on(func(k call) fault {
			if k.method != "RenewSession" {
				return fault{}
			}
			return fault{err: wireError(connect.CodeNotFound, &v1.Error{
				Reason: v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND})}
		})
		<-h.Lost()
		if h.LostReason() != LostForked {
			t.Fatal(h.LostReason())
		}
	})
}

// The context of a handle does not end with the deadline of its wait.
func TestHandleOutlivesTheWait(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h := must[*Handle](t)(c.Lock("a").Acquire(ctx))
		time.Sleep(time.Minute)
		if h.Context().Err() != nil || h.Check() != nil {
			t.Fatal(h.Context().Err(), h.Check())
		}
	})
}

// An acquire whose wait outlasts what the service allows is asked for again.
func TestEndlessWaitOutlivesTheServersLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		got := acquireLater(c, "a")
		synctest.Wait()
		f.endWaits(v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED)
		synctest.Wait()
		_ = h.Release(t.Context())
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
	})
}

func TestEndlessConversionOutlivesTheServersLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		a := must[*Handle](t)(c.Lock("a").Shared().Acquire(t.Context()))
		b := must[*Handle](t)(c.Lock("a").Shared().Acquire(t.Context()))
		done := make(chan error, 1)
		go func() { done <- a.Upgrade(t.Context()) }()
		synctest.Wait()
		f.endWaits(v1.Outcome_OUTCOME_WAIT_LIMIT_REACHED)
		synctest.Wait()
		_ = b.Release(t.Context())
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestCallersWaitForOneSession(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.on(func(k call) fault {
			if k.method == "OpenSession" {
				return fault{before: 2 * time.Second}
			}
			return fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Lock("a").Acquire(ctx) // gives up, and takes the attempt with it
		wantErr(t, err, context.DeadlineExceeded)
		one, two := acquireLater(c, "a"), acquireLater(c, "b")
		a, b := <-one, <-two
		if a.err != nil || b.err != nil || a.h.SessionID() != b.h.SessionID() {
			t.Fatal(a.err, b.err)
		}
	})
}

func TestNoTTLMeansTheDefault(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		if h := must[*Handle](t)(c.Lock("a").Acquire(t.Context())); h.hold.s.ttl != ttlDefault {
			t.Fatal(h.hold.s.ttl)
		}
	}, WithTTL(0))
}

func TestShortTTLIsRenewedInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		time.Sleep(time.Minute)
		if h.Check() != nil {
			t.Fatal(h.Check())
		}
	}, WithTTL(time.Second))
}
