package codec

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/wire"
)

// form has the forms of the messages, and the memory for those that are read.
type form struct {
	wire.Wire
	left int // about how many operations or results are still to be read

	operations lists[v1.Operation]
	results    lists[v1.OperationResult]
	claims     lists[v1.Claim]
	blockers   lists[v1.Blocker]
	steps      lists[v1.CycleStep]

	acquires  wire.Slab[v1.Operation_Acquire]
	releases  wire.Slab[v1.Operation_Release]
	acquired  wire.Slab[v1.OperationResult_Acquire]
	released  wire.Slab[v1.OperationResult_Release]
	durations wire.Slab[durationpb.Duration]
	stamps    wire.Slab[v1.Stamp]
	grants    wire.Slab[v1.Grant]
	deadlines wire.Slab[v1.Deadlines]
	cycles    wire.Slab[v1.Cycle]
	clusters  wire.Slab[v1.ClusterRef]

	acquireRequests  wire.Slab[v1.AcquireRequest]
	acquireResponses wire.Slab[v1.AcquireResponse]
	releaseRequests  wire.Slab[v1.ReleaseRequest]
	releaseResponses wire.Slab[v1.ReleaseResponse]
}

// lists are the memory for messages that come in lists.
type lists[M any] struct {
	messages wire.Slab[M]
	pointers wire.Slab[*M]
}

func number[T ~uint64 | ~uint32 | ~int64 | ~int32](f *form, n protowire.Number, p *T) {
	wire.Number(&f.Wire, n, p)
}

// one is a field that is a message or absent.
func one[M any](f *form, n protowire.Number, p **M, from *wire.Slab[M], of func(*form, *M)) {
	switch {
	case !f.Reading() && *p == nil, f.Reading() && f.AtHand() != n:
		return
	case *p == nil:
		*p = from.One(f.left)
	}
	wire.Message(f, n, *p, of)
}

// many is a field that is a list of messages.
func many[M any](f *form, n protowire.Number, p *[]*M, from *lists[M], of func(*form, *M)) {
	if !f.Reading() {
		for _, m := range *p {
			wire.Message(f, n, m, of)
		}
		return
	}
	more := f.Run(n)
	if more == 0 {
		return
	}
	f.left = max(f.left, more)
	messages, list := from.messages.Cut(more, f.left), from.pointers.Cut(more, f.left)
	for i := range messages {
		list[i] = &messages[i]
		wire.Message(f, n, list[i], of)
	}
	if *p == nil {
		*p = list
	} else {
		*p = append(*p, list...)
	}
}

// other is a field that is a message without a form.
func other[M proto.Message](f *form, n protowire.Number, m M) {
	f.Raw(n, func(b []byte) ([]byte, error) {
		return proto.MarshalOptions{}.MarshalAppend(b, m)
	}, func(b []byte) error {
		return proto.UnmarshalOptions{DiscardUnknown: true, Merge: true}.Unmarshal(b, m)
	})
}

func (f *form) duration(m *durationpb.Duration) {
	number(f, 1, &m.Seconds)
	number(f, 2, &m.Nanos)
}

func (f *form) stamp(m *v1.Stamp) {
	number(f, 1, &m.Index)
	number(f, 2, &m.Offset)
	number(f, 3, &m.TimeMs)
}

func (f *form) cluster(m *v1.ClusterRef) {
	f.String(1, &m.ClusterId)
	number(f, 2, &m.Epoch)
	f.String(3, &m.Leader)
}

func (f *form) deadline(m *v1.Deadlines) {
	number(f, 1, &m.SessionMs)
	number(f, 2, &m.LeaseMs)
	number(f, 3, &m.MaxHoldMs)
}

func (f *form) claim(m *v1.Claim) {
	f.String(1, &m.Name)
	number(f, 2, &m.Mode)
	number(f, 3, &m.Slots)
}

func (f *form) grant(m *v1.Grant) {
	number(f, 1, &m.Id)
	number(f, 2, &m.Token)
	many(f, 3, &m.Claims, &f.claims, (*form).claim)
	number(f, 4, &m.Depth)
	one(f, 5, &m.Deadlines, &f.deadlines, (*form).deadline)
	one(f, 6, &m.ExpiresIn, &f.durations, (*form).duration)
}

func (f *form) blocker(m *v1.Blocker) {
	f.String(1, &m.Name)
	number(f, 2, &m.Mode)
	number(f, 3, &m.Kind)
	number(f, 4, &m.SessionId)
	f.String(5, &m.Owner)
	number(f, 6, &m.GrantId)
	number(f, 7, &m.RequestId)
}

func (f *form) cycle(m *v1.Cycle) { many(f, 1, &m.Steps, &f.steps, (*form).step) }

func (f *form) step(m *v1.CycleStep) {
	number(f, 1, &m.SessionId)
	f.String(2, &m.Owner)
	f.String(3, &m.Name)
	number(f, 4, &m.Mode)
	number(f, 5, &m.RequestId)
}

