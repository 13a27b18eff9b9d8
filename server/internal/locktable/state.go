package locktable

// The state. A field marked `derived` can be rebuilt from the others and is in no encoding.

// globals is what belongs to no session.
type globals struct {
	entityNode
	clusterID   string
	index       uint64 // of the last batch
	time        Millis // T
	epoch       uint32
	counter     uint64 // of the last token
	lastSession SessionID
	limits      Limits
	version     uint32 // semantics version
	frontSeq    int64  // of the last backlog item put before the others
	backSeq     int64  // of the last one put behind them
}

// session is a client's liveness (HF-2.1). When it has ended it is remembered for a while.
type session struct {
	entityNode
	id        SessionID
	principal string
	namespace string
	metadata  string
	nonce     string
	ttl       Millis
	deadline  Millis
	openedAt  Millis
	implicit  bool   // opened by an acquire, ends with it (HF-4.12)
	floor     uint64 // request ids up to it have no kept answer unless they completed late (HF-7.2)

	ended    EndReason // NotEnded while it lives
	detail   string
	endedAt  Millis
	endedSeq uint64 // place among the ended ones, which are forgotten in that order

	space     *space              // derived
	owners    ownerSet            // derived: those that hold or wait
	kept      chain[answerRef]    // derived: kept answers, in order of completion
	lowest    uint64              // derived: no kept answer has a lower request id
	waiting   map[uint64]*request // derived: waits by request id, those without one left out
	waits     list[*request]      // derived: all waits, by arrival; decided ones too
	grants    chain[grantRef]     // derived: by id, ending ones too
	item      *backlogItem        // derived: its end in the backlog, carried out or not
	timer     timer               // derived
	acquiring int                 // derived: acquires among the waits that are in the order
}

func (s *session) alive() bool { return s.ended == NotEnded }

// answer is a kept answer (HF-7.2).
type answer struct {
	entityNode
	session   *session
	request   uint64
	completed uint64 // number of its completion in the session; orders the kept answers
	digest    uint64
	first     uint64 // index of the first answer
	grantID   GrantID
	more      *answerDetails // nil: they follow from the rest
	kind      answerKind
	outcome   Outcome
	refusal   Refusal
	ended     EndReason

	grant grantRef              // derived: counted in its refs
	links chainLinks[answerRef] // derived: its neighbours among those of the session
}

// answerDetails is what few answers have.
type answerDetails struct {
	token  Token // if it is not the first of the grant
	detail string
}

// answerKind says what kind of command an answer belongs to, as far as Cancel must know.
type answerKind uint8

const (
	otherAnswer   answerKind = iota
	waitAnswer               // of an acquire or a conversion
	cancelledMark            // of a Cancel that came before its request (HF-4.9)
)

// grant is what an owner holds (HF-5.1): its claims are the holds. When it has ended it is kept as
// long as an answer refers to it, so that a replay can say why it ended (HF-2.9).
type grant struct {
	entityNode
	id        GrantID
	owner     *owner // its session and key
	grantedAt Millis
	depth     uint32
	ending    EndReason // its end is decided and stands in the backlog (HF-2.3a)
	ended     EndReason // it is gone
	*grantTerms

	holds holdRef              // derived from the named claims: one for each name, implied ones too
	refs  uint32               // derived: answers that refer to it
	links chainLinks[grantRef] // derived: its neighbours among those of the session
}

// grantTerms is what few grants have. All others share one that is empty: see own.
type grantTerms struct {
	newToken  Token  // that of a raised conversion; 0: it has its first
	lease     Millis // length; 0: none
	leaseEnd  Millis
	maxHold   Millis // deadline; 0: none
	lockDelay Millis
	metadata  string
	detail    string

	convert *request  // derived: its waiting conversion
	timers  *[2]timer // derived: lease, max_hold
}

var noTerms grantTerms

// own makes sure that the terms of a grant are its own, to be changed.
func (g *grant) own() *grantTerms {
	if g.grantTerms == &noTerms {
		g.grantTerms = &grantTerms{}
	}
	return g.grantTerms
}

func (g *grant) session() *session { return g.owner.session }

// token is the present one (HF-6.1).
func (g *grant) token() Token {
	if g.newToken != 0 {
		return g.newToken
	}
	return Token(g.id)
}

