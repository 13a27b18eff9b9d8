package loadgen

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestTooManyConnectionsAreRefusedBeforeTheyAreMade(t *testing.T) {
	for _, c := range []struct {
		config Config
		enough bool
	}{
		{Config{Clients: 5000, Outstanding: 16}, false},
		{Config{Clients: 4900, Outstanding: 16}, true},
		{Config{Clients: 6700, Outstanding: 1, Connections: 10_000}, false},
		{Config{Clients: 10_000, Outstanding: 1, Connections: 100}, true},
		{Config{Scenario: Unary, Clients: 200, Outstanding: 100, HTTP: 1}, false},
		{Config{Scenario: Unary, Clients: 200, Outstanding: 100, HTTP: 2}, true},
	} {
		err := enoughFiles(c.config, 20_000)
		if c.enough != (err == nil) {
			t.Errorf("%+v with 20000 files: %v", c.config, err)
		}
		if err != nil && !strings.Contains(err.Error(), "and the limit is 20000: ") {
			t.Errorf("message %q", err)
		}
	}
	if limit := openFilesLimit(); limit < 100 {
		t.Errorf("limit of open files %d", limit)
	}
}

func TestEachStopsAtTheFirstError(t *testing.T) {
	var done atomic.Int64
	if err := each(t.Context(), 1000, func(context.Context, int) error { done.Add(1); return nil }); err != nil || done.Load() != 1000 {
		t.Errorf("%d of 1000 were done: %v", done.Load(), err)
	}
	bad := errors.New("bad")
	err := each(t.Context(), 1000, func(ctx context.Context, i int) error {
		if i == 500 {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) {
		t.Errorf("error %v, want the first", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := each(ctx, 10, func(context.Context, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after the end of the context", err)
	}
}

func TestAPoolKeepsApartWhatTheSDKKeepsApart(t *testing.T) {
	p := newPools(1)[0]
	for call, want := range map[string]*http.Transport{
		"/holdfast.v1.SessionService/RenewSession":      p.control,
		"/holdfast.v1.SessionService/OpenSession":       p.control,
		"/holdfast.v1.SessionService/Events":            p.data,
		"/behind/proxy/holdfast.v1.LockService/Execute": p.batches,
		"/holdfast.v1.LockService/GetLock":              p.data,
	} {
		if p.of(call) != want {
			t.Errorf("%s goes over another connection", call)
		}
	}
	if !p.batches.Protocols.HTTP1() || p.batches.Protocols.HTTP2() || !p.data.Protocols.UnencryptedHTTP2() {
		t.Errorf("protocols: batches %v, data %v", p.batches.Protocols, p.data.Protocols)
	}
}
