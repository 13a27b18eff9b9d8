package holdfast

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// HF-11.7: after a failure the node's connections are made anew, which resolves its name again.
func TestNamesAreResolvedAgainAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		var made atomic.Int32
		c := f.client(nil, func(cfg *config) {})
		c.transport.newHTTP = func(bool) http.RoundTripper { made.Add(1); return f.transport() }
		defer f.stop(c)
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		synctest.Wait() // for the stream to be open
		if n := made.Load(); n != 0 {
			t.Fatalf("%d connections were given up without a failure", n)
		}
		f.setDown("n1", true)
		f.breakStreams()
		time.Sleep(5 * time.Second)
		f.setDown("n1", false)
		time.Sleep(5 * time.Second)
		if n := made.Load(); n < 2 || n > 12 { // two at a time, once a second at most
			t.Fatalf("%d connections were made", n)
		}
	})
}

// An id whose outcome nobody can tell any more does not hold up the acknowledged ones for ever.
func TestForgottenRequestIsLetGo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f.mu.Lock()
		f.stale = true
		f.mu.Unlock()
		_, err := c.Lock("a").Acquire(ctx)
		wantErr(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		s := h.hold.s
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unfinished.len != 0 || len(s.waits) != 0 || s.ackedLocked() != s.lastID {
			t.Fatalf("%d without a final answer", s.unfinished.len)
		}
	})
}

// A Run within a Run is the same owner, and leaves the retrying to the outer one.
func TestRunWithinRun(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		outer, inner := 0, 0
		err := c.Run(t.Context(), func(ctx context.Context) error {
			outer++
			return c.Run(ctx, func(ctx context.Context) error {
				inner++
				a := must[*Handle](t)(c.Lock("a").Acquire(ctx))
				again := must[*Handle](t)(c.Lock("a").Acquire(ctx))
				if a.GrantID() != again.GrantID() {
					t.Error("another owner")
				}
				if inner == 1 {
					return &Error{Reason: ReasonDeadlockVictim}
				}
				return nil
			})
		})
		if err != nil || outer != 2 || inner != 2 || f.held() != 0 {
			t.Fatal(err, outer, inner, f.held())
		}
	})
}

func TestRunEndsWhenALockIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		err := c.Run(t.Context(), func(ctx context.Context) error {
			h := must[*Handle](t)(c.Lock("a").Acquire(ctx))
			synctest.Wait()
			f.revoke(h.GrantID(), "")
			<-ctx.Done()
			return context.Cause(ctx)
		})
		wantErr(t, err, ErrLost)
	})
}

func TestDo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		err := c.Lock("a").Do(t.Context(), func(ctx context.Context, h *Handle) error {
			if f.held() != 1 || h.Check() != nil {
				t.Error("not held")
			}
			return nil
		})
		if err != nil || f.held() != 0 {
			t.Fatal(err)
		}
		err = c.Lock("a").Do(t.Context(), func(ctx context.Context, h *Handle) error {
			synctest.Wait()
			f.revoke(h.GrantID(), "")
			<-ctx.Done()
			return nil // it did not look, and must not be told that all is well
		})
		wantErr(t, err, ErrLost)
	})
}

// Hand over hand: the outer lock may go before the inner one.
func TestOuterLockMayBeReleasedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		a := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		b := must[*Handle](t)(c.Lock("b").Acquire(a.Context()))
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Context().Err() != nil || b.Check() != nil {
			t.Fatal(context.Cause(b.Context()))
		}
	})
}

// A grant may be revoked before its answer arrives.
func TestLossBeforeTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		_ = must[*Handle](t)(c.Lock("b").Acquire(t.Context())).Release(t.Context())
		f.on(func(k call) fault {
			if k.method == "Execute" {
				return fault{after: time.Second}
			}
			return fault{}
		})
		got := acquireLater(c, "a")
		time.Sleep(500 * time.Millisecond)
		f.mu.Lock()
		id := f.lastGrant
		f.mu.Unlock()
		f.revoke(id, "")
		r := <-got
		if r.err != nil {
			wantErr(t, r.err, ErrLost)
			return
		}
		wantErr(t, r.h.Check(), ErrLost)
	})
}

func TestCloseWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client(nil)
		f.on(func(call) fault { return fault{hang: true} })
		got := acquireLater(c, "a")
		time.Sleep(time.Second)
		f.stop(c)
		wantErr(t, (<-got).err, ErrClosed)
	})
}

// Errors that are no fault of the node are told at once.
func TestRefusedSessionIsNoRetry(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		f.on(func(k call) fault {
			return fault{err: wireError(connect.CodeInvalidArgument, &v1.Error{
				Reason: v1.ErrorReason_ERROR_REASON_INVALID_TTL, Field: "ttl", Message: "ttl: too short"})}
		})
		start := time.Now()
		_, err := c.Lock("a").Acquire(t.Context())
		wantErr(t, err, ErrInvalidTTL)
		if time.Since(start) > 0 || f.count("OpenSession") != 1 {
			t.Fatal("it was tried again")
		}
		f.on(nil)
		must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
	})
}
