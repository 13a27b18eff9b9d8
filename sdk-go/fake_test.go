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
	"google.golang.org/protobuf/types/known/durationpb"

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
	closed    []*v1.CloseSessionRequest
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
	session uint64
	owner   string
	claims  []*v1.Claim
	token   int64
	depth   uint32
	lease   time.Duration
	until   int64 // lease deadline
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
		hosts: make(map[string]*pipeListener), down: make(map[string]bool), dials: make(map[string]int)}
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
	case !ft.lose && ft.after == 0:
		mux.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	rec.Body = new(bytes.Buffer)
	mux.ServeHTTP(rec, r.WithContext(context.WithoutCancel(r.Context())))
	if ft.lose {
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

func (f *fake) Execute(_ context.Context, r *v1.ExecuteRequest) (*v1.ExecuteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	f.executed = append(f.executed, proto.CloneOf(r))
	s, err := f.live(r.GetSessionId())
	if err != nil {
		return nil, err
	}
	for i, o := range r.GetOperations() {
		for _, c := range o.GetAcquire().GetClaims() {
			if c.GetName() == "" {
				return nil, wireError(connect.CodeInvalidArgument, &v1.Error{
					Reason:  v1.ErrorReason_ERROR_REASON_INVALID_NAME,
					Field:   fmt.Sprintf("operations[%d].acquire.claims[0].name", i),
					Message: fmt.Sprintf("operations[%d].acquire.claims[0].name: empty", i)})
			}
		}
	}
	out := &v1.ExecuteResponse{Cluster: f.ref(), Deadlines: &v1.Deadlines{SessionMs: s.deadline}}
	for _, o := range r.GetOperations() {
		out.Results = append(out.Results, f.operate(r.GetSessionId(), s, o, stamp))
	}
	return out, nil
}

func (f *fake) operate(session uint64, s *fakeSession, o *v1.Operation, stamp *v1.Stamp) *v1.OperationResult {
	if c := o.GetCancel(); c != nil {
		return f.cancel(s, c.GetRequestId(), stamp)
	}
	id := max(o.GetAcquire().GetRequestId(), o.GetRelease().GetRequestId(),
		o.GetConvert().GetRequestId(), o.GetRenew().GetRequestId())
	if kept := s.answers[id]; kept != nil {
		return kept
	}
	if w := s.waits[id]; w != nil {
		return queued(o, f.position(w), stamp)
	}
	answer := f.first(session, s, id, o, stamp)
	if a := answer.GetAcquire(); a.GetOutcome() != v1.Outcome_OUTCOME_QUEUED &&
		answer.GetConvert().GetOutcome() != v1.Outcome_OUTCOME_QUEUED {
		s.answers[id] = answer
	}
	return answer
}

// first does an operation that was not done before.
func (f *fake) first(session uint64, s *fakeSession, id uint64, o *v1.Operation, stamp *v1.Stamp) *v1.OperationResult {
	w := &fakeWait{session: session, request: id, acquire: o.GetAcquire(), convert: o.GetConvert()}
	switch {
	case o.GetAcquire() != nil:
		for gid, g := range f.grants {
			if g.session == session && g.owner == o.GetAcquire().GetOwner() && f.covered(g, o.GetAcquire()) {
				g.depth++
				return f.granted(w, gid, stamp)
			}
		}
		return f.queueOrGrant(s, w, o, o.GetAcquire().GetWait(), stamp)
	case o.GetConvert() != nil:
		if g := f.grants[o.GetConvert().GetGrantId()]; g == nil || g.session != session {
			return notHolder()
		}
		return f.queueOrGrant(s, w, o, o.GetConvert().GetWait(), stamp)
	case o.GetRelease() != nil:
		g := f.grants[o.GetRelease().GetGrantId()]
		if g == nil || g.session != session {
			return notHolder()
		}
		g.depth--
		if g.depth == 0 {
			delete(f.grants, o.GetRelease().GetGrantId())
			f.grantNext()
		}
		return &v1.OperationResult{Result: &v1.OperationResult_Release{
			Release: &v1.ReleaseResponse{Depth: g.depth, Stamp: stamp}}}
	}
	g := f.grants[o.GetRenew().GetGrantId()]
	if g == nil || g.session != session {
		return notHolder()
	}
	if g.lease > 0 {
		g.until = f.now() + g.lease.Milliseconds()
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Renew{
		Renew: &v1.RenewResponse{Grant: f.show(o.GetRenew().GetGrantId()), Stamp: stamp}}}
}

func notHolder() *v1.OperationResult {
	return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: &v1.Error{
		Reason: v1.ErrorReason_ERROR_REASON_NOT_HOLDER, Message: "not held",
		Ended: v1.EndReason_END_REASON_REVOKED}}}
}

