package holdfast

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reason is why a call failed, by the catalogue of docs/errors.md. Programs decide by it, or by
// errors.Is with one of the Err values, and never by message text.
type Reason string

// Reasons that the server gives.
const (
	ReasonSessionExpired    Reason = "SESSION_EXPIRED"
	ReasonNotHolder         Reason = "NOT_HOLDER"
	ReasonStaleRequest      Reason = "STALE_REQUEST"
	ReasonRequestIDReused   Reason = "REQUEST_ID_REUSED"
	ReasonFrozen            Reason = "FROZEN"
	ReasonConversionWaiting Reason = "CONVERSION_WAITING"
	ReasonCompacted         Reason = "COMPACTED"
	ReasonSessionNotFound   Reason = "SESSION_NOT_FOUND"
	ReasonNotLeader         Reason = "NOT_LEADER"
	ReasonNoQuorum          Reason = "NO_QUORUM"
	ReasonOutcomeUnknown    Reason = "OUTCOME_UNKNOWN"
	ReasonShuttingDown      Reason = "SHUTTING_DOWN"
	ReasonQueueFull         Reason = "QUEUE_FULL"
	ReasonQuotaExceeded     Reason = "QUOTA_EXCEEDED"
	ReasonRateLimited       Reason = "RATE_LIMITED"
	ReasonInvalidName       Reason = "INVALID_NAME"
	ReasonInvalidMode       Reason = "INVALID_MODE"
	ReasonInvalidTTL        Reason = "INVALID_TTL"
	ReasonInvalidArgument   Reason = "INVALID_ARGUMENT"
	ReasonPermissionDenied  Reason = "PERMISSION_DENIED"
	ReasonUnauthenticated   Reason = "UNAUTHENTICATED"
	ReasonInternal          Reason = "INTERNAL"
)

// Outcomes of an acquire or a conversion that brought no grant.
const (
	ReasonHeld             Reason = "HELD"
	ReasonWaitLimitReached Reason = "WAIT_LIMIT_REACHED"
	ReasonCancelled        Reason = "CANCELLED"
	ReasonDeadlockVictim   Reason = "DEADLOCK_VICTIM"
	ReasonRevoked          Reason = "REVOKED"
)

// Reasons that the client finds itself.
const (
	ReasonUnavailable Reason = "UNAVAILABLE"
	ReasonCircuitOpen Reason = "CIRCUIT_OPEN"
	ReasonForked      Reason = "FORKED"
	ReasonLost        Reason = "LOST"
	ReasonReleased    Reason = "RELEASED"
	ReasonClosed      Reason = "CLOSED"
)

// One sentinel for each reason, for errors.Is.
var (
	// ErrSessionExpired: the session has ended, and with it everything it held.
	ErrSessionExpired = sentinel(ReasonSessionExpired, "the session has ended")
	// ErrNotHolder: the grant is not held, or not any more.
	ErrNotHolder = sentinel(ReasonNotHolder, "the lock is not held")
	// ErrStaleRequest: whether the request took effect is not known any more.
	ErrStaleRequest = sentinel(ReasonStaleRequest, "the answer to this request is no longer kept")
	// ErrRequestIDReused: a fault in the client library.
	ErrRequestIDReused = sentinel(ReasonRequestIDReused, "the request id was used for another command")
	// ErrFrozen: an operator has frozen the prefix.
	ErrFrozen = sentinel(ReasonFrozen, "the prefix is frozen")
	// ErrConversionWaiting: another conversion of the same grant waits.
	ErrConversionWaiting = sentinel(ReasonConversionWaiting, "a conversion of this grant waits already")
	// ErrCompacted: events were missed because the reader fell behind.
	ErrCompacted = sentinel(ReasonCompacted, "the place to resume from is no longer kept")
	// ErrSessionNotFound: there is no such session.
	ErrSessionNotFound = sentinel(ReasonSessionNotFound, "the session is not known")
	// ErrNotLeader: the node asked could not reach the leader.
	ErrNotLeader = sentinel(ReasonNotLeader, "the node is not the leader")
	// ErrNoQuorum: the cluster has no majority.
	ErrNoQuorum = sentinel(ReasonNoQuorum, "the cluster has no quorum")
	// ErrOutcomeUnknown: the command may or may not have taken effect.
	ErrOutcomeUnknown = sentinel(ReasonOutcomeUnknown, "the outcome is not known")
	// ErrShuttingDown: the node asked is shutting down.
	ErrShuttingDown = sentinel(ReasonShuttingDown, "the node is shutting down")
	// ErrQueueFull: too many wait for the name.
	ErrQueueFull = sentinel(ReasonQueueFull, "the wait queue is full")
	// ErrQuotaExceeded: the session or principal has as much as it may have.
	ErrQuotaExceeded = sentinel(ReasonQuotaExceeded, "the quota is used up")
	// ErrRateLimited: too many requests are on their way.
	ErrRateLimited = sentinel(ReasonRateLimited, "too many requests")
	// ErrInvalidName: the lock name is malformed.
	ErrInvalidName = sentinel(ReasonInvalidName, "the lock name is malformed")
	// ErrInvalidMode: the mode is not one of the five, or not allowed here.
	ErrInvalidMode = sentinel(ReasonInvalidMode, "the mode is not valid")
	// ErrInvalidTTL: the time to live is out of range.
	ErrInvalidTTL = sentinel(ReasonInvalidTTL, "the ttl is out of range")
	// ErrInvalidArgument: a field is missing, malformed or out of range; Error.Field names it.
	ErrInvalidArgument = sentinel(ReasonInvalidArgument, "an argument is not valid")
	// ErrPermissionDenied: the caller may not do this.
	ErrPermissionDenied = sentinel(ReasonPermissionDenied, "permission denied")
	// ErrUnauthenticated: the caller could not be identified.
	ErrUnauthenticated = sentinel(ReasonUnauthenticated, "not authenticated")
	// ErrInternal: a fault in the server.
	ErrInternal = sentinel(ReasonInternal, "internal error")

	// ErrHeld: the lock is held by somebody else, and the acquire did not want to wait.
	ErrHeld = sentinel(ReasonHeld, "the lock is held")
	// ErrWaitLimit: the wait limit passed.
	ErrWaitLimit = sentinel(ReasonWaitLimitReached, "the wait limit was reached")
	// ErrCancelled: the wait was cancelled.
	ErrCancelled = sentinel(ReasonCancelled, "the wait was cancelled")
	// ErrDeadlockVictim: the wait closed a deadlock and was chosen to end; Error.Cycle spells it out.
	ErrDeadlockVictim = sentinel(ReasonDeadlockVictim, "the wait was ended to resolve a deadlock")
	// ErrRevoked: an operator ended the wait.
	ErrRevoked = sentinel(ReasonRevoked, "revoked by an operator")

	// ErrUnavailable: no endpoint could be reached, or none could serve. Every more exact reason of
	// that kind (ErrNotLeader, ErrNoQuorum, ErrOutcomeUnknown, ErrShuttingDown, ErrCircuitOpen) is
	// an ErrUnavailable too.
	ErrUnavailable = sentinel(ReasonUnavailable, "the service is unavailable")
	// ErrCircuitOpen: the circuit breakers of all endpoints are open.
	ErrCircuitOpen = sentinel(ReasonCircuitOpen, "the circuit breakers of all endpoints are open")
	// ErrForked: an answer came from another cluster, or from an older epoch of this one.
	ErrForked = sentinel(ReasonForked, "the answer belongs to another history")
	// ErrLost: the lock was lost; errors.As with *LostError tells why.
	ErrLost = sentinel(ReasonLost, "the lock was lost")
	// ErrReleased: the handle was released.
	ErrReleased = sentinel(ReasonReleased, "the lock was released")
	// ErrClosed: the client was closed.
	ErrClosed = sentinel(ReasonClosed, "the client is closed")
)

