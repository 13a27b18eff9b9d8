package holdfast

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// Admin is for operators.
type Admin struct{ c *Client }

// Admin gives the calls for operators.
func (c *Client) Admin() *Admin { return &Admin{c: c} }

// Role is the part a member plays: "leader", "follower", "learner".
type Role string

// Roles.
const (
	RoleLeader   Role = "leader"
	RoleFollower Role = "follower"
	RoleLearner  Role = "learner"
)

// Member is one node of the cluster.
type Member struct {
	NodeID       string
	PeerAddress  string
	ClientURL    string // empty if it could not be asked
	Role         Role
	Reachable    bool
	AppliedIndex uint64
}

// Status is the cluster as one node sees it.
type Status struct {
	ClusterID        string
	Epoch            uint32
	NodeID           string // the node that answers
	LeaderID         string // empty if none is known
	Term             uint64
	Members          []Member
	Stamp            Stamp
	StateHash        string
	SemanticsVersion int
	Sessions         uint64
	Grants           uint64
	Waiting          uint64
	ServerVersion    string
	Uptime           time.Duration
	Healthy          bool // there is a leader, and it reaches a majority
}

// Deadlock is a cycle that was resolved.
type Deadlock struct {
	Cycle  []CycleStep
	Victim *CycleStep // nil if the cycle was resolved by turning a queue edge
	Stamp  Stamp
	Age    time.Duration
}

// RevokeGrant ends a grant, whoever holds it. Its holder is told the reason.
func (a *Admin) RevokeGrant(ctx context.Context, grantID int64, reason string) error {
	req := &v1.RevokeGrantRequest{GrantId: grantID, Reason: reason}
	_, err := command(ctx, a.c, fmt.Sprintf("revoke grant %d", grantID),
		func(ctx context.Context, n *clients) (*v1.RevokeGrantResponse, error) {
			return n.admin().RevokeGrant(ctx, req)
		})
	return err
}

// RevokeSession ends a session with all it holds and waits for.
func (a *Admin) RevokeSession(ctx context.Context, sessionID uint64, reason string) error {
	req := &v1.RevokeSessionRequest{SessionId: sessionID, Reason: reason}
	_, err := command(ctx, a.c, fmt.Sprintf("revoke session %d", sessionID),
		func(ctx context.Context, n *clients) (*v1.RevokeSessionResponse, error) {
			return n.admin().RevokeSession(ctx, req)
		})
	return err
}

