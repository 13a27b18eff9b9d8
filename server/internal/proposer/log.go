package proposer

import (
	"errors"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Log is what the proposer needs of the node below it.
type Log interface {
	// Propose hands an entry to the log. Entries are proposed one after the other; those that
	// are committed stand in the log in that order.
	Propose(Entry) Future
	// View runs f with the table, which must not change meanwhile.
	View(f func(Table))
	// Leader tells id and peer address of the leader; both are empty if none is known.
	Leader() (id, addr string)
}

// Entry is one Raft entry to propose.
type Entry struct {
	Proposal uint64 // number by which the proposer knows it again
	Version  uint32 // semantics version
	Stamp    locktable.Millis
	Commands []locktable.Command
}

// Future tells what became of a proposal.
type Future interface{ Err() error }

// Applied is a batch that was applied.
type Applied struct {
	Proposal uint64
	Commands []locktable.Command
	Effects  locktable.Effects
}

// What the log says of a proposal that was not applied.
var (
	ErrLogNotDone   = errors.New("not done")
	ErrLogNotLeader = errors.New("not leader")
)

// Observer sees what happens to the log.
type Observer interface {
	Applied(Applied)
	Leading(term uint64)
	Following()
}

// Table is what the proposer reads of the lock table.
type Table interface {
	Time() locktable.Millis
	NextDeadline() (locktable.Millis, bool)
	SemanticsVersion() uint32
}