func (f *fake) covered(g *fakeGrant, r *v1.AcquireRequest) bool {
	for _, want := range r.GetClaims() {
		ok := false
		for _, have := range g.claims {
			ok = ok || have.GetName() == want.GetName() &&
				(have.GetMode() == v1.Mode_MODE_EXCLUSIVE || have.GetMode() == want.GetMode())
		}
		if !ok {
			return false
		}
	}
	return true
}

// grantable says whether nobody else holds any of the names in an incompatible mode.
func (f *fake) grantable(w *fakeWait) bool {
	claims := w.acquire.GetClaims()
	owner := w.acquire.GetOwner()
	if w.convert != nil {
		g := f.grants[w.convert.GetGrantId()]
		if g == nil {
			return false
		}
		owner = g.owner
		claims = []*v1.Claim{{Name: w.convert.GetName(), Mode: w.convert.GetMode()}}
	}
	for _, g := range f.grants {
		if g.session == w.session && g.owner == owner {
			continue
		}
		for _, have := range g.claims {
			for _, want := range claims {
				if have.GetName() == want.GetName() && (have.GetMode() != v1.Mode_MODE_SHARED ||
					want.GetMode() != v1.Mode_MODE_SHARED) {
					return false
				}
			}
		}
	}
	return true
}

func (f *fake) queueOrGrant(s *fakeSession, w *fakeWait, o *v1.Operation, wait *durationpb.Duration, stamp *v1.Stamp) *v1.OperationResult {
	if f.grantable(w) && len(f.queue) == 0 || f.grantable(w) && f.unrelated(w) {
		return f.grant(w, stamp)
	}
	if wait.AsDuration() == 0 {
		return f.result(w, v1.Outcome_OUTCOME_HELD, stamp)
	}
	w.deadline = f.now() + wait.AsDuration().Milliseconds()
	f.queue = append(f.queue, w)
	s.waits[w.request] = w
	return queued(o, f.position(w), stamp)
}

// unrelated says whether no waiter names what the request names.
func (f *fake) unrelated(w *fakeWait) bool {
	if w.convert != nil {
		return true
	}
	for _, other := range f.queue {
		for _, a := range other.acquire.GetClaims() {
			for _, b := range w.acquire.GetClaims() {
				if a.GetName() == b.GetName() {
					return false
				}
			}
		}
	}
	return true
}

func (f *fake) position(w *fakeWait) uint32 {
	for i, other := range f.queue {
		if other == w {
			return uint32(i + 1)
		}
	}
	return 0
}

func queued(o *v1.Operation, position uint32, stamp *v1.Stamp) *v1.OperationResult {
	blockers := []*v1.Blocker{{Name: "orders/42", Mode: v1.Mode_MODE_EXCLUSIVE, SessionId: 7,
		Kind: v1.BlockerKind_BLOCKER_KIND_HOLDER}}
	if o.GetConvert() != nil {
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: &v1.ConvertResponse{
			Outcome: v1.Outcome_OUTCOME_QUEUED, Position: position, Stamp: stamp,
			Blockers: blockers, BlockersTotal: 1}}}
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Acquire{Acquire: &v1.AcquireResponse{
		Outcome: v1.Outcome_OUTCOME_QUEUED, Position: position, Stamp: stamp,
		Blockers: blockers, BlockersTotal: 1}}}
}

// grant gives a request what it asks for.
func (f *fake) grant(w *fakeWait, stamp *v1.Stamp) *v1.OperationResult {
	f.lastGrant++
	if w.convert != nil {
		g := f.grants[w.convert.GetGrantId()]
		for _, c := range g.claims {
			if c.GetName() == w.convert.GetName() {
				if c.GetMode() != v1.Mode_MODE_EXCLUSIVE {
					g.token = f.lastGrant
				}
				c.Mode = w.convert.GetMode()
			}
		}
		return f.granted(w, w.convert.GetGrantId(), stamp)
	}
	g := &fakeGrant{session: w.session, owner: w.acquire.GetOwner(), token: f.lastGrant, depth: 1,
		lease: w.acquire.GetLease().AsDuration()}
	for _, c := range w.acquire.GetClaims() {
		g.claims = append(g.claims, proto.CloneOf(c))
	}
	if g.lease > 0 {
		g.until = f.now() + g.lease.Milliseconds()
	}
	f.grants[f.lastGrant] = g
	return f.granted(w, f.lastGrant, stamp)
}

