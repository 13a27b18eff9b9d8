// Package fence checks fencing tokens at the resource that a lock protects.
//
// No lock service can keep a program that was paused from waking up and writing after its lock was
// given to somebody else. The resource can: every grant has a token greater than that of every
// earlier grant, the client sends it along, and the resource refuses what is too old. The rule is
// always the same (HF-6.4): a resource keeps the greatest token it has seen, and the greatest it has
// seen with a write; it refuses a write below the first and a read below the second.
//
// Guard keeps the two numbers in memory, SQL in a table beside the data, and CompareAndSet in any
// store that can replace a value only if nobody else did.
package fence

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// ErrStale is returned for an access whose token is too old: the lock has been granted again since.
var ErrStale = errors.New("the fencing token is stale")

// StaleError says which access was refused.
type StaleError struct {
	Resource string
	Token    int64 // of the access
	Newer    int64 // the token that has been seen; 0 if the store does not tell
}

func (e *StaleError) Error() string {
	if e.Newer == 0 {
		return fmt.Sprintf("%s: token %d is stale", e.Resource, e.Token)
	}
	return fmt.Sprintf("%s: token %d is stale, %d was seen", e.Resource, e.Token, e.Newer)
}

// Is reports whether target is ErrStale.
func (e *StaleError) Is(target error) bool { return target == ErrStale }

// Access is what is done to the resource.
type Access int

// Kinds of access.
const (
	Write Access = iota
	Read
)

// Mark is what a resource keeps: the greatest token seen, and the greatest seen with a write. The
// zero value is that of a resource that nobody has used.
type Mark struct{ Seen, Written int64 }

// Admit applies the rule: it returns the mark after the access, or false if the access is refused. A
// token that is not positive is none, and is refused.
func (m Mark) Admit(token int64, access Access) (Mark, bool) {
	switch {
	case token <= 0:
		return m, false
	case access == Write && token >= m.Seen:
		return Mark{Seen: token, Written: token}, true
	case access == Read && token >= m.Written:
		return Mark{Seen: max(m.Seen, token), Written: m.Written}, true
	}
	return m, false
}

// String is the mark as text for a store; ParseMark reads it.
func (m Mark) String() string { return fmt.Sprintf("%d %d", m.Seen, m.Written) }

// ParseMark reads what String wrote; an empty text is the zero mark.
func ParseMark(text string) (Mark, error) {
	if text == "" {
		return Mark{}, nil
	}
	seen, written, ok := strings.Cut(text, " ")
	s, err1 := strconv.ParseInt(seen, 10, 64)
	w, err2 := strconv.ParseInt(written, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Mark{}, fmt.Errorf("%q is not a fence mark", text)
	}
	return Mark{Seen: s, Written: w}, nil
}

// Guard keeps marks in memory, for a resource that lives in this process and no longer than it. Its
// zero value is ready.
type Guard struct {
	mu    sync.Mutex
	marks map[string]Mark
}

// Check admits an access to a resource, or returns a *StaleError.
func (g *Guard) Check(resource string, token int64, access Access) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.marks[resource]
	mark, ok := old.Admit(token, access)
	if !ok {
		return &StaleError{Resource: resource, Token: token, Newer: old.Seen}
	}
	if g.marks == nil {
		g.marks = make(map[string]Mark)
	}
	g.marks[resource] = mark
	return nil
}
