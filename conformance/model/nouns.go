// Package model is a second, independent telling of docs/SEMANTICS.md sections 1 to 8 and 12: a
// lock service in as few lines as say it, against which the real one is compared. It keeps lists
// and scans them; whatever can be worked out is worked out anew each time it is asked for.
package model

import (
	"cmp"
	"slices"
	"strings"
)

// The nouns of the service. Kinds, outcomes, refusals and reasons are words.
type (
	Millis = int64 // cluster time
	Index  struct {
		Entry  uint64
		Offset uint32
	}
	Owner struct { // HF-2.4
		Session uint64
		Key     string
	}
	Mode  uint8
	Claim struct {
		Name string
		Mode Mode
	}
	Limits struct{ WaitersPerName, GrantsPerSession, SessionsPerPrincipal uint32 } // HF-12
	Tuning struct{ Work, Overtaking, Answers, Deadlocks int }                      // HF-2.3a, 4.6, 7.2, 8.5
	Batch  struct {
		Index    uint64
		Stamp    Millis
		Commands []Command
	}
	Command struct { // Kind says which fields count
		Kind, Principal, Namespace, Nonce, Owner, Metadata, Name, Reason string
		Session, Request, Acked                                          uint64
		Claims                                                           []Claim
		Wait, Lease, MaxHold, LockDelay, TTL                             Millis
		Priority                                                         int32
		ReleaseOwner, NoReentry, Abandon                                 bool
		Grant                                                            int64
		Mode                                                             Mode
		Number                                                           uint32
		Limits                                                           Limits
	}
	GrantInfo struct {
		ID, Token                 int64
		Claims                    []Claim
		Depth                     uint32
		SessionAt, LeaseAt, MaxAt Millis
	}
	Blocker struct {
		Kind, Name string // holder, ghost, waiter
		Mode       Mode
		Owner      Owner
		Grant      int64
		Request    uint64
		Arrival    Index
	}
	Step struct {
		Owner   Owner
		Request uint64
		Arrival Index
		Name    string
		Mode    Mode
	}
	Result struct {
		At, Arrival                           Index
		Outcome, Refusal, Ended, Detail, Name string
		First, Session, Floor                 uint64
		TTL, SessionDeadline                  Millis
		Grant                                 GrantInfo
		Position, BlockersTotal               int
		Blockers                              []Blocker
		Cycle                                 []Step
		Limit                                 uint32
	}
	Event struct {
		Kind, Namespace string
		Owner           Owner
		Request         uint64
		Arrival, Victim Index
		Converts        int64
		Claims          []Claim
		Result          Result
	}
	Effects struct {
		Time    Millis
		Results []Result
		Events  []Event
		Backlog bool
	}
)

func (a Index) compare(b Index) int {
	return cmp.Or(cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Offset, b.Offset))
}

func (a Owner) compare(b Owner) int {
	return cmp.Or(cmp.Compare(a.Session, b.Session), strings.Compare(a.Key, b.Key))
}

// The modes, in an order that join uses, and the table of HF-3.1.
const (
	None Mode = iota
	IS
	IX
	S
	SIX
	X
)

var together = map[[2]Mode]bool{
	{IS, IS}: true, {IS, IX}: true, {IS, S}: true, {IS, SIX}: true, {IX, IS}: true, {IX, IX}: true,
	{S, IS}: true, {S, S}: true, {SIX, IS}: true,
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

func modeOf(claims []Claim, name string) Mode {
	return find(claims, func(c Claim) bool { return c.Name == name }).Mode
}

// with returns the claims, by name, with the mode on one name joined with another.
func with(claims []Claim, name string, mode Mode) []Claim {
	c := Claim{name, join(mode, modeOf(claims, name))}
	return sorted(append(without(claims, func(c Claim) bool { return c.Name == name }), c), byName)
}

// full adds what claims imply on the ancestors of their names (HF-3.3).
func full(named []Claim) (all []Claim) {
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
		all = with(all, c.Name, c.Mode)
	}
	return all
}

// Helpers that leave the list they are given as it is.
func find[T any](list []T, is func(T) bool) (none T) {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return none
}

func without[T any](list []T, is func(T) bool) []T { return slices.DeleteFunc(slices.Clone(list), is) }

func drop[T comparable](list []T, x T) []T { return without(list, func(y T) bool { return x == y }) }

func sorted[T any](list []T, compare func(a, b T) int) []T {
	list = slices.Clone(list)
	slices.SortStableFunc(list, compare)
	return list
}
