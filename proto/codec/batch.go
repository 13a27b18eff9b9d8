package codec

import (
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/wire"
)

// Messages with a choice have two forms, one for each way.

func (f *form) executeRequest(m *v1.ExecuteRequest) {
	number(f, 1, &m.SessionId)
	number(f, 2, &m.Acked)
	many(f, 3, &m.Operations, &f.operations, (*form).operation)
}

func (f *form) executeResponse(m *v1.ExecuteResponse) {
	many(f, 1, &m.Results, &f.results, (*form).result)
	one(f, 2, &m.Deadlines, &f.deadlines, (*form).deadline)
	one(f, 3, &m.Cluster, &f.clusters, (*form).cluster)
}

func (f *form) operation(m *v1.Operation) {
	if f.Reading() {
		f.readOperation(m)
		return
	}
	switch o := m.Operation.(type) {
	case *v1.Operation_Acquire:
		wire.Message(f, 1, o.Acquire, (*form).acquireRequest)
	case *v1.Operation_Release:
		wire.Message(f, 2, o.Release, (*form).releaseRequest)
	case *v1.Operation_Convert:
		wire.Message(f, 3, o.Convert, (*form).convertRequest)
	case *v1.Operation_Renew:
		wire.Message(f, 4, o.Renew, (*form).renewRequest)
	case *v1.Operation_Cancel:
		wire.Message(f, 5, o.Cancel, (*form).cancelRequest)
	}
}

func (f *form) readOperation(m *v1.Operation) {
	switch f.AtHand() {
	case 1:
		o, ok := m.Operation.(*v1.Operation_Acquire)
		if !ok {
			o = f.acquires.One(f.left)
			o.Acquire = f.acquireRequests.One(f.left)
			m.Operation = o
		}
		wire.Message(f, 1, o.Acquire, (*form).acquireRequest)
	case 2:
		o, ok := m.Operation.(*v1.Operation_Release)
		if !ok {
			o = f.releases.One(f.left)
			o.Release = f.releaseRequests.One(f.left)
			m.Operation = o
		}
		wire.Message(f, 2, o.Release, (*form).releaseRequest)
	case 3:
		o, ok := m.Operation.(*v1.Operation_Convert)
		if !ok {
			o = &v1.Operation_Convert{Convert: &v1.ConvertRequest{}}
			m.Operation = o
		}
		wire.Message(f, 3, o.Convert, (*form).convertRequest)
	case 4:
		o, ok := m.Operation.(*v1.Operation_Renew)
		if !ok {
			o = &v1.Operation_Renew{Renew: &v1.RenewRequest{}}
			m.Operation = o
		}
		wire.Message(f, 4, o.Renew, (*form).renewRequest)
	case 5:
		o, ok := m.Operation.(*v1.Operation_Cancel)
		if !ok {
			o = &v1.Operation_Cancel{Cancel: &v1.CancelRequest{}}
			m.Operation = o
		}
		wire.Message(f, 5, o.Cancel, (*form).cancelRequest)
	}
	f.left--
}

func (f *form) result(m *v1.OperationResult) {
	if f.Reading() {
		f.readResult(m)
		return
	}
	switch r := m.Result.(type) {
	case *v1.OperationResult_Error:
		other(f, 1, r.Error)
	case *v1.OperationResult_Acquire:
		wire.Message(f, 2, r.Acquire, (*form).acquireResponse)
	case *v1.OperationResult_Release:
		wire.Message(f, 3, r.Release, (*form).releaseResponse)
	case *v1.OperationResult_Convert:
		wire.Message(f, 4, r.Convert, (*form).convertResponse)
	case *v1.OperationResult_Renew:
		wire.Message(f, 5, r.Renew, (*form).renewResponse)
	case *v1.OperationResult_Cancel:
		wire.Message(f, 6, r.Cancel, (*form).cancelResponse)
	}
}

func (f *form) readResult(m *v1.OperationResult) {
	switch f.AtHand() {
	case 1:
		r, ok := m.Result.(*v1.OperationResult_Error)
		if !ok {
			r = &v1.OperationResult_Error{Error: &v1.Error{}}
			m.Result = r
		}
		other(f, 1, r.Error)
	case 2:
		r, ok := m.Result.(*v1.OperationResult_Acquire)
		if !ok {
			r = f.acquired.One(f.left)
			r.Acquire = f.acquireResponses.One(f.left)
			m.Result = r
		}
		wire.Message(f, 2, r.Acquire, (*form).acquireResponse)
	case 3:
		r, ok := m.Result.(*v1.OperationResult_Release)
		if !ok {
			r = f.released.One(f.left)
			r.Release = f.releaseResponses.One(f.left)
			m.Result = r
		}
		wire.Message(f, 3, r.Release, (*form).releaseResponse)
	case 4:
		r, ok := m.Result.(*v1.OperationResult_Convert)
		if !ok {
			r = &v1.OperationResult_Convert{Convert: &v1.ConvertResponse{}}
			m.Result = r
		}
		wire.Message(f, 4, r.Convert, (*form).convertResponse)
	case 5:
		r, ok := m.Result.(*v1.OperationResult_Renew)
		if !ok {
			r = &v1.OperationResult_Renew{Renew: &v1.RenewResponse{}}
			m.Result = r
		}
		wire.Message(f, 5, r.Renew, (*form).renewResponse)
	case 6:
		r, ok := m.Result.(*v1.OperationResult_Cancel)
		if !ok {
			r = &v1.OperationResult_Cancel{Cancel: &v1.CancelResponse{}}
			m.Result = r
		}
		wire.Message(f, 6, r.Cancel, (*form).cancelResponse)
	}
	f.left--
}
