package rpc

import (
	"context"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// lockService serves holdfast.v1.LockService.
type lockService struct{ *Services }

func (s lockService) Execute(ctx context.Context, r *v1.ExecuteRequest) (*v1.ExecuteResponse, error) {
	call := &peerv1.Call{Principal: principal(ctx), Call: &peerv1.Call_Execute{Execute: r}}
	reply, err := s.bring(ctx, call)
	if err != nil {
		return nil, toConnect(err)
	}
	response := reply.GetExecute()
	s.address(response.GetCluster())
	return response, nil
}

func (s lockService) Acquire(ctx context.Context, r *v1.AcquireRequest) (*v1.AcquireResponse, error) {
	result, err := s.do(ctx, &v1.Operation{Operation: &v1.Operation_Acquire{Acquire: r}})
	return result.GetAcquire(), toConnect(err)
}

func (s lockService) Release(ctx context.Context, r *v1.ReleaseRequest) (*v1.ReleaseResponse, error) {
	result, err := s.do(ctx, &v1.Operation{Operation: &v1.Operation_Release{Release: r}})
	return result.GetRelease(), toConnect(err)
}

func (s lockService) Convert(ctx context.Context, r *v1.ConvertRequest) (*v1.ConvertResponse, error) {
	result, err := s.do(ctx, &v1.Operation{Operation: &v1.Operation_Convert{Convert: r}})
	return result.GetConvert(), toConnect(err)
}

func (s lockService) Renew(ctx context.Context, r *v1.RenewRequest) (*v1.RenewResponse, error) {
	result, err := s.do(ctx, &v1.Operation{Operation: &v1.Operation_Renew{Renew: r}})
	return result.GetRenew(), toConnect(err)
}

func (s lockService) Cancel(ctx context.Context, r *v1.CancelRequest) (*v1.CancelResponse, error) {
	result, err := s.do(ctx, &v1.Operation{Operation: &v1.Operation_Cancel{Cancel: r}})
	return result.GetCancel(), toConnect(err)
}