// sentinels has every sentinel by its reason.
var sentinels map[Reason]error

func sentinel(r Reason, text string) error {
	if sentinels == nil {
		sentinels = make(map[Reason]error)
	}
	err := errors.New(text)
	sentinels[r] = err
	return err
}

// Error is a failed call. Use errors.Is with the Err values to decide, errors.As to see more.
type Error struct {
	Reason     Reason        // why, for programs
	Message    string        // what and which, for people
	Hint       string        // what to try, for people; may be empty
	Field      string        // the field at fault, with the INVALID reasons
	Limit      string        // the limit that was passed, in words
	RetryAfter time.Duration // how long to wait before trying again; 0 if the server did not say
	Ended      EndReason     // why the session or grant ended, if it did

	Position      int         // place in the queue when last heard of; 0 if it did not wait
	Blockers      []Blocker   // who was in the way when last heard: the first 16
	BlockersTotal int         // how many were in the way
	Cycle         []CycleStep // the deadlock, with ErrDeadlockVictim

	cause  error
	leader string // with NOT_LEADER: where to go
	final  bool   // no other attempt can do better
}

// Error is the message, and the hint if there is one.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Message == "" {
		b.WriteString(strings.ToLower(string(e.Reason)))
	}
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, " (hint: %s)", e.Hint)
	}
	return b.String()
}

// Is reports whether target is the sentinel of the error's reason.
func (e *Error) Is(target error) bool {
	if sentinels[e.Reason] == target {
		return true
	}
	return target == ErrUnavailable && e.Reason.unavailable()
}

// Unwrap returns what lies beneath: the caller's context error, a transport error.
func (e *Error) Unwrap() error { return e.cause }

// unavailable says whether the reason is one of those that mean: not now, maybe later or elsewhere.
func (r Reason) unavailable() bool {
	switch r {
	case ReasonUnavailable, ReasonNotLeader, ReasonNoQuorum, ReasonOutcomeUnknown,
		ReasonShuttingDown, ReasonCircuitOpen:
		return true
	}
	return false
}

// LostReason is why a lock was lost.
type LostReason string

// Reasons of a loss (HF-11.3).
const (
	// LostExpired: the session, the lease or the longest hold ran out, as far as the client knows.
	LostExpired LostReason = "expired"
	// LostRevoked: an operator ended it.
	LostRevoked LostReason = "revoked"
	// LostVictim: its owner was the victim of a deadlock and had asked to release everything.
	LostVictim LostReason = "victim"
	// LostClosed: the client, or its session, was closed while the lock was held.
	LostClosed LostReason = "closed"
	// LostForked: the cluster was restored from a backup or replaced by another one.
	LostForked LostReason = "forked"
)

// LostError says that a lock was lost. It is final: nothing is acquired again behind one's back.
type LostError struct {
	Name   string     // the first name of the handle
	Token  int64      // its token
	Reason LostReason // why
	Detail string     // an operator's reason, or what the client saw
}

func (e *LostError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s (token %d) was lost: %s", e.Name, e.Token, e.Reason)
	}
	return fmt.Sprintf("%s (token %d) was lost: %s: %s", e.Name, e.Token, e.Reason, e.Detail)
}

// Is reports whether target is ErrLost.
func (e *LostError) Is(target error) bool { return target == ErrLost }
