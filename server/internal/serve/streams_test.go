package serve_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

// nextEvent gives the next message of a stream that is of some kind.
func nextEvent(t testing.TB, s *connect.ServerStreamForClient[v1.EventsResponse], kind v1.SessionEventKind) *v1.EventsResponse {
	t.Helper()
	for s.Receive() {
		if s.Msg().GetKind() == kind {
			return s.Msg()
		}
	}
	t.Fatalf("no %v: %v", kind, s.Err())
	return nil
}

func nextLockEvent(t testing.TB, s *connect.ServerStreamForClient[v1.WatchLocksResponse]) *v1.WatchLocksResponse {
	t.Helper()
	for s.Receive() {
		if s.Msg().GetKind() != v1.LockEventKind_LOCK_EVENT_KIND_PROGRESS {
			return s.Msg()
		}
	}
	t.Fatalf("no event: %v", s.Err())
	return nil
}

// The client of a session learns the outcome of what it queued, at any node, and after its stream
// broke it goes on at another one from where it was.
func TestEventsGoOnAtAnotherNode(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	here, there := newClient(t, cluster.Leader().URL()), newClient(t, cluster.Follower().URL())
	session := here.open()
	events, err := there.sessions.Events(t.Context(), &v1.EventsRequest{SessionId: session})
	if err != nil {
		t.Fatal(err)
	}
	state := nextEvent(t, events, v1.SessionEventKind_SESSION_EVENT_KIND_STATE)
	if state.GetDeadlines().GetSessionMs() == 0 || state.GetCursor() == "" || state.GetCluster().GetLeader() == "" {
		t.Errorf("state: %v", state)
	}

	first, second := here.acquired(&v1.AcquireRequest{Name: "a"}), here.acquired(&v1.AcquireRequest{Name: "b"})
	queued, err := there.Execute(t.Context(), &v1.ExecuteRequest{SessionId: session, Operations: []*v1.Operation{
		{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{
			Name: "a", RequestId: 1, Wait: durationpb.New(time.Minute),
		}}},
		{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{
			Name: "b", RequestId: 2, Wait: durationpb.New(time.Minute), Owner: "other",
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range queued.GetResults() {
		if got := r.GetAcquire(); got.GetOutcome() != v1.Outcome_OUTCOME_QUEUED || got.GetBlockersTotal() != 1 {
			t.Errorf("queued: %v", r)
		}
	}
	release := func(got *v1.AcquireResponse) {
		t.Helper()
		if _, err := here.Release(t.Context(), &v1.ReleaseRequest{GrantId: got.GetGrant().GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	release(first)
	outcome := nextEvent(t, events, v1.SessionEventKind_SESSION_EVENT_KIND_OUTCOME)
	if outcome.GetRequestId() != 1 || outcome.GetOutcome() != v1.Outcome_OUTCOME_GRANTED || outcome.GetGrant().GetToken() == 0 {
		t.Errorf("outcome: %v", outcome)
	}
	_ = events.Close() // it breaks

	release(second)
	events, err = here.sessions.Events(t.Context(), &v1.EventsRequest{SessionId: session, Cursor: outcome.GetCursor()})
	if err != nil {
		t.Fatal(err)
	}
	outcome = nextEvent(t, events, v1.SessionEventKind_SESSION_EVENT_KIND_OUTCOME)
	if outcome.GetRequestId() != 2 {
		t.Errorf("resumed: %v", outcome)
	}
	if _, err := here.admin.RevokeSession(t.Context(), &v1.RevokeSessionRequest{SessionId: session, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	ended := nextEvent(t, events, v1.SessionEventKind_SESSION_EVENT_KIND_ENDED)
	if ended.GetEnded() != v1.EndReason_END_REASON_REVOKED || ended.GetDetail() != "test" {
		t.Errorf("ended: %v", ended)
	}
	for events.Receive() {
	}
	if events.Err() != nil {
		t.Errorf("a stream that is over ends with %v", events.Err())
	}
}

// A stream of a session that has ended, or never was, says so.
func TestEventsOfNoSession(t *testing.T) {
	c := newClient(t, holdfasttest.Start(t).URL())
	session := c.open()
	if _, err := c.sessions.CloseSession(t.Context(), &v1.CloseSessionRequest{SessionId: session}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint64]v1.ErrorReason{
		session: v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED,
		99:      v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND,
	} {
		stream, err := c.sessions.Events(t.Context(), &v1.EventsRequest{SessionId: id})
		if err != nil {
			t.Fatal(err)
		}
		for stream.Receive() {
		}
		if got := detail(t, stream.Err()); got.GetReason() != want {
			t.Errorf("session %d: %v", id, got)
		}
	}
}

// HF-9.3: who watches a prefix sees what happens there and nothing else; from a cursor on nothing
// is missed, and a cursor of another history is refused.
func TestWatchLocks(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	here, there := newClient(t, cluster.Leader().URL()), newClient(t, cluster.Follower().URL())
	stream, err := there.WatchLocks(t.Context(), &v1.WatchLocksRequest{Prefix: "a"})
	if err != nil || !stream.Receive() || stream.Msg().GetKind() != v1.LockEventKind_LOCK_EVENT_KIND_PROGRESS {
		t.Fatalf("no first message: %v", err)
	}
	from := stream.Msg().GetCursor()
	here.acquired(&v1.AcquireRequest{Name: "ab"})
	held := here.acquired(&v1.AcquireRequest{Name: "a/1"})
	if _, err := here.admin.RevokeGrant(t.Context(), &v1.RevokeGrantRequest{GrantId: held.GetGrant().GetId(), Reason: "why"}); err != nil {
		t.Fatal(err)
	}
	want := []v1.LockEventKind{v1.LockEventKind_LOCK_EVENT_KIND_GRANTED, v1.LockEventKind_LOCK_EVENT_KIND_REVOKED}
	check := func(stream *connect.ServerStreamForClient[v1.WatchLocksResponse]) {
		t.Helper()
		for _, kind := range want {
			got := nextLockEvent(t, stream)
			if got.GetKind() != kind || got.GetClaims()[0].GetName() != "a/1" || got.GetGrantId() != held.GetGrant().GetId() {
				t.Errorf("want %v, got %v", kind, got)
			}
		}
	}
	check(stream)
	again, err := here.WatchLocks(t.Context(), &v1.WatchLocksRequest{Prefix: "a", Cursor: from})
	if err != nil {
		t.Fatal(err)
	}
	check(again)

	foreign := newClient(t, holdfasttest.Start(t).URL())
	lost, err := foreign.WatchLocks(t.Context(), &v1.WatchLocksRequest{Prefix: "a", Cursor: from})
	if err != nil {
		t.Fatal(err)
	}
	for lost.Receive() {
	}
	if got := detail(t, lost.Err()); got.GetReason() != v1.ErrorReason_ERROR_REASON_COMPACTED ||
		connect.CodeOf(lost.Err()) != connect.CodeOutOfRange {
		t.Errorf("got %v", got)
	}
}