// Deadlocks shows up to n resolved deadlocks, the newest first; the server keeps the last 1000.
func (a *Admin) Deadlocks(ctx context.Context, n int, opts ...ReadOption) ([]Deadlock, error) {
	req := &v1.ListDeadlocksRequest{Namespace: a.c.cfg.namespace, PageSize: uint32(max(0, n)),
		Stale: readConfigOf(opts).stale}
	answer, err := command(ctx, a.c, "list deadlocks",
		func(ctx context.Context, n *clients) (*v1.ListDeadlocksResponse, error) {
			return n.admin().ListDeadlocks(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	return each(answer.GetDeadlocks(), func(d *v1.Deadlock) Deadlock {
		in := Deadlock{Cycle: cycleIn(d.GetCycle()), Stamp: stampIn(d.GetStamp()),
			Age: d.GetAge().AsDuration()}
		if d.GetVictim() != nil {
			victim := stepIn(d.GetVictim())
			in.Victim = &victim
		}
		return in
	}), nil
}

// Status shows the cluster as the node that answers sees it.
func (a *Admin) Status(ctx context.Context) (*Status, error) {
	answer, err := command(ctx, a.c, "status", getStatus)
	if err != nil {
		return nil, err
	}
	return statusIn(answer), nil
}

// StatusOf shows the cluster as the node at one endpoint sees it, and asks nobody else.
func (a *Admin) StatusOf(ctx context.Context, endpoint string) (*Status, error) {
	base, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	t := a.c.transport
	t.mu.Lock()
	n := t.nodeLocked(base)
	t.mu.Unlock()
	answer, _, err := attempt(ctx, t, n, readCall, getStatus)
	if err != nil {
		return nil, err
	}
	return statusIn(answer), nil
}

func getStatus(ctx context.Context, n *clients) (*v1.GetStatusResponse, error) {
	return n.cluster().GetStatus(ctx, &v1.GetStatusRequest{})
}

func statusIn(s *v1.GetStatusResponse) *Status {
	return &Status{ClusterID: s.GetCluster().GetClusterId(), Epoch: s.GetCluster().GetEpoch(),
		NodeID: s.GetNodeId(), LeaderID: s.GetLeaderId(), Term: s.GetTerm(),
		Members: each(s.GetMembers(), memberIn), Stamp: stampIn(s.GetStamp()),
		StateHash: s.GetStateHash(), SemanticsVersion: int(s.GetSemanticsVersion()),
		Sessions: s.GetSessions(), Grants: s.GetGrants(), Waiting: s.GetWaiting(),
		ServerVersion: s.GetServerVersion(), Uptime: s.GetUptime().AsDuration(),
		Healthy: s.GetHealthy()}
}

func memberIn(m *v1.Member) Member {
	return Member{NodeID: m.GetNodeId(), PeerAddress: m.GetPeerAddress(), ClientURL: m.GetClientUrl(),
		Role:      Role(strings.ToLower(strings.TrimPrefix(m.GetRole().String(), "MEMBER_ROLE_"))),
		Reachable: m.GetReachable(), AppliedIndex: m.GetAppliedIndex()}
}

// AddMember takes a started node in: as a learner first, as a voter once it has caught up.
func (a *Admin) AddMember(ctx context.Context, nodeID, peerAddress string) error {
	req := &v1.AddMemberRequest{NodeId: nodeID, PeerAddress: peerAddress}
	_, err := command(ctx, a.c, "add member "+nodeID,
		func(ctx context.Context, n *clients) (*v1.AddMemberResponse, error) {
			return n.cluster().AddMember(ctx, req)
		})
	return err
}

// PromoteMember makes a learner a voter.
func (a *Admin) PromoteMember(ctx context.Context, nodeID string) error {
	req := &v1.PromoteMemberRequest{NodeId: nodeID}
	_, err := command(ctx, a.c, "promote member "+nodeID,
		func(ctx context.Context, n *clients) (*v1.PromoteMemberResponse, error) {
			return n.cluster().PromoteMember(ctx, req)
		})
	return err
}

// RemoveMember takes a node out.
func (a *Admin) RemoveMember(ctx context.Context, nodeID string) error {
	req := &v1.RemoveMemberRequest{NodeId: nodeID}
	_, err := command(ctx, a.c, "remove member "+nodeID,
		func(ctx context.Context, n *clients) (*v1.RemoveMemberResponse, error) {
			return n.cluster().RemoveMember(ctx, req)
		})
	return err
}

// TransferLeadership hands leadership to a voter, or to one of the leader's choice if nodeID is
// empty. It returns the new leader's id, empty if it is not known yet.
func (a *Admin) TransferLeadership(ctx context.Context, nodeID string) (string, error) {
	req := &v1.TransferLeadershipRequest{NodeId: nodeID}
	answer, err := command(ctx, a.c, "transfer leadership",
		func(ctx context.Context, n *clients) (*v1.TransferLeadershipResponse, error) {
			return n.cluster().TransferLeadership(ctx, req)
		})
	return answer.GetLeaderId(), err
}

// command makes a call of an operator. These are repeatable: done twice they do the same.
func command[T any](ctx context.Context, c *Client, what string,
	f func(context.Context, *clients) (T, error)) (T, error) {
	answer, _, err := retrying(ctx, c.transport, adminCall, what, f)
	return answer, err
}
