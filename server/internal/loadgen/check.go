package loadgen

import (
	"context"
	"fmt"
	"slices"
	"sync"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// held is a lock that is held: a *holdfast.Handle, or one of our own.
type held interface {
	Token() int64
	Check() error // nil while it may be relied on
	Release(context.Context) error
}

// examplesMost is how many violations are told in words.
const examplesMost = 10

// violations are what a lock service must not do.
type violations struct {
	mu       sync.Mutex
	count    int64
	examples []string
}

func (v *violations) add(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count++
	if len(v.examples) < examplesMost {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// name is a lock that only this run uses, and who of us holds it. What must not happen is proved by
// the order of our own steps: a holder gives its place up here before it asks the service to
// release, so that the next grant can come no earlier.
type name struct {
	text string
	bad  *violations

	mu     sync.Mutex
	holder held // nil if nobody holds it, as far as we have asked
	token  int64
	grants int64
}

// granted notes a new holder.
func (n *name) granted(h held) {
	n.mu.Lock()
	defer n.mu.Unlock()
	token := h.Token()
	if token <= n.token {
		n.bad.add("%s was granted with token %d after token %d", n.text, token, n.token)
	}
	if n.holder != nil && n.holder.Check() == nil {
		n.bad.add("%s was granted with token %d while token %d is still held", n.text, token, n.holder.Token())
	}
	n.holder, n.token = h, max(n.token, token)
	n.grants++
}

// releasing notes that its holder is about to give it back.
func (n *name) releasing(h held) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.holder != h && n.holder != nil && h.Check() == nil {
		n.bad.add("%s: token %d is about to be released while token %d holds it", n.text, h.Token(), n.holder.Token())
	}
	if n.holder == h {
		n.holder = nil
	}
}

// waiter is a request in a queue.
type waiter struct{ session, request uint64 }

// order checks one name by the events of the service, which tell what happened in the order of its
// log. Grants must come in the order of arrival (a request that waits is told as QUEUED when it arrives
// and as GRANTED when its turn has come), and one must have ended before the next is given.
type order struct {
	text  string
	bad   *violations
	known bool // nothing was missed since nobody held it or waited

	queue  []waiter
	grant  int64 // that holds it, 0 if none does
	token  int64
	grants int64
}

// event takes what happened next to the name.
func (o *order) event(e holdfast.LockEvent) {
	w := waiter{e.SessionID, e.RequestID}
	switch e.Kind {
	case holdfast.EventQueued:
		o.queue = append(o.queue, w)
	case holdfast.EventGranted:
		o.granted(e)
		o.leave(w, true)
	case holdfast.EventReleased, holdfast.EventExpired:
		o.ended(e.GrantID)
	case holdfast.EventCancelled, holdfast.EventDeadlock:
		o.leave(w, false)
	case holdfast.EventRevoked: // of a grant or of a wait
		if e.GrantID != 0 {
			o.ended(e.GrantID)
		} else {
			o.leave(w, false)
		}
	}
}

func (o *order) granted(e holdfast.LockEvent) {
	o.grants++
	if e.Token <= o.token {
		o.bad.add("%s: token %d was given after token %d", o.text, e.Token, o.token)
	}
	if o.grant != 0 {
		o.bad.add("%s: grant %d was given while grant %d holds it", o.text, e.GrantID, o.grant)
	}
	o.grant, o.token = e.GrantID, max(o.token, e.Token)
}

func (o *order) ended(grant int64) {
	if grant != o.grant && (o.known || o.grant != 0) {
		o.bad.add("%s: grant %d ended while grant %d holds it", o.text, grant, o.grant)
	}
	o.grant = 0
}

// missed is told that events were missed: what holds the name or waits is not known any more.
func (o *order) missed() { o.queue, o.grant, o.known = nil, 0, false }

// leave takes a request out of the queue. With a grant it must be the first; one that never waited
// may only be granted while nobody waits.
func (o *order) leave(w waiter, granted bool) {
	for i, other := range o.queue {
		if other != w {
			continue
		}
		if granted && i > 0 {
			o.bad.add("%s was granted to request %d of session %d, which %d had been waiting longer than",
				o.text, w.request, w.session, i)
		}
		if i == 0 {
			o.queue = o.queue[1:]
		} else {
			o.queue = slices.Delete(o.queue, i, i+1)
		}
		return
	}
	if granted && len(o.queue) > 0 && o.known {
		o.bad.add("%s was granted to request %d of session %d at once while %d waited",
			o.text, w.request, w.session, len(o.queue))
	}
}
