package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

// HF-10.3, HF-11.7: sessions, grants and waits go on over a fail-over, and nobody notices more than
// a pause.
func TestFailOver(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	c := client(t, holdfast.Endpoints(cluster.URLs()...))
	other := client(t, holdfast.Endpoints(cluster.URLs()...))

	held := acquire(t, c.Lock("kept"))
	next := make(chan *holdfast.Handle, 1)
	go func() {
		h, err := other.Lock("kept").Acquire(soon(t))
		if err != nil {
			t.Error(err)
		}
		next <- h
	}()
	waitFor(t, func() bool { return waiters(t, c, "kept") == 1 })

	var inside, rounds atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i, cl := range []*holdfast.Client{c, other, c, other} {
		wg.Go(func() {
			for ctx.Err() == nil {
				h, err := cl.Lock("contended").Acquire(soon(t))
				if err != nil {
					t.Errorf("worker %d: %v", i, err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold an exclusive lock", n)
				}
				inside.Add(-1)
				rounds.Add(1)
				if err := h.Release(soon(t)); err != nil {
					t.Errorf("worker %d: %v", i, err)
				}
			}
		})
	}
	waitFor(t, func() bool { return rounds.Load() > 20 })
	cluster.Leader().Stop()
	before := rounds.Load()
	waitFor(t, func() bool { time.Sleep(time.Millisecond); return rounds.Load() > before+20 })
	stop()
	wg.Wait()

	if err := held.Check(); err != nil {
		t.Fatal(err)
	}
	release(t, held)
	if h := <-next; h != nil {
		if h.Token() <= held.Token() {
			t.Errorf("token %d after %d", h.Token(), held.Token())
		}
		release(t, h)
	}
}

// A thousand goroutines of one client.
func TestMany(t *testing.T) {
	srv := holdfasttest.Start(t)
	c := client(t, holdfast.Endpoints(srv.URL()))
	var wg sync.WaitGroup
	var inside [10]atomic.Int32
	for i := range 1000 {
		wg.Go(func() {
			for round := range 5 {
				n := (i + round) % len(inside)
				h, err := c.Lock(fmt.Sprint("many/", n)).Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if k := inside[n].Add(1); k != 1 {
					t.Errorf("%d hold many/%d", k, n)
				}
				inside[n].Add(-1)
				if err := h.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Close leaves no goroutine behind.
func TestNothingIsLeftBehind(t *testing.T) {
	srv := holdfasttest.Start(t)
	before := goleak.IgnoreCurrent()
	c, err := holdfast.New(t.Context(), holdfast.Endpoints(srv.URL()))
	if err != nil {
		t.Fatal(err)
	}
	h := acquire(t, c.Lock("a"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Lock("a").Acquire(ctx)
	want(t, err, context.DeadlineExceeded)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, h.Check(), holdfast.ErrLost)
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*http2serverConn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}
