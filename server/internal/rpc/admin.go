package rpc

import (
	"context"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// adminService serves holdfast.v1.AdminService.
type adminService struct{ *Services }

func (s adminService) RevokeGrant(ctx context.Context, r *v1.RevokeGrantRequest) (*v1.RevokeGrantResponse, error) {
	call := &peerv1.Call{Principal: principal(ctx), Call: &peerv1.Call_RevokeGrant{RevokeGrant: r}}
	reply, err := s.bring(ctx, call)
	if err != nil {
		return nil, toConnect(err)
	}
	s.address(reply.GetRevokeGrant().GetCluster())
	return reply.GetRevokeGrant(), nil
}

func (s adminService) RevokeSession(
	ctx context.Context, r *v1.RevokeSessionRequest,
) (*v1.RevokeSessionResponse, error) {
	call := &peerv1.Call{Principal: principal(ctx), Call: &peerv1.Call_RevokeSession{RevokeSession: r}}
	reply, err := s.bring(ctx, call)
	if err != nil {
		return nil, toConnect(err)
	}
	s.address(reply.GetRevokeSession().GetCluster())
	return reply.GetRevokeSession(), nil
}
