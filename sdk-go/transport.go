package holdfast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-dev/holdfast/proto/codec"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

const (
	attemptTimeout  = 3 * time.Second // a node without a quorum says so within 2 s
	leaderHops      = 3               // how often in a row NOT_LEADER is followed at once
	leaderDistrust  = 10 * time.Second
	responseBytes   = 64 << 20
	connectTimeout  = 2 * time.Second
	pingAfter       = 5 * time.Second // of silence on a connection
	pingTimeout     = 5 * time.Second
	redialAtMost    = time.Second // how often an endpoint's connections are given up
	idleConnTimeout = 90 * time.Second
	// idleBatchTimeout is below the two minutes of the server, so that no batch meets a connection that is
	// being closed.
	idleBatchTimeout = 30 * time.Second
)

// callKind says how a call is made.
type callKind struct {
	control bool          // on the connection of renewals, which waiting calls cannot block
	batch   bool          // on a connection of batches
	bypass  bool          // past the circuit breakers, and not counted by them
	bounded bool          // by the call timeout, if the caller gives no deadline
	timeout time.Duration // of one attempt
}

var (
	readCall  = callKind{bounded: true, timeout: attemptTimeout}
	adminCall = callKind{bounded: true, timeout: 30 * time.Second}
)

// timing is when an attempt that was answered began, and how long it took.
type timing struct{ sent, took time.Duration }

// transport finds a node to ask: the leader if its address is known, else the endpoints in turn,
// past those whose breaker is open.
type transport struct {
	clock       clock
	log         *slog.Logger
	callTimeout time.Duration
	follow      bool
	newHTTP     func(plain bool) http.RoundTripper
	apart       bool // batches have connections of their own where there is no TLS

	mu        sync.Mutex
	nodes     []*node // the endpoints given
	leader    *node   // where the leader is, as last heard
	learned   map[string]*node
	next      int
	clusterID string
	epoch     uint32
	last      error // of the last attempt; nil if it was answered
}

// node is one endpoint: its breaker and its connections.
type node struct {
	url      string
	breaker  *breaker
	newHTTP  func() http.RoundTripper
	newBatch func() http.RoundTripper // nil if batches go with the other data

	mu         sync.Mutex
	control    *clients
	data       *clients
	batches    *clients
	redialled  time.Duration // when its connections were last given up
	distrusted time.Duration // until when its address is not followed
}

// clients are the services of one node over one kind of connection, each made when it is first called:
// an idle session calls very few of their methods.
type clients struct {
	http     http.RoundTripper
	base     string
	locks    lazily[holdfastv1connect.LockServiceClient]
	sessions lazily[holdfastv1connect.SessionServiceClient]
	clusters lazily[holdfastv1connect.ClusterServiceClient]
	admins   lazily[holdfastv1connect.AdminServiceClient]
	batches  lazily[*connect.Client[v1.ExecuteRequest, v1.ExecuteResponse]]
}

type lazily[T any] struct {
	once sync.Once
	made T
}

func (l *lazily[T]) of(c *clients, newClient func(connect.HTTPClient, string, ...connect.ClientOption) T) T {
	l.once.Do(func() {
		l.made = newClient(&http.Client{Transport: c.http}, c.base,
			connect.WithCodec(codec.Proto{}),
			connect.WithReadMaxBytes(responseBytes),
			connect.WithAcceptCompression("gzip", nil, nil), // do not ask for it: messages are small
		)
	})
	return l.made
}

func (c *clients) lock() holdfastv1connect.LockServiceClient {
	return c.locks.of(c, holdfastv1connect.NewLockServiceClient)
}

func (c *clients) session() holdfastv1connect.SessionServiceClient {
	return c.sessions.of(c, holdfastv1connect.NewSessionServiceClient)
}

func (c *clients) cluster() holdfastv1connect.ClusterServiceClient {
	return c.clusters.of(c, holdfastv1connect.NewClusterServiceClient)
}

func (c *clients) admin() holdfastv1connect.AdminServiceClient {
	return c.admins.of(c, holdfastv1connect.NewAdminServiceClient)
}

