package rpc

import (
	"context"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
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
