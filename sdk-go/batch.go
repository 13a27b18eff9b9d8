package holdfast

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

const (
	inFlightMost   = 2   // batches of one session at a time
	windowIDs      = 512 // no id so far above the oldest one without an answer (HF-7.2)
	batchMost      = 1024
	batchBytesMost = 200 << 10 // below the 256 KiB that the server takes
)

type opKind int

const (
	opAcquire opKind = iota
	opRelease
	opConvert
	opRenew
	opCancel
)

// op is one operation on its way. Its request is in the field of its kind and is not changed after
// it has an id. Everything from id on is guarded by the session's mutex until done is closed.
type op struct {
	kind    opKind
	owner   *owner
	label   string // names it in messages
	acquire *v1.AcquireRequest
	release *v1.ReleaseRequest
	convert *v1.ConvertRequest
	renew   *v1.RenewRequest
	target  *op // of a cancel
	done    chan struct{}

	id         uint64
	solo       bool          // goes in a batch of its own, to find out whose fault a refusal is
	pending    bool          // is in the queue
	waiting    bool          // was answered QUEUED
	queuedAt   uint64        // index of that answer
	abandoned  bool          // its caller has gone
	unanswered *list.Element // until its first answer
	unfinished *list.Element // until its final answer
	position   int           // as last heard
	blockers   []*v1.Blocker
	blocking   uint32
	failure    error // of the last attempt to send it

	hold   *hold // of a grant; of the handle that is converted or renewed
	before Mode  // of a conversion: the mode to go back to
	// handsOver is set on a conversion that is undone: the undoing takes the hold's token to convert.
	handsOver bool
	err       error
	final     bool
}

// batcher collects operations and sends what has come together whenever one of two batches comes
// back: a lone operation never waits for company (HF-11.6).
type batcher struct {
	again      []*op // what was sent before, and cancels: these go first
	fresh      []*op // what has no id yet
	inFlight   int
	paused     bool // until the timer of a failed batch fires
	failures   int
	lastID     uint64
	byID       map[uint64]*op // those without a final answer
	unanswered *list.List     // of *op, by id
	unfinished *list.List     // of *op, by id
}

func (b *batcher) init() {
	b.byID = make(map[uint64]*op)
	b.unanswered, b.unfinished = list.New(), list.New()
}

// submit puts an operation on its way; its outcome is known when o.done is closed.
func (s *session) submit(o *op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	s.enqueueLocked(o)
	s.pumpLocked()
	return nil
}

func (s *session) enqueueLocked(o *op) {
	switch {
	case o.pending || o.final:
		return
	case o.id == 0 && o.kind != opCancel:
		s.fresh = append(s.fresh, o)
	default:
		s.again = append(s.again, o)
	}
	o.pending = true
}

// pumpLocked sends batches as long as there is something to send and room for it.
func (s *session) pumpLocked() {
	for s.inFlight < inFlightMost && !s.paused && s.ended == nil {
		batch := s.takeLocked()
		if len(batch) == 0 {
			return
		}
		s.inFlight++
		acked := s.ackedLocked()
		s.wg.Go(func() { s.send(batch, acked) })
	}
}

// takeLocked takes the next batch and gives ids to those that have none.
func (s *session) takeLocked() []*op {
	b := &batch{}
	s.again = b.fill(s.again, func(*op) bool { return true })
	s.fresh = b.fill(s.fresh, s.numberLocked)
	return b.ops
}

// batch is a batch that is being filled.
type batch struct {
	ops   []*op
	bytes int
	full  bool
}

// fill takes operations from the front of a queue until the batch is full or one may not go yet, and
// returns the rest.
func (b *batch) fill(queue []*op, mayGo func(*op) bool) []*op {
	for i, o := range queue {
		if o.final {
			o.pending = false
			continue
		}
		if b.full || len(b.ops) == batchMost || len(b.ops) > 0 && o.solo {
			return queue[i:]
		}
		size := proto.Size(o.message())
		if len(b.ops) > 0 && b.bytes+size > batchBytesMost || !mayGo(o) {
			return queue[i:]
		}
		o.pending = false
		b.ops = append(b.ops, o)
		b.bytes += size
		b.full = o.solo
	}
	return nil
}

