package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1/peerv1connect"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// follower is a node that does not lead, or does if it is told to, and the leader it knows.
type follower struct {
	peerv1connect.PeerServiceClient
	leads   atomic.Bool
	leader  atomic.Value // peer address
	submit  func(context.Context, proposer.Batch) (proposer.Answer, error)
	forward func(context.Context, *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error)
}

func (f *follower) Leads() bool { return f.leads.Load() }
func (f *follower) Leader() (id, addr string) {
	addr, _ = f.leader.Load().(string)
	return addr, addr
}
func (f *follower) View(func(*locktable.Table))                   {}
func (f *follower) WaitApplied(context.Context, uint64) error     { return nil }
func (f *follower) Client(string) peerv1connect.PeerServiceClient { return f }
func (f *follower) ClientURL(id string) string                    { return "http://" + id }
func (f *follower) Submit(ctx context.Context, b proposer.Batch) (proposer.Answer, error) {
	return f.submit(ctx, b)
}
func (f *follower) Forward(ctx context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	return f.forward(ctx, r)
}

func (f *follower) services() *Services {
	return New(Config{
		NodeID: "n1", Node: f, Proposer: f, Peers: f, Observer: silent{},
		Logger:  slog.New(slog.DiscardHandler),
		Cluster: func() (string, uint32) { return "c", 0 },
	})
}

func renewal(session uint64) *peerv1.Call {
	return &peerv1.Call{Call: &peerv1.Call_RenewSession{RenewSession: &v1.RenewSessionRequest{SessionId: session}}}
}

func releaseCall(request uint64) *peerv1.Call {
	return &peerv1.Call{Call: &peerv1.Call_Operation{Operation: &v1.Operation{
		Operation: &v1.Operation_Release{Release: &v1.ReleaseRequest{GrantId: 1, SessionId: 1, RequestId: request}},
	}}}
}

func done(r *peerv1.ForwardRequest) *peerv1.ForwardResponse {
	response := &peerv1.ForwardResponse{}
	for range r.GetCalls() {
		response.Replies = append(response.Replies, &peerv1.Reply{Reply: &peerv1.Reply_Operation{
			Operation: &v1.OperationResult{Result: &v1.OperationResult_Release{Release: &v1.ReleaseResponse{}}},
		}})
	}
	return response
}

func reasonOf(t *testing.T, err error) v1.ErrorReason {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("not a failure: %v", err)
	}
	return f.Detail.GetReason()
}

// HF-10.2: while nobody leads a call is held; when somebody does within 2 s it goes through, and
// if nobody does it is said that nothing was done.
func TestCallsAreHeldDuringAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.forward = func(_ context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
			return done(r), nil
		}
		s := f.services()
		time.AfterFunc(1500*time.Millisecond, func() { f.leader.Store("n2") })
		begin := time.Now()
		if _, err := s.bring(t.Context(), releaseCall(1)); err != nil {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took < 1500*time.Millisecond || took > 1600*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		f.leader.Store("")
		begin = time.Now()
		_, err := s.bring(t.Context(), releaseCall(1))
		if got := reasonOf(t, err); got != v1.ErrorReason_ERROR_REASON_NO_QUORUM {
			t.Errorf("got %v", got)
		}
		if took := time.Since(begin); took > patience {
			t.Errorf("it took %v", took)
		}
	})
}

