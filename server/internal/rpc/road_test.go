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

	"google.golang.org/protobuf/types/known/durationpb"

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
	leader  atomic.Value // knownLeader
	submit  func(context.Context, proposer.Batch) (proposer.Answer, error)
	forward func(context.Context, *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error)
	await   func(context.Context) error // nil means that everything is granted at once
}

// knownLeader is what a node knows of the leader, and since when.
type knownLeader struct {
	addr  string
	since time.Time
}

func (f *follower) leaderIs(addr string) { f.leader.Store(knownLeader{addr, time.Now()}) }

func (f *follower) Leads() bool { return f.leads.Load() }
func (f *follower) Leader() (id, addr string) {
	known, _ := f.leader.Load().(knownLeader)
	return known.addr, known.addr
}

func (f *follower) Leaderless() time.Duration {
	known, _ := f.leader.Load().(knownLeader)
	if known.addr != "" {
		return 0
	}
	return time.Since(known.since)
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

func (f *follower) Await(ctx context.Context, _ *peerv1.AwaitRequest) (*peerv1.AwaitResponse, error) {
	if f.await != nil {
		if err := f.await(ctx); err != nil {
			return nil, err
		}
	}
	return &peerv1.AwaitResponse{Reply: &peerv1.AwaitResponse_Acquire{Acquire: &v1.AcquireResponse{}}}, nil
}
func (f *follower) ReadIndex(context.Context, *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	return &peerv1.ReadIndexResponse{Index: 1}, nil
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
		f, tries := leaderless()
		for name, try := range tries {
			f.leaderIs("")
			time.AfterFunc(1500*time.Millisecond, func() { f.leaderIs("n2") })
			if got, took := try(t); got != 0 || took < 1500*time.Millisecond || took > 1600*time.Millisecond {
				t.Errorf("%s: %v after %v", name, got, took)
			}
			f.leaderIs("")
			if got, took := try(t); got != v1.ErrorReason_ERROR_REASON_NO_QUORUM ||
				took < patience-pauseMost || took > patience {
				t.Errorf("%s: %v after %v", name, got, took)
			}
		}
	})
}

// HF-10.2: what is held is held for what is left of 2 s without a leader, not for 2 s each; after
// that everything is refused at once, until somebody leads.
func TestCallsAreRefusedAtOnceWithoutAQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tries := leaderless()
		for name, try := range tries {
			f.leaderIs("")
			time.Sleep(1500 * time.Millisecond)
			for _, most := range []time.Duration{500 * time.Millisecond, pauseMost, pauseMost} {
				if got, took := try(t); got != v1.ErrorReason_ERROR_REASON_NO_QUORUM || took > most {
					t.Errorf("%s: %v after %v, not within %v", name, got, took, most)
				}
			}
			time.Sleep(time.Hour)
			if got, took := try(t); got != v1.ErrorReason_ERROR_REASON_NO_QUORUM || took != 0 {
				t.Errorf("%s: an hour later: %v after %v", name, got, took)
			}
			f.leaderIs("n2")
			if got, took := try(t); got != 0 || took != 0 {
				t.Errorf("%s: somebody leads: %v after %v", name, got, took)
			}
			f.leaderIs("") // the next election has its own two seconds
			time.AfterFunc(time.Second, func() { f.leaderIs("n3") })
			if got, took := try(t); got != 0 || took < time.Second || took > time.Second+pauseMost {
				t.Errorf("%s: another election: %v after %v", name, got, took)
			}
		}
	})
}

// leaderless gives a node that knows no leader, and all ways to one: each tells how it ended, and
// after how long.
func leaderless() (*follower, map[string]func(*testing.T) (v1.ErrorReason, time.Duration)) {
	f := &follower{}
	f.forward = func(_ context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
		return done(r), nil
	}
	s := f.services()
	timed := func(try func(context.Context) error) func(*testing.T) (v1.ErrorReason, time.Duration) {
		return func(t *testing.T) (v1.ErrorReason, time.Duration) {
			begin := time.Now()
			err := try(t.Context())
			took := time.Since(begin)
			if err == nil {
				return 0, took
			}
			return reasonOf(t, err), took
		}
	}
	return f, map[string]func(*testing.T) (v1.ErrorReason, time.Duration){
		"command": timed(func(ctx context.Context) error {
			_, err := s.bring(ctx, releaseCall(1))
			return err
		}),
		"wait": timed(func(ctx context.Context) error {
			_, err := s.await(ctx, &v1.Operation{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{Name: "a"}}})
			return err
		}),
		"read": timed(func(ctx context.Context) error {
			return s.view(ctx, false, func(*locktable.Table) {})
		}),
	}
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
				f.leaderIs("n2")
				tries := 0
				f.forward = func(_ context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
					err := c.errs[tries]
					if tries++; tries == len(c.errs) {
						f.leaderIs("")
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
		f.leaderIs("n2")
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
		f.leaderIs("n2")
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

// HF-10.3: a leader that hangs, with what was sent to it, does not hold up what the next one can do.
func TestForwardsDoNotWaitForALeaderThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.leaderIs("n2")
		f.forward = func(ctx context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
			if _, addr := f.Leader(); addr == "n2" {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return done(r), nil
		}
		f.submit = func(context.Context, proposer.Batch) (proposer.Answer, error) {
			return proposer.Answer{Results: make([]locktable.Result, 1)}, nil
		}
		s := f.services()
		for next, change := range map[string]func(){
			"another": func() { f.leaderIs("n3") },
			"itself":  func() { f.leaderIs(""); f.leads.Store(true) },
		} {
			f.leaderIs("n2")
			begin := time.Now()
			var all sync.WaitGroup
			for range forwardsInFlight + 1 { // the last one waits behind
				all.Go(func() {
					if _, err := s.bring(t.Context(), releaseCall(1)); err != nil {
						t.Errorf("%s: %v", next, err)
					}
				})
				synctest.Wait()
			}
			time.Sleep(600 * time.Millisecond)
			change()
			all.Wait()
			if took := time.Since(begin); took > 800*time.Millisecond {
				t.Errorf("%s: it took %v", next, took)
			}
			f.leads.Store(false)
		}
	})
}

// HF-10.2: only a call that waits may take longer than 2 s when its leader is lost: what it waited is
// not held against it.
func TestCallsThatDoNotWaitKeepToTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		f.await = func(context.Context) error {
			time.AfterFunc(time.Second, func() { f.leaderIs("") })
			time.Sleep(1900 * time.Millisecond)
			return errors.New("no answer to a ping")
		}
		s := f.services()
		for wait, most := range map[time.Duration]time.Duration{0: patience, time.Minute: time.Second + patience} {
			f.leaderIs("n2")
			begin := time.Now()
			_, err := s.await(t.Context(), &v1.Operation{Operation: &v1.Operation_Acquire{Acquire: &v1.AcquireRequest{
				Name: "a", Wait: durationpb.New(wait),
			}}})
			took := time.Since(begin)
			if got := reasonOf(t, err); got != v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN ||
				took > most || took < most-pauseMost {
				t.Errorf("wait %v: %v after %v", wait, got, took)
			}
		}
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

func TestUnknownOutcomesAreCalledThatOnce(t *testing.T) {
	lost := errors.New("outcome unknown: leadership lost") // as the log says it
	for want, err := range map[string]error{
		"leadership lost":                          fmt.Errorf("%w: %w", proposer.ErrOutcomeUnknown, lost),
		"it was proposed and not answered in time": proposer.ErrOutcomeUnknown,
	} {
		want = "the command may or may not have taken effect: " + want
		if got := unknownOutcome(err).GetMessage(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
