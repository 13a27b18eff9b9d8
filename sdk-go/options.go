package holdfast

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Option configures a Client.
type Option func(*config)

// config is what the options fill in.
type config struct {
	endpoints     []string
	namespace     string
	ttl           time.Duration
	metadata      string
	callTimeout   time.Duration
	safetyMargin  time.Duration
	followLeader  bool
	tls           *tls.Config
	transport     func() http.RoundTripper
	logger        *slog.Logger
	tracer        trace.TracerProvider
	meter         metric.MeterProvider
	clock         clock
	streamSilence time.Duration
}

// Endpoints names the nodes: base URLs such as "http://127.0.0.1:7480". A host may be a DNS name
// with several addresses; it is resolved again after failures. Without a scheme, http is meant.
func Endpoints(urls ...string) Option {
	return func(c *config) { c.endpoints = append(c.endpoints, urls...) }
}

// WithNamespace chooses the namespace; "default" unless given.
func WithNamespace(name string) Option { return func(c *config) { c.namespace = name } }

// WithTTL sets how long the session outlives its last renewal: 1 s to 24 h, 30 s unless given.
// Renewal is automatic, at a third of it. Below 5 s locks do not survive a fail-over of the server.
func WithTTL(ttl time.Duration) Option { return func(c *config) { c.ttl = ttl } }

// WithClientMetadata is shown to those who list sessions (program, host, version ...), at most 4 KiB.
func WithClientMetadata(text string) Option { return func(c *config) { c.metadata = text } }

// WithCallTimeout bounds calls whose context has no deadline of its own and that do not wait for a
// lock (TryAcquire, reads, releases): 10 s unless given.
func WithCallTimeout(d time.Duration) Option { return func(c *config) { c.callTimeout = d } }

// WithSafetyMargin makes locks count as lost this much earlier than they would: time to stop the
// work before the server may give the lock to somebody else. 0 unless given; it must leave room
// below the ttl.
func WithSafetyMargin(d time.Duration) Option { return func(c *config) { c.safetyMargin = d } }

// WithLeaderFollowing says whether to go to the leader's own address when the service tells it:
// true unless given. Turn it off if clients reach the nodes only through a proxy.
func WithLeaderFollowing(follow bool) Option { return func(c *config) { c.followLeader = follow } }

// WithTLS sets the TLS configuration for https endpoints.
func WithTLS(conf *tls.Config) Option { return func(c *config) { c.tls = conf } }

// WithTransport replaces the HTTP transports; make is called for each connection that the client
// keeps apart (renewals never share one with waiting calls), so it must return a new one each time.
// Without it plain http uses HTTP/2 with prior knowledge, and HTTP/1.1 for the batches of operations, which
// costs less; https negotiates.
func WithTransport(newTransport func() http.RoundTripper) Option {
	return func(c *config) { c.transport = newTransport }
}

// WithLogger sets where the client logs what a person may want to know; nowhere unless given.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithTracerProvider sets the OpenTelemetry tracer provider; the global one unless given, which
// does nothing until the program installs another.
func WithTracerProvider(p trace.TracerProvider) Option { return func(c *config) { c.tracer = p } }

// WithMeterProvider sets the OpenTelemetry meter provider; the global one unless given.
func WithMeterProvider(p metric.MeterProvider) Option { return func(c *config) { c.meter = p } }

// AcquireOption configures one acquire or conversion.
type AcquireOption func(*acquireConfig)

// acquireConfig is what the acquire options fill in.
type acquireConfig struct {
	waitLimit   time.Duration
	hasLimit    bool
	priority    int32
	lease       time.Duration
	maxHold     time.Duration
	lockDelay   time.Duration
	onDeadlock  DeadlockAction
	noReentry   bool
	metadata    string
	nonce       string
	detachedTTL time.Duration
}

// WithWaitLimit bounds the wait in the queue, up to 24 h; 0 means: try once. Without it an acquire
// waits until its context ends.
func WithWaitLimit(d time.Duration) AcquireOption {
	return func(c *acquireConfig) { c.waitLimit, c.hasLimit = d, true }
}

// WithPriority orders waiters: -100 to 100, higher goes first, 0 unless given.
func WithPriority(p int) AcquireOption { return func(c *acquireConfig) { c.priority = clampInt32(p) } }

// WithLease makes a timed lock: the grant ends this long after it was given unless Handle.Renew is
// called, whatever the session does; 100 ms to 30 d. Renew it from the work itself, and a worker
// that hangs loses the lock.
func WithLease(d time.Duration) AcquireOption { return func(c *acquireConfig) { c.lease = d } }

// WithMaxHold ends the grant after this long, whatever is renewed; 100 ms to 30 d.
func WithMaxHold(d time.Duration) AcquireOption { return func(c *acquireConfig) { c.maxHold = d } }

// WithLockDelay keeps the names shut for this long if the grant ends uncleanly (the program died,
// the lease passed), up to 60 s: time for a holder that does not know yet to find out.
func WithLockDelay(d time.Duration) AcquireOption {
	return func(c *acquireConfig) { c.lockDelay = d }
}

// WithDeadlockAction says what else ends if this request is the victim of a deadlock.
func WithDeadlockAction(a DeadlockAction) AcquireOption {
	return func(c *acquireConfig) { c.onDeadlock = a }
}

// WithoutReentry refuses (ErrHeld) instead of re-entering a lock that the same owner holds.
func WithoutReentry() AcquireOption { return func(c *acquireConfig) { c.noReentry = true } }

// WithMetadata is shown to those who look at the lock, at most 4 KiB.
func WithMetadata(text string) AcquireOption { return func(c *acquireConfig) { c.metadata = text } }

// WithDetachedTTL is for AcquireDetached: how long the grant lives without RenewDetached; 30 s
// unless given.
func WithDetachedTTL(d time.Duration) AcquireOption {
	return func(c *acquireConfig) { c.detachedTTL = d }
}

// WithNonce is for AcquireDetached: a retry with the same nonce is the same request, even from
// another process.
func WithNonce(nonce string) AcquireOption { return func(c *acquireConfig) { c.nonce = nonce } }

// ReadOption configures a read.
type ReadOption func(*readConfig)

type readConfig struct {
	stale    bool
	pageSize int
	cursor   string
}

// Stale lets the node asked answer at once from its own state, which may lag, and also when the
// cluster has no quorum.
func Stale() ReadOption { return func(c *readConfig) { c.stale = true } }

// PageSize sets how many entries a listing fetches at a time, 1 to 1000; 100 unless given.
func PageSize(n int) ReadOption { return func(c *readConfig) { c.pageSize = n } }

// FromCursor makes WatchLocks resume after the event that carried the cursor.
func FromCursor(cursor string) ReadOption { return func(c *readConfig) { c.cursor = cursor } }
