// Package model is a second, independent telling of docs/SEMANTICS.md sections 1 to 8 and 12: a
// lock service in as few lines as say it, against which the real one is compared. It keeps lists
// and scans them; whatever can be worked out is worked out anew each time it is asked for.
package model

import (
	"slices"
	"strings"
)

// Millis is cluster time; Index is the place of a command in the log.
type (
	Millis = int64
	Index  struct {
		Entry  uint64
		Offset uint32
	}
)

func (a Index) before(b Index) bool {
	return a.Entry < b.Entry || a.Entry == b.Entry && a.Offset < b.Offset
}

// Mode says how a name is held. The order of the constants is used by join.
type Mode uint8

// The modes (HF-3.1).
const (
	None Mode = iota
	IS
	IX
	S
	SIX
	X
)

// together is the table of HF-3.1.
var together = map[[2]Mode]bool{
	{IS, IS}: true, {IS, IX}: true, {IS, S}: true, {IS, SIX}: true,
	{IX, IS}: true, {IX, IX}: true,
	{S, IS}: true, {S, S}: true,
	{SIX, IS}: true,
}

func compatible(a, b Mode) bool { return a == None || b == None || together[[2]Mode{a, b}] }

func covers(a, b Mode) bool {
	return a == b || b == None || a == X || a == SIX && b != X || a > IS && b == IS
}

func join(a, b Mode) Mode {
	m := None
	for !covers(m, a) || !covers(m, b) {
		m++
	}
	return m
}

// Claim is a name and a mode.
type Claim struct {
	Name string
	Mode Mode
}

func modeOf(claims []Claim, name string) Mode {
	for _, c := range claims {
		if c.Name == name {
			return c.Mode
		}
	}
	return None
}

// with returns the claims with one more joined in, by name.
func with(claims []Claim, name string, mode Mode) []Claim {
	mode = join(mode, modeOf(claims, name))
	return byName(append(without(claims, name), Claim{name, mode}))
}

func without(claims []Claim, name string) []Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c Claim) bool { return c.Name == name })
}

func byName(claims []Claim) []Claim {
	slices.SortFunc(claims, func(a, b Claim) int { return strings.Compare(a.Name, b.Name) })
	return claims
}

// full adds what the named claims imply on their ancestors (HF-3.3).
func full(named []Claim) []Claim {
	all := named
	for _, c := range named {
		implied := IX
		if c.Mode == S || c.Mode == IS {
			implied = IS
		}
		for i := range c.Name {
			if c.Name[i] == '/' {
				all = with(all, c.Name[:i], implied)
			}
		}
	}
	return byName(slices.Clone(all))
}

// Command is one change of the state; Kind says which, and which fields count.
type Command struct {
	Kind      string // as the types of the log: Bootstrap, OpenSession, RenewSession, ...
	Principal string
	Session   uint64
	Request   uint64
	Acked     uint64

	Owner                   string
	Claims                  []Claim
	Wait                    Millis
	Priority                int32
	Lease, MaxHold          Millis
	LockDelay               Millis
	ReleaseOwner, NoReentry bool
	Metadata, Nonce         string
	Namespace               string
	TTL                     Millis

	Grant   int64
	Name    string // Convert; "" is the only claim
	Mode    Mode   // Convert; None drops the name
	Abandon bool
	Reason  string // RevokeGrant, RevokeSession
	Number  uint32 // SetSemantics, RaiseEpoch
	Limits  Limits
}

// Limits are those that are state (HF-12).
type Limits struct{ WaitersPerName, GrantsPerSession, SessionsPerPrincipal uint32 }

// Batch is one entry of the log.
type Batch struct {
	Index    uint64
	Stamp    Millis
	Commands []Command
}

// Owner is one line of work (HF-2.4).
type Owner struct {
	Session uint64
	Key     string
}

func (a Owner) less(b Owner) bool {
	return a.Session < b.Session || a.Session == b.Session && a.Key < b.Key
}

// GrantInfo shows a grant; ID 0 is none.
type GrantInfo struct {
	ID, Token               int64
	Claims                  []Claim
	Depth                   uint32
	SessionAt, LeaseAt, Max Millis
}

// Blocker is one holder, ghost or waiter in the way, on one name.
type Blocker struct {
	Kind    string // holder, ghost, waiter
	Name    string
	Mode    Mode
	Owner   Owner // not of a ghost
	Grant   int64
	Request uint64
	Arrival Index

	place  int  // of a waiter
	ending bool // of a holder
}

// Step is one owner of a cycle with the wait that holds it there.
type Step struct {
	Owner   Owner
	Request uint64
	Arrival Index
	Name    string
	Mode    Mode
}

// Result is the answer to a command, or the final outcome of a wait.
type Result struct {
	At, Arrival     Index
	First           uint64
	Outcome         string // DONE, REFUSED, GRANTED, QUEUED, HELD, ...
	Refusal         string // NOT_HOLDER, ...
	Session         uint64
	TTL             Millis
	SessionDeadline Millis
	Grant           GrantInfo
	Ended, Detail   string
	Position        int
	Blockers        []Blocker
	BlockersTotal   int
	Cycle           []Step
	Name            string
	Limit           uint32
	Floor           uint64
}

// Event is something that happened.
type Event struct {
	Kind      string // queued, outcome, granted, converted, grant ended, session ended, deadlock
	Owner     Owner
	Namespace string
	Request   uint64
	Arrival   Index // queued, outcome
	Converts  int64
	Claims    []Claim
	Result    Result // At; outcome: Outcome, Grant, Ended, Detail, Cycle
	Victim    Index
}

// Effects is all that a batch did.
type Effects struct {
	Time    Millis
	Results []Result
	Events  []Event
	Backlog bool
}
