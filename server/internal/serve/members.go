package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
	"github.com/holdfast-dev/holdfast/server/internal/rpc"
)

// members changes and shows who belongs to the cluster; it is rpc.Members.
type members struct{ *Server }

func (m members) Add(ctx context.Context, nodeID, peerAddr string) error {
	for _, member := range m.node.Members() {
		if member.ID == nodeID && member.Address == peerAddr {
			return nil
		}
		if member.ID != nodeID && member.Address == peerAddr {
			return rpc.Invalid("peer_address", fmt.Sprintf("%s is that of member %s", peerAddr, member.ID),
				"remove that member first if it is gone")
		}
	}
	return memberError(m.node.AddLearner(ctx, nodeID, peerAddr), nodeID)
}

func (m members) Promote(ctx context.Context, nodeID string) error {
	return memberError(m.node.Promote(ctx, nodeID), nodeID)
}

func (m members) Remove(ctx context.Context, nodeID string) error {
	return memberError(m.node.Remove(ctx, nodeID), nodeID)
}

func (m members) Transfer(ctx context.Context, nodeID string) (leaderID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	if nodeID == m.node.ID() {
		return nodeID, nil
	}
	if nodeID != "" && !m.isVoter(nodeID) {
		return "", rpc.Invalid("node_id", nodeID+" is no voter of this cluster", "")
	}
	if err := m.node.TransferLeadership(ctx, nodeID); err != nil {
		return "", memberError(err, nodeID)
	}
	for {
		// The new leader is known here once it has been heard of.
		leaderID, _ = m.node.Leader()
		if leaderID != "" && leaderID != m.node.ID() {
			return leaderID, nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return "", nil
		}
	}
}

// memberError says in the words of the catalogue why a change of membership failed.
func memberError(err error, nodeID string) error {
	var behind *raftnode.NotCaughtUpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raftnode.ErrNotMember):
		return rpc.Invalid("node_id", nodeID+" is no member of this cluster", "")
	case errors.Is(err, raftnode.ErrLastVoter):
		return rpc.Invalid("node_id", nodeID+" is the last voter", "a cluster needs at least one")
	case errors.As(err, &behind):
		return rpc.Invalid("node_id", fmt.Sprintf("%s is %d entries behind", nodeID, behind.Behind),
			"it must have caught up; try again")
	case errors.Is(err, raftnode.ErrNotDone):
		return rpc.NotDone()
	}
	return rpc.Unknown()
}

func (m members) isVoter(nodeID string) bool {
	for _, member := range m.node.Members() {
		if member.ID == nodeID {
			return member.Voter
		}
	}
	return false
}

// Describe tells other nodes who this one is.
func (m members) Describe() *peerv1.DescribeResponse {
	leader, address := m.node.Leader()
	return &peerv1.DescribeResponse{
		ClusterId:           m.node.ClusterID(),
		NodeId:              m.node.ID(),
		ClientUrl:           m.clientURL,
		AppliedIndex:        m.node.AppliedIndex(),
		SemanticsVersionMax: raftnode.SemanticsMax,
		ServerVersion:       m.config.Version,
		LeaderId:            leader,
		LeaderAddress:       address,
	}
}

// StateHashes are those at recent checkpoints.
func (m members) StateHashes() []*peerv1.Checkpoint {
	points := m.node.StateHashes()
	out := make([]*peerv1.Checkpoint, len(points))
	for i, p := range points {
		out[i] = &peerv1.Checkpoint{Index: p.Index, Hash: p.Hash}
	}
	return out
}

// Status fills in what the node knows of the cluster besides the lock table.
func (m members) Status(ctx context.Context, into *v1.GetStatusResponse) {
	m.poll(ctx)
	leader, _ := m.node.Leader()
	hash := m.node.StateHash()
	into.NodeId = m.node.ID()
	into.LeaderId = leader
	into.Term = m.node.Term()
	into.StateHash = fmt.Sprintf("%016x", hash.Hash)
	into.Stamp.Index = hash.Index
	into.ServerVersion = m.config.Version
	into.Uptime = durationpb.New(time.Since(m.started).Truncate(time.Millisecond))
	reachableVoters, voters := 0, 0
	for _, member := range m.node.Members() {
		shown := m.show(member)
		if member.Voter {
			voters++
			if shown.GetReachable() {
				reachableVoters++
			}
		}
		into.Members = append(into.Members, shown)
	}
	into.Healthy = leader != "" && 2*reachableVoters > voters
}

func (m members) show(member raftnode.Member) *v1.Member {
	out := &v1.Member{NodeId: member.ID, PeerAddress: member.Address, Role: role(member)}
	if member.ID == m.node.ID() {
		out.ClientUrl, out.Reachable, out.AppliedIndex = m.clientURL, true, m.node.AppliedIndex()
		return out
	}
	if known, ok := m.peers.get(member.ID); ok {
		out.ClientUrl, out.Reachable = known.GetClientUrl(), known.reachable
		if known.reachable {
			out.AppliedIndex = known.GetAppliedIndex()
		}
	}
	return out
}

func role(member raftnode.Member) v1.MemberRole {
	switch {
	case member.Leader:
		return v1.MemberRole_MEMBER_ROLE_LEADER
	case member.Voter:
		return v1.MemberRole_MEMBER_ROLE_FOLLOWER
	}
	return v1.MemberRole_MEMBER_ROLE_LEARNER
}
