package locktable

// Views for those who look (HF-9.1, HF-9.2). They change nothing.

// shownMax is how many holders, waiters or ghosts of one lock a view lists.
const shownMax = 1000

// Status is the state in numbers.
type Status struct {
	ClusterID        string
	Index            uint64
	Time             Millis
	Epoch            uint32
	SemanticsVersion uint32
	Sessions         int
	Grants           int
	Waiting          int
	Limits           Limits
	Hash             uint64
}

// Status gives the state in numbers.
func (t *Table) Status() Status {
	sessions := 0
	for _, n := range t.principals {
		sessions += int(n)
	}
	return Status{
		ClusterID: t.g.clusterID, Index: t.g.index, Time: t.g.time, Epoch: t.g.epoch,
		SemanticsVersion: t.g.version, Sessions: sessions, Grants: t.live, Waiting: t.waits,
		Limits: t.g.limits, Hash: t.es.hash,
	}
}

// LockView shows one lock.
type LockView struct {
	Name         string
	Holders      []HolderView // by grant id, the first 1,000
	HoldersTotal int
	Waiters      []WaiterView // in order, the first 1,000
	WaitersTotal int
	Ghosts       []GhostView // by the grant that left them, the first 1,000
}

// HolderView shows a grant on one name.
type HolderView struct {
	Grant     GrantInfo
	Session   SessionID
	Owner     string
	Mode      Mode
	Implied   bool // no named claim of the grant
	Ending    bool // its end is decided
	Metadata  string
	GrantedAt Millis

	SessionMetadata string
}

// WaiterView shows a waiting request on one name.
type WaiterView struct {
	Arrival   Index
	Session   SessionID
	Owner     string
	Request   uint64
	Mode      Mode
	Claims    []Claim
	Position  int
	Priority  int32
	ArrivedAt Millis
	Until     Millis
	Metadata  string
	Converts  GrantID
}

// GhostView shows a ghost on one name.
type GhostView struct {
	Grant GrantID
	Mode  Mode
	Until Millis
}

// Lock shows the lock of a name; an empty one if nothing stands there.
func (t *Table) Lock(namespace, name string) LockView {
	if sp := t.spaces[namespace]; sp != nil {
		if l := sp.find(name); l != nil {
			return l.view()
		}
	}
	return LockView{Name: name}
}

// Locks shows the locks at and below prefix with names after the given one, in byte order of
// their names; more tells whether there are others.
func (t *Table) Locks(namespace, prefix, after string, limit int) (locks []LockView, more bool) {
	sp := t.spaces[namespace]
	if sp == nil {
		return nil, false
	}
	below := ""
	if prefix != "" {
		below = prefix + "/"
		if l := sp.find(prefix); l != nil && after < prefix {
			locks = append(locks, l.view())
		}
	}
	for l := range sp.sorted.from(max(below, after), prefix) {
		switch {
		case !isBelow(l.name, prefix):
			return locks, false
		case l.name <= after:
		case len(locks) == limit:
			return locks, true
		default:
			locks = append(locks, l.view())
		}
	}
	return locks, false
}

func (l *lock) view() LockView {
	v := LockView{Name: l.name, HoldersTotal: int(l.holds.size), WaitersTotal: l.queued}
	for h := range l.eachHold() {
		if len(v.Holders) == shownMax {
			break
		}
		g := l.space.t.grantOf(h)
		s := g.session()
		v.Holders = append(v.Holders, HolderView{
			Grant: g.info(g.named(nil)), Session: s.id, Owner: g.owner.key, Mode: h.mode, Implied: h.named == None,
			Ending: g.isEnding(), Metadata: g.metadata, GrantedAt: g.grantedAt,
			SessionMetadata: s.metadata,
		})
	}
	for p := l.first; p != nil && len(v.Waiters) < shownMax; p = p.next {
		v.Waiters = append(v.Waiters, p.view())
	}
	for _, h := range l.ghosts[:min(len(l.ghosts), shownMax)] {
		for _, c := range h.claims {
			if c.Name == l.name {
				v.Ghosts = append(v.Ghosts, GhostView{Grant: h.grant, Mode: c.Mode, Until: h.until})
			}
		}
	}
	return v
}

// view shows a place; its position counts the conflicting waiters ahead on this name.
func (p *place) view() WaiterView {
	v := p.request.view()
	v.Mode = p.mode
	v.Position = 1
	for q := p.lock.first; q != p; q = q.next {
		if q.conflicts(p) {
			v.Position++
		}
	}
	return v
}

func (r *request) view() WaiterView {
	return WaiterView{
		Arrival: r.arrival, Session: r.session.id, Owner: r.ownerKey, Request: r.id, Claims: r.named,
		Priority: r.priority, ArrivedAt: r.arrivedAt, Until: r.until, Metadata: r.metadata, Converts: r.converts,
	}
}

// SessionView shows a session that lives.
type SessionView struct {
	ID        SessionID
	Principal string
	Namespace string
	Metadata  string
	TTL       Millis
	Deadline  Millis
	OpenedAt  Millis
	Implicit  bool
	Grants    int
	Waiting   int
}

