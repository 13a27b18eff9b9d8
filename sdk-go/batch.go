package holdfast

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

const (
	inFlightMost   = 2  // batches of one session at a time
	besideLeast    = 32 // operations that a second batch is worth its call for
	lateAtLeast    = time.Millisecond
	windowIDs      = 512 // no id so far above the oldest one without an answer (HF-7.2)
	batchMost      = 1024
	batchBytesMost = 200 << 10 // below the 256 KiB that the server takes
)

// batcher collects operations and sends what has come together. While nothing is in flight an operation
// goes at once. A second batch goes beside the first if there is enough for it or the first is late;
// otherwise what comes meanwhile goes when the first comes back (HF-11.6).
type batcher struct {
	again      []*op // what was sent before, and cancels: these go first
	fresh      []*op // what has no id yet
	inFlight   int
	gathering  bool // a sender is about to take what is there
	paused     bool // until the timer of a failed batch fires
	failures   int
	sentTicks  time.Duration // when the last batch was sent
	hurry      *time.Timer   // looks whether it is late
	hurrying   bool
	lastID     uint64
	waits      map[uint64]*op // those answered QUEUED and nothing else yet
	unanswered opList
	unfinished opList
	awake      *op // the first of those to wake when the mutex is unlocked
	awakeLast  *op
}

func (b *batcher) init() {
	b.waits = make(map[uint64]*op)
	b.unanswered.links, b.unfinished.links = unansweredLinks, unfinishedLinks
}

// byID is the operation of an id that has no final answer yet.
func (b *batcher) byID(id uint64) *op {
	if o := b.waits[id]; o != nil {
		return o
	}
	return b.unanswered.find(id)
}

// lock and unlock guard everything of the session. Those who are to be woken are woken after the
// mutex is free, or they would wait for it.
func (s *session) lock() { s.mu.Lock() }

func (s *session) unlock() {
	awake := s.awake
	s.awake, s.awakeLast = nil, nil
	s.mu.Unlock()
	for awake != nil {
		o := awake
		awake, o.nextAwake = o.nextAwake, nil
		o.wakeUp <- struct{}{}
	}
}

// wakeLocked wakes the caller of an operation, once.
func (s *session) wakeLocked(o *op) {
	if o.wake == nil {
		return
	}
	o.wakeUp, o.wake = o.wake, nil
	if s.awake == nil {
		s.awake = o
	} else {
		s.awakeLast.nextAwake = o
	}
	s.awakeLast = o
}

// wakeUps are channels that are not in use. They are the client's own, since a channel must not
// leave the synctest bubble it was made in.
type wakeUps struct{ pool sync.Pool }

