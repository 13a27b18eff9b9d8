package holdfast

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// frame is the message of a batch, with room for the messages in it that is used again for the next
// batch: an operation on its way is no message until it is sent.
type frame struct {
	request  v1.ExecuteRequest
	ops      []*op
	acquires []acquireRoom
	releases []releaseRoom
	keys     []byte // of the owners
}

var frames = sync.Pool{New: func() any { return new(frame) }}

// acquireRoom is room for an acquire of one name.
type acquireRoom struct {
	operation v1.Operation
	kind      v1.Operation_Acquire
	request   v1.AcquireRequest
	wait      durationpb.Duration
	claim     v1.Claim
	claims    [1]*v1.Claim
}

type releaseRoom struct {
	operation v1.Operation
	kind      v1.Operation_Release
	request   v1.ReleaseRequest
}

// fill makes the request of a batch. It is good until the next one is made.
func (f *frame) fill(session, acked uint64, batch []*op) *v1.ExecuteRequest {
	acquires, releases := 0, 0
	f.keys = f.keys[:0]
	for _, o := range batch {
		switch o.kind {
		case opAcquire:
			acquires++
			f.keys = o.owner.appendKey(f.keys)
		case opRelease:
			releases++
		}
	}
	f.acquires = slices.Grow(f.acquires[:0], acquires)
	f.releases = slices.Grow(f.releases[:0], releases)
	keys := string(f.keys) // all keys in one piece
	f.request.SessionId, f.request.Acked = session, acked
	f.request.Operations = f.request.Operations[:0]
	for _, o := range batch {
		var operation *v1.Operation
		switch o.kind {
		case opAcquire:
			size := len(o.owner.appendKey(f.keys[:0]))
			operation = f.acquire(o, keys[:size])
			keys = keys[size:]
		case opRelease:
			operation = f.release(o)
		case opConvert:
			o.convert.RequestId = o.id
			operation = &v1.Operation{Operation: &v1.Operation_Convert{Convert: o.convert}}
		case opRenew:
			operation = &v1.Operation{Operation: &v1.Operation_Renew{
				Renew: &v1.RenewRequest{GrantId: o.grant, RequestId: o.id}}}
		case opCancel:
			operation = &v1.Operation{Operation: &v1.Operation_Cancel{
				Cancel: &v1.CancelRequest{RequestId: o.target.id}}}
		}
		f.request.Operations = append(f.request.Operations, operation)
	}
	return &f.request
}

// acquire makes the message of an acquire in the next room.
func (f *frame) acquire(o *op, key string) *v1.Operation {
	f.acquires = f.acquires[:len(f.acquires)+1]
	a := &f.acquires[len(f.acquires)-1]
	a.operation.Operation, a.kind.Acquire = &a.kind, &a.request
	m := &a.request
	m.RequestId, m.Owner = o.id, key
	if len(o.claims) == 1 {
		a.claim.Name, a.claim.Mode = o.claims[0].Name, modeOut(o.claims[0].Mode)
		a.claims[0] = &a.claim
		m.Claims = a.claims[:]
	} else {
		m.Claims = claimsOut(o.claims)
	}
	m.Wait = nil
	if o.wait != 0 {
		a.wait.Seconds, a.wait.Nanos = int64(o.wait/time.Second), int32(o.wait%time.Second)
		m.Wait = &a.wait
	}
	o.cfg.out(m)
	return &a.operation
}

// out writes what the options of an acquire say.
func (c *acquireConfig) out(m *v1.AcquireRequest) {
	m.Priority = c.priority
	m.Lease, m.MaxHold, m.LockDelay = durationOut(c.lease), durationOut(c.maxHold), durationOut(c.lockDelay)
	m.OnDeadlock = deadlockActionOut(c.onDeadlock)
	m.Reentrant = reentrantOut(c.noReentry)
	m.Metadata = c.metadata
}

func (f *frame) release(o *op) *v1.Operation {
	f.releases = f.releases[:len(f.releases)+1]
	r := &f.releases[len(f.releases)-1]
	r.operation.Operation, r.kind.Release = &r.kind, &r.request
	r.request.GrantId, r.request.RequestId = o.grant, o.id
	return &r.operation
}

// appendKey appends the owner's key.
func (o *owner) appendKey(to []byte) []byte { return strconv.AppendUint(to, o.number, 36) }
