package holdfast

import (
	"testing"
	"testing/synctest"
	"time"
)

// HF-7.5, HF-11.6: a wait ends by an event.
func TestWaitIsEndedByAnEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		got := acquireLater(c, "a")
		synctest.Wait()
		calls := f.count("Execute")
		_ = h.Release(t.Context())
		r := <-got
		if r.err != nil || r.h.Token() <= h.Token() {
			t.Fatalf("%v", r.err)
		}
		if n := f.count("Execute"); n != calls+1 {
			t.Fatalf("%d calls for one release: somebody polls", n-calls)
		}
	})
}

// A stream that breaks while a wait ends is resumed at its cursor.
func TestBrokenStreamIsResumed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		got := acquireLater(c, "a")
		synctest.Wait()
		f.setDown("n1", true)
		f.breakStreams()
		time.Sleep(500 * time.Millisecond)
		f.releaseAtServer(h.GrantID())
		f.setDown("n1", false)
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
	})
}

// After COMPACTED the ids that wait are repeated, and grants that ended meanwhile are found out.
func TestCompactedStreamIsRepaired(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		other := must[*Handle](t)(c.Lock("b").Acquire(t.Context()))
		got := acquireLater(c, "a")
		synctest.Wait()
		f.setDown("n1", true)
		f.compact()
		f.breakStreams()
		time.Sleep(500 * time.Millisecond)
		f.releaseAtServer(h.GrantID())
		f.revoke(other.GrantID(), "")
		f.setDown("n1", false)
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
		<-other.Lost()
		if other.LostReason() != LostRevoked {
			t.Fatal(other.LostReason())
		}
	})
}

// A stream that goes silent without breaking is taken for dead.
func TestSilentStreamIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
		synctest.Wait()
		f.on(func(k call) fault { return fault{hang: k.method == "Events" && k.n == 2} })
		f.breakStreams()
		got := acquireLater(c, "a")
		time.Sleep(time.Second)
		f.releaseAtServer(h.GrantID())
		start := time.Now()
		if r := <-got; r.err != nil {
			t.Fatal(r.err)
		}
		if took := time.Since(start); took > 2*streamSilenceMax {
			t.Fatalf("took %v", took)
		}
	})
}
