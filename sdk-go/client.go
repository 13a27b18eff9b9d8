package holdfast

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	ttlDefault         = 30 * time.Second
	ttlSurvives        = 5 * time.Second // below it a fail-over may end the session
	callTimeoutDefault = 10 * time.Second
	releaseGrace       = 5 * time.Second // how long a release is tried for a caller that has gone
)

// Client talks to one cluster in one namespace. It opens its session with the first acquire and
// renews it until Close. It may be used by many goroutines; a program needs one.
type Client struct {
	cfg       config
	transport *transport
	telemetry *telemetry
	log       *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	live    atomic.Pointer[session] // the last one that was opened
	wakeUps wakeUps

	mu      sync.Mutex
	closed  bool
	current *opening // the session, or the attempt to open one
}

// opening is a session that is being opened, or is open.
type opening struct {
	done    chan struct{} // closed when s or err is set
	s       *session
	err     error
	waiters int
	cancel  context.CancelFunc
}

// New makes a client. It checks the options and connects to nobody yet; ctx is not kept.
func New(_ context.Context, opts ...Option) (*Client, error) {
	cfg := config{ttl: ttlDefault, callTimeout: callTimeoutDefault, followLeader: true,
		logger: slog.New(slog.DiscardHandler), clock: systemClock, streamSilence: streamSilenceMax}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.ttl == 0 {
		cfg.ttl = ttlDefault
	}
	if cfg.safetyMargin < 0 || cfg.safetyMargin > 0 && cfg.safetyMargin >= cfg.ttl/2 {
		return nil, &Error{Reason: ReasonInvalidArgument, Field: "safety margin",
			Limit:   "at least 0 and below half of the ttl",
			Message: fmt.Sprintf("safety margin: %v with a ttl of %v", cfg.safetyMargin, cfg.ttl)}
	}
	t, err := newTransport(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.ttl < ttlSurvives {
		cfg.logger.Warn("a session with so short a ttl does not survive a fail-over of the server",
			"ttl", cfg.ttl, "advised", ttlSurvives)
	}
	c := &Client{cfg: cfg, transport: t, log: cfg.logger}
	c.telemetry = newTelemetry(&cfg)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// session returns the live session, opening one if there is none. Callers that come while one is
// being opened wait for that one; when the last of them has gone the attempt ends.
func (c *Client) session(ctx context.Context) (*session, error) {
	if s := c.live.Load(); s != nil && !s.over.Load() {
		return s, nil
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed()
	}
	if c.current == nil || c.current.s != nil && c.current.s.hasEnded() {
		c.current = c.open()
	}
	o := c.current
	o.waiters++
	c.mu.Unlock()

	timeout := c.callTimer(ctx)
	defer timeout.Stop()
	var gone error
	select {
	case <-o.done:
	case <-ctx.Done():
		gone = callerGone(ctx, "open session", c.transport.lastError())
	case <-timeout.C:
		gone = &Error{Reason: ReasonUnavailable, Message: "no session could be opened",
			cause: c.transport.lastError()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o.waiters--
	if c.closed {
		return nil, errClosed()
	}
	if gone == nil {
		return o.s, o.err
	}
	if o.waiters == 0 && o.s == nil {
		o.cancel()
		if c.current == o {
			c.current = nil
		}
	}
	return nil, gone
}

// open begins to open a session in the background.
func (c *Client) open() *opening {
	ctx, cancel := context.WithCancel(c.ctx)
	o := &opening{done: make(chan struct{}), cancel: cancel}
	c.wg.Go(func() {
		defer cancel()
		s, err := openSession(ctx, c)
		c.mu.Lock()
		defer c.mu.Unlock()
		o.s, o.err = s, err
		c.live.Store(s)
		if err != nil && c.current == o {
			c.current = nil
		}
		close(o.done)
	})
	return o
}

// callTimer fires when a call without a deadline of its own has taken too long.
func (c *Client) callTimer(ctx context.Context) *time.Timer {
	if _, ok := ctx.Deadline(); ok {
		return time.NewTimer(365 * 24 * time.Hour)
	}
	return time.NewTimer(c.cfg.callTimeout)
}

// Close ends the session: everything it holds is released, everything it waits for is cancelled,
// and handles that were still held are lost with LostClosed. If ctx has ended already the release is
// still tried, for up to 5 s. Close may be called again.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	o := c.current
	c.mu.Unlock()

	var err error
	if o != nil {
		o.cancel()
		<-o.done
		if o.s != nil {
			err = o.s.close(ctx)
		}
	}
	c.cancel()
	c.wg.Wait()
	c.transport.close()
	return err
}

// SessionID is the id of the client's session, which is opened if there is none.
func (c *Client) SessionID(ctx context.Context) (uint64, error) {
	s, err := c.session(ctx)
	if err != nil {
		return 0, err
	}
	return s.id, nil
}

func errClosed() error { return &Error{Reason: ReasonClosed, Message: "the client is closed"} }

// newNonce makes a value that no other client makes.
func newNonce() string { return strings.ToLower(rand.Text()) }