// numberLocked gives the operation its request id, if the window allows another one.
func (s *session) numberLocked(o *op) bool {
	if oldest := s.unanswered.Front(); oldest != nil &&
		s.lastID+1 >= oldest.Value.(*op).id+windowIDs {
		return false
	}
	s.lastID++
	o.id = s.lastID
	switch o.kind {
	case opAcquire:
		o.acquire.RequestId = o.id
	case opRelease:
		o.release.RequestId = o.id
	case opConvert:
		o.convert.RequestId = o.id
	case opRenew:
		o.renew.RequestId = o.id
	}
	s.byID[o.id] = o
	o.unanswered, o.unfinished = s.unanswered.PushBack(o), s.unfinished.PushBack(o)
	return true
}

// ackedLocked is the id up to which every request has its final answer.
func (s *session) ackedLocked() uint64 {
	if oldest := s.unfinished.Front(); oldest != nil {
		return oldest.Value.(*op).id - 1
	}
	return s.lastID
}

// message is the operation as it is sent.
func (o *op) message() *v1.Operation {
	switch o.kind {
	case opRelease:
		return &v1.Operation{Operation: &v1.Operation_Release{Release: o.release}}
	case opConvert:
		return &v1.Operation{Operation: &v1.Operation_Convert{Convert: o.convert}}
	case opRenew:
		return &v1.Operation{Operation: &v1.Operation_Renew{Renew: o.renew}}
	case opCancel:
		return &v1.Operation{Operation: &v1.Operation_Cancel{
			Cancel: &v1.CancelRequest{RequestId: o.target.id}}}
	}
	return &v1.Operation{Operation: &v1.Operation_Acquire{Acquire: o.acquire}}
}

// send makes one attempt at a batch. What it does not settle goes back to the queue, with the same
// ids.
func (s *session) send(batch []*op, acked uint64) {
	req := &v1.ExecuteRequest{SessionId: s.id, Acked: acked}
	kind := callKind{timeout: attemptTimeout}
	for _, o := range batch {
		req.Operations = append(req.Operations, o.message())
		kind.bypass = kind.bypass || o.kind == opRelease || o.kind == opRenew || o.kind == opCancel
	}
	answer, at, err := once(s.ctx, s.t, kind,
		func(ctx context.Context, n *clients) (*v1.ExecuteResponse, error) {
			return n.lock.Execute(ctx, req)
		})
	if err == nil && len(answer.GetResults()) != len(batch) {
		err = &Error{Reason: ReasonInternal, final: true, Message: fmt.Sprintf(
			"%d operations were answered with %d results", len(batch), len(answer.GetResults()))}
	}
	if err != nil {
		s.refused(err)
	} else {
		s.sameHistory(answer.GetCluster())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	switch {
	case s.ended != nil: // everything has failed already
	case err == nil:
		s.settleLocked(batch, answer, at)
	case retryable(err):
		s.againLocked(batch, err)
	case len(batch) > 1:
		for _, o := range batch {
			o.solo = true
		}
		s.requeueLocked(batch)
	default:
		s.finishLocked(batch[0], withoutPath(err))
	}
	s.pumpLocked()
}

// settleLocked takes the results of a batch.
func (s *session) settleLocked(batch []*op, answer *v1.ExecuteResponse, at timing) {
	var stamp *v1.Stamp
	for _, r := range answer.GetResults() {
		if st := stampOf(r); st != nil && (stamp == nil || st.GetTimeMs() < stamp.GetTimeMs()) {
			stamp = st
		}
	}
	s.anchorLocked(at, stamp, answer.GetDeadlines())
	s.failures = 0
	for i, o := range batch {
		r := answer.GetResults()[i]
		if e := r.GetError(); e != nil {
			err := errorIn(e)
			if retryable(err) {
				s.againLocked([]*op{o}, err)
				continue
			}
			if err.Reason == ReasonSessionExpired {
				s.loseLocked(lostByEnd(err.Ended), err.Message, false)
				return
			}
			s.finishLocked(o, withoutPath(err))
			continue
		}
		s.answerLocked(o, r)
	}
}

// stampOf is the stamp of a result that anchors deadlines; errors anchor none.
func stampOf(r *v1.OperationResult) *v1.Stamp {
	switch r := r.GetResult().(type) {
	case *v1.OperationResult_Acquire:
		return r.Acquire.GetStamp()
	case *v1.OperationResult_Release:
		return r.Release.GetStamp()
	case *v1.OperationResult_Convert:
		return r.Convert.GetStamp()
	case *v1.OperationResult_Renew:
		return r.Renew.GetStamp()
	case *v1.OperationResult_Cancel:
		return r.Cancel.GetStamp()
	}
	return nil
}

// againLocked tries operations again after a pause, in their old places.
func (s *session) againLocked(ops []*op, err error) {
	for _, o := range ops {
		o.failure = err
	}
	s.requeueLocked(ops)
	if s.paused {
		return
	}
	s.failures++
	s.paused = true
	time.AfterFunc(pause(s.failures, err), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.paused = false
		s.pumpLocked()
	})
}