func (f *form) acquireRequest(m *v1.AcquireRequest) {
	f.String(1, &m.Name)
	number(f, 2, &m.Mode)
	many(f, 3, &m.Claims, &f.claims, (*form).claim)
	one(f, 4, &m.Wait, &f.durations, (*form).duration)
	number(f, 5, &m.SessionId)
	f.String(6, &m.Owner)
	number(f, 7, &m.RequestId)
	number(f, 8, &m.Acked)
	number(f, 9, &m.Priority)
	one(f, 10, &m.Lease, &f.durations, (*form).duration)
	one(f, 11, &m.MaxHold, &f.durations, (*form).duration)
	one(f, 12, &m.LockDelay, &f.durations, (*form).duration)
	number(f, 13, &m.OnDeadlock)
	f.OptionalBool(14, &m.Reentrant)
	f.String(15, &m.Metadata)
	f.String(16, &m.Namespace)
	one(f, 17, &m.Ttl, &f.durations, (*form).duration)
	f.String(18, &m.Nonce)
}

func (f *form) acquireResponse(m *v1.AcquireResponse) {
	number(f, 1, &m.Outcome)
	number(f, 2, &m.SessionId)
	one(f, 3, &m.Grant, &f.grants, (*form).grant)
	number(f, 4, &m.Position)
	many(f, 5, &m.Blockers, &f.blockers, (*form).blocker)
	number(f, 6, &m.BlockersTotal)
	one(f, 7, &m.Cycle, &f.cycles, (*form).cycle)
	number(f, 8, &m.Ended)
	f.String(9, &m.Detail)
	one(f, 10, &m.Stamp, &f.stamps, (*form).stamp)
	number(f, 11, &m.FirstIndex)
	one(f, 12, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) releaseRequest(m *v1.ReleaseRequest) {
	number(f, 1, &m.GrantId)
	number(f, 2, &m.SessionId)
	number(f, 3, &m.RequestId)
	number(f, 4, &m.Acked)
}

func (f *form) releaseResponse(m *v1.ReleaseResponse) {
	number(f, 1, &m.Depth)
	one(f, 2, &m.Stamp, &f.stamps, (*form).stamp)
	number(f, 3, &m.FirstIndex)
	one(f, 4, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) convertRequest(m *v1.ConvertRequest) {
	number(f, 1, &m.GrantId)
	f.String(2, &m.Name)
	number(f, 3, &m.Mode)
	f.Bool(4, &m.Drop)
	one(f, 5, &m.Wait, &f.durations, (*form).duration)
	number(f, 6, &m.SessionId)
	number(f, 7, &m.RequestId)
	number(f, 8, &m.Acked)
	number(f, 9, &m.Priority)
	number(f, 10, &m.OnDeadlock)
}

func (f *form) convertResponse(m *v1.ConvertResponse) {
	number(f, 1, &m.Outcome)
	one(f, 2, &m.Grant, &f.grants, (*form).grant)
	number(f, 3, &m.Position)
	many(f, 4, &m.Blockers, &f.blockers, (*form).blocker)
	number(f, 5, &m.BlockersTotal)
	one(f, 6, &m.Cycle, &f.cycles, (*form).cycle)
	number(f, 7, &m.Ended)
	f.String(8, &m.Detail)
	one(f, 9, &m.Stamp, &f.stamps, (*form).stamp)
	number(f, 10, &m.FirstIndex)
	one(f, 11, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) renewRequest(m *v1.RenewRequest) {
	number(f, 1, &m.GrantId)
	number(f, 2, &m.SessionId)
	number(f, 3, &m.RequestId)
	number(f, 4, &m.Acked)
}

func (f *form) renewResponse(m *v1.RenewResponse) {
	one(f, 1, &m.Grant, &f.grants, (*form).grant)
	one(f, 2, &m.Stamp, &f.stamps, (*form).stamp)
	number(f, 3, &m.FirstIndex)
	one(f, 4, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) cancelRequest(m *v1.CancelRequest) {
	number(f, 1, &m.SessionId)
	number(f, 2, &m.RequestId)
	number(f, 3, &m.Acked)
}

func (f *form) cancelResponse(m *v1.CancelResponse) {
	number(f, 1, &m.Outcome)
	one(f, 2, &m.Grant, &f.grants, (*form).grant)
	one(f, 3, &m.Cycle, &f.cycles, (*form).cycle)
	number(f, 4, &m.Ended)
	one(f, 5, &m.Stamp, &f.stamps, (*form).stamp)
	number(f, 6, &m.FirstIndex)
	one(f, 7, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) renewSessionRequest(m *v1.RenewSessionRequest) { number(f, 1, &m.SessionId) }

func (f *form) renewSessionResponse(m *v1.RenewSessionResponse) {
	one(f, 1, &m.Deadlines, &f.deadlines, (*form).deadline)
	one(f, 2, &m.Stamp, &f.stamps, (*form).stamp)
	one(f, 3, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) eventsResponse(m *v1.EventsResponse) {
	number(f, 1, &m.Kind)
	number(f, 2, &m.RequestId)
	number(f, 3, &m.Outcome)
	one(f, 4, &m.Grant, &f.grants, (*form).grant)
	number(f, 5, &m.Ended)
	one(f, 6, &m.Cycle, &f.cycles, (*form).cycle)
	f.String(7, &m.Detail)
	one(f, 8, &m.Deadlines, &f.deadlines, (*form).deadline)
	one(f, 9, &m.Stamp, &f.stamps, (*form).stamp)
	f.String(10, &m.Cursor)
	one(f, 11, &m.Cluster, &f.clusters, (*form).cluster)
}
