package rpc

import (
	"context"
	"strconv"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

const (
	// pageEntriesMax bounds the holders, waiters and ghosts on one page of locks: a page with busy
	// locks ends early, so that nobody keeps the log waiting while it is read.
	pageEntriesMax = 5_000
	explainSteps   = 64
)

// stampOf is the state from which something was read.
func stampOf(t *locktable.Table) *v1.Stamp {
	return &v1.Stamp{Index: t.Index(), TimeMs: t.Time()}
}

// now is the state of this node.
func (s *Services) now() (at *v1.Stamp) {
	s.Node.View(func(t *locktable.Table) { at = stampOf(t) })
	return at
}

// GetLock shows one lock.
func (s lockService) GetLock(ctx context.Context, r *v1.GetLockRequest) (*v1.GetLockResponse, error) {
	var at place
	namespace, invalid := at.namespace(r.GetNamespace())
	if invalid := first(at.name("name", r.GetName()), invalid); invalid != nil {
		return nil, connectError(invalid)
	}
	response := &v1.GetLockResponse{}
	err := s.view(ctx, r.GetStale(), func(t *locktable.Table) {
		lock := t.Lock(namespace, r.GetName())
		response.Lock = lockShown(&lock, t.Time())
		response.Stamp = stampOf(t)
	})
	response.Cluster = s.clusterRef()
	return response, toConnect(err)
}

// ListLocks lists a page of locks.
func (s lockService) ListLocks(ctx context.Context, r *v1.ListLocksRequest) (*v1.ListLocksResponse, error) {
	var at place
	namespace, invalid := at.namespace(r.GetNamespace())
	size, invalidSize := at.pageSize(r.GetPageSize())
	after, invalidToken := at.lockAfter(r.GetPageToken())
	if invalid := first(at.prefix("prefix", r.GetPrefix()), invalid, invalidSize, invalidToken); invalid != nil {
		return nil, connectError(invalid)
	}
	response := &v1.ListLocksResponse{}
	err := s.view(ctx, r.GetStale(), func(t *locktable.Table) {
		entries := 0
		for more := true; more && len(response.Locks) < size && entries < pageEntriesMax; {
			var locks []locktable.LockView
			locks, more = t.Locks(namespace, r.GetPrefix(), after, 1)
			if len(locks) == 0 {
				break
			}
			lock := &locks[0]
			after = lock.Name
			entries += len(lock.Holders) + len(lock.Waiters) + len(lock.Ghosts)
			response.Locks = append(response.Locks, lockShown(lock, t.Time()))
			response.NextPageToken = ""
			if more {
				response.NextPageToken = pageToken(lockPages, after)
			}
		}
		response.Stamp = stampOf(t)
	})
	response.Cluster = s.clusterRef()
	return response, toConnect(err)
}

func lockShown(l *locktable.LockView, now locktable.Millis) *v1.Lock {
	out := &v1.Lock{
		Name:         l.Name,
		HoldersTotal: uint32(l.HoldersTotal),
		WaitersTotal: uint32(l.WaitersTotal),
	}
	for i := range l.Holders {
		h := &l.Holders[i]
		out.Holders = append(out.Holders, &v1.Holder{
			SessionId:       uint64(h.Session),
			Owner:           h.Owner,
			Mode:            modes[h.Mode],
			Implied:         h.Implied,
			Grant:           grantAt(h.Grant, now),
			Metadata:        h.Metadata,
			Age:             duration(now - h.GrantedAt),
			SessionMetadata: h.SessionMetadata,
		})
	}
	for i := range l.Waiters {
		out.Waiters = append(out.Waiters, waiterShown(&l.Waiters[i], now))
	}
	for _, g := range l.Ghosts {
		out.Ghosts = append(out.Ghosts, &v1.Ghost{
			GrantId: int64(g.Grant), Mode: modes[g.Mode], ExpiresIn: duration(max(g.Until-now, 0)),
		})
	}
	return out
}

func waiterShown(w *locktable.WaiterView, now locktable.Millis) *v1.Waiter {
	return &v1.Waiter{
		SessionId: uint64(w.Session),
		Owner:     w.Owner,
		RequestId: w.Request,
		Mode:      modes[w.Mode],
		Claims:    claims(w.Claims),
		Position:  uint32(w.Position),
		Priority:  w.Priority,
		Age:       duration(now - w.ArrivedAt),
		WaitLeft:  duration(max(w.Until-now, 0)),
		Metadata:  w.Metadata,
		Converts:  int64(w.Converts),
	}
}

// ExplainWait tells why a request waits.
func (s lockService) ExplainWait(
	ctx context.Context, r *v1.ExplainWaitRequest,
) (*v1.ExplainWaitResponse, error) {
	namespace, invalid := explained(r)
	if invalid != nil {
		return nil, connectError(invalid)
	}
	response := &v1.ExplainWaitResponse{}
	err := s.view(ctx, r.GetStale(), func(t *locktable.Table) {
		var e locktable.Explanation
		if r.GetName() != "" {
			e = t.ExplainLock(namespace, r.GetName(), explainSteps)
		} else {
			e = t.ExplainRequest(locktable.SessionID(r.GetSessionId()), r.GetRequestId(), explainSteps)
		}
		response.Stamp = stampOf(t)
		if response.Waiting = e.Waiting; !e.Waiting {
			return
		}
		response.Waiter = waiterShown(&e.Waiter, t.Time())
		for i := range e.Steps {
			response.Steps = append(response.Steps, stepShown(&e.Steps[i], t.Time()))
		}
	})
	response.Cluster = s.clusterRef()
	return response, toConnect(err)
}

// explained checks which request or lock is to be explained.
func explained(r *v1.ExplainWaitRequest) (namespace string, _ *v1.Error) {
	var at place
	if r.GetSessionId() == 0 && r.GetRequestId() == 0 {
		if r.GetName() == "" {
			return "", at.invalid("session_id", "missing", "give session_id and request_id, or name")
		}
		namespace, invalid := at.namespace(r.GetNamespace())
		return namespace, first(at.name("name", r.GetName()), invalid)
	}
	const either = "is given together with a request; give one of the two"
	invalid := first(at.unset(either, field{"name", r.GetName() != ""}, field{"namespace", r.GetNamespace() != ""}),
		at.session(r.GetSessionId()))
	if invalid == nil && r.GetRequestId() == 0 {
		invalid = at.invalid("request_id", "missing", "at least 1")
	}
	return "", invalid
}

func stepShown(step *locktable.WaitStep, now locktable.Millis) *v1.WaitStep {
	out := &v1.WaitStep{
		Distance:        uint32(step.Distance),
		Blocker:         blocker(step.Blocker),
		SessionMetadata: step.SessionMetadata,
	}
	if step.Blocker.Kind == locktable.GhostLeft {
		return out // it was left by somebody who has gone, and has no age of its own
	}
	out.Age = duration(now - step.Since)
	left := max(step.SessionDeadline-now, 0)
	if step.SessionEnded {
		left = 0
	}
	out.SessionExpiresIn = duration(left)
	out.SessionAtRisk = 3*left < step.SessionTTL
	return out
}

// ListSessions lists a page of sessions.
func (s sessionService) ListSessions(
	ctx context.Context, r *v1.ListSessionsRequest,
) (*v1.ListSessionsResponse, error) {
	var at place
	namespace, invalid := at.namespace(r.GetNamespace())
	size, invalidSize := at.pageSize(r.GetPageSize())
	after, invalidToken := at.sessionAfter(r.GetPageToken())
	if invalid := first(invalid, invalidSize, invalidToken); invalid != nil {
		return nil, connectError(invalid)
	}
	response := &v1.ListSessionsResponse{}
	err := s.view(ctx, r.GetStale(), func(t *locktable.Table) {
		sessions, more := t.Sessions(namespace, after, size)
		for i := range sessions {
			response.Sessions = append(response.Sessions, sessionShown(&sessions[i], t.Time()))
		}
		if more {
			last := sessions[len(sessions)-1].ID
			response.NextPageToken = pageToken(sessionPages, strconv.FormatUint(uint64(last), 10))
		}
		response.Stamp = stampOf(t)
	})
	response.Cluster = s.clusterRef()
	return response, toConnect(err)
}

func sessionShown(s *locktable.SessionView, now locktable.Millis) *v1.SessionInfo {
	return &v1.SessionInfo{
		SessionId: uint64(s.ID),
		Namespace: s.Namespace,
		Metadata:  s.Metadata,
		Ttl:       duration(s.TTL),
		ExpiresIn: duration(max(s.Deadline-now, 0)),
		Age:       duration(now - s.OpenedAt),
		Grants:    uint32(s.Grants),
		Waiting:   uint32(s.Waiting),
		Implicit:  s.Implicit,
	}
}

// sessionState is the first message of a stream of events, if the session lives.
func (s *Services) sessionState(id locktable.SessionID) (state *v1.EventsResponse, found bool) {
	s.Node.View(func(t *locktable.Table) {
		var session locktable.SessionView
		if session, found = t.Session(id); found {
			state = &v1.EventsResponse{
				Kind:      v1.SessionEventKind_SESSION_EVENT_KIND_STATE,
				Deadlines: deadlines(locktable.Deadlines{Session: session.Deadline}),
				Stamp:     stampOf(t),
			}
		}
	})
	return state, found
}

// missingSession is the error for a session that does not live.
func (s *Services) missingSession(id locktable.SessionID) (detail *v1.Error) {
	s.Node.View(func(t *locktable.Table) {
		why, text, known := t.SessionEnd(id)
		if !known || why == locktable.NotEnded {
			detail = fail(v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND, id)
			return
		}
		detail = fail(v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED, id, endWord(why, text))
		detail.Ended = endReasons[why]
	})
	return detail
}

// ListDeadlocks shows the resolved deadlocks.
func (s adminService) ListDeadlocks(
	ctx context.Context, r *v1.ListDeadlocksRequest,
) (*v1.ListDeadlocksResponse, error) {
	var at place
	namespace, invalid := at.namespace(r.GetNamespace())
	size, invalidSize := at.pageSize(r.GetPageSize())
	if invalid := first(invalid, invalidSize); invalid != nil {
		return nil, connectError(invalid)
	}
	response := &v1.ListDeadlocksResponse{}
	err := s.view(ctx, r.GetStale(), func(t *locktable.Table) {
		for _, d := range t.Deadlocks(namespace, size) {
			response.Deadlocks = append(response.Deadlocks, deadlockShown(&d, t.Time()))
		}
		response.Stamp = stampOf(t)
	})
	response.Cluster = s.clusterRef()
	return response, toConnect(err)
}

func deadlockShown(d *locktable.DeadlockView, now locktable.Millis) *v1.Deadlock {
	out := &v1.Deadlock{Cycle: cycle(d.Cycle), Stamp: stamp(d.At, d.Time), Age: duration(now - d.Time)}
	for _, step := range d.Cycle {
		if d.Victim != (locktable.Index{}) && step.Arrival == d.Victim {
			out.Victim = cycleStep(step)
		}
	}
	return out
}

// GetStatus shows the cluster as this node sees it.
func (s clusterService) GetStatus(ctx context.Context, _ *v1.GetStatusRequest) (*v1.GetStatusResponse, error) {
	response := &v1.GetStatusResponse{Cluster: s.clusterRef()}
	s.Node.View(func(t *locktable.Table) {
		status := t.Status()
		response.Stamp = stampOf(t)
		response.SemanticsVersion = status.SemanticsVersion
		response.Sessions = uint64(status.Sessions)
		response.Grants = uint64(status.Grants)
		response.Waiting = uint64(status.Waiting)
	})
	s.Members.Status(ctx, response)
	return response, nil
}