// Session shows a session that lives.
func (t *Table) Session(id SessionID) (v SessionView, ok bool) {
	s := t.sessions[id]
	if s == nil || !s.alive() {
		return SessionView{}, false
	}
	return s.view(), true
}

// SessionEnd tells why a session ended, while that is remembered.
func (t *Table) SessionEnd(id SessionID) (why EndReason, detail string, known bool) {
	s := t.sessions[id]
	if s == nil {
		return NotEnded, "", false
	}
	return s.ended, s.detail, true
}

// Sessions shows the sessions of a namespace that live, by id, from the one after the given one.
func (t *Table) Sessions(namespace string, after SessionID, limit int) (sessions []SessionView, more bool) {
	for _, s := range t.sessionsByID() {
		if s.id <= after || !s.alive() || s.namespace != namespace {
			continue
		}
		if len(sessions) == limit {
			return sessions, true
		}
		sessions = append(sessions, s.view())
	}
	return sessions, false
}

func (s *session) view() SessionView {
	return SessionView{
		ID: s.id, Principal: s.principal, Namespace: s.namespace, Metadata: s.metadata, TTL: s.ttl,
		Deadline: s.deadline, OpenedAt: s.openedAt, Implicit: s.implicit, Grants: int(s.grants.size),
		Waiting: s.waits.size,
	}
}

// DeadlockView shows a resolved deadlock.
type DeadlockView struct {
	At     Index
	Time   Millis
	Cycle  []CycleStep
	Victim Index // arrival; zero if an edge was turned
}

// Deadlocks shows the resolved deadlocks of a namespace, the newest first (HF-8.5).
func (t *Table) Deadlocks(namespace string, limit int) []DeadlockView {
	var shown []DeadlockView
	all := t.reports.all()
	for i := len(all) - 1; i >= 0 && len(shown) < limit; i-- {
		if d := all[i]; d.namespace == namespace {
			shown = append(shown, DeadlockView{At: d.at, Time: d.time, Cycle: d.cycle, Victim: d.victim})
		}
	}
	return shown
}

// WaitStep is one blocker of a chain.
type WaitStep struct {
	Distance        int
	Blocker         Blocker
	Since           Millis // granted, or arrived
	SessionMetadata string
	SessionTTL      Millis
	SessionDeadline Millis
	SessionEnded    bool
}

// Explanation is why a request waits (HF-9.2).
type Explanation struct {
	Waiting bool
	Waiter  WaiterView
	Steps   []WaitStep // breadth first
}

// ExplainRequest tells why a request waits: those in its way, those in their way, and so on.
func (t *Table) ExplainRequest(session SessionID, request uint64, limit int) Explanation {
	s := t.sessions[session]
	if s == nil {
		return Explanation{}
	}
	r := s.waiting[request]
	if r == nil || !r.inOrder() {
		return Explanation{}
	}
	return t.explain(r, limit)
}

// ExplainLock tells what the last waiter on a name waits for.
func (t *Table) ExplainLock(namespace, name string, limit int) Explanation {
	sp := t.spaces[namespace]
	if sp == nil {
		return Explanation{}
	}
	l := sp.find(name)
	if l == nil || l.last == nil {
		return Explanation{}
	}
	return t.explain(l.last.request, limit)
}

func (t *Table) explain(r *request, limit int) Explanation {
	e := Explanation{Waiting: true, Waiter: r.view()}
	position, _, _ := r.inTheWay()
	e.Waiter.Position = position
	e.Waiter.Mode = r.named[0].Mode
	type reached struct {
		owner    *owner
		distance int
	}
	seen := map[*owner]bool{r.owner: true}
	queue := []reached{{r.owner, 1}}
	for len(queue) > 0 && len(e.Steps) < limit {
		at := queue[0]
		queue = queue[1:]
		requests := at.owner.requests
		if at.owner == r.owner {
			requests = []*request{r}
		}
		for _, q := range requests {
			_, blockers, _ := q.inTheWay()
			for _, b := range blockers {
				if len(e.Steps) == limit {
					break
				}
				step, next := t.step(b, at.distance)
				e.Steps = append(e.Steps, step)
				if next != nil && !seen[next] {
					seen[next] = true
					queue = append(queue, reached{next, at.distance + 1})
				}
			}
		}
	}
	return e
}

// step describes a blocker, and gives its owner.
func (t *Table) step(b Blocker, distance int) (WaitStep, *owner) {
	step := WaitStep{Distance: distance, Blocker: b}
	s := t.sessions[b.Session]
	if s == nil {
		if h := t.ghosts[b.Grant]; h != nil {
			step.Since = h.until
		}
		return step, nil
	}
	step.SessionMetadata, step.SessionTTL = s.metadata, s.ttl
	step.SessionDeadline, step.SessionEnded = s.deadline, !s.alive()
	if g := t.grant(b.Grant); g != nil {
		step.Since = g.grantedAt
	}
	o := s.owners.find(b.Owner)
	if o != nil && b.Kind == WaiterAhead {
		for _, r := range o.requests {
			if r.arrival == b.Arrival {
				step.Since = r.arrivedAt
			}
		}
	}
	return step, o
}
