package holdfast

import (
	"fmt"
	"time"
)

// Mode is how a lock is held. Two owners may hold a name together only in compatible modes.
type Mode uint8

// Modes. The zero value is Exclusive, the mode a lock has unless another is chosen.
const (
	// Exclusive (X): nobody else may hold the name, nor anything below it.
	Exclusive Mode = iota
	// Shared (S): many may hold it together, nobody exclusively meanwhile.
	Shared
	// IntentionShared (IS): a shared claim somewhere below.
	IntentionShared
	// IntentionExclusive (IX): an exclusive claim somewhere below.
	IntentionExclusive
	// SharedIntentionExclusive (SIX): shared here, exclusive claims below.
	SharedIntentionExclusive
)

// String is the mode in words.
func (m Mode) String() string {
	switch m {
	case Exclusive:
		return "exclusive"
	case Shared:
		return "shared"
	case IntentionShared:
		return "intention-shared"
	case IntentionExclusive:
		return "intention-exclusive"
	case SharedIntentionExclusive:
		return "shared-intention-exclusive"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// Short is the mode as its usual letters: X, S, IS, IX, SIX.
func (m Mode) Short() string {
	switch m {
	case Exclusive:
		return "X"
	case Shared:
		return "S"
	case IntentionShared:
		return "IS"
	case IntentionExclusive:
		return "IX"
	case SharedIntentionExclusive:
		return "SIX"
	}
	return m.String()
}

// ParseMode reads a mode in words or letters, as String and Short write it.
func ParseMode(s string) (Mode, error) {
	for m := Exclusive; m <= SharedIntentionExclusive; m++ {
		if s == m.String() || s == m.Short() {
			return m, nil
		}
	}
	return 0, &Error{Reason: ReasonInvalidMode, Field: "mode",
		Message: fmt.Sprintf("mode: %q is not a mode", s), Hint: "one of X, S, IS, IX, SIX"}
}

// covers says whether holding m makes a claim of other superfluous.
func (m Mode) covers(other Mode) bool {
	switch m {
	case Exclusive:
		return true
	case SharedIntentionExclusive:
		return other != Exclusive
	case Shared:
		return other == Shared || other == IntentionShared
	case IntentionExclusive:
		return other == IntentionExclusive || other == IntentionShared
	}
	return m == other
}

// Claim is one lock name with the mode in which it is asked for or held.
type Claim struct {
	Name string
	Mode Mode
}

// DeadlockAction is what happens to a request that is chosen as the victim of a deadlock.
type DeadlockAction uint8

// Deadlock actions.
const (
	// AbortWait ends the wait; what the owner holds stays held. It is the default.
	AbortWait DeadlockAction = iota
	// ReleaseOwner ends all waits and all grants of the owner.
	ReleaseOwner
)

// EndReason is why a session or a grant ended, in the words of the contract ("SESSION_EXPIRED",
// "LEASE_EXPIRED", "REVOKED", ...); empty if it has not ended.
type EndReason string

// Stamp is the place in the log at which something happened, and the cluster time then.
type Stamp struct {
	Index  uint64        // index of the log entry
	Offset uint32        // place within the entry
	Time   time.Duration // cluster time: time elapsed, no date
}

// BlockerKind tells what stands in the way of a request.
type BlockerKind string

// Kinds of blockers.
const (
	BlockerHolder BlockerKind = "holder" // holds the name
	BlockerGhost  BlockerKind = "ghost"  // left behind by an unclean end, for the lock delay
	BlockerWaiter BlockerKind = "waiter" // waits ahead
)

// Blocker is one holder, ghost or earlier waiter in the way of a request.
type Blocker struct {
	Kind      BlockerKind
	Name      string
	Mode      Mode
	SessionID uint64
	Owner     string
	GrantID   int64
	RequestID uint64
}

// CycleStep is one owner of a deadlock and what it waits for. Each step waits for the next one,
// the last for the first.
type CycleStep struct {
	SessionID uint64
	Owner     string
	RequestID uint64
	Claim     Claim
}

// GrantInfo shows a grant as the server has it.
type GrantInfo struct {
	ID        int64
	Token     int64
	Claims    []Claim
	Depth     int
	ExpiresIn time.Duration // least time left on its deadlines unless renewed; 0 if not known
}

// HolderInfo shows a grant on one name.
type HolderInfo struct {
	SessionID       uint64
	Owner           string
	Mode            Mode
	Implied         bool // implied by claims further down
	Grant           GrantInfo
	Metadata        string
	SessionMetadata string
	Age             time.Duration
}

// WaiterInfo shows a waiting request on one name.
type WaiterInfo struct {
	SessionID uint64
	Owner     string
	RequestID uint64
	Mode      Mode
	Claims    []Claim
	Position  int
	Priority  int
	Age       time.Duration
	WaitLeft  time.Duration
	Metadata  string
	Converts  int64 // grant that is being converted; 0 for an acquire
}

// GhostInfo shows what an unclean end left on a name.
type GhostInfo struct {
	GrantID   int64
	Mode      Mode
	ExpiresIn time.Duration
}

// LockInfo shows one lock.
type LockInfo struct {
	Name         string
	Holders      []HolderInfo // the first 1000
	HoldersTotal int
	Waiters      []WaiterInfo // in order; the first 1000
	WaitersTotal int
	Ghosts       []GhostInfo
}

// SessionInfo shows one session.
type SessionInfo struct {
	ID        uint64
	Namespace string
	Metadata  string
	TTL       time.Duration
	ExpiresIn time.Duration
	Age       time.Duration
	Grants    int
	Waiting   int
	Implicit  bool // lives and dies with one detached grant
}

// LockEventKind tells what happened to a lock, in the words of the contract: "PROGRESS", "GRANTED",
// "QUEUED", "RELEASED", "EXPIRED", "REVOKED", "CANCELLED", "CONVERTED", "DEADLOCK".
type LockEventKind string

// Lock events. A PROGRESS event says that nothing happened and brings a cursor that moves on.
const (
	EventProgress  LockEventKind = "PROGRESS"
	EventGranted   LockEventKind = "GRANTED"
	EventQueued    LockEventKind = "QUEUED"
	EventReleased  LockEventKind = "RELEASED"
	EventExpired   LockEventKind = "EXPIRED"
	EventRevoked   LockEventKind = "REVOKED"
	EventCancelled LockEventKind = "CANCELLED"
	EventConverted LockEventKind = "CONVERTED"
	EventDeadlock  LockEventKind = "DEADLOCK"
)

// LockEvent is something that happened to a lock.
type LockEvent struct {
	Kind      LockEventKind
	Claims    []Claim
	SessionID uint64
	Owner     string
	RequestID uint64
	GrantID   int64
	Token     int64
	Outcome   Reason    // of a wait that ended without a grant
	Ended     EndReason // of a grant that ended
	Cycle     []CycleStep
	Detail    string
	Stamp     Stamp
	Cursor    string // give it to FromCursor to resume after this event
}

// WaitStep is one blocker in the chain that ExplainWait shows.
type WaitStep struct {
	Distance         int // 1 blocks the request directly
	Blocker          Blocker
	Age              time.Duration // how long it has held or waited
	SessionMetadata  string
	SessionExpiresIn time.Duration
	SessionAtRisk    bool // its session seems to be without renewal
}

// Explanation is why a request waits.
type Explanation struct {
	Waiting bool
	Waiter  WaiterInfo
	Steps   []WaitStep // breadth first; the first 64
	Stamp   Stamp
}
