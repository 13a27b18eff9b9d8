package rpc

import (
	"context"
	"errors"
	"net/http"
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
	flushes   int
	deadlines []time.Duration // from now, as they were set; 0 for none
}

func (w *line) Flush() { w.flushes++ }

func (w *line) SetWriteDeadline(at time.Time) error {
	left := time.Duration(0)
	if !at.IsZero() {
		left = time.Until(at)
	}
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
		alive, items := 0, 0
		go func() {
			ended <- s.stream(ctx, from, streamOf{
				open:  func(context.Context) error { return nil },
				alive: func() error { alive++; return nil },
				item:  func(*watch.Item) (bool, error) { items++; w.Flush(); return false, nil },
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
		if items != 4 || out.flushes != 2 {
			t.Errorf("%d events in %d flushes, want 4 in 2", items, out.flushes)
		}
		if len(out.deadlines) != 1 {
			t.Errorf("deadlines were set within a moment: %v", out.deadlines)
		}
		time.Sleep(3*aliveEvery + time.Second)
		batch(1)
		if alive != 3 {
			t.Errorf("%d signs of life in 31 s", alive)
		}
		for _, left := range out.deadlines {
			if left < sendTimeout-extendEvery {
				t.Errorf("deadlines %v", out.deadlines)
			}
		}
		cancel(gone)
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if last := out.deadlines[len(out.deadlines)-1]; last != 0 {
			t.Errorf("the connection was left with a deadline of %v", last)
		}
		s.Stop()
	})
}