func (w *wakeUps) get() chan struct{} {
	if c, ok := w.pool.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

func (w *wakeUps) put(c chan struct{}) { w.pool.Put(c) }

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

// pumpLocked starts a sender if there is something to send and room for it. One at a time begins: it
// takes all there is, and if that is too much it starts the other one.
func (s *session) pumpLocked() {
	waiting := len(s.again) + len(s.fresh)
	switch {
	case waiting == 0, s.inFlight == inFlightMost, s.gathering, s.paused, s.ended != nil:
	case len(s.again) == 0 && !s.mayNumberLocked():
	case s.inFlight > 0 && waiting < besideLeast:
		s.hurryLocked()
	default:
		s.startLocked()
	}
}

func (s *session) startLocked() {
	s.inFlight++
	s.gathering = true
	s.c.wg.Go(s.sender)
}

// hurryLocked sees to it that what is too little for a batch of its own goes all the same if the batch
// in flight is late.
func (s *session) hurryLocked() {
	switch {
	case s.hurrying:
		return
	case s.hurry == nil:
		s.hurry = time.AfterFunc(s.untilLateLocked(), s.late)
	default:
		s.hurry.Reset(s.untilLateLocked())
	}
	s.hurrying = true
}

// late starts the second sender if the first one's batch is late and something waits.
func (s *session) late() {
	s.lock()
	defer s.unlock()
	s.hurrying = false
	if s.inFlight != 1 || len(s.again)+len(s.fresh) == 0 || s.gathering || s.paused || s.ended != nil {
		return
	}
	if s.untilLateLocked() > 0 {
		s.hurryLocked()
		return
	}
	s.startLocked()
}

// untilLateLocked is how long until the batch that was sent last has been away for twice the usual time.
func (s *session) untilLateLocked() time.Duration {
	return s.sentTicks + max(lateAtLeast, 2*s.trip) - s.ticks()
}

// sender sends batches as long as there is something to send. Before the next one it lets those speak who
// are ready to: the callers whom the last one has woken, or others who began together with its own. It
// goes on beside another batch only with enough for one.
func (s *session) sender() {
	f := frames.Get().(*frame)
	defer frames.Put(f)
	for first := true; ; first = false {
		runtime.Gosched()
		s.lock()
		s.gathering = false
		var batch []*op
		switch {
		case s.paused, s.ended != nil:
		case first, s.inFlight == 1, len(s.again)+len(s.fresh) >= besideLeast:
			batch = s.takeLocked(f.ops[:0])
		}
		if len(batch) == 0 {
			s.inFlight--
			s.pumpLocked()
			s.unlock()
			return
		}
		acked := s.ackedLocked()
		s.sentTicks = s.ticks()
		s.pumpLocked()
		s.unlock()
		s.send(f, batch, acked)
		f.ops = batch
		clear(batch)
	}
}

// takeLocked takes the next batch and gives ids to those that have none.
func (s *session) takeLocked(into []*op) []*op {
	b := &batch{ops: into}
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
	taken := 0
	for _, o := range queue {
		if !o.final {
			size := o.size()
			if b.full || len(b.ops) == batchMost || len(b.ops) > 0 &&
				(o.solo || b.bytes+size > batchBytesMost) || !mayGo(o) {
				break
			}
			b.ops = append(b.ops, o)
			b.bytes += size
			b.full = o.solo
		}
		o.pending = false
		taken++
	}
	rest := queue[:copy(queue, queue[taken:])]
	clear(queue[len(rest):])
	return rest
}

// numberLocked gives the operation its request id, if the window allows another one.
func (s *session) numberLocked(o *op) bool {
	if !s.mayNumberLocked() {
		return false
	}
	s.lastID++
	o.id = s.lastID
	s.unanswered.append(o)
	s.unfinished.append(o)
	return true
}

func (s *session) mayNumberLocked() bool {
	oldest := s.unanswered.first
	return oldest == nil || s.lastID+1 < oldest.id+windowIDs
}

// ackedLocked is the id up to which every request has its final answer.
func (s *session) ackedLocked() uint64 {
	if oldest := s.unfinished.first; oldest != nil {
		return oldest.id - 1
	}
	return s.lastID
}

// send makes one attempt at a batch. What it does not settle goes back to the queue, with the same
// ids.
func (s *session) send(f *frame, batch []*op, acked uint64) {
	req := f.fill(s.id, acked, batch)
	kind := callKind{batch: true, timeout: attemptTimeout}
	for _, o := range batch {
		kind.bypass = kind.bypass || o.kind == opRelease || o.kind == opRenew || o.kind == opCancel
	}
	answer, at, err := once(s.ctx, s.t, kind,
		func(ctx context.Context, n *clients) (*v1.ExecuteResponse, error) {
			return n.execute(ctx, req)
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
	s.lock()
	defer s.unlock()
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
	s.gathering = true // by the sender that has made this attempt
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
		s.lock()
		defer s.unlock()
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
func (s *session) answeredLocked(o *op) { s.unanswered.remove(o) }

// finishLocked gives an operation its final answer.
func (s *session) finishLocked(o *op, err error) {
	if o.final {
		return
	}
	o.final, o.err = true, err
	s.answeredLocked(o)
	s.unfinished.remove(o)
	if o.waiting {
		delete(s.waits, o.id)
	}
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
	s.wakeLocked(o)
}

// failAllLocked gives everything that is on its way the same final error.
func (s *session) failAllLocked(err error) {
	queue := append(s.again, s.fresh...)
	s.again, s.fresh = nil, nil
	for _, o := range queue {
		s.finishLocked(o, err)
	}
	for o := s.unfinished.first; o != nil; o = s.unfinished.first {
		s.finishLocked(o, err)
	}
}