func (f *fake) show(id int64) *v1.Grant {
	g := f.grants[id]
	out := &v1.Grant{Id: id, Token: g.token, Depth: g.depth, Deadlines: &v1.Deadlines{
		SessionMs: f.sessions[g.session].deadline, LeaseMs: g.until}}
	for _, c := range g.claims {
		out.Claims = append(out.Claims, proto.CloneOf(c))
	}
	return out
}

func (f *fake) granted(w *fakeWait, id int64, stamp *v1.Stamp) *v1.OperationResult {
	if w.convert != nil {
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{Convert: &v1.ConvertResponse{
			Outcome: v1.Outcome_OUTCOME_GRANTED, Grant: f.show(id), Stamp: stamp}}}
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Acquire{Acquire: &v1.AcquireResponse{
		Outcome: v1.Outcome_OUTCOME_GRANTED, Grant: f.show(id), Stamp: stamp}}}
}

func (f *fake) result(w *fakeWait, out v1.Outcome, stamp *v1.Stamp) *v1.OperationResult {
	if w.convert != nil {
		return &v1.OperationResult{Result: &v1.OperationResult_Convert{
			Convert: &v1.ConvertResponse{Outcome: out, Stamp: stamp}}}
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Acquire{
		Acquire: &v1.AcquireResponse{Outcome: out, Stamp: stamp}}}
}

// grantNext grants whom it can, in order.
func (f *fake) grantNext() {
	for i := 0; i < len(f.queue); i++ {
		w := f.queue[i]
		if !f.grantable(w) {
			continue
		}
		f.finish(w, f.grant(w, f.stamp()))
		i = -1
	}
}

// finish takes a wait out of the queue and tells its outcome.
func (f *fake) finish(w *fakeWait, r *v1.OperationResult) {
	var rest []*fakeWait
	for _, other := range f.queue {
		if other != w {
			rest = append(rest, other)
		}
	}
	f.queue = rest
	s := f.sessions[w.session]
	delete(s.waits, w.request)
	s.answers[w.request] = r
	e := &v1.EventsResponse{Kind: v1.SessionEventKind_SESSION_EVENT_KIND_OUTCOME, RequestId: w.request}
	if c := r.GetConvert(); c != nil {
		e.Outcome, e.Grant, e.Cycle = c.GetOutcome(), c.GetGrant(), c.GetCycle()
	} else {
		a := r.GetAcquire()
		e.Outcome, e.Grant, e.Cycle = a.GetOutcome(), a.GetGrant(), a.GetCycle()
	}
	f.event(w.session, e)
}

// endWaits ends every wait of a name with an outcome.
func (f *fake) endWaits(out v1.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	for _, w := range append([]*fakeWait(nil), f.queue...) {
		f.finish(w, f.result(w, out, stamp))
	}
}

func (f *fake) cancel(s *fakeSession, id uint64, stamp *v1.Stamp) *v1.OperationResult {
	if f.stale {
		return &v1.OperationResult{Result: &v1.OperationResult_Error{Error: &v1.Error{
			Reason: v1.ErrorReason_ERROR_REASON_STALE_REQUEST, Message: "not kept"}}}
	}
	out := &v1.CancelResponse{Outcome: v1.Outcome_OUTCOME_CANCELLED, Stamp: stamp}
	if w := s.waits[id]; w != nil {
		f.finish(w, f.result(w, v1.Outcome_OUTCOME_CANCELLED, stamp))
	} else if kept := s.answers[id]; kept != nil {
		out.Outcome = max(kept.GetAcquire().GetOutcome(), kept.GetConvert().GetOutcome())
		out.Grant = kept.GetAcquire().GetGrant()
		if kept.GetConvert() != nil {
			out.Grant = kept.GetConvert().GetGrant()
		}
	} else {
		s.answers[id] = f.result(&fakeWait{}, v1.Outcome_OUTCOME_CANCELLED, stamp)
	}
	return &v1.OperationResult{Result: &v1.OperationResult_Cancel{Cancel: out}}
}

// held is how many grants there are.
func (f *fake) held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.grants)
}
