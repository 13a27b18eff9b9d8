package loadgen

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

const (
	atOnce     = 64 // clients that are opened, filled or closed at the same time
	closeLimit = 30 * time.Second
)

// clients are those of a run, each with its session, and one that only looks.
type clients struct {
	all      []*holdfast.Client
	observer *holdfast.Client
	pools    []*pool       // that they share; none if each has connections of its own
	ids      []uint64      // of their sessions
	took     time.Duration // until all sessions were open
}

// openClients makes the clients and opens their sessions.
func openClients(ctx context.Context, c Config) (*clients, error) {
	if err := enoughFiles(c, openFilesLimit()); err != nil {
		return nil, err
	}
	cs := &clients{}
	observer, err := c.Connect()
	if err != nil {
		return nil, err
	}
	cs.observer = observer
	leader, err := leaderURL(ctx, observer)
	if err != nil {
		cs.close()
		return nil, err
	}
	cs.pools = newPools(c.Connections)
	for i := range c.Clients {
		opts := []holdfast.Option{holdfast.WithTTL(c.TTL)}
		if leader != "" {
			opts = append(opts, holdfast.Endpoints(leader))
		}
		if len(cs.pools) > 0 {
			shared := cs.pools[i%len(cs.pools)]
			opts = append(opts, holdfast.WithTransport(func() http.RoundTripper { return shared }))
		}
		client, err := c.Connect(opts...)
		if err != nil {
			cs.close()
			return nil, err
		}
		cs.all = append(cs.all, client)
	}
	began := time.Now()
	cs.ids = make([]uint64, len(cs.all))
	err = each(ctx, len(cs.all), func(ctx context.Context, i int) (err error) {
		cs.ids[i], err = cs.all[i].SessionID(ctx)
		return err
	})
	if err != nil {
		cs.close()
		return nil, err
	}
	cs.took = time.Since(began)
	return cs, nil
}

// lost is how many sessions have ended by themselves: a client whose session has opens another one.
func (cs *clients) lost(ctx context.Context) (n int64) {
	for i, client := range cs.all {
		if now, err := client.SessionID(ctx); err != nil || now != cs.ids[i] {
			n++
		}
	}
	return n
}

// leaderURL is where the leader is, or empty if nobody leads just now. Clients are told to ask there
// first. They would find it by themselves, but each would keep the connection on which it asked
// somebody else, and ten thousand of those are in the way.
func leaderURL(ctx context.Context, observer *holdfast.Client) (string, error) {
	status, err := observer.Admin().Status(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range status.Members {
		if m.NodeID == status.LeaderID {
			return m.ClientURL, nil
		}
	}
	return "", nil
}

// filesBeside is how many files are open beside the connections of the clients.
const filesBeside = 100

// enoughFiles says so if the connections would be too many for this process.
func enoughFiles(c Config, limit uint64) error {
	batches := c.Clients * min(2, c.Outstanding) // under way at the same time
	connections, way := 2*c.Clients+batches, "share them with --connections"
	switch {
	case c.Scenario == Unary && c.version() == 2:
		return nil // all share a few
	case c.Scenario == Unary:
		connections, way = c.Clients*c.Outstanding, "have fewer clients"
	case c.Connections > 0:
		connections, way = 2*min(c.Clients, c.Connections)+batches, "have fewer clients"
	}
	if need := uint64(connections + filesBeside); need > limit {
		return fmt.Errorf("%d connections need %d open files, and the limit is %d: raise ulimit -n, or %s",
			connections, need, limit, way)
	}
	return nil
}

// openFilesLimit is how many files this process may have open; the Go runtime raises the soft limit
// to the hard one when it starts.
func openFilesLimit() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxUint64
	}
	return limit.Cur
}

// close ends the sessions. What cannot be told to the service in time ends with its ttl.
func (cs *clients) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	everyone := append(cs.all, cs.observer)
	_ = each(ctx, len(everyone), func(ctx context.Context, i int) error {
		_ = everyone[i].Close(ctx)
		return nil
	})
	for _, p := range cs.pools {
		p.close()
	}
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

// pool is a set of HTTP transports that several clients share, as they would behind one proxy. It
// keeps apart what the SDK keeps apart: renewals, which nothing may block; streams and reads; and
// batches, which go over HTTP/1.1, so that those under way have a connection each.
type pool struct{ control, data, batches *http.Transport }

func newPools(n int) []*pool {
	pools := make([]*pool, n)
	for i := range pools {
		pools[i] = &pool{newTransport(2), newTransport(2), newTransport(1)}
	}
	return pools
}

// RoundTrip sends a call over the connection for its kind.
func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	return p.of(req.URL.Path).RoundTrip(req)
}

// of finds the transport of a call, by the path of its URL.
func (p *pool) of(call string) *http.Transport {
	switch path.Base(call) {
	case "OpenSession", "RenewSession", "CloseSession":
		return p.control
	case "Execute":
		return p.batches
	}
	return p.data
}

func (p *pool) close() {
	for _, t := range []*http.Transport{p.control, p.data, p.batches} {
		t.CloseIdleConnections()
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