func (s *session) requeueLocked(ops []*op) {
	var back []*op
	for _, o := range ops {
		if !o.final && !o.pending {
			o.pending = true
			back = append(back, o)
		}
	}
	s.again = append(back, s.again...)
}

// answeredLocked notes that a request id has had an answer, which may move the window.
func (s *session) answeredLocked(o *op) {
	if o.unanswered != nil {
		s.unanswered.Remove(o.unanswered)
		o.unanswered = nil
	}
}

// finishLocked gives an operation its final answer.
func (s *session) finishLocked(o *op, err error) {
	if o.final {
		return
	}
	o.final, o.err = true, err
	s.answeredLocked(o)
	if o.unfinished != nil {
		s.unfinished.Remove(o.unfinished)
		o.unfinished = nil
	}
	delete(s.byID, o.id)
	if o.kind == opRenew && reasonOf(err) == ReasonNotHolder {
		o.hold.loseLocked(lostByEnd(asError(err).Ended), "")
	}
	if o.kind == opCancel && err != nil {
		s.finishLocked(o.target, err) // nobody can say any more what became of it
	}
	if o.kind == opConvert && !o.handsOver {
		o.hold.converting = false
		o.hold.convert <- struct{}{}
	}
	close(o.done)
}

// failAllLocked gives everything that is on its way the same final error.
func (s *session) failAllLocked(err error) {
	queue := append(s.again, s.fresh...)
	s.again, s.fresh = nil, nil
	for _, o := range queue {
		s.finishLocked(o, err)
	}
	for e := s.unfinished.Front(); e != nil; e = s.unfinished.Front() {
		s.finishLocked(e.Value.(*op), err)
	}
}

// wait waits for the outcome of an operation. If ctx ends first, or patience runs out, it is
// abandoned: the wait is cancelled, and a grant that came first is given back (HF-7.5).
func (s *session) wait(ctx context.Context, o *op, patience time.Duration) error {
	if patience <= 0 {
		patience = math.MaxInt64
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-o.done:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.final {
		return nil
	}
	var err error
	if ctx.Err() != nil {
		err = callerGone(ctx, o.label, o.failure)
	} else {
		err = &Error{Reason: ReasonUnavailable, Message: o.label + ": no answer in time",
			cause: o.failure}
	}
	if e := asError(err); e != nil && e.Reason == ReasonCancelled && o.waiting {
		o.describe(e)
	}
	s.abandonLocked(o)
	return err
}

// abandonLocked cancels an operation whose caller has gone.
func (s *session) abandonLocked(o *op) {
	o.abandoned = true
	switch {
	case o.id == 0: // it was never sent
		s.finishLocked(o, &Error{Reason: ReasonCancelled, Message: o.label})
	case o.kind == opAcquire || o.kind == opConvert:
		s.enqueueLocked(&op{kind: opCancel, owner: o.owner, label: o.label, target: o,
			done: make(chan struct{})})
		s.pumpLocked()
	}
}
