package holdfast

import (
	"context"
	"time"
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
func (a *Admin) RevokeGrant(ctx context.Context, grantID int64, reason string) error { panic("pending") }

// RevokeSession ends a session with all it holds and waits for.
func (a *Admin) RevokeSession(ctx context.Context, sessionID uint64, reason string) error {
	panic("pending")
}

// Deadlocks shows up to n resolved deadlocks, the newest first; the server keeps the last 1000.
func (a *Admin) Deadlocks(ctx context.Context, n int, opts ...ReadOption) ([]Deadlock, error) {
	panic("pending")
}

// Status shows the cluster as the node that answers sees it.
func (a *Admin) Status(ctx context.Context) (*Status, error) { panic("pending") }

// StatusOf shows the cluster as the node at one endpoint sees it, and asks nobody else.
func (a *Admin) StatusOf(ctx context.Context, endpoint string) (*Status, error) { panic("pending") }

// AddMember takes a started node in: as a learner first, as a voter once it has caught up.
func (a *Admin) AddMember(ctx context.Context, nodeID, peerAddress string) error { panic("pending") }

// PromoteMember makes a learner a voter.
func (a *Admin) PromoteMember(ctx context.Context, nodeID string) error { panic("pending") }

// RemoveMember takes a node out.
func (a *Admin) RemoveMember(ctx context.Context, nodeID string) error { panic("pending") }

// TransferLeadership hands leadership to a voter, or to one of the leader's choice if nodeID is
// empty. It returns the new leader's id, empty if it is not known yet.
func (a *Admin) TransferLeadership(ctx context.Context, nodeID string) (string, error) {
	panic("pending")
}
