package holdfast

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

var no = false

// acquireOptions are the options of an acquire, each with the one field that it fills in.
var acquireOptions = map[string]struct {
	opt  AcquireOption
	want *v1.AcquireRequest
}{
	"none":         {func(*acquireConfig) {}, &v1.AcquireRequest{}},
	"wait limit":   {WithWaitLimit(2 * time.Second), &v1.AcquireRequest{Wait: seconds(2)}},
	"wait limit 0": {WithWaitLimit(0), &v1.AcquireRequest{}},
	"priority":     {WithPriority(-7), &v1.AcquireRequest{Priority: -7}},
	"priority that does not fit": {WithPriority(1 << 40),
		&v1.AcquireRequest{Priority: 1<<31 - 1}},
	"lease":      {WithLease(3 * time.Second), &v1.AcquireRequest{Lease: seconds(3)}},
	"max hold":   {WithMaxHold(4 * time.Second), &v1.AcquireRequest{MaxHold: seconds(4)}},
	"lock delay": {WithLockDelay(5 * time.Second), &v1.AcquireRequest{LockDelay: seconds(5)}},
	"abort wait": {WithDeadlockAction(AbortWait), &v1.AcquireRequest{}},
	"release owner": {WithDeadlockAction(ReleaseOwner),
		&v1.AcquireRequest{OnDeadlock: v1.DeadlockAction_DEADLOCK_ACTION_RELEASE_OWNER}},
	"without reentry": {WithoutReentry(), &v1.AcquireRequest{Reentrant: &no}},
	"metadata":        {WithMetadata("who"), &v1.AcquireRequest{Metadata: "who"}},
}

func seconds(n int64) *durationpb.Duration { return &durationpb.Duration{Seconds: n} }

func TestAcquireOptionsReachTheFieldTheyName(t *testing.T) {
	for name, test := range acquireOptions {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake, c *Client) {
				want := proto.CloneOf(test.want)
				want.Claims = []*v1.Claim{{Name: "a", Mode: v1.Mode_MODE_SHARED}}
				must[*Handle](t)(c.Lock("a", WithWaitLimit(0)).Shared().Acquire(t.Context(), test.opt))
				got := f.lastOperation().GetAcquire()
				if got.GetRequestId() == 0 || got.GetOwner() == "" {
					t.Errorf("request %d of owner %q", got.GetRequestId(), got.GetOwner())
				}
				got.RequestId, got.Owner = 0, ""
				if !proto.Equal(got, want) {
					t.Errorf("got  %v\nwant %v", got, want)
				}

				must[*Detached](t)(c.AcquireDetached(t.Context(),
					c.Lock("a", WithWaitLimit(0), test.opt).Shared(),
					WithNonce("n-1"), WithDetachedTTL(6*time.Second)))
				want.Nonce, want.Ttl, want.Namespace = "n-1", seconds(6), "space"
				if got := f.acquired[0]; !proto.Equal(got, want) {
					t.Errorf("got  %v\nwant %v", got, want)
				}
			}, WithNamespace("space"))
		})
	}
}

func TestConversionsReachTheFieldTheyName(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		h := must[*Handle](t)(c.All(c.Lock("a"), c.Lock("b")).Acquire(t.Context()))
		id := h.GrantID()
		for _, test := range []struct {
			do   func() error
			want *v1.ConvertRequest
		}{
			{func() error {
				return h.Convert(t.Context(), "b", IntentionShared, WithWaitLimit(2*time.Second),
					WithPriority(7), WithDeadlockAction(ReleaseOwner))
			}, &v1.ConvertRequest{GrantId: id, Name: "b", Mode: v1.Mode_MODE_INTENTION_SHARED,
				Wait: seconds(2), Priority: 7,
				OnDeadlock: v1.DeadlockAction_DEADLOCK_ACTION_RELEASE_OWNER}},
			{func() error { return h.Drop(t.Context(), "b") },
				&v1.ConvertRequest{GrantId: id, Name: "b", Drop: true, Wait: seconds(24 * 60 * 60)}},
		} {
			if err := test.do(); err != nil {
				t.Fatal(err)
			}
			got := f.lastOperation().GetConvert()
			if got.GetRequestId() == 0 {
				t.Error("no request id")
			}
			got.RequestId = 0
			if !proto.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		}
	})
}

func TestSessionOptionsReachTheFieldTheyName(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		must[uint64](t)(c.SessionID(t.Context()))
		got := f.opened[0]
		if got.GetNonce() == "" {
			t.Error("no nonce")
		}
		got.Nonce = ""
		want := &v1.OpenSessionRequest{Namespace: "space", Ttl: seconds(20), Metadata: "who"}
		if !proto.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}, WithNamespace("space"), WithTTL(20*time.Second), WithClientMetadata("who"))
}

// HF-11.3: the end of a grant at the server is told as a reason of a loss.
func TestReasonsOfALoss(t *testing.T) {
	for ended, want := range map[v1.EndReason]LostReason{
		v1.EndReason_END_REASON_REVOKED:          LostRevoked,
		v1.EndReason_END_REASON_DEADLOCK_VICTIM:  LostVictim,
		v1.EndReason_END_REASON_LEASE_EXPIRED:    LostExpired,
		v1.EndReason_END_REASON_MAX_HOLD_REACHED: LostExpired,
		v1.EndReason_END_REASON_RESTORED:         LostForked,
	} {
		t.Run(ended.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake, c *Client) {
				h := must[*Handle](t)(c.Lock("a").Acquire(t.Context()))
				synctest.Wait()
				f.mu.Lock()
				f.step()
				f.endGrant(h.GrantID(), ended, "")
				f.mu.Unlock()
				<-h.Lost()
				if h.LostReason() != want {
					t.Errorf("%v is told as %q", ended, h.LostReason())
				}
			})
		})
	}
}

func TestLeader(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		e := c.Election("boss")
		if _, ok, err := e.Leader(t.Context()); ok || err != nil {
			t.Fatal(ok, err)
		}
		h := must[*Handle](t)(e.Campaign(t.Context(), "one"))
		got, ok, err := e.Leader(t.Context())
		if want := (Leader{"one", h.Token(), h.SessionID()}); err != nil || !ok || got != want {
			t.Fatal(got, ok, err)
		}
		if err := e.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		reader := must[*Handle](t)(c.Lock("boss").Shared().Acquire(t.Context()))
		if _, ok, err := e.Leader(t.Context()); ok || err != nil {
			t.Fatal("who reads the name leads nobody", reader.Token(), err)
		}
	})
}
