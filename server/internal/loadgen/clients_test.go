package loadgen

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

func TestTooManyConnectionsAreRefusedBeforeTheyAreMade(t *testing.T) {
	for _, c := range []struct {
		config Config
		enough bool
	}{
		{Config{Clients: 10_000}, false},
		{Config{Clients: 10_000, Connections: 5000}, true},
		{Config{Clients: 10_000, Connections: 20_000}, false},
		{Config{Clients: 9000}, true},
		{Config{Scenario: Unary, Clients: 200, Outstanding: 100, HTTP: 1}, false},
		{Config{Scenario: Unary, Clients: 200, Outstanding: 100, HTTP: 2}, true},
	} {
		err := enoughFiles(c.config, 20_000)
		if c.enough != (err == nil) {
			t.Errorf("%+v with 20000 files: %v", c.config, err)
		}
		if err != nil && !strings.Contains(err.Error(), "20000 connections need 20100 open files, and the limit is 20000") {
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

func TestClientsOfAPoolShareOnePairOfTransports(t *testing.T) {
	p := newPools(1)[0]
	for range 2 {
		client := p.transports()
		for range 2 { // a client that dials anew gets the same ones
			if control, data := client(), client(); control != p.control || data != p.data {
				t.Error("a client has transports of its own")
			}
		}
	}
}
