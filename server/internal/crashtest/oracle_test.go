package crashtest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// oracle is what stands behind the locks: it sees every acknowledged grant begin and end, and knows
// what must never be.
type oracle struct {
	mu         sync.Mutex
	acked      int64            // greatest token that any client has been told
	tokens     map[int64]string // every token, and whose it was
	registers  map[string]*register
	grants     map[string]int // how many there were, by the first segment of the name
	violations []string
}

// register is what one name protects. As HF-6.4 says, it remembers the greatest token seen with a
// write, and the greatest seen at all.
type register struct {
	writer  string
	readers map[string]bool
	seen    int64
	written int64
}

func newOracle() *oracle {
	return &oracle{tokens: make(map[int64]string), registers: make(map[string]*register),
		grants: make(map[string]int)}
}

// violated notes that a promise was broken.
func (o *oracle) violated(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note(format, args...)
}

func (o *oracle) note(format string, args ...any) {
	o.violations = append(o.violations, fmt.Sprintf(format, args...))
}

// floor is the greatest token known before a request is sent for the first time. The token it is
// granted must be greater, whatever its name.
func (o *oracle) floor() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.acked
}

// entered is called when a client has been told that it holds the names, shared or exclusive.
func (o *oracle) entered(who string, names []string, shared bool, token, floor int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kind, _, _ := strings.Cut(names[0], "/")
	o.grants[kind]++
	if token <= floor {
		o.note("%s got token %d after %d had been given", who, token, floor)
	}
	if other, ok := o.tokens[token]; ok {
		o.note("token %d was given to %s and to %s", token, other, who)
	}
	o.tokens[token] = who
	o.acked = max(o.acked, token)
	for _, name := range names {
		o.enter(who, name, shared, token)
	}
}

func (o *oracle) enter(who, name string, shared bool, token int64) {
	r := o.registers[name]
	if r == nil {
		r = &register{readers: make(map[string]bool)}
		o.registers[name] = r
	}
	if r.writer != "" {
		o.note("%s: %s entered with token %d while %s was writing", name, who, token, r.writer)
	}
	if token <= r.written {
		o.note("%s: %s entered with token %d after a write with %d", name, who, token, r.written)
	}
	if !shared {
		if len(r.readers) > 0 {
			o.note("%s: %s began to write with token %d beside %d readers", name, who, token, len(r.readers))
		}
		if token <= r.seen {
			o.note("%s: %s began to write with token %d after %d was seen", name, who, token, r.seen)
		}
		r.writer, r.written = who, token
	} else {
		r.readers[who] = true
	}
	r.seen = max(r.seen, token)
}

// leaves is called before a client sends the release.
func (o *oracle) leaves(who string, names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		r := o.registers[name]
		delete(r.readers, who)
		if r.writer == who {
			r.writer = ""
		}
	}
}

func (o *oracle) broken() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.violations
}

// count is the number of grants so far, by the first segment of the name.
func (o *oracle) count(kind string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.grants[kind]
}

// TestTheOracleSeesEachBreach gives the oracle one wrong history after the other.
func TestTheOracleSeesEachBreach(t *testing.T) {
	a := []string{"a"}
	for name, c := range map[string]struct {
		history func(*oracle)
		want    string
	}{
		"nothing wrong": {func(o *oracle) {
			o.entered("p", a, false, 5, 0)
			o.leaves("p", a)
			o.entered("q", a, true, 6, 5)
			o.entered("r", a, true, 7, 5)
			o.leaves("q", a)
			o.leaves("r", a)
			o.entered("p", a, false, 9, 7)
		}, ""},
		"two holders": {func(o *oracle) {
			o.entered("p", a, false, 5, 0)
			o.entered("q", a, false, 6, 0)
		}, "entered with token 6 while p was writing"},
		"a writer beside a reader": {func(o *oracle) {
			o.entered("p", a, true, 5, 0)
			o.entered("q", a, false, 6, 0)
		}, "began to write with token 6 beside 1 readers"},
		"an old token": {func(o *oracle) {
			o.entered("p", a, false, 5, 0)
			o.leaves("p", a)
			o.entered("q", a, false, 4, 0)
		}, "entered with token 4 after a write with 5"},
		"a token below one that was known": {func(o *oracle) {
			o.entered("p", []string{"b"}, false, 5, 0)
			o.entered("q", a, false, 4, o.floor())
		}, "got token 4 after 5 had been given"},
		"a token twice": {func(o *oracle) {
			o.entered("p", []string{"b"}, false, 5, 0)
			o.entered("q", a, false, 5, 0)
		}, "token 5 was given to p and to q"},
	} {
		o := newOracle()
		c.history(o)
		got := strings.Join(o.broken(), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: the oracle says %q, want %q", name, got, c.want)
		}
	}
}