// HF-7.3: a connection that broke after something was sent leaves the outcome unknown, and that is
// what is said even if later tries surely did nothing. One that was never made is not done.
func TestBrokenForwards(t *testing.T) {
	for name, c := range map[string]struct {
		errs []error // of the tries, one after the other; then no leader is known
		call *peerv1.Call
		want v1.ErrorReason
	}{
		"never sent": {
			[]error{fmt.Errorf("dial: %w", ErrNotSent)}, releaseCall(1), v1.ErrorReason_ERROR_REASON_NO_QUORUM,
		},
		"broken": {
			[]error{errors.New("reset")}, releaseCall(1), v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		},
		"broken, then never sent": {
			[]error{errors.New("reset"), ErrNotSent}, releaseCall(1), v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		},
		"broken, then refused": {
			[]error{errors.New("reset"), connectError(fail(v1.ErrorReason_ERROR_REASON_RATE_LIMITED, "full"))},
			releaseCall(1), v1.ErrorReason_ERROR_REASON_RATE_LIMITED,
		},
		"broken, and not to be repeated": {
			[]error{errors.New("reset"), nil}, releaseCall(0), v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		},
		"broken, then done": {[]error{errors.New("reset"), nil}, releaseCall(1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &follower{}
				f.leader.Store("n2")
				tries := 0
				f.forward = func(_ context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
					err := c.errs[tries]
					if tries++; tries == len(c.errs) {
						f.leader.Store("")
					}
					return done(r), err
				}
				_, err := f.services().bring(t.Context(), c.call)
				if c.want == 0 {
					if err != nil {
						t.Errorf("got %v", err)
					}
					return
				}
				if got := reasonOf(t, err); got != c.want {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
}

// Calls that arrive while others are on their way travel together, in order; renewals, which wait
// at the leader for company, keep nobody else waiting.
func TestForwardsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.leader.Store("n2")
		var mu sync.Mutex
		var sizes []int
		f.forward = func(_ context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
			if r.GetCalls()[0].GetRenewSession() != nil {
				time.Sleep(time.Second)
				return &peerv1.ForwardResponse{Replies: []*peerv1.Reply{
					{Reply: &peerv1.Reply_RenewSession{RenewSession: &v1.RenewSessionResponse{}}},
				}}, nil
			}
			mu.Lock()
			sizes = append(sizes, len(r.GetCalls()))
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			return done(r), nil
		}
		s := f.services()
		var all sync.WaitGroup
		bring := func(call *peerv1.Call) {
			all.Go(func() {
				if _, err := s.bring(t.Context(), call); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		bring(renewal(1))
		begin := time.Now()
		for i := range uint64(100) {
			bring(releaseCall(i + 1))
		}
		all.Wait()
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(sizes) != "[1 1 98]" {
			t.Errorf("sizes: %v", sizes)
		}
		if took := time.Since(begin); took > 1100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// A call whose caller gives up before it was sent was not done; after that, nobody knows.
func TestForwardsThatAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.leader.Store("n2")
		f.forward = func(ctx context.Context, _ *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		s := f.services()
		reasons := make([]v1.ErrorReason, forwardsInFlight+1)
		var all sync.WaitGroup
		for i := range reasons {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				reasons[i] = s.commands.forward(ctx, releaseCall(1)).GetError().GetReason()
			})
			synctest.Wait()
		}
		all.Wait()
		for i, got := range reasons {
			want := v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN
			if i == forwardsInFlight {
				want = v1.ErrorReason_ERROR_REASON_NO_QUORUM
			}
			if got != want {
				t.Errorf("call %d: %v", i, got)
			}
		}
		time.Sleep(patience) // the merged calls end, too
	})
}

// HF-9.1: one marker serves all reads that arrived before it was sent, and none that came later.
func TestReadsShareMarkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.leads.Store(true)
		committed := uint64(0)
		f.submit = func(_ context.Context, b proposer.Batch) (proposer.Answer, error) {
			if len(b.Commands) != 0 {
				t.Error("a marker with commands")
			}
			committed++
			index := committed
			time.Sleep(10 * time.Millisecond)
			return proposer.Answer{Index: index}, nil
		}
		s := f.services()
		indexes := make([]uint64, 50)
		var all sync.WaitGroup
		for i := range indexes {
			all.Go(func() {
				var failed *v1.Error
				if indexes[i], failed = s.reads.index(t.Context()); failed != nil {
					t.Error(failed)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if indexes[0] != 1 || indexes[1] != 2 || indexes[49] != 2 || committed != 2 {
			t.Errorf("indexes %v, %d markers", indexes, committed)
		}
	})
}
