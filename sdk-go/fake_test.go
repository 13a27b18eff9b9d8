package holdfast

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// fake is a service for tests: one small lock table (names without hierarchy, modes S and X, first
// come first served) behind any number of hosts, and faults by script. It talks over pipes, so it
// works in a synctest bubble.
type fake struct {
	holdfastv1connect.UnimplementedLockServiceHandler
	holdfastv1connect.UnimplementedSessionServiceHandler

	t     *testing.T
	start time.Time

	mu        sync.Mutex
	clusterID string
	epoch     uint32
	leader    string // told in every answer
	index     uint64
	lastGrant int64
	lastSess  uint64
	sessions  map[uint64]*fakeSession
	nonces    map[string]*v1.OpenSessionResponse
	grants    map[int64]*fakeGrant
	queue     []*fakeWait
	changed   chan struct{} // closed and replaced at every change
	stopped   chan struct{} // closed when the test is over
	breaks    chan struct{} // closed and replaced to break all streams
	calls     map[string]int
	executed  []*v1.ExecuteRequest
	opened    []*v1.OpenSessionRequest
	closed    []*v1.CloseSessionRequest
	alone     map[string]uint64    // implicit sessions by their nonces
	acquired  []*v1.AcquireRequest // without a session
	released  []*v1.ReleaseRequest // without a session
	script    func(call) fault
	hosts     map[string]*pipeListener
	down      map[string]bool
	compacted bool // the next resumed stream is refused
	dials     map[string]int
	muted     bool // streams that open say nothing after their first message
	stale     bool // cancels are refused: nobody remembers the request
}

// call is one call that reached a host.
type call struct {
	host, method string
	n            int // how many of this method there were, this one included
}

// fault is what goes wrong with a call; the zero value is nothing.
type fault struct {
	err    error         // answered instead of doing anything
	lose   bool          // done, but the answer is lost
	hang   bool          // never answered, nothing done
	before time.Duration // delay before doing it
	after  time.Duration // delay of the answer
	then   func()        // after the answer, under the fake's lock
	cut    time.Duration // after which the connection breaks, if it was not answered
}

type fakeSession struct {
	ttl      time.Duration
	deadline int64
	ended    v1.EndReason
	answers  map[uint64]*v1.OperationResult
	waits    map[uint64]*fakeWait
	events   []*v1.EventsResponse
}

type fakeGrant struct {
	session  uint64
	owner    string
	claims   []*v1.Claim
	token    int64
	depth    uint32
	lease    time.Duration
	until    int64 // lease deadline
	metadata string
}

type fakeWait struct {
	session  uint64
	request  uint64
	acquire  *v1.AcquireRequest
	convert  *v1.ConvertRequest
	deadline int64
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, start: time.Now(), clusterID: "c1", epoch: 1, lastGrant: 1 << 48,
		sessions: make(map[uint64]*fakeSession), nonces: make(map[string]*v1.OpenSessionResponse),
		grants: make(map[int64]*fakeGrant), changed: make(chan struct{}),
		breaks: make(chan struct{}), stopped: make(chan struct{}), calls: make(map[string]int),
		alone: make(map[string]uint64), hosts: make(map[string]*pipeListener), down: make(map[string]bool), dials: make(map[string]int)}
}

// fakeClock follows the time of the bubble.
type fakeClock struct{ start time.Time }

func (c fakeClock) Now() time.Duration { return time.Since(c.start) + time.Hour }

// client makes a client of the hosts, "n1" unless others are named.
func (f *fake) client(hosts []string, opts ...Option) *Client {
	f.t.Helper()
	if len(hosts) == 0 {
		hosts = []string{"n1"}
	}
	for _, h := range hosts {
		f.serve(h)
		opts = append([]Option{Endpoints("http://" + h)}, opts...)
	}
	opts = append(opts, WithTransport(f.transport), func(c *config) { c.clock = fakeClock{f.start} })
	c, err := New(context.Background(), opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// serve starts a host.
func (f *fake) serve(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hosts[host] != nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle(holdfastv1connect.NewLockServiceHandler(f))
	mux.Handle(holdfastv1connect.NewSessionServiceHandler(f))
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.faulty(host, mux, w, r)
	})}
	f.hosts[host] = l
	go func() { _ = srv.Serve(l) }()
	f.t.Cleanup(func() { _ = srv.Close() })
}

// stop ends all hosts; synctest wants that within the bubble.
func (f *fake) stop(c ...*Client) {
	for _, one := range c {
		if err := one.Close(context.Background()); err != nil {
			f.t.Errorf("close: %v", err)
		}
	}
	close(f.stopped)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.breaks)
	f.breaks = make(chan struct{})
	for _, l := range f.hosts {
		_ = l.Close()
	}
}

