// Package locktable is the lock service without the service: a pure state machine that is given
// commands with a time and answers with results and events. It does no IO, reads no clock, starts
// no goroutine, draws no random number and iterates over no map where the order could show.
//
// The rules it follows are numbered in docs/SEMANTICS.md (HF-4.5 and so on).
package locktable

// Millis is a span or a point of cluster time, in milliseconds.
type Millis = int64

// SessionID names a session. Ids are given out in order, starting at 1; 0 names none.
type SessionID uint64

// GrantID names a grant: the first token it was given. 0 names none.
type GrantID int64

// Token is a fencing token: 15 bits of epoch above 48 bits of counter.
type Token int64

// Index is the place of a command in the log, or of the effects of a batch that no command
// caused (expiry, backlog): those have the offset of the first command, 0.
type Index struct {
	Entry  uint64 // Raft index
	Offset uint32 // position in the batch, from 0
}

// Batch is one Raft entry: commands applied one after the other at one cluster time.
type Batch struct {
	Index    uint64 // Raft index; rises from batch to batch
	Stamp    Millis // cluster time proposed by the leader; a stamp below T leaves T as it is
	Version  uint32 // semantics version it is applied under
	Commands []Command
}

// Command is one change of the state. The types below are all there are, by pointer: an entry has one
// piece of memory for all its commands of a kind. Nobody writes to a command once it is made.
type Command interface{ command() }

// Caller says on whose behalf a command is given and which request it is (HF-7.1).
type Caller struct {
	Principal string
	Session   SessionID // 0: the implicit session of the grant that is named (HF-4.12)
	Request   uint64    // request id; 0: no protection against doubling
	Acked     uint64    // every request id up to this one has its final answer (HF-7.2)
}

type (
	// Bootstrap begins a history; it is the first command of every log.
	Bootstrap struct{ ClusterID string }

	// OpenSession opens a session, or finds it by its nonce (HF-2.1, HF-7.4).
	OpenSession struct {
		Principal string
		Namespace string
		TTL       Millis
		Metadata  string
		Nonce     string
	}

	// RenewSession raises the deadline of a session and does nothing else (HF-2.2).
	RenewSession struct {
		Principal string
		Session   SessionID
	}

	// CloseSession ends a session: cleanly, or abandoned as lost (HF-2.3, HF-4.11).
	CloseSession struct {
		Principal string
		Session   SessionID
		Abandon   bool
	}

	// Acquire asks for claims, all at once or not at all (HF-4.1). With Caller.Session 0 it opens
	// an implicit session, in which its request id is 1 (HF-4.12).
	Acquire struct {
		Caller
		Owner      string
		Claims     []Claim
		WaitLimit  Millis // 0: try
		Priority   int32
		Lease      Millis // 0: none
		MaxHold    Millis // 0: none
		LockDelay  Millis
		OnDeadlock DeadlockAction
		NoReentry  bool
		Metadata   string

		Namespace string // only without a session, as are those below
		TTL       Millis
		Nonce     string // the node makes one if the client gave none
	}

	// Release takes one from the depth of a grant (HF-5.3).
	Release struct {
		Caller
		Grant GrantID
	}

	// Convert changes one claim of a grant in place (HF-5.2).
	Convert struct {
		Caller
		Grant      GrantID
		Name       string // empty: the only claim
		Mode       Mode   // None: drop the name
		WaitLimit  Millis
		Priority   int32
		OnDeadlock DeadlockAction
	}

	// Renew raises the lease deadline of a grant (HF-2.5, HF-2.8).
	Renew struct {
		Caller
		Grant GrantID
	}

	// Cancel ends a wait (HF-4.9). Caller.Request is the request to cancel. An acquire without a
	// session may be named by its nonce instead.
	Cancel struct {
		Caller
		Namespace string
		Nonce     string
	}

	// RevokeGrant ends a grant on behalf of an operator.
	RevokeGrant struct {
		Grant  GrantID
		Reason string
	}

	// RevokeSession ends a session on behalf of an operator.
	RevokeSession struct {
		Session SessionID
		Reason  string
	}

	// SetLimits replaces the limits that Apply tests (HF-12).
	SetLimits struct{ Limits Limits }

	// SetSemantics switches on a semantics version (HF-10.7).
	SetSemantics struct{ Version uint32 }

	// RaiseEpoch raises the epoch and ends all sessions (HF-6.2).
	RaiseEpoch struct{ Epoch uint32 }
)

func (*Bootstrap) command()     {}
func (*OpenSession) command()   {}
func (*RenewSession) command()  {}
func (*CloseSession) command()  {}
func (*Acquire) command()       {}
func (*Release) command()       {}
func (*Convert) command()       {}
func (*Renew) command()         {}
func (*Cancel) command()        {}
func (*RevokeGrant) command()   {}
func (*RevokeSession) command() {}
func (*SetLimits) command()     {}
func (*SetSemantics) command()  {}
func (*RaiseEpoch) command()    {}

// Claim is a name and the mode in which it is asked for or held.
type Claim struct {
	Name string
	Mode Mode
}

// DeadlockAction says what else ends when a request is the victim of a deadlock (HF-8.4).
type DeadlockAction uint8

const (
	AbortWait    DeadlockAction = iota // the wait alone
	ReleaseOwner                       // all waits and grants of its owner
)

// Limits are the limits that Apply tests; they are part of the state.
type Limits struct {
	WaitersPerName       uint32
	GrantsPerSession     uint32
	SessionsPerPrincipal uint32
}

// DefaultLimits are the limits of a new table (HF-12).
var DefaultLimits = Limits{WaitersPerName: 100_000, GrantsPerSession: 100_000, SessionsPerPrincipal: 100_000}
