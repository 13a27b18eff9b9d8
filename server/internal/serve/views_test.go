package serve_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

// queue puts an acquire into the queue by Execute.
func (c *client) queue(session, request uint64, owner, name string) {
	c.t.Helper()
	r, err := c.Execute(c.t.Context(), &v1.ExecuteRequest{SessionId: session, Operations: []*v1.Operation{
		{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{
			Name: name, RequestId: request, Owner: owner, Wait: durationpb.New(time.Minute), Metadata: "queued",
		}}},
	}})
	if err != nil || r.GetResults()[0].GetAcquire().GetOutcome() != v1.Outcome_OUTCOME_QUEUED {
		c.t.Fatalf("queue: %v, %v", r, err)
	}
}

// HF-9.1, HF-9.2: a lock shows its holders and its queue, and a wait what it waits for.
func TestLooking(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	c := newClient(t, cluster.Follower().URL())
	holder, err := c.sessions.OpenSession(t.Context(), &v1.OpenSessionRequest{Metadata: "the holder"})
	if err != nil {
		t.Fatal(err)
	}
	c.acquired(&v1.AcquireRequest{
		Name: "a/b", SessionId: holder.GetSessionId(), RequestId: 1, Metadata: "the grant", Lease: durationpb.New(time.Minute),
	})
	waiting := c.open()
	c.queue(waiting, 7, "o", "a/b")

	got, err := c.GetLock(t.Context(), &v1.GetLockRequest{Name: "a/b"})
	if err != nil {
		t.Fatal(err)
	}
	h, w := got.GetLock().GetHolders()[0], got.GetLock().GetWaiters()[0]
	if h.GetMetadata() != "the grant" || h.GetSessionMetadata() != "the holder" || h.GetMode() != v1.Mode_MODE_EXCLUSIVE ||
		h.GetGrant().GetExpiresIn().AsDuration() > 30*time.Second || h.GetGrant().GetDeadlines().GetLeaseMs() == 0 {
		t.Errorf("holder: %v", h)
	}
	if w.GetRequestId() != 7 || w.GetPosition() != 1 || w.GetOwner() != "o" || w.GetMetadata() != "queued" ||
		w.GetWaitLeft().AsDuration() > time.Minute || w.GetWaitLeft().AsDuration() < 50*time.Second {
		t.Errorf("waiter: %v", w)
	}
	for _, r := range []*v1.ExplainWaitRequest{{SessionId: waiting, RequestId: 7}, {Name: "a/b"}} {
		why, err := c.ExplainWait(t.Context(), r)
		if err != nil || !why.GetWaiting() || len(why.GetSteps()) != 1 {
			t.Fatalf("explain: %v, %v", why, err)
		}
		step := why.GetSteps()[0]
		if step.GetDistance() != 1 || step.GetSessionMetadata() != "the holder" || step.GetSessionAtRisk() ||
			step.GetBlocker().GetKind() != v1.BlockerKind_BLOCKER_KIND_HOLDER {
			t.Errorf("step: %v", step)
		}
	}
	cancelled, err := c.Cancel(t.Context(), &v1.CancelRequest{SessionId: waiting, RequestId: 7})
	if err != nil || cancelled.GetOutcome() != v1.Outcome_OUTCOME_CANCELLED {
		t.Errorf("cancel: %v, %v", cancelled, err)
	}
	if why, err := c.ExplainWait(t.Context(), &v1.ExplainWaitRequest{SessionId: waiting, RequestId: 7}); err != nil || why.GetWaiting() {
		t.Errorf("explain what waits no more: %v, %v", why, err)
	}
}

// Lists come in pages, in order, whole.
func TestPages(t *testing.T) {
	c := newClient(t, holdfasttest.Start(t).URL())
	want := []string{"p"}
	session := c.open()
	for i := range uint64(25) {
		name := fmt.Sprintf("p/%02d", i)
		want = append(want, name)
		c.acquired(&v1.AcquireRequest{Name: name, SessionId: session, RequestId: i + 1})
		c.open()
	}
	c.acquired(&v1.AcquireRequest{Name: "pq", SessionId: session, RequestId: 99})
	var names []string
	for token, more := "", true; more; more = token != "" {
		page, err := c.ListLocks(t.Context(), &v1.ListLocksRequest{Prefix: "p", PageSize: 7, PageToken: token, Stale: true})
		if err != nil || len(page.GetLocks()) > 7 {
			t.Fatalf("%v, %v", page, err)
		}
		for _, lock := range page.GetLocks() {
			names = append(names, lock.GetName())
		}
		token = page.GetNextPageToken()
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("got %v", names)
	}
	last, count := uint64(0), 0
	for token, more := "", true; more; more = token != "" {
		page, err := c.sessions.ListSessions(t.Context(), &v1.ListSessionsRequest{PageSize: 10, PageToken: token})
		if err != nil || len(page.GetSessions()) > 10 {
			t.Fatalf("%v, %v", page, err)
		}
		for _, s := range page.GetSessions() {
			if s.GetSessionId() <= last || s.GetTtl().AsDuration() != 30*time.Second {
				t.Errorf("after %d: %v", last, s)
			}
			last, count = s.GetSessionId(), count+1
		}
		token = page.GetNextPageToken()
	}
	if count != 26 {
		t.Errorf("%d sessions", count)
	}
}

