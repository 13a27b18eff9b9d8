package rpc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

const (
	// aliveEvery is how often a stream on which nothing happens says so, with a cursor that has
	// moved on.
	aliveEvery = 10 * time.Second
	// sendTimeout is how long a reader may keep one message from being sent.
	sendTimeout = 30 * time.Second
)

// Events streams what happens to a session. Every node has the same events, so that a stream that
// broke goes on at any other.
func (s sessionService) Events(
	ctx context.Context, r *v1.EventsRequest, stream *connect.ServerStream[v1.EventsResponse],
) error {
	var at place
	if invalid := first(at.session(r.GetSessionId()), at.text("cursor", r.GetCursor(), cursorBytesMax)); invalid != nil {
		return connectError(invalid)
	}
	id := locktable.SessionID(r.GetSessionId())
	subscription, err := s.Watch.Session(id, r.GetCursor())
	if err != nil {
		return s.streamError(ctx, err)
	}
	defer subscription.Close()
	return s.stream(ctx, subscription, streamOf{
		open:  func(ctx context.Context) error { return s.sendState(ctx, id, subscription, stream, true) },
		alive: func() error { return s.sendState(ctx, id, subscription, stream, false) },
		item: func(item *watch.Item) (last bool, err error) {
			return item.Event.Kind == locktable.EventSessionEnded, stream.Send(sessionEvent(item))
		},
	})
}

// sendState sends the state of a session. When a stream begins the session must be alive, or its
// end be among the events that come.
func (s sessionService) sendState(
	ctx context.Context, id locktable.SessionID, from *watch.Subscription,
	stream *connect.ServerStream[v1.EventsResponse], opening bool,
) error {
	state, found := s.sessionState(id)
	if !found && opening {
		// It may have been opened a moment ago, at another node.
		if err := s.view(ctx, false, func(*locktable.Table) {}); err != nil {
			return err
		}
		if state, found = s.sessionState(id); !found {
			return &Failure{s.missingSession(id)}
		}
	}
	if !found {
		return nil // its end is under way
	}
	state.Cursor, state.Cluster = from.Cursor(), s.clusterRef()
	return stream.Send(state)
}

// sessionEvent shows an event of a session.
func sessionEvent(item *watch.Item) *v1.EventsResponse {
	e := &item.Event
	out := &v1.EventsResponse{
		RequestId: e.Request,
		Outcome:   outcomes[e.Outcome],
		Grant:     grant(e.Grant),
		Ended:     endReasons[e.Ended],
		Cycle:     cycle(e.Cycle),
		Detail:    e.Detail,
		Stamp:     stamp(e.At, item.Time),
		Cursor:    item.Cursor(),
		Cluster:   historyRef(item.History),
	}
	switch e.Kind {
	case locktable.EventOutcome:
		out.Kind = v1.SessionEventKind_SESSION_EVENT_KIND_OUTCOME
	case locktable.EventSessionEnded:
		out.Kind = v1.SessionEventKind_SESSION_EVENT_KIND_ENDED
	default:
		out.Kind = v1.SessionEventKind_SESSION_EVENT_KIND_LOST
	}
	return out
}

func historyRef(h watch.History) *v1.ClusterRef {
	return &v1.ClusterRef{ClusterId: h.ClusterID, Epoch: h.Epoch}
}

// WatchLocks streams what happens at and below a prefix.
func (s lockService) WatchLocks(
	ctx context.Context, r *v1.WatchLocksRequest, stream *connect.ServerStream[v1.WatchLocksResponse],
) error {
	var at place
	namespace, invalid := at.namespace(r.GetNamespace())
	if invalid := first(
		at.prefix("prefix", r.GetPrefix()), invalid, at.text("cursor", r.GetCursor(), cursorBytesMax),
	); invalid != nil {
		return connectError(invalid)
	}
	subscription, err := s.Watch.Prefix(namespace, r.GetPrefix(), r.GetCursor())
	if err != nil {
		return s.streamError(ctx, err)
	}
	defer subscription.Close()
	progress := func() error {
		return stream.Send(&v1.WatchLocksResponse{
			Kind:    v1.LockEventKind_LOCK_EVENT_KIND_PROGRESS,
			Cursor:  subscription.Cursor(),
			Stamp:   s.now(),
			Cluster: s.clusterRef(),
		})
	}
	return s.stream(ctx, subscription, streamOf{
		open:  func(context.Context) error { return progress() },
		alive: progress,
		item: func(item *watch.Item) (last bool, err error) {
			out := lockEvent(item)
			if out == nil {
				return false, nil
			}
			return false, stream.Send(out)
		},
	})
}