func (f *fake) transport() http.RoundTripper {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := strings.Cut(addr, ":")
			f.mu.Lock()
			f.dials[host]++
			l, down := f.hosts[host], f.down[host]
			f.mu.Unlock()
			if l == nil || down {
				return nil, fmt.Errorf("dial %s: connection refused", host)
			}
			ours, theirs := net.Pipe()
			select {
			case l.conns <- theirs:
				return ours, nil
			case <-l.closed:
				return nil, errors.New("connection refused")
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// faulty runs a call through the script.
func (f *fake) faulty(host string, mux http.Handler, w http.ResponseWriter, r *http.Request) {
	method := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	f.mu.Lock()
	f.calls[method]++
	c := call{host: host, method: method, n: f.calls[method]}
	var ft fault
	if f.script != nil {
		ft = f.script(c)
	}
	f.mu.Unlock()
	f.delay(ft.before)
	switch {
	case ft.hang:
		select {
		case <-r.Context().Done():
		case <-f.stopped:
		}
		panic(http.ErrAbortHandler)
	case ft.err != nil:
		_, _ = io.Copy(io.Discard, r.Body) // or the caller's write may fail before it reads the answer
		_ = connect.NewErrorWriter().Write(w, r, ft.err)
		return
	case !ft.lose && ft.after == 0 && ft.cut == 0:
		mux.ServeHTTP(w, r)
		return
	}
	ctx := context.WithoutCancel(r.Context())
	if ft.cut > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, ft.cut)
		defer cancel()
	}
	rec := httptest.NewRecorder()
	rec.Body = new(bytes.Buffer)
	mux.ServeHTTP(rec, r.WithContext(ctx))
	if ft.lose || ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	f.delay(ft.after)
	if ft.then != nil {
		f.mu.Lock()
		ft.then()
		f.mu.Unlock()
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

// delay sleeps, at most until the test is over.
func (f *fake) delay(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.stopped:
	}
}

// wireError is an error as the server sends it.
func wireError(code connect.Code, e *v1.Error) error {
	ce := connect.NewError(code, errors.New(e.GetMessage()))
	if d, err := connect.NewErrorDetail(e); err == nil {
		ce.AddDetail(d)
	}
	return ce
}

func notLeader(leader string) error {
	return wireError(connect.CodeUnavailable, &v1.Error{
		Reason: v1.ErrorReason_ERROR_REASON_NOT_LEADER, Leader: leader, Message: "not the leader"})
}

func (f *fake) now() int64 { return 1_000_000 + time.Since(f.start).Milliseconds() }
func (f *fake) ref() *v1.ClusterRef {
	return &v1.ClusterRef{ClusterId: f.clusterID, Epoch: f.epoch, Leader: f.leader}
}

func (f *fake) step() *v1.Stamp {
	f.index++
	close(f.changed)
	f.changed = make(chan struct{})
	f.expire()
	return f.stamp()
}

func (f *fake) stamp() *v1.Stamp { return &v1.Stamp{Index: f.index, TimeMs: f.now()} }

// expire ends what has passed its deadline.
func (f *fake) expire() {
	for id, s := range f.sessions {
		if s.ended == 0 && s.deadline <= f.now() {
			f.endSession(id, v1.EndReason_END_REASON_SESSION_EXPIRED)
		}
	}
	for id, g := range f.grants {
		if g.until > 0 && g.until <= f.now() {
			f.endGrant(id, v1.EndReason_END_REASON_LEASE_EXPIRED, "")
		}
	}
}

func (f *fake) endSession(id uint64, reason v1.EndReason) {
	s := f.sessions[id]
	if s == nil || s.ended != 0 {
		return
	}
	s.ended = reason
	var rest []*fakeWait
	for _, w := range f.queue {
		if w.session != id {
			rest = append(rest, w)
		}
	}
	f.queue = rest
	for gid, g := range f.grants {
		if g.session == id {
			delete(f.grants, gid)
		}
	}
	f.event(id, &v1.EventsResponse{Kind: v1.SessionEventKind_SESSION_EVENT_KIND_ENDED, Ended: reason})
	f.grantNext()
}

func (f *fake) endGrant(id int64, reason v1.EndReason, detail string) {
	g := f.grants[id]
	if g == nil {
		return
	}
	delete(f.grants, id)
	f.event(g.session, &v1.EventsResponse{Kind: v1.SessionEventKind_SESSION_EVENT_KIND_LOST,
		Grant: &v1.Grant{Id: id, Token: g.token}, Ended: reason, Detail: detail})
	f.grantNext()
}

// revoke ends a grant as an operator would.
func (f *fake) revoke(id int64, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step()
	f.endGrant(id, v1.EndReason_END_REASON_REVOKED, detail)
}

func (f *fake) event(session uint64, e *v1.EventsResponse) {
	s := f.sessions[session]
	e.Stamp, e.Cluster = f.stamp(), f.ref()
	e.Cursor = strconv.Itoa(len(s.events) + 1)
	s.events = append(s.events, e)
}

func (f *fake) OpenSession(_ context.Context, r *v1.OpenSessionRequest) (*v1.OpenSessionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	f.opened = append(f.opened, proto.CloneOf(r))
	if old := f.nonces[r.GetNonce()]; old != nil {
		return old, nil
	}
	f.lastSess++
	s := &fakeSession{ttl: r.GetTtl().AsDuration(), answers: make(map[uint64]*v1.OperationResult),
		waits: make(map[uint64]*fakeWait)}
	s.deadline = f.now() + s.ttl.Milliseconds()
	f.sessions[f.lastSess] = s
	out := &v1.OpenSessionResponse{SessionId: f.lastSess, Ttl: r.GetTtl(), Stamp: stamp,
		Deadlines: &v1.Deadlines{SessionMs: s.deadline}, Cluster: f.ref()}
	f.nonces[r.GetNonce()] = out
	return out, nil
}

// live finds a session and renews it.
func (f *fake) live(id uint64) (*fakeSession, error) {
	s := f.sessions[id]
	if s == nil {
		return nil, wireError(connect.CodeNotFound, &v1.Error{Message: "session is not known",
			Reason: v1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND})
	}
	if s.ended != 0 {
		return nil, wireError(connect.CodeFailedPrecondition, &v1.Error{Ended: s.ended,
			Reason: v1.ErrorReason_ERROR_REASON_SESSION_EXPIRED, Message: "session has ended"})
	}
	s.deadline = f.now() + s.ttl.Milliseconds()
	return s, nil
}

func (f *fake) RenewSession(_ context.Context, r *v1.RenewSessionRequest) (*v1.RenewSessionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	s, err := f.live(r.GetSessionId())
	if err != nil {
		return nil, err
	}
	return &v1.RenewSessionResponse{Stamp: stamp, Cluster: f.ref(),
		Deadlines: &v1.Deadlines{SessionMs: s.deadline}}, nil
}

func (f *fake) CloseSession(_ context.Context, r *v1.CloseSessionRequest) (*v1.CloseSessionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	f.closed = append(f.closed, r)
	if _, err := f.live(r.GetSessionId()); err != nil {
		return nil, err
	}
	f.endSession(r.GetSessionId(), v1.EndReason_END_REASON_CLOSED)
	return &v1.CloseSessionResponse{Stamp: stamp, Cluster: f.ref()}, nil
}

func (f *fake) Events(ctx context.Context, r *v1.EventsRequest, out *connect.ServerStream[v1.EventsResponse]) error {
	f.mu.Lock()
	s := f.sessions[r.GetSessionId()]
	next := 0
	if s != nil {
		next = len(s.events)
	}
	if r.GetCursor() != "" {
		next, _ = strconv.Atoi(r.GetCursor())
		if f.compacted {
			f.compacted = false
			f.mu.Unlock()
			return wireError(connect.CodeOutOfRange, &v1.Error{Message: "events are gone",
				Reason: v1.ErrorReason_ERROR_REASON_COMPACTED})
		}
	}
	state := &v1.EventsResponse{Kind: v1.SessionEventKind_SESSION_EVENT_KIND_STATE,
		Stamp: f.stamp(), Cluster: f.ref(), Cursor: strconv.Itoa(next)}
	breaks, muted := f.breaks, f.muted
	f.mu.Unlock()
	if err := out.Send(state); err != nil {
		return err
	}
	if muted {
		select {
		case <-ctx.Done():
		case <-f.stopped:
		}
		return ctx.Err()
	}
	for {
		f.mu.Lock()
		var send []*v1.EventsResponse
		if s != nil {
			send = s.events[min(next, len(s.events)):]
			next = len(s.events)
		}
		changed := f.changed
		f.mu.Unlock()
		for _, e := range send {
			if err := out.Send(e); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			if err := out.Send(state); err != nil {
				return err
			}
		case <-breaks:
			return connect.NewError(connect.CodeUnavailable, errors.New("stream broken"))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// breakStreams ends all streams that are open.
func (f *fake) breakStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.breaks)
	f.breaks = make(chan struct{})
}
