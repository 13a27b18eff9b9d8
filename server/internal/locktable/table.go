package locktable

import "strings"

// Version is the highest semantics version that this table knows (HF-10.7).
const Version = 1

// memory is how long ended sessions and nonces are remembered (HF-4.12, HF-7.4).
const memory Millis = 600_000

// Tuning are the constants of the semantics. They differ from Standard in tests only.
type Tuning struct {
	BatchWork   int // ends and grants a batch may carry out besides those of its commands (HF-2.3a)
	PassLimit   int // how often a waiter may be passed (HF-4.6)
	KeptAnswers int // answers kept for a session (HF-7.2)
}

// Standard is what SEMANTICS says.
var Standard = Tuning{BatchWork: 1024, PassLimit: 64, KeptAnswers: 1024}

// Table is the state machine. It is not safe for concurrent use.
type Table struct {
	tuning Tuning
	es     entities
	g      globals

	sessions   map[SessionID]*session // ended ones too, while they are remembered
	nonces     map[nonceKey]*nonce
	ghosts     map[GrantID]*ghost
	spaces     map[string]*space
	locks      slab[lockRef, lock]
	holds      slab[holdRef, hold]
	stakes     slab[stakeRef, stake]
	principals map[string]uint32 // live sessions
	deadlines  timers
	emptying   fifo[*session] // ended sessions that have kept answers, in the same order
	forgetting fifo[*session] // ended sessions, in the order in which they are forgotten
	fading     fifo[*nonce]   // nonces of cancelled requests, likewise
	backlog    backlog
	reports    fifo[*report]

	lockIndex   index // by namespace and name
	grantIndex  index // by id; ended ones not
	answerIndex index // by session and request id
	stances     index // by lock and owner: see lock.go
	ownersMade  uint32

	// The batch that is being applied.
	at        Index
	budget    int
	result    *Result
	answering *request // the new waiter whose outcome is the result, if it comes in this command
	events    []Event  // in room that the next batch uses again
	expanded  []Claim  // room for the claims of the command at hand
	found     []*lock  // room for their locks
	shown     []Claim  // of grants in results and events
	live      int      // grants that are held
	waits     int      // requests in the order
}

// New makes an empty table.
func New() *Table { return NewWith(Standard) }

// NewWith makes an empty table with other constants, for tests.
func NewWith(tuning Tuning) *Table {
	t := newTable(tuning)
	t.g.limits = DefaultLimits
	t.g.version = 1
	t.es.add(&t.g)
	t.es.settle()
	return t
}

func newTable(tuning Tuning) *Table {
	return &Table{
		tuning:     tuning,
		sessions:   map[SessionID]*session{},
		nonces:     map[nonceKey]*nonce{},
		ghosts:     map[GrantID]*ghost{},
		spaces:     map[string]*space{},
		principals: map[string]uint32{},
	}
}

// Apply applies one batch (HF-2.8): time rises, what the batch names is renewed, the backlog and
// the deadlines that have passed are worked off as far as the budget goes, then come the commands.
func (t *Table) Apply(b Batch) Effects {
	t.at = Index{Entry: b.Index}
	t.budget = t.tuning.BatchWork
	clear(t.events)
	t.events = t.events[:0]
	t.es.touch(&t.g)
	t.g.index = b.Index
	t.rise(b.Stamp, b.Commands)
	t.workOff()
	t.resolveRest()
	results := make([]Result, len(b.Commands))
	for i, c := range b.Commands {
		t.at.Offset = uint32(i)
		t.result = &results[i]
		t.command(c)
		t.result.At = t.at
		t.workOff()
		t.complete()
	}
	t.result = nil
	t.freshen()
	t.dropEnded()
	t.es.settle()
	return Effects{Index: b.Index, Time: t.g.time, Results: results, Events: t.events, Backlog: t.hasBacklog()}
}

// complete completes the answer to a command by what followed from it: where its waiter stands, if
// it made one, and whether its session still lives.
func (t *Table) complete() {
	if r := t.answering; r != nil && !r.gone {
		t.queuedIs(r)
	}
	t.answering = nil
	if t.result.SessionDeadline > 0 {
		t.result.SessionDeadline = 0
		t.sessionIs(t.sessions[t.result.Session])
	}
}