// isEnding tells whether the grant's end is decided: it only excludes others (HF-2.3a).
func (g *grant) isEnding() bool { return g.ending != NotEnded || !g.session().alive() }

// endsBy tells why a grant is ending.
func (g *grant) endsBy() (EndReason, string) {
	if g.ending == NotEnded {
		return g.session().ended, g.session().detail
	}
	return g.ending, g.detail
}

// request is an acquire or a conversion that waits (HF-4.1).
type request struct {
	entityNode
	arrival    Index
	arrivedAt  Millis
	session    *session
	id         uint64
	digest     uint64
	ownerKey   string
	named      []Claim // of an acquire: asked for; of a conversion: its one claim
	converts   GrantID // 0: an acquire
	until      Millis  // its wait limit
	priority   int32
	conversion bool // a pure conversion (HF-4.4)
	lease      Millis
	maxHold    Millis
	lockDelay  Millis
	onDeadlock DeadlockAction
	noReentry  bool
	metadata   string
	ahead      Index   // arrival of the one before it in the order; zero: none
	atLimit    bool    // it may not be passed any more (HF-4.6)
	passers    []Index // distinct later requests that were counted against it

	decided Outcome   // its end is decided and stands in the backlog; it is out of the order
	ended   EndReason // why, with decided
	detail  string

	space  *space          // derived
	owner  *owner          // derived
	grant  *grant          // derived: the one that is converted, while the request is in the order
	places []place         // derived: one for each name, implied ones too
	order  links[*request] // derived
	label  uint64          // derived: rises along the order
	mine   links[*request] // derived: among the waits of its session
	timer  timer           // derived
}

// inOrder tells whether the request still stands in the order.
func (r *request) inOrder() bool { return r.decided == OutcomeNone }

// ghost is what an unclean end leaves for the lock delay (HF-4.11).
type ghost struct {
	entityNode
	grant     GrantID
	namespace string
	claims    []Claim // implied ones too, in byte order of their names
	until     Millis
	passed    bool // its end stands in the backlog

	space *space // derived
	timer timer  // derived
}

// nonce remembers which session a nonce led to (HF-7.4, HF-4.12).
type nonce struct {
	entityNode
	nonceKey
	session   SessionID // 0: the request was cancelled before it came
	digest    uint64
	cancelled uint64 // index of that cancel
	until     Millis // of a cancelled one: kept until then
}

type nonceKey struct {
	acquire   bool
	principal string
	namespace string
	nonce     string
}

// backlogItem is an end that is decided and not carried out, or grants that are owed (HF-2.3a).
type backlogItem struct {
	entityNode
	seq       int64
	kind      backlogKind
	session   SessionID // endSession
	wait      Index     // endWait
	grant     GrantID   // endGrant, endGhost
	namespace string    // owedGrants
	announced bool      // endSession: its event is out
	done      bool      // owedGrants: they have been made

	s *session // derived
	r *request // derived
	h *ghost   // derived
}

type backlogKind uint8

const (
	endSession backlogKind = iota + 1 // the session's event, then its waits, then its grants
	endWait
	endGrant
	endGhost
	owedGrants
)

// report is a resolved deadlock (HF-8.5).
type report struct {
	entityNode
	seq       uint64
	namespace string
	at        Index
	time      Millis
	cycle     []CycleStep
	victim    Index // arrival; zero: an edge was turned
}

// space is what one namespace has of its own (HF-1.2); it is derived.
type space struct {
	name    string
	number  uint64 // tells spaces apart in hashes
	t       *Table
	sorted  sortedLocks
	order   list[*request]  // all waiters (HF-4.4)
	waiting map[*owner]bool // owners that wait
	owed    *backlogItem    // its place in the backlog if grants are owed here

	// What the present command left to be looked at.
	full    []*request // passed as often as may be, to be moved (HF-4.6)
	dirty   []*crowd   // where something may have become grantable
	ready   []*request // requests that may have become grantable
	touched []*owner   // through whom a cycle may have closed
}

// owner is one line of work: a session and an owner key (HF-2.4).
type owner struct {
	session  *session
	key      string
	number   uint32     // tells owners apart in hashes
	place    uint32     // among the nodes of a search for cycles; 0 between searches
	requests []*request // in the order, by arrival
	stakes   int32      // locks on which it holds something
	touched  bool       // in space.touched
}

