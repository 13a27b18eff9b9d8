package raftnode

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// What can become of a proposal besides being applied (HF-7.3). Match with errors.Is.
var (
	// ErrNotDone means that the entry surely had and will have no effect.
	ErrNotDone = errors.New("not done")
	// ErrNotLeader is the kind of ErrNotDone that another node may do better.
	ErrNotLeader = fmt.Errorf("%w: this node is not the leader", ErrNotDone)
	// ErrUnknown means that the entry may or may not be applied, now or later.
	ErrUnknown = errors.New("outcome unknown")
	// ErrStopped means that the node has been stopped.
	ErrStopped = errors.New("the node has stopped")
)

// classify sorts the errors of raft.Apply into done (nil), not done and unknown.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w (%w)", ErrNotLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ErrNotDone, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// StartFailure is a way in which a start can fail.
type StartFailure int

// The ways in which a start can fail. A port that is taken is peerport's ListenError.
const (
	BadDirectory   StartFailure = iota + 1 // it cannot be read or written
	DirectoryInUse                         // another process has it
	ForeignCluster                         // it belongs to another cluster
	WrongNode                              // it belongs to another node, or was put together from two
	Damaged                                // what is in it cannot be trusted
	NotInitialised                         // neither bootstrapped nor joined
	Removed                                // the node was removed from its cluster
	UnknownFormat                          // a newer version wrote it
)

// StartError says why a node does not start and what to do about it.
type StartError struct {
	Failure StartFailure
	Dir     string
	What    string
	Err     error
}

func (e *StartError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("data directory %s %s: %v", e.Dir, e.What, e.Err)
	}
	return fmt.Sprintf("data directory %s %s", e.Dir, e.What)
}

func (e *StartError) Unwrap() error { return e.Err }

const asNewNode = "remove this node from the cluster (holdfast cluster remove), move the directory away, " +
	"and join again with an empty one"

// Hint says what to do about it.
func (e *StartError) Hint() string {
	switch e.Failure {
	case DirectoryInUse:
		return "stop the other process, or give this one a directory of its own"
	case ForeignCluster:
		return "use the directory of this cluster, or an empty one"
	case WrongNode:
		return "use the directory of this node; a node's files are never mixed with another's"
	case Damaged, Removed:
		return asNewNode
	case NotInitialised:
		return "start the first node of a cluster with --bootstrap, every other one with --join ADDRESS"
	case UnknownFormat:
		return "start it with the version of holdfast that wrote it, or a newer one"
	}
	return "check that it exists, that this user may use it, and that the disk has room"
}

// damage is an error after which what is on the disk cannot be trusted.
type damage struct{ error }

func (d damage) Unwrap() error { return d.error }

// newer is an error that a newer version of the software would not have had.
type newer struct{ error }

func (n newer) Unwrap() error { return n.error }

func damagef(format string, args ...any) error { return damage{fmt.Errorf(format, args...)} }
func newerf(format string, args ...any) error  { return newer{fmt.Errorf(format, args...)} }