// execute sends a batch.
func (c *clients) execute(ctx context.Context, req *v1.ExecuteRequest) (*v1.ExecuteResponse, error) {
	answer, err := c.batches.of(c, newBatchClient).CallUnary(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func newBatchClient(h connect.HTTPClient, base string, opts ...connect.ClientOption,
) *connect.Client[v1.ExecuteRequest, v1.ExecuteResponse] {
	return connect.NewClient[v1.ExecuteRequest, v1.ExecuteResponse](h,
		base+holdfastv1connect.LockServiceExecuteProcedure, opts...)
}

func newTransport(cfg *config) (*transport, error) {
	if len(cfg.endpoints) == 0 {
		return nil, &Error{Reason: ReasonInvalidArgument, Field: "endpoints",
			Message: "endpoints: none given", Hint: `holdfast.Endpoints("http://127.0.0.1:7480")`}
	}
	t := &transport{clock: cfg.clock, log: cfg.logger, callTimeout: cfg.callTimeout,
		follow: cfg.followLeader, apart: cfg.transport == nil, learned: make(map[string]*node)}
	t.newHTTP = func(plain bool) http.RoundTripper {
		if cfg.transport != nil {
			return cfg.transport()
		}
		return defaultHTTP(cfg, plain)
	}
	for _, e := range cfg.endpoints {
		base, err := parseEndpoint(e)
		if err != nil {
			return nil, err
		}
		if t.learned[base] == nil {
			t.nodes = append(t.nodes, t.nodeLocked(base))
		}
	}
	return t, nil
}

// parseEndpoint makes a base URL of what a person may write: host:port, or a URL without a path.
func parseEndpoint(e string) (string, error) {
	text := strings.TrimSpace(e)
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", &Error{Reason: ReasonInvalidArgument, Field: "endpoints",
			Message: fmt.Sprintf("endpoints: %q is not a base URL", e),
			Hint:    `such as "http://127.0.0.1:7480"`, cause: err}
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/"), nil
}

func defaultHTTP(cfg *config, plain bool) http.RoundTripper {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetHTTP1(!plain)
	protocols.SetUnencryptedHTTP2(plain)
	proxy := http.ProxyFromEnvironment
	if plain {
		proxy = nil // HTTP/2 without TLS goes through no proxy
	}
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: pingAfter}).DialContext,
		TLSClientConfig:     cfg.tls.Clone(),
		TLSHandshakeTimeout: connectTimeout,
		Protocols:           protocols,
		IdleConnTimeout:     idleConnTimeout,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// batchHTTP is for batches where there is no TLS: HTTP/1.1 with connections that are kept takes a third
// less of the processors for a call than HTTP/2 does, on both sides, and a session has no more than two
// batches on their way.
func batchHTTP() http.RoundTripper {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: pingAfter}).DialContext,
		Protocols:           protocols,
		MaxIdleConnsPerHost: inFlightMost,
		IdleConnTimeout:     idleBatchTimeout,
	}
}

// nodeLocked returns the node of a base URL, making it if it is new.
func (t *transport) nodeLocked(base string) *node {
	if n := t.learned[base]; n != nil {
		return n
	}
	plain := strings.HasPrefix(base, "http://")
	n := &node{url: base}
	n.newHTTP = func() http.RoundTripper { return t.newHTTP(plain) }
	if plain && t.apart {
		n.newBatch = batchHTTP
	}
	n.breaker = newBreaker(base, func(from, to string) {
		t.log.Info("circuit breaker", "endpoint", base, "from", from, "to", to)
	})
	n.redial()
	t.learned[base] = n
	return n
}

// redial gives up the node's connections; the next call makes new ones, resolving its name again.
// Calls under way go on over the old ones.
func (n *node) redial() {
	n.closeIdle()
	n.control = &clients{http: n.newHTTP(), base: n.url}
	n.data = &clients{http: n.newHTTP(), base: n.url}
	n.batches = n.data
	if n.newBatch != nil {
		n.batches = &clients{http: n.newBatch(), base: n.url}
	}
}

func (n *node) closeIdle() {
	for _, c := range []*clients{n.control, n.data, n.batches} {
		c.closeIdle()
	}
}

func (c *clients) closeIdle() {
	if c == nil {
		return
	}
	if h, ok := c.http.(interface{ CloseIdleConnections() }); ok {
		h.CloseIdleConnections()
	}
}

func (n *node) clients(k callKind) *clients {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case k.control:
		return n.control
	case k.batch:
		return n.batches
	}
	return n.data
}

// failed notes a transport error at the node: its name is resolved again before the next call.
func (n *node) failed(now time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.distrusted = now + leaderDistrust
	if now-n.redialled >= redialAtMost {
		n.redialled = now
		n.redial()
	}
}

func (n *node) trusted(now time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return now >= n.distrusted
}

