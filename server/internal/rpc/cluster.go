package rpc

import (
	"context"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// clusterService serves holdfast.v1.ClusterService.
type clusterService struct{ *Services }

func (s clusterService) AddMember(ctx context.Context, r *v1.AddMemberRequest) (*v1.AddMemberResponse, error) {
	var at place
	if invalid := first(at.nodeID(r.GetNodeId(), true), at.peerAddress(r.GetPeerAddress())); invalid != nil {
		return nil, connectError(invalid)
	}
	response, err := s.lead(ctx, &peerv1.AdminRequest{Call: &peerv1.AdminRequest_AddMember{AddMember: r}})
	return response.GetAddMember(), toConnect(err)
}

func (s clusterService) PromoteMember(
	ctx context.Context, r *v1.PromoteMemberRequest,
) (*v1.PromoteMemberResponse, error) {
	if invalid := (place{}).nodeID(r.GetNodeId(), true); invalid != nil {
		return nil, connectError(invalid)
	}
	response, err := s.lead(ctx, &peerv1.AdminRequest{Call: &peerv1.AdminRequest_PromoteMember{PromoteMember: r}})
	return response.GetPromoteMember(), toConnect(err)
}

func (s clusterService) RemoveMember(
	ctx context.Context, r *v1.RemoveMemberRequest,
) (*v1.RemoveMemberResponse, error) {
	if invalid := (place{}).nodeID(r.GetNodeId(), true); invalid != nil {
		return nil, connectError(invalid)
	}
	response, err := s.lead(ctx, &peerv1.AdminRequest{Call: &peerv1.AdminRequest_RemoveMember{RemoveMember: r}})
	return response.GetRemoveMember(), toConnect(err)
}

func (s clusterService) TransferLeadership(
	ctx context.Context, r *v1.TransferLeadershipRequest,
) (*v1.TransferLeadershipResponse, error) {
	if invalid := (place{}).nodeID(r.GetNodeId(), false); invalid != nil {
		return nil, connectError(invalid)
	}
	response, err := s.lead(ctx,
		&peerv1.AdminRequest{Call: &peerv1.AdminRequest_TransferLeadership{TransferLeadership: r}})
	return response.GetTransferLeadership(), toConnect(err)
}

// lead brings a call about membership to the leader. It is never tried again: an operator looks
// at the members and decides.
func (s *Services) lead(ctx context.Context, r *peerv1.AdminRequest) (*peerv1.AdminResponse, error) {
	if s.Proposer.Leads() {
		return s.administer(ctx, r)
	}
	_, addr := s.otherLeader()
	if addr == "" {
		return nil, &Failure{noQuorum()}
	}
	r.Principal = principal(ctx)
	response, err := s.Peers.Client(addr).Admin(ctx, r)
	if err != nil {
		return nil, &Failure{s.peerError(err)}
	}
	if detail := response.GetError(); detail != nil {
		return nil, &Failure{detail}
	}
	return response, nil
}

// administer carries out a call about membership here, at the leader.
func (s *Services) administer(ctx context.Context, r *peerv1.AdminRequest) (*peerv1.AdminResponse, error) {
	if !s.Proposer.Leads() {
		return nil, &Failure{s.notLeader()}
	}
	var at place
	switch call := r.GetCall().(type) {
	case *peerv1.AdminRequest_AddMember:
		id, address := call.AddMember.GetNodeId(), call.AddMember.GetPeerAddress()
		if invalid := first(at.nodeID(id, true), at.peerAddress(address)); invalid != nil {
			return nil, &Failure{invalid}
		}
		return &peerv1.AdminResponse{Reply: &peerv1.AdminResponse_AddMember{
			AddMember: &v1.AddMemberResponse{Cluster: s.ownCluster()},
		}}, s.Members.Add(ctx, id, address)
	case *peerv1.AdminRequest_PromoteMember:
		return &peerv1.AdminResponse{Reply: &peerv1.AdminResponse_PromoteMember{
			PromoteMember: &v1.PromoteMemberResponse{},
		}}, s.Members.Promote(ctx, call.PromoteMember.GetNodeId())
	case *peerv1.AdminRequest_RemoveMember:
		return &peerv1.AdminResponse{Reply: &peerv1.AdminResponse_RemoveMember{
			RemoveMember: &v1.RemoveMemberResponse{},
		}}, s.Members.Remove(ctx, call.RemoveMember.GetNodeId())
	case *peerv1.AdminRequest_TransferLeadership:
		leader, err := s.Members.Transfer(ctx, call.TransferLeadership.GetNodeId())
		return &peerv1.AdminResponse{Reply: &peerv1.AdminResponse_TransferLeadership{
			TransferLeadership: &v1.TransferLeadershipResponse{LeaderId: leader},
		}}, err
	}
	return nil, &Failure{at.invalid("call", "empty", "")}
}
