package rpc

import (
	"context"
	"crypto/rand"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// sessionService serves holdfast.v1.SessionService.
type sessionService struct{ *Services }

func (s sessionService) OpenSession(
	ctx context.Context, r *v1.OpenSessionRequest,
) (*v1.OpenSessionResponse, error) {
	if r.GetNonce() == "" {
		// With a nonce of ours it can be tried again during an election (HF-7.4).
		r = proto.CloneOf(r)
		r.Nonce = rand.Text()
	}
	call := &peerv1.Call{Principal: principal(ctx), Call: &peerv1.Call_OpenSession{OpenSession: r}}
	reply, err := s.bring(ctx, call)
	if err != nil {
		return nil, toConnect(err)
	}
	s.address(reply.GetOpenSession().GetCluster())
	return reply.GetOpenSession(), nil
}

func (s sessionService) RenewSession(
	ctx context.Context, r *v1.RenewSessionRequest,
) (*v1.RenewSessionResponse, error) {
	call := &peerv1.Call{Principal: principal(ctx), Call: &peerv1.Call_RenewSession{RenewSession: r}}
	reply, err := s.bring(ctx, call)
	if err != nil {
		return nil, toConnect(err)
	}
	s.address(reply.GetRenewSession().GetCluster())
	return reply.GetRenewSession(), nil
}

func (s sessionService) CloseSession(
	ctx context.Context, r *v1.CloseSessionRequest,
) (*v1.CloseSessionResponse, error) {
	call := &peerv1.Call{Principal: principal(ctx), Call: &peerv1.Call_CloseSession{CloseSession: r}}
	reply, err := s.bring(ctx, call)
	if err != nil {
		return nil, toConnect(err)
	}
	s.address(reply.GetCloseSession().GetCluster())
	return reply.GetCloseSession(), nil
}
