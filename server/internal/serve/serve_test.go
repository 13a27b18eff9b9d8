package serve_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client calls one node, with connections of its own that end with the test.
type client struct {
	t testing.TB
	holdfastv1connect.LockServiceClient
	sessions holdfastv1connect.SessionServiceClient
	cluster  holdfastv1connect.ClusterServiceClient
	admin    holdfastv1connect.AdminServiceClient
}

func newClient(t testing.TB, url string, options ...connect.ClientOption) *client {
	t.Helper()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	return &client{
		t:                 t,
		LockServiceClient: holdfastv1connect.NewLockServiceClient(c, url, options...),
		sessions:          holdfastv1connect.NewSessionServiceClient(c, url, options...),
		cluster:           holdfastv1connect.NewClusterServiceClient(c, url, options...),
		admin:             holdfastv1connect.NewAdminServiceClient(c, url, options...),
	}
}

func (c *client) open() uint64 {
	c.t.Helper()
	r, err := c.sessions.OpenSession(c.t.Context(), &v1.OpenSessionRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return r.GetSessionId()
}

// outcome acquires and expects an outcome.
func (c *client) outcome(r *v1.AcquireRequest, want v1.Outcome) *v1.AcquireResponse {
	c.t.Helper()
	got, err := c.Acquire(c.t.Context(), r)
	if err != nil {
		c.t.Fatalf("acquire %v: %v", r, err)
	}
	if got.GetOutcome() != want {
		c.t.Fatalf("acquire %v: got %v, want %v", r, got, want)
	}
	return got
}

func (c *client) acquired(r *v1.AcquireRequest) *v1.AcquireResponse {
	c.t.Helper()
	return c.outcome(r, v1.Outcome_OUTCOME_GRANTED)
}

// detail gives the error of the catalogue that an error carries.
func detail(t testing.TB, err error) *v1.Error {
	t.Helper()
	failed := new(connect.Error)
	if !asConnect(err, &failed) || len(failed.Details()) != 1 {
		t.Fatalf("not an error of the catalogue: %v", err)
	}
	value, err := failed.Details()[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	return value.(*v1.Error)
}

// A client of each protocol, with each encoding, acquires and releases.
func TestProtocols(t *testing.T) {
	srv := holdfasttest.Start(t)
	for name, options := range map[string][]connect.ClientOption{
		"connect":       nil,
		"connect json":  {connect.WithProtoJSON()},
		"grpc":          {connect.WithGRPC()},
		"grpc json":     {connect.WithGRPC(), connect.WithProtoJSON()},
		"grpc-web":      {connect.WithGRPCWeb()},
		"grpc-web json": {connect.WithGRPCWeb(), connect.WithProtoJSON()},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, srv.URL(), options...)
			session := c.open()
			got := c.acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 1})
			released, err := c.Release(t.Context(), &v1.ReleaseRequest{
				GrantId: got.GetGrant().GetId(), SessionId: session, RequestId: 2,
			})
			if err != nil || released.GetDepth() != 0 {
				t.Errorf("release: %v, %v", released, err)
			}
			_, err = c.Release(t.Context(), &v1.ReleaseRequest{GrantId: got.GetGrant().GetId(), SessionId: session})
			if got := detail(t, err); got.GetReason() != v1.ErrorReason_ERROR_REASON_NOT_HOLDER {
				t.Errorf("released twice: %v", got)
			}
			if _, err := c.sessions.CloseSession(t.Context(), &v1.CloseSessionRequest{SessionId: session}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Every node serves every call: a wait through one follower is ended by a release through another.
func TestAnyNodeServes(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	var clients []*client
	for _, url := range cluster.URLs() {
		clients = append(clients, newClient(t, url))
	}
	session := clients[0].open()
	held := clients[0].acquired(&v1.AcquireRequest{Name: "a", SessionId: session, RequestId: 1})
	var waits sync.WaitGroup
	for i, c := range clients {
		waits.Go(func() {
			got, err := c.Acquire(t.Context(), &v1.AcquireRequest{Name: "a", Wait: durationpb.New(time.Minute)})
			if err != nil || got.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
				t.Errorf("wait at node %d: %v, %v", i, got, err)
				return
			}
			if got.GetGrant().GetToken() <= held.GetGrant().GetToken() {
				t.Errorf("token %d is not above %d", got.GetGrant().GetToken(), held.GetGrant().GetToken())
			}
			if _, err := c.Release(t.Context(), &v1.ReleaseRequest{GrantId: got.GetGrant().GetId()}); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, "three waiters", func() bool {
		status, err := clients[1].cluster.GetStatus(t.Context(), &v1.GetStatusRequest{})
		return err == nil && status.GetWaiting() == 3
	})
	if _, err := clients[2].Release(t.Context(), &v1.ReleaseRequest{
		GrantId: held.GetGrant().GetId(), SessionId: session, RequestId: 2,
	}); err != nil {
		t.Error(err)
	}
	waits.Wait()
}

// waitFor waits until something that is only seen by looking is so.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !is() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