func (t *Table) command(c Command) {
	switch c := c.(type) {
	case *Bootstrap:
		t.bootstrap(c)
	case *OpenSession:
		t.openSession(c)
	case *RenewSession:
		t.renewSession(c)
	case *CloseSession:
		t.closeSession(c)
	case *Acquire:
		t.acquire(c)
	case *Release:
		t.release(c)
	case *Convert:
		t.convert(c)
	case *Renew:
		t.renew(c)
	case *Cancel:
		t.cancel(c)
	case *RevokeGrant:
		t.revokeGrant(c)
	case *RevokeSession:
		t.revokeSession(c)
	case *SetLimits:
		t.g.limits = c.Limits
		t.done()
	case *SetSemantics:
		t.setSemantics(c)
	case *RaiseEpoch:
		t.raiseEpoch(c)
	}
}

func (t *Table) done() { t.result.Outcome = Done }

func (t *Table) refuse(why Refusal) {
	t.result.Outcome, t.result.Refusal = Refused, why
}

// bootstrap names the history; a second one changes nothing.
func (t *Table) bootstrap(c *Bootstrap) {
	if t.g.clusterID == "" {
		t.g.clusterID = strings.Clone(c.ClusterID)
	}
	t.done()
}

// setSemantics switches on a version that every member knows (HF-10.7).
func (t *Table) setSemantics(c *SetSemantics) {
	if c.Version < t.g.version || c.Version > Version {
		t.refuse(InvalidVersion)
		return
	}
	t.g.version = c.Version
	t.done()
}

const (
	counterBits = 48
	epochMax    = 1<<15 - 1
)

// raiseEpoch puts every later token above every earlier one of any history, and ends all sessions
// (HF-6.2).
func (t *Table) raiseEpoch(c *RaiseEpoch) {
	if c.Epoch <= t.g.epoch || c.Epoch > epochMax {
		t.refuse(InvalidEpoch)
		return
	}
	t.g.epoch = c.Epoch
	t.done()
	for _, s := range t.sessionsByID() {
		if s.alive() {
			t.endSession(s, Restored, "")
			t.putOff(&backlogItem{kind: endSession, session: s.id})
		}
	}
}

// nextToken is greater than every token before it (HF-6.1).
func (t *Table) nextToken() Token {
	t.g.counter++
	return Token(uint64(t.g.epoch)<<counterBits | t.g.counter)
}

func (t *Table) emit(e Event) {
	e.At = t.at
	t.events = append(t.events, e)
}

// ClusterID is the name of the history; empty before Bootstrap.
func (t *Table) ClusterID() string { return t.g.clusterID }

// Epoch is the upper part of every token.
func (t *Table) Epoch() uint32 { return t.g.epoch }

// Time is T.
func (t *Table) Time() Millis { return t.g.time }

// Index is that of the last batch.
func (t *Table) Index() uint64 { return t.g.index }

// SemanticsVersion is the version in force.
func (t *Table) SemanticsVersion() uint32 { return t.g.version }

// Hash is the hash of the whole state (HF-10.5).
func (t *Table) Hash() uint64 { return t.es.hash }

// NextDeadline is the first point of T at which something could end; there may be nothing to end
// then, if it was renewed.
func (t *Table) NextDeadline() (at Millis, ok bool) {
	if len(t.deadlines) == 0 {
		return 0, false
	}
	return t.deadlines[0].at, true
}

// freshen sets the first timer anew if it is that of a session that was renewed since.
func (t *Table) freshen() {
	for len(t.deadlines) > 0 && t.deadlines[0].kind == sessionTimer {
		d := t.deadlines[0]
		s := t.sessions[SessionID(d.id.Entry)]
		if s.deadline == d.at {
			return
		}
		t.deadlines.set(d, s.deadline)
	}
}

// fifo is a queue that gives its room back.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) all() []T { return q.items[q.head:] }

func (q *fifo[T]) push(e T) { q.items = append(q.items, e) }

func (q *fifo[T]) pop() T {
	var none T
	e := q.items[q.head]
	q.items[q.head] = none
	q.head++
	if q.head > 64 && q.head*2 > len(q.items) {
		q.items = append([]T(nil), q.items[q.head:]...)
		q.head = 0
	}
	return e
}
