package proposer

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// What a submit can fail with, besides the refusals that a result carries. Every error of this
// package is one of these under errors.Is. After ErrOutcomeUnknown the commands may have been
// done, may still be done, or never; after each of the others nothing was done (HF-7.3).
var (
	// ErrNotLeader: this node does not lead. The error is a *NotLeaderError.
	ErrNotLeader = errors.New("not the leader")
	// ErrNoQuorum: nothing can be committed at present, and the commands were never proposed.
	ErrNoQuorum = errors.New("no quorum")
	// ErrOutcomeUnknown: the commands were proposed, and their fate is not known here.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrShuttingDown: this node stops.
	ErrShuttingDown = errors.New("shutting down")
	// ErrRateLimited: too much waits to be proposed. The error is a *RateLimitedError.
	ErrRateLimited = errors.New("rate limited")
)

// NotLeaderError tells who leads, as far as this node knows.
type NotLeaderError struct {
	LeaderID   string // node id; empty if no other leader is known
	LeaderAddr string // its peer address
}

func (e *NotLeaderError) Error() string {
	if e.LeaderID == "" {
		return "not the leader, and none is known"
	}
	return "not the leader; " + e.LeaderID + " is"
}

// Is makes it an ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// RateLimitedError tells what waits already.
type RateLimitedError struct {
	Session    locktable.SessionID // 0: the node as a whole
	Commands   int                 // commands that wait
	Bytes      int                 // their size in the log, about
	RetryAfter time.Duration       // when to try again
}

func (e *RateLimitedError) Error() string {
	who := "node"
	if e.Session != 0 {
		who = fmt.Sprintf("session %d", e.Session)
	}
	return fmt.Sprintf("%s has %d commands (%d bytes) waiting to be proposed", who, e.Commands, e.Bytes)
}

// Is makes it an ErrRateLimited.
func (e *RateLimitedError) Is(target error) bool { return target == ErrRateLimited }