func (o *owner) compare(p *owner) int {
	switch {
	case o.session.id != p.session.id:
		if o.session.id < p.session.id {
			return -1
		}
		return 1
	case o.key < p.key:
		return -1
	case o.key > p.key:
		return 1
	default:
		return 0
	}
}

// lock is all that stands on one name (HF-1.4); it is derived. Most locks are held by one grant and
// that is all: then the hold says everything.
type lock struct {
	name  string
	space *space
	self  lockRef
	fresh uint32         // 1 more than its place among the fresh ones; 0: it is in the tree
	holds chain[holdRef] // by grant id
	*crowd
}

// crowd is what a lock has beyond a single hold. Locks without share one that is empty: see gather.
type crowd struct {
	lock   *lock      // while it has waiters
	owners modeCounts // owners by the mode in which they exclude others
	held   modeCounts // grants by their mode here
	ghosts []*ghost
	shut   modeCounts // ghosts by their mode here

	first, last *place
	queued      int        // places
	waiting     modeCounts // places that are not satisfied, by mode
	isDirty     bool
}

var noCrowd crowd

// hold is a grant's mode on one name.
type hold struct {
	grant  grantRef
	lock   lockRef
	links  chainLinks[holdRef] // on the lock, by grant id
	next   holdRef             // of the grant, by name
	stake  stakeRef            // 0: its owner has no other hold here
	mode   Mode
	named  Mode // None: implied by other claims of the grant
	ending bool
}

// stake is what an owner has on a lock where it has several holds: the join of them (HF-3.2).
type stake struct {
	owner  *owner
	lock   lockRef
	live   modeCounts // grants that cover
	ending modeCounts // grants that only exclude others
	stance            // the joins
	holds  int32
}

// stance is how an owner stands on a lock.
type stance struct {
	cover Mode // join of what covers
	shuts Mode // join of all: how it excludes others
}

// place is where a request stands in the queue of one name.
type place struct {
	request    *request
	lock       *lock
	mode       Mode
	satisfied  bool // its owner's mode covers it: it neither waits nor makes others wait (HF-4.3)
	prev, next *place
}

// links are the neighbours of an element of a list.
type links[T comparable] struct{ prev, next T }

// list is a doubly linked list whose elements carry their links.
type list[T comparable] struct {
	first, last T
	size        int
	links       func(T) *links[T]
}

func (l *list[T]) pushBack(e T) {
	l.insertAfter(l.last, e)
}

// insertAfter puts e behind at, or first if at is the zero value.
func (l *list[T]) insertAfter(at, e T) {
	var none T
	k := l.links(e)
	k.prev = at
	if at == none {
		k.next, l.first = l.first, e
	} else {
		a := l.links(at)
		k.next, a.next = a.next, e
	}
	if k.next == none {
		l.last = e
	} else {
		l.links(k.next).prev = e
	}
	l.size++
}

func (l *list[T]) remove(e T) {
	var none T
	k := l.links(e)
	if k.prev == none {
		l.first = k.next
	} else {
		l.links(k.prev).next = k.next
	}
	if k.next == none {
		l.last = k.prev
	} else {
		l.links(k.next).prev = k.prev
	}
	k.prev, k.next = none, none
	l.size--
}

// chain is a doubly linked list of values in a slab.
type chain[R ~uint32] struct {
	first, last R
	size        uint32
}

// chainLinks are the neighbours of a value in a chain.
type chainLinks[R ~uint32] struct{ prev, next R }

// push puts a value at the end. links gives those of any value.
func (c *chain[R]) push(n R, links func(R) *chainLinks[R]) {
	k := links(n)
	k.prev, k.next = c.last, 0
	if c.last == 0 {
		c.first = n
	} else {
		links(c.last).next = n
	}
	c.last = n
	c.size++
}

func (c *chain[R]) remove(n R, links func(R) *chainLinks[R]) {
	k := links(n)
	if k.prev == 0 {
		c.first = k.next
	} else {
		links(k.prev).next = k.next
	}
	if k.next == 0 {
		c.last = k.prev
	} else {
		links(k.next).prev = k.prev
	}
	*k = chainLinks[R]{}
	c.size--
}
