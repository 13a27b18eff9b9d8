package loadgen

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

const (
	atOnce     = 64 // clients that are opened, filled or closed at the same time
	closeLimit = 10 * time.Second
)

// clients are those of a run, each with its session, and one that only looks.
type clients struct {
	all      []*holdfast.Client
	observer *holdfast.Client
	took     time.Duration // until all sessions were open
}

// openClients makes the clients and opens their sessions.
func openClients(ctx context.Context, c Config) (*clients, error) {
	cs := &clients{}
	observer, err := c.Connect()
	if err != nil {
		return nil, err
	}
	cs.observer = observer
	pools := newPools(c.Connections)
	for i := range c.Clients {
		opts := []holdfast.Option{holdfast.WithTTL(c.TTL)}
		if len(pools) > 0 {
			opts = append(opts, holdfast.WithTransport(pools[i%len(pools)].transports()))
		}
		client, err := c.Connect(opts...)
		if err != nil {
			cs.close()
			return nil, err
		}
		cs.all = append(cs.all, client)
	}
	began := time.Now()
	err = each(ctx, len(cs.all), func(ctx context.Context, i int) error {
		_, err := cs.all[i].SessionID(ctx)
		return err
	})
	if err != nil {
		cs.close()
		return nil, err
	}
	cs.took = time.Since(began)
	return cs, nil
}

// close ends the sessions. What cannot be told to the service ends with its ttl.
func (cs *clients) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	everyone := append(cs.all, cs.observer)
	_ = each(context.Background(), len(everyone), func(_ context.Context, i int) error {
		_ = everyone[i].Close(ctx)
		return nil
	})
}

// each does something for 0 to n-1, a few at the same time, until all is done or one fails.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, atOnce) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(ctx, int(i)); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// pool is a pair of HTTP transports that several clients share, as they would behind one proxy. A
// client keeps two connections apart, for renewals and for everything else; so does the pool.
type pool struct{ control, data *http.Transport }

func newPools(n int) []*pool {
	pools := make([]*pool, n)
	for i := range pools {
		pools[i] = &pool{newTransport(2), newTransport(2)}
	}
	return pools
}

// transports gives a client its transports, in the order in which it asks: renewals first.
func (p *pool) transports() func() http.RoundTripper {
	var asked atomic.Int64
	return func() http.RoundTripper {
		if asked.Add(1)%2 == 1 {
			return p.control
		}
		return p.data
	}
}

// newTransport speaks one version of HTTP, without TLS or, to https endpoints, with it.
func newTransport(version int) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == 1)
	protocols.SetHTTP2(version == 2)
	protocols.SetUnencryptedHTTP2(version == 2)
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		Protocols:           protocols,
		MaxIdleConnsPerHost: 1 << 16, // HTTP/1.1: every worker keeps its connection
	}
}
