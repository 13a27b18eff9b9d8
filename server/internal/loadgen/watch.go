package loadgen

import (
	"context"
	"errors"
	"sync"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

const (
	watchBegin = 10 * time.Second // for the first word of a stream
	catchUp    = 5 * time.Second  // for what is still under way at the end
)

// watcher feeds the events of some names to the check of their order.
type watcher struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	orders []*order
	events int // since the beginning, to see whether more come
	gaps   int // times at which events were missed
	err    error
}

// watch begins to watch the names; when it returns nothing that happens to them is missed.
func watch(ctx context.Context, client *holdfast.Client, names []*name, bad *violations) (*watcher, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &watcher{cancel: cancel}
	begun := make(chan struct{}, len(names))
	for _, n := range names {
		o := &order{text: n.text, bad: bad, known: true}
		w.orders = append(w.orders, o)
		w.done.Go(func() { w.read(running, client, o, begun) })
	}
	late := time.NewTimer(watchBegin)
	defer late.Stop()
	for range names {
		select {
		case <-begun:
		case <-ctx.Done():
			w.stop()
			return nil, ctx.Err()
		case <-late.C:
			w.stop()
			return nil, &holdfast.Error{Reason: holdfast.ReasonUnavailable, Message: "no events of locks came in time"}
		}
	}
	return w, nil
}

func (w *watcher) read(ctx context.Context, client *holdfast.Client, o *order, begun chan<- struct{}) {
	first := true
	for e, err := range client.WatchLocks(ctx, o.text) {
		if ctx.Err() != nil {
			return
		}
		if first && err == nil {
			first = false
			begun <- struct{}{}
		}
		w.mu.Lock()
		switch {
		case errors.Is(err, holdfast.ErrCompacted):
			w.gaps++
			o.missed()
		case err != nil:
			w.gaps++
			w.err = err
		default:
			w.events++
			o.event(e)
		}
		w.mu.Unlock()
	}
}

// told is how many grants the events have told of.
func (w *watcher) told() (grants int64, gaps int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.orders {
		grants += o.grants
	}
	return grants, w.gaps
}

// settle waits until the events tell of as many grants as holders had, since they come a little
// later, and says whether they did.
func (w *watcher) settle(holders int64) bool {
	for deadline := time.Now().Add(catchUp); ; time.Sleep(5 * time.Millisecond) {
		if grants, gaps := w.told(); grants >= holders || gaps > 0 {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (w *watcher) stop() {
	w.cancel()
	w.done.Wait()
}
