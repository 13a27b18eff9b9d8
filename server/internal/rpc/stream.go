package rpc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

const (
	// aliveEvery is how often a stream says that it lives, with a cursor that has moved on.
	aliveEvery = 10 * time.Second
	// sendTimeout is how long a reader may keep a message from being sent, and extendEvery how much
	// less it may be: to set a deadline takes a word with the goroutine of the connection.
	sendTimeout = 30 * time.Second
	extendEvery = 5 * time.Second
)

// streamOf is how one stream sends.
type streamOf struct {
	open  func(context.Context) error // the first message
	alive func() error                // a message that says that nothing happened
	item  func(*watch.Item) (last bool, err error)
}

// stream sends events until the caller goes, the subscription ends, or the node shuts down.
func (s *Services) stream(ctx context.Context, from *watch.Subscription, to streamOf) error {
	s.Observer.Streams(1)
	defer s.Observer.Streams(-1)
	w := writerOf(ctx)
	defer w.clearDeadline()
	ctx, cancel := s.untilStop(ctx)
	defer cancel()
	w.extendDeadline(time.Now())
	if err := to.open(ctx); err != nil {
		return s.streamError(ctx, err)
	}
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		items, err := from.NextUntil(ctx, tick.C)
		w.extendDeadline(time.Now())
		if err == nil && len(items) == 0 {
			err = to.alive()
		}
		if err != nil {
			return s.streamError(ctx, err)
		}
		for i := range items {
			w.hold(i < len(items)-1)
			last, err := to.item(&items[i])
			if err != nil || last {
				return s.streamError(ctx, err)
			}
		}
	}
}

// streamError gives the error by which a stream ends; none if its caller has gone.
func (s *Services) streamError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, watch.ErrCursor):
		return connectError(place{}.invalid("cursor", "not a cursor", "give back one that this cluster gave"))
	case errors.Is(err, watch.ErrCompacted):
		return connectError(fail(v1.ErrorReason_ERROR_REASON_COMPACTED))
	case errors.Is(err, watch.ErrClosed), errors.Is(err, errStopping):
		return connectError(fail(v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN, s.NodeID))
	case ctx.Err() != nil:
		return ctx.Err()
	}
	var failed *connect.Error
	if errors.As(err, &failed) {
		return failed // from sending
	}
	return toConnect(err)
}

// writerKey is the key of a stream's writer in its context.
type writerKey struct{}

// withWriter keeps the writer of a stream in the context of its call.
func withWriter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer := &streamWriter{ResponseWriter: w}
		next.ServeHTTP(writer, r.WithContext(context.WithValue(r.Context(), writerKey{}, writer)))
	})
}

// writerOf gives the writer of a stream; where there is no connection below, as in tests, one that
// writes nothing.
func writerOf(ctx context.Context) *streamWriter {
	if w, ok := ctx.Value(writerKey{}).(*streamWriter); ok {
		return w
	}
	return &streamWriter{}
}

// streamWriter writes a stream. connect flushes after each message; messages that come together are
// flushed together. Each message has its time to be sent: a deadline for all of a response would end
// streams that are healthy.
type streamWriter struct {
	http.ResponseWriter
	held     bool
	deadline time.Time
}

// hold tells whether more will be written at once.
func (w *streamWriter) hold(more bool) { w.held = more }

// Flush implements http.Flusher.
func (w *streamWriter) Flush() {
	if !w.held {
		_ = http.NewResponseController(w.ResponseWriter).Flush() // an error shows at the next write
	}
}

// Unwrap is for http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extendDeadline gives the next messages their time.
func (w *streamWriter) extendDeadline(now time.Time) {
	if at := now.Add(sendTimeout); at.Sub(w.deadline) >= extendEvery {
		w.setDeadline(at)
	}
}

// clearDeadline leaves the connection as it was, for the calls that come after on it.
func (w *streamWriter) clearDeadline() { w.setDeadline(time.Time{}) }

func (w *streamWriter) setDeadline(at time.Time) {
	w.deadline = at
	if w.ResponseWriter != nil {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at) // the connection has gone
	}
}
