package serve_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

// HF-7.5: a wait outlives the leader it was parked at. It is told of its grant at the node it was
// called at, which has found it again at the next leader. A command that is called while nobody
// leads is held until somebody does (HF-10.2).
func TestFailOverDuringAWait(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	leader, follower := cluster.Leader(), cluster.Follower()
	c := newClient(t, follower.URL())
	session := c.open()
	held := c.acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 1})
	var waits sync.WaitGroup
	for _, r := range []*v1.AcquireRequest{
		{Name: "a", Wait: durationpb.New(time.Minute), SessionId: c.open(), RequestId: 1, Metadata: "with a session"},
		{Name: "a", Wait: durationpb.New(time.Minute), Metadata: "without a session"},
	} {
		waits.Go(func() {
			got, err := c.Acquire(t.Context(), r)
			if err != nil || got.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
				t.Errorf("%s: %v, %v", r.GetMetadata(), got, err)
				return
			}
			release := &v1.ReleaseRequest{GrantId: got.GetGrant().GetId(), SessionId: r.GetSessionId()}
			if _, err := c.Release(t.Context(), release); err != nil {
				t.Errorf("%s: %v", r.GetMetadata(), err)
			}
		})
	}
	c.waitWaiters(2)

	leader.Kill()
	released, err := c.Release(t.Context(), &v1.ReleaseRequest{
		GrantId: held.GetGrant().GetId(), SessionId: session, RequestId: 2,
	})
	if err != nil || released.GetDepth() != 0 {
		t.Errorf("release while nobody leads: %v, %v", released, err)
	}
	waits.Wait()
}

// waitWaiters waits until so many requests wait in the cluster.
func (c *client) waitWaiters(n uint64) {
	c.t.Helper()
	waitFor(c.t, "waiters", func() bool {
		status, err := c.cluster.GetStatus(c.t.Context(), &v1.GetStatusRequest{})
		return err == nil && status.GetWaiting() == n
	})
}

// HF-10.2: without a quorum a command ends within 2 s, and it is said that it was not done, or that
// nobody knows; later ones, and current reads, are refused at once. Stale reads still answer.
func TestNoQuorum(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	leader := cluster.Leader()
	var others []*holdfasttest.Server
	for _, s := range cluster.Servers() {
		if s != leader {
			others = append(others, s)
		}
	}
	c := newClient(t, others[0].URL())
	session := c.open()
	c.acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 1})
	if _, err := c.GetLock(t.Context(), &v1.GetLockRequest{Name: "a"}); err != nil {
		t.Fatal(err) // it is applied here now
	}
	leader.Kill()
	others[1].Kill()
	acquire := func(request uint64) error {
		_, err := c.Acquire(t.Context(), &v1.AcquireRequest{Name: "b", SessionId: session, RequestId: request})
		return err
	}
	look := func() error {
		_, err := c.GetLock(t.Context(), &v1.GetLockRequest{Name: "a"})
		return err
	}
	within := func(most time.Duration, call func() error) v1.ErrorReason {
		begin := time.Now()
		got := detail(t, call()).GetReason()
		if took := time.Since(begin); took > most {
			t.Errorf("%v after %v", got, took)
		}
		return got
	}
	const noQuorum = v1.ErrorReason_ERROR_REASON_NO_QUORUM
	got := within(3*time.Second, func() error { return acquire(2) })
	if got != noQuorum && got != v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN {
		t.Errorf("got %v", got)
	}
	if got := within(3*time.Second, look); got != noQuorum {
		t.Errorf("a current read: %v", got)
	}
	if got := within(time.Second, func() error { return acquire(3) }); got != noQuorum {
		t.Errorf("after 2 s: %v", got)
	}
	if got := within(time.Second, look); got != noQuorum {
		t.Errorf("a current read after 2 s: %v", got)
	}
	read, err := c.GetLock(t.Context(), &v1.GetLockRequest{Name: "a", Stale: true})
	if err != nil || read.GetLock().GetHoldersTotal() != 1 {
		t.Errorf("a stale read: %v, %v", read, err)
	}
}