// lockEvent shows an event of locks; nil if it is none of theirs.
func lockEvent(item *watch.Item) *v1.WatchLocksResponse {
	e := &item.Event
	kind := lockEventKind(e)
	if kind == v1.LockEventKind_LOCK_EVENT_KIND_UNSPECIFIED {
		return nil
	}
	named := e.Claims
	if len(named) == 0 {
		named = e.Grant.Claims
	}
	return &v1.WatchLocksResponse{
		Kind:      kind,
		Claims:    claims(named),
		SessionId: uint64(e.Session),
		Owner:     e.Owner,
		RequestId: e.Request,
		GrantId:   int64(e.Grant.ID),
		Token:     int64(e.Grant.Token),
		Outcome:   outcomes[e.Outcome],
		Ended:     endReasons[e.Ended],
		Cycle:     cycle(e.Cycle),
		Detail:    e.Detail,
		Stamp:     stamp(e.At, item.Time),
		Cursor:    item.Cursor(),
		Cluster:   historyRef(item.History),
	}
}

// lockEventKind says in the words of the contract what happened.
func lockEventKind(e *locktable.Event) v1.LockEventKind {
	switch e.Kind {
	case locktable.EventQueued:
		return v1.LockEventKind_LOCK_EVENT_KIND_QUEUED
	case locktable.EventGranted:
		return v1.LockEventKind_LOCK_EVENT_KIND_GRANTED
	case locktable.EventConverted:
		return v1.LockEventKind_LOCK_EVENT_KIND_CONVERTED
	case locktable.EventDeadlock:
		return v1.LockEventKind_LOCK_EVENT_KIND_DEADLOCK
	case locktable.EventOutcome:
		switch {
		case e.Outcome == locktable.Revoked:
			return v1.LockEventKind_LOCK_EVENT_KIND_REVOKED
		case e.Outcome != locktable.Granted:
			return v1.LockEventKind_LOCK_EVENT_KIND_CANCELLED
		case e.Converts != 0:
			return v1.LockEventKind_LOCK_EVENT_KIND_CONVERTED
		}
		return v1.LockEventKind_LOCK_EVENT_KIND_GRANTED
	case locktable.EventGrantEnded:
		return endedKind(e.Ended)
	}
	return v1.LockEventKind_LOCK_EVENT_KIND_UNSPECIFIED
}

// endedKind says in the words of the contract why a grant ended.
func endedKind(reason locktable.EndReason) v1.LockEventKind {
	switch reason {
	case locktable.Released, locktable.Closed:
		return v1.LockEventKind_LOCK_EVENT_KIND_RELEASED
	case locktable.RevokedByOperator, locktable.VictimReleased, locktable.Restored:
		return v1.LockEventKind_LOCK_EVENT_KIND_REVOKED
	}
	return v1.LockEventKind_LOCK_EVENT_KIND_EXPIRED
}

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
	defer clearDeadline(ctx)
	ctx, cancel := s.untilStop(ctx)
	defer cancel()
	send := func(what func() error) error {
		extendDeadline(ctx)
		return what()
	}
	if err := send(func() error { return to.open(ctx) }); err != nil {
		return s.streamError(ctx, err)
	}
	for {
		wait, done := context.WithTimeout(ctx, aliveEvery)
		items, err := from.Next(wait)
		done()
		if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = send(to.alive)
		}
		if err != nil {
			return s.streamError(ctx, err)
		}
		for i := range items {
			var last bool
			err := send(func() (err error) {
				last, err = to.item(&items[i])
				return err
			})
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

// writerKey is the key of a call's response writer in its context.
type writerKey struct{}

// withWriter keeps the response writer in the context of a call, so that streams can set a
// deadline for each message. A deadline for all of a response would end streams that are healthy.
func withWriter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), writerKey{}, w)))
	})
}

// extendDeadline gives the next message of a stream its time.
func extendDeadline(ctx context.Context) { setDeadline(ctx, time.Now().Add(sendTimeout)) }

// clearDeadline leaves the connection as it was, for the calls that come after on it.
func clearDeadline(ctx context.Context) { setDeadline(ctx, time.Time{}) }

func setDeadline(ctx context.Context, at time.Time) {
	if w, ok := ctx.Value(writerKey{}).(http.ResponseWriter); ok {
		// It fails where there is no connection below, as in tests; then nothing needs it.
		_ = http.NewResponseController(w).SetWriteDeadline(at)
	}
}
