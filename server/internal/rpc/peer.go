package rpc

import (
	"context"
	"errors"
	"sync"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// peerService serves holdfast.peer.v1.PeerService to the other members. It tries everything once:
// whoever asks decides whether to try again, here or elsewhere.
type peerService struct{ *Services }

func (s peerService) Describe(context.Context, *peerv1.DescribeRequest) (*peerv1.DescribeResponse, error) {
	return s.Members.Describe(), nil
}

func (s peerService) Forward(ctx context.Context, r *peerv1.ForwardRequest) (*peerv1.ForwardResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	replies := make([]*peerv1.Reply, len(r.GetCalls()))
	var all sync.WaitGroup
	for i, call := range r.GetCalls() {
		all.Go(func() {
			commands, invalid := commandsOf(call)
			if invalid != nil {
				replies[i] = errorReply(invalid)
				return
			}
			replies[i] = s.carry(ctx, call, commands)
		})
	}
	all.Wait()
	return &peerv1.ForwardResponse{Replies: replies}, nil
}

func (s peerService) Await(ctx context.Context, r *peerv1.AwaitRequest) (*peerv1.AwaitResponse, error) {
	op := &v1.Operation{}
	switch call := r.GetCall().(type) {
	case *peerv1.AwaitRequest_Acquire:
		op.Operation = &v1.Operation_Acquire{Acquire: call.Acquire}
	case *peerv1.AwaitRequest_Convert:
		op.Operation = &v1.Operation_Convert{Convert: call.Convert}
	}
	command, invalid := operation(alone, op, locktable.Caller{Principal: r.GetPrincipal()}, new(commandRoom))
	if invalid != nil {
		return &peerv1.AwaitResponse{Reply: &peerv1.AwaitResponse_Error{Error: invalid}}, nil
	}
	result := s.park(ctx, command, r.GetNodeNonce())
	switch reply := result.GetResult().(type) {
	case *v1.OperationResult_Acquire:
		return &peerv1.AwaitResponse{Reply: &peerv1.AwaitResponse_Acquire{Acquire: reply.Acquire}}, nil
	case *v1.OperationResult_Convert:
		return &peerv1.AwaitResponse{Reply: &peerv1.AwaitResponse_Convert{Convert: reply.Convert}}, nil
	}
	return &peerv1.AwaitResponse{Reply: &peerv1.AwaitResponse_Error{Error: result.GetError()}}, nil
}

func (s peerService) Admin(ctx context.Context, r *peerv1.AdminRequest) (*peerv1.AdminResponse, error) {
	response, err := s.administer(ctx, r)
	if err == nil {
		return response, nil
	}
	detail := fail(v1.ErrorReason_ERROR_REASON_INTERNAL)
	var f *Failure
	if errors.As(err, &f) {
		detail = f.Detail
	}
	return &peerv1.AdminResponse{Reply: &peerv1.AdminResponse_Error{Error: detail}}, nil
}

func (s peerService) StateHash(
	context.Context, *peerv1.StateHashRequest,
) (*peerv1.StateHashResponse, error) {
	return &peerv1.StateHashResponse{Checkpoints: s.Members.StateHashes()}, nil
}

func (s peerService) ReadIndex(ctx context.Context, _ *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	index, detail := s.marker(ctx)
	if detail != nil {
		return nil, connectError(detail)
	}
	return &peerv1.ReadIndexResponse{Index: index}, nil
}