// HF-9.1: what was acknowledged by any node is seen by a current read at every other.
func TestCurrentReadsAtFollowers(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	writer := newClient(t, cluster.Leader().URL())
	session := writer.open()
	var readers []*client
	for _, url := range cluster.URLs() {
		readers = append(readers, newClient(t, url))
	}
	for i := range uint64(30) {
		got := writer.acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 2*i + 1})
		var all sync.WaitGroup
		for _, r := range readers {
			all.Go(func() {
				read, err := r.GetLock(t.Context(), &v1.GetLockRequest{Name: "a"})
				if err != nil || len(read.GetLock().GetHolders()) != 1 ||
					read.GetLock().GetHolders()[0].GetGrant().GetToken() != got.GetGrant().GetToken() {
					t.Errorf("round %d: %v, %v", i, read, err)
				}
			})
		}
		all.Wait()
		if _, err := writer.Release(t.Context(), &v1.ReleaseRequest{
			GrantId: got.GetGrant().GetId(), SessionId: session, RequestId: 2*i + 2,
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// A node that stops ends its waits with a word to their callers, and hands leadership over: a
// retry with the same request id at another node finds the wait again.
func TestShutdownEndsWaits(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	leader, follower := cluster.Leader(), cluster.Follower()
	c, other := newClient(t, leader.URL()), newClient(t, follower.URL())
	held := c.acquired(&v1.AcquireRequest{Name: "a"})
	waiting := &v1.AcquireRequest{Name: "a", Wait: durationpb.New(time.Minute), SessionId: c.open(), RequestId: 1}
	var all sync.WaitGroup
	all.Go(func() {
		_, err := c.Acquire(t.Context(), waiting)
		if got := detail(t, err); got.GetReason() != v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN {
			t.Errorf("with a session: %v", got)
		}
		got, err := other.Acquire(t.Context(), waiting)
		if err != nil || got.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
			t.Errorf("found again: %v, %v", got, err)
		}
	})
	all.Go(func() {
		got, err := c.Acquire(t.Context(), &v1.AcquireRequest{Name: "a", Wait: durationpb.New(time.Minute)})
		if err == nil {
			t.Errorf("without a session: %v", got)
		}
	})
	all.Go(func() {
		stream, err := c.WatchLocks(t.Context(), &v1.WatchLocksRequest{})
		if err != nil {
			t.Error(err)
			return
		}
		for stream.Receive() {
		}
		if got := detail(t, stream.Err()); got.GetReason() != v1.ErrorReason_ERROR_REASON_SHUTTING_DOWN {
			t.Errorf("stream: %v", got)
		}
	})
	c.waitWaiters(2)
	begin := time.Now()
	leader.Stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if _, err := other.Release(t.Context(), &v1.ReleaseRequest{GrantId: held.GetGrant().GetId()}); err != nil {
		t.Error(err)
	}
	all.Wait()
	other.waitWaiters(0)
}

// HF-4.12: when the call of an acquire without a session breaks off, the node cancels it.
func TestBrokenCallIsCancelled(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	for _, node := range []*holdfasttest.Server{cluster.Leader(), cluster.Follower()} {
		c := newClient(t, node.URL())
		held := c.acquired(&v1.AcquireRequest{Name: "a"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.Acquire(ctx, &v1.AcquireRequest{Name: "a", Wait: durationpb.New(time.Minute)})
			done <- err
		}()
		c.waitWaiters(1)
		cancel()
		if err := <-done; connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("got %v", err)
		}
		c.waitWaiters(0)
		if _, err := c.Release(t.Context(), &v1.ReleaseRequest{GrantId: held.GetGrant().GetId()}); err != nil {
			t.Error(err)
		}
	}
}
