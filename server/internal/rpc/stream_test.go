package rpc

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

// line is a connection that counts.
type line struct {
	http.ResponseWriter
	mu        sync.Mutex // of everything that the test counts
	flushes   int
	deadlines []time.Duration // from now, as they were set; 0 for none
}

func (w *line) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes++
}

func (w *line) SetWriteDeadline(at time.Time) error {
	left := time.Duration(0)
	if !at.IsZero() {
		left = time.Until(at)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadlines = append(w.deadlines, left)
	return nil
}

// What comes together is flushed together, no message has less than 25 s to be sent, and 10 s of
// silence are broken.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := watch.New(watch.Config{})
		from, err := hub.Session(7, "")
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		s := New(Config{Observer: silent{}})
		out := &line{}
		w := &streamWriter{ResponseWriter: out}
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), writerKey{}, w))
		gone := errors.New("gone")
		ended := make(chan error)
		var alive, items atomic.Int64
		go func() {
			ended <- s.stream(ctx, from, streamOf{
				open:  func(context.Context) error { return nil },
				alive: func() error { alive.Add(1); return nil },
				item:  func(*watch.Item) (bool, error) { items.Add(1); w.Flush(); return false, nil },
			})
		}()
		index := uint64(0)
		batch := func(events int) {
			index++
			a := proposer.Applied{Effects: locktable.Effects{Index: index}}
			for range events {
				a.Effects.Events = append(a.Effects.Events, locktable.Event{Kind: locktable.EventOutcome, Session: 7})
			}
			hub.Applied(a)
			synctest.Wait()
		}
		synctest.Wait()
		batch(3)
		batch(1)
		out.mu.Lock()
		if items.Load() != 4 || out.flushes != 2 {
			t.Errorf("%d events in %d flushes, want 4 in 2", items.Load(), out.flushes)
		}
		if len(out.deadlines) != 1 {
			t.Errorf("deadlines were set within a moment: %v", out.deadlines)
		}
		out.mu.Unlock()
		time.Sleep(3*aliveEvery + time.Second)
		batch(1)
		if alive.Load() != 3 {
			t.Errorf("%d signs of life in 31 s", alive.Load())
		}
		cancel(gone)
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		for _, left := range out.deadlines[:len(out.deadlines)-1] {
			if left < sendTimeout-extendEvery {
				t.Errorf("deadlines %v", out.deadlines)
			}
		}
		if last := out.deadlines[len(out.deadlines)-1]; last != 0 {
			t.Errorf("the connection was left with a deadline of %v", last)
		}
		s.Stop()
	})
}
