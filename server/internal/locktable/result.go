package locktable

// Outcome is what came of a command.
type Outcome uint8

// Outcomes of acquire and convert (HF-4.2), and two for the other commands.
const (
	OutcomeNone      Outcome = iota
	Done                     // the command was carried out (all but acquire, convert, cancel)
	Refused                  // it was refused; Result.Refusal says why
	Granted                  // the whole request is held
	Queued                   // the request waits
	Held                     // wait limit 0, and not grantable
	WaitLimitReached         //
	Cancelled                //
	DeadlockVictim           //
	SessionEnded             //
	Revoked                  //
)

// Refusal says why a command had no effect. Each is one reason of the error catalogue.
type Refusal uint8

const (
	NoRefusal         Refusal = iota
	SessionExpired            // the session has ended; Result.Ended says why
	SessionNotFound           // there is no such session
	NotHolder                 // the grant is not held, or not by this session
	StaleRequest              // the request id is at or below the floor and its answer is gone
	RequestIDReused           // the request id names another command
	ConversionWaiting         // the grant has a conversion that waits
	LastClaim                 // a conversion would drop the last name
	NoSuchClaim               // a conversion names no named claim of the grant
	QueueFull                 // Result.Limit waiters stand at Result.Name
	QuotaExceeded             // Result.Limit grants or sessions exist
	PermissionDenied          // the session belongs to another principal
	InvalidEpoch              // the epoch would not rise, or passes 15 bits
	InvalidVersion            // the semantics version is not known
)

// EndReason says why a session or a grant ended.
type EndReason uint8

const (
	NotEnded EndReason = iota
	Released
	Closed
	Abandoned
	SessionTTLPassed
	LeasePassed
	MaxHoldPassed
	RevokedByOperator
	VictimReleased // its owner was a deadlock victim with ReleaseOwner
	Restored       // RaiseEpoch
)

// Deadlines are points in cluster time; 0 means none.
type Deadlines struct{ Session, Lease, MaxHold Millis }

// GrantInfo shows a grant.
type GrantInfo struct {
	ID        GrantID // 0: no grant
	Token     Token
	Claims    []Claim // named ones, in byte order of their names
	Depth     uint32
	Deadlines Deadlines
}

// Result is the answer to one command. The zero value of a field means that it does not apply.
type Result struct {
	At      Index  // where this command was applied
	First   uint64 // replays: Raft index of the first answer
	Outcome Outcome
	Refusal Refusal

	Session         SessionID // the session it belongs to; of OpenSession and of Acquire without one: the new one
	TTL             Millis    // OpenSession
	SessionDeadline Millis    // deadline of Session after this command, 0 if it has ended

	Arrival Index // Queued: names the waiting request; its final Event carries the same

	Grant  GrantInfo // Granted, Renew, Convert, Release (depth that is left, 0 when it has ended)
	Ended  EndReason // SessionExpired, NotHolder if known, SessionEnded, and replayed grants that have ended
	Detail string    // an operator's reason

	Position      int       // Queued
	Blockers      []Blocker // Queued, Held: the first 16, holders and ghosts first
	BlockersTotal int
	Cycle         []CycleStep // DeadlockVictim

	Name  string // QueueFull
	Limit uint32 // QueueFull, QuotaExceeded
	Floor uint64 // StaleRequest
}

// BlockerKind tells what stands in the way.
type BlockerKind uint8

const (
	Holder BlockerKind = iota
	GhostLeft
	WaiterAhead
)

// Blocker is one holder, ghost or waiter in the way of a request.
type Blocker struct {
	Kind    BlockerKind
	Name    string
	Mode    Mode
	Session SessionID // 0 for a ghost
	Owner   string
	Grant   GrantID // holder or ghost
	Request uint64  // waiter
	Arrival Index   // waiter
}

// CycleStep is one owner of a cycle and the wait by which it is in it.
type CycleStep struct {
	Session SessionID
	Owner   string
	Request uint64
	Arrival Index
	Name    string // contended name, the first in byte order if several are
	Mode    Mode   // asked for there
}

// EventKind tells what happened.
type EventKind uint8

const (
	EventQueued       EventKind = iota + 1 // a request began to wait
	EventOutcome                           // a waiting request got its final outcome (granted ones too)
	EventGranted                           // an acquire was granted at once or re-entered
	EventConverted                         // a conversion took effect at once
	EventGrantEnded                        // a grant ended; Ended says why
	EventSessionEnded                      // a session ended; Ended says why
	EventDeadlock                          // a cycle was resolved
)

// Event is something that happened, for those who watch and those who wait.
type Event struct {
	Kind      EventKind
	At        Index
	Namespace string
	Session   SessionID
	Owner     string
	Request   uint64
	Arrival   Index   // EventQueued, EventOutcome
	Outcome   Outcome // EventOutcome
	Converts  GrantID // EventOutcome, EventQueued: the grant that was to be converted
	Claims    []Claim // named claims
	Grant     GrantInfo
	Ended     EndReason
	Detail    string
	Cycle     []CycleStep // EventDeadlock, and the outcome of its victim
	Victim    Index       // EventDeadlock: arrival of the victim; zero if an edge was turned
}

// Effects is all that a batch did.
type Effects struct {
	Index   uint64
	Time    Millis   // T after the batch rose it
	Results []Result // one for each command
	Events  []Event  // in the order in which they happened; good until the next batch is applied
	Backlog bool     // ends or grants were left over: propose an empty batch at once (HF-2.3a)
}