// HF-8.4: the victim of a deadlock is told the cycle, and operators find it in the report.
func TestDeadlockIsReported(t *testing.T) {
	c := newClient(t, holdfasttest.Start(t).URL())
	one, two := c.open(), c.open()
	c.acquired(&v1.AcquireRequest{Name: "a", SessionId: one, RequestId: 1})
	c.acquired(&v1.AcquireRequest{Name: "b", SessionId: two, RequestId: 1})
	c.queue(one, 2, "", "b")
	victim := c.outcome(&v1.AcquireRequest{
		Name: "a", SessionId: two, RequestId: 2, Wait: durationpb.New(time.Minute),
	}, v1.Outcome_OUTCOME_DEADLOCK_VICTIM)
	if len(victim.GetCycle().GetSteps()) != 2 {
		t.Errorf("victim: %v", victim)
	}
	report, err := c.admin.ListDeadlocks(t.Context(), &v1.ListDeadlocksRequest{})
	if err != nil || len(report.GetDeadlocks()) != 1 {
		t.Fatalf("report: %v, %v", report, err)
	}
	if got := report.GetDeadlocks()[0]; got.GetVictim().GetSessionId() != two || len(got.GetCycle().GetSteps()) != 2 {
		t.Errorf("report: %v", got)
	}
}

// A batch is applied in order, each operation with a result of its own; a retry changes nothing.
func TestExecute(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	c := newClient(t, cluster.Follower().URL())
	session := c.open()
	batch := &v1.ExecuteRequest{SessionId: session, Operations: []*v1.Operation{
		{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{Name: "a", RequestId: 1}}},
		{Operation: &v1.Operation_Release{Release: &v1.ReleaseRequest{GrantId: 12345, RequestId: 2}}},
		{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{Name: "b", RequestId: 3, Mode: v1.Mode_MODE_SHARED}}},
	}}
	for try := range 2 {
		r, err := c.Execute(t.Context(), batch)
		if err != nil || len(r.GetResults()) != 3 {
			t.Fatalf("%v, %v", r, err)
		}
		if got := r.GetResults()[0].GetAcquire(); got.GetOutcome() != v1.Outcome_OUTCOME_GRANTED || (got.GetFirstIndex() != 0) != (try == 1) {
			t.Errorf("first: %v", got)
		}
		if got := r.GetResults()[1].GetError(); got.GetReason() != v1.ErrorReason_ERROR_REASON_NOT_HOLDER || got.GetStamp().GetIndex() == 0 {
			t.Errorf("second: %v", got)
		}
		if r.GetDeadlines().GetSessionMs() == 0 || r.GetCluster().GetLeader() != cluster.Leader().URL() {
			t.Errorf("batch: %v", r)
		}
	}
	grant := c.acquired(&v1.AcquireRequest{Name: "b", SessionId: session, RequestId: 3, Mode: v1.Mode_MODE_SHARED}).GetGrant()
	raised, err := c.Convert(t.Context(), &v1.ConvertRequest{
		GrantId: grant.GetId(), Mode: v1.Mode_MODE_EXCLUSIVE, SessionId: session, RequestId: 4, Wait: durationpb.New(time.Second),
	})
	if err != nil || raised.GetOutcome() != v1.Outcome_OUTCOME_GRANTED || raised.GetGrant().GetToken() <= grant.GetToken() {
		t.Errorf("convert: %v, %v", raised, err)
	}
	reused := &v1.ReleaseRequest{GrantId: grant.GetId(), SessionId: session, RequestId: 1}
	_, err = c.Release(t.Context(), reused)
	if got := detail(t, err); got.GetReason() != v1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED {
		t.Errorf("got %v", got)
	}
}