// pick chooses the node for the next attempt and asks its breaker: the leader, else the endpoints
// in turn. A call that bypasses the breakers prefers a node whose breaker is closed all the same.
func (t *transport) pick(bypass bool) (*node, func(verdict), error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	candidates := make([]*node, 0, len(t.nodes)+1)
	if t.leader != nil && t.leader.trusted(t.clock.Now()) {
		candidates = append(candidates, t.leader)
	}
	for i := range t.nodes {
		candidates = append(candidates, t.nodes[(t.next+i)%len(t.nodes)])
	}
	for _, n := range candidates {
		if bypass {
			if n.breaker.state() == "closed" {
				return n, func(verdict) {}, nil
			}
			continue
		}
		if report, ok := n.breaker.allow(); ok {
			return n, report, nil
		}
	}
	if bypass {
		return candidates[0], func(verdict) {}, nil
	}
	return nil, nil, &Error{Reason: ReasonCircuitOpen, cause: t.last,
		Message: "the circuit breakers of all endpoints are open"}
}

// advance makes the next attempt go elsewhere after a failure at n.
func (t *transport) advance(n *node, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = err
	if t.leader == n {
		t.leader = nil
	}
	if t.nodes[t.next%len(t.nodes)] == n {
		t.next = (t.next + 1) % len(t.nodes)
	}
}

// heard notes where the leader is, and says whether that is news worth following at once.
func (t *transport) heard(leader string, from *node) bool {
	if leader == "" || !t.follow {
		return false
	}
	base, err := parseEndpoint(leader)
	if err != nil || strings.HasPrefix(from.url, "https://") && !strings.HasPrefix(base, "https://") {
		return false // an answer does not talk us out of encryption
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodeLocked(base)
	if !n.trusted(t.clock.Now()) {
		return false
	}
	t.leader = n
	return n != from
}

// accept refuses an answer of another cluster or of an older epoch (HF-11.7).
func (t *transport) accept(ref *v1.ClusterRef) error {
	if ref.GetClusterId() == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.clusterID == "" {
		t.clusterID, t.epoch = ref.GetClusterId(), ref.GetEpoch()
	}
	if ref.GetClusterId() != t.clusterID {
		return &Error{Reason: ReasonForked, Message: fmt.Sprintf("the answer is from cluster %s, not %s",
			ref.GetClusterId(), t.clusterID), Hint: "do all endpoints belong to one cluster?"}
	}
	if ref.GetEpoch() < t.epoch {
		return &Error{Reason: ReasonForked, Message: fmt.Sprintf("the answer is from epoch %d, after one "+
			"from epoch %d", ref.GetEpoch(), t.epoch), Hint: "a node serves a history that was replaced"}
	}
	t.epoch, t.last = ref.GetEpoch(), nil
	return nil
}

func (t *transport) lastError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.learned {
		n.mu.Lock()
		n.closeIdle()
		n.mu.Unlock()
	}
}

// once makes one attempt at the best node, and follows NOT_LEADER to the address it names.
func once[T any](ctx context.Context, t *transport, k callKind,
	f func(context.Context, *clients) (T, error)) (answer T, at timing, err error) {
	for hop := 0; ; hop++ {
		n, report, err := t.pick(k.bypass)
		if err != nil {
			return answer, timing{}, err
		}
		answer, at, err = attempt(ctx, t, n, k, f)
		report(judge(err, ctx.Err() != nil))
		e := asError(err)
		switch {
		case err == nil:
			return answer, at, nil
		case ctx.Err() != nil, !retryable(err) || e.Reason == ReasonRateLimited:
			return answer, timing{}, err
		case e.Reason == ReasonNotLeader && t.heard(e.leader, n) && hop < leaderHops:
			continue
		}
		t.advance(n, err)
		return answer, timing{}, err
	}
}

// attempt makes one call to one node.
func attempt[T any](ctx context.Context, t *transport, n *node, k callKind,
	f func(context.Context, *clients) (T, error)) (T, timing, error) {
	callCtx := ctx
	if k.timeout > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, k.timeout)
		defer cancel()
	}
	sent := t.clock.Now()
	answer, err := f(callCtx, n.clients(k))
	at := timing{sent: sent, took: t.clock.Now() - sent}
	if err == nil {
		if answered, ok := any(answer).(interface{ GetCluster() *v1.ClusterRef }); ok {
			if err := t.accept(answered.GetCluster()); err != nil {
				return answer, at, err
			}
			t.heard(answered.GetCluster().GetLeader(), n)
		}
		return answer, at, nil
	}
	e := callError(err)
	if ctx.Err() == nil && unreached(e) {
		n.failed(t.clock.Now())
	}
	return answer, at, e
}

// unreached says whether an error is not the server's word, but that of the way to it.
func unreached(e *Error) bool {
	if e.cause == nil {
		return false
	}
	var ce *connect.Error
	return !errors.As(e.cause, &ce) || ce.Code() == connect.CodeUnavailable ||
		ce.Code() == connect.CodeDeadlineExceeded
}
