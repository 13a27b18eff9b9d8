package modelcheck

import (
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// chooser makes the choices from which a world comes: a random source, a fuzzer's bytes, rapid.
type chooser interface {
	// IntN returns a number from 0 to n-1.
	IntN(n int) int
}

// generator makes batches for a small world, knowing what came of those before.
type generator struct {
	chooser
	index    uint64
	now      locktable.Millis
	sessions []*client
	grants   []held
	script   [][]locktable.Command // batches that belong together, to be given next
	scripts  int
	hot      []string // names that everybody wants
	cold     int      // of 10 acquires, how many want a name that few want
	epoch    uint32
	nonces   []locktable.Command // sessionless acquires and openings, to be repeated
	most     int                 // commands in a batch, but for scripts
}

// client is a session as its client knows it.
type client struct {
	id        locktable.SessionID
	principal string
	namespace string
	implicit  bool
	next      uint64
	sent      []locktable.Command // with request ids, to be repeated
	ended     bool
}

// held is a grant that was seen.
type held struct {
	id     locktable.GrantID
	client *client
	names  []string
}

var (
	ttls       = []locktable.Millis{1_000, 1_000, 2_000, 5_000, 30_000}
	waits      = []locktable.Millis{0, 0, 50, 200, 1_000, 5_000, 60_000, 60_000}
	steps      = []locktable.Millis{0, 0, 0, 1, 10, 50, 50, 100, 200, 400}
	leases     = []locktable.Millis{0, 0, 0, 0, 100, 300, 1_000}
	holds      = []locktable.Millis{0, 0, 0, 0, 0, 200, 1_000}
	delays     = []locktable.Millis{0, 0, 0, 100, 1_000}
	priorities = []int32{0, 0, 0, 0, 1, 1, -1, 5, -100, 100}
	modes      = []locktable.Mode{locktable.X, locktable.X, locktable.X, locktable.S, locktable.S,
		locktable.IX, locktable.IS, locktable.SIX}
	keys  = []string{"", "", "", "k", "m"}
	trees = [][]string{
		{"a"},
		{"a", "b"},
		{"a", "a/b", "a/c", "a/b/d"},
		{"a", "b", "c", "a/x", "b/x"},
		{"r/a", "r/b", "r", "r/a/z", "q"},
	}
)

func pick[T any](g chooser, from []T) T { return from[g.IntN(len(from))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) >= 100-percent }

func newGenerator(c chooser) *generator {
	g := &generator{chooser: c}
	g.hot = pick(g, trees)
	g.cold = g.IntN(6)
	g.most = pick(g, []int{3, 8, 20})
	return g
}

// batch makes the next batch.
func (g *generator) batch() locktable.Batch {
	g.index++
	g.now += pick(g, steps)
	switch {
	case g.chance(4):
		g.now += 1_000
	case g.chance(1) && g.chance(60):
		g.now += 40_000
	case g.chance(1) && g.chance(30):
		g.now += 600_000
	}
	b := locktable.Batch{Index: g.index, Stamp: g.now, Version: 1}
	if g.chance(2) {
		b.Stamp -= 500 // a stamp that does not raise T
	}
	if g.index == 1 {
		b.Commands = append(b.Commands, &locktable.Bootstrap{ClusterID: "world"})
		for range 2 + g.IntN(5) {
			b.Commands = append(b.Commands, g.open())
		}
		return b
	}
	if len(g.script) == 0 && g.chance(6) {
		g.direct()
	}
	if len(g.script) > 0 && g.chance(85) {
		b.Commands = append(b.Commands, g.script[0]...)
		g.script = g.script[1:]
		return b
	}
	for range g.IntN(g.most) {
		if c := g.command(); c != nil {
			b.Commands = append(b.Commands, c)
		}
	}
	return b
}

func (g *generator) open() locktable.Command {
	c := &locktable.OpenSession{Principal: "p", Namespace: "default", TTL: pick(g, ttls)}
	if g.chance(15) {
		c.Principal = "q"
	}
	if g.chance(15) {
		c.Namespace = "other"
	}
	if g.chance(20) {
		c.Nonce, c.Metadata = fmt.Sprint("n", g.IntN(6)), pick(g, []string{"", "m"})
		g.nonces = append(g.nonces, c)
	}
	return c
}

// someone returns a session, most often one that lives.
func (g *generator) someone() *client {
	if len(g.sessions) == 0 {
		return nil
	}
	for range 6 {
		if c := pick(g, g.sessions); !c.ended {
			return c
		}
	}
	return pick(g, g.sessions)
}

// caller names a session with a fresh request id, or with one that a hostile client would use.
func (g *generator) caller(c *client) locktable.Caller {
	who := locktable.Caller{Principal: c.principal, Session: c.id}
	c.next++
	who.Request = c.next
	switch {
	case g.chance(8):
		who.Request = 0
	case g.chance(3):
		who.Request = uint64(g.IntN(int(c.next)+8)) + 1
	case g.chance(1):
		who.Request = c.next + 1_000
	}
	if g.chance(6) {
		who.Acked = uint64(g.IntN(int(c.next)))
	}
	switch {
	case g.chance(1):
		who.Principal = "stranger"
	case g.chance(1):
		who.Session = locktable.SessionID(g.IntN(40))
	}
	if c.implicit && g.chance(70) {
		who.Session = 0
	}
	return who
}

func (g *generator) remember(c *client, command locktable.Command) locktable.Command {
	c.sent = append(c.sent, command)
	return command
}

// command makes one command.
func (g *generator) command() locktable.Command {
	c := g.someone()
	if c == nil || c.ended && g.chance(70) {
		return g.open()
	}
	switch n := g.IntN(1000); {
	case n < 400:
		return g.remember(c, g.acquire(c))
	case n < 550:
		if grant, owner := g.grant(c); owner != nil {
			return g.remember(owner, &locktable.Release{Caller: g.caller(owner), Grant: grant.id})
		}
	case n < 640:
		if grant, owner := g.grant(c); owner != nil {
			return g.remember(owner, g.convert(owner, grant))
		}
	case n < 690:
		if grant, owner := g.grant(c); owner != nil {
			return g.remember(owner, &locktable.Renew{Caller: g.caller(owner), Grant: grant.id})
		}
	case n < 740:
		return g.cancel(c)
	case n < 820:
		return g.again(c)
	case n < 870:
		return g.open()
	case n < 900:
		return &locktable.CloseSession{Principal: c.principal, Session: c.id, Abandon: g.chance(40)}
	case n < 930:
		return &locktable.RenewSession{Principal: c.principal, Session: c.id}
	case n < 965:
		return g.sessionless()
	case n < 980:
		if grant, _ := g.grant(c); grant.id != 0 {
			return &locktable.RevokeGrant{Grant: grant.id, Reason: "why"}
		}
	case n < 988:
		return &locktable.RevokeSession{Session: c.id, Reason: "because"}
	case n < 993:
		return &locktable.SetLimits{Limits: locktable.Limits{WaitersPerName: uint32(1 + g.IntN(12)),
			GrantsPerSession: uint32(1 + g.IntN(20)), SessionsPerPrincipal: uint32(3 + g.IntN(20))}}
	case n < 995:
		return &locktable.SetSemantics{Version: uint32(g.IntN(3))}
	case n < 999:
		if g.chance(20) {
			g.epoch += 1 + uint32(g.IntN(3))
		}
		return &locktable.RaiseEpoch{Epoch: pick(g, []uint32{g.epoch, g.epoch, 0, 1 << 15})}
	}
	return nil
}

// grant returns a grant that was seen, most often one of the client, and whom to send for it.
func (g *generator) grant(c *client) (held, *client) {
	if len(g.grants) == 0 {
		return held{}, nil
	}
	for range 8 {
		if grant := pick(g, g.grants); grant.client == c {
			return grant, c
		}
	}
	grant := pick(g, g.grants)
	if g.chance(10) {
		return grant, c // of somebody else
	}
	return grant, grant.client
}

func (g *generator) names(most int) []locktable.Claim {
	var claims []locktable.Claim
	for range 1 + g.IntN(most) {
		name := pick(g, g.hot)
		if g.IntN(10) < g.cold {
			name = fmt.Sprint("cold/", g.IntN(20))
		}
		if !slices.ContainsFunc(claims, func(c locktable.Claim) bool { return c.Name == name }) {
			claims = append(claims, locktable.Claim{Name: name, Mode: pick(g, modes)})
		}
	}
	return claims
}

func (g *generator) acquire(c *client) *locktable.Acquire {
	most := 1
	if g.chance(30) {
		most = 4
	}
	a := &locktable.Acquire{Caller: g.caller(c), Owner: pick(g, keys), Claims: g.names(most),
		WaitLimit: pick(g, waits), Priority: pick(g, priorities), Lease: pick(g, leases),
		MaxHold: pick(g, holds), LockDelay: pick(g, delays), NoReentry: g.chance(8)}
	if g.chance(10) {
		a.OnDeadlock = locktable.ReleaseOwner
	}
	if a.Session == 0 {
		a.Session = c.id
	}
	return a
}

func (g *generator) sessionless() locktable.Command {
	names := []string{"default", "default", "default", "other"}
	a := &locktable.Acquire{Caller: locktable.Caller{Principal: pick(g, []string{"p", "p", "q"})},
		Claims: g.names(2), WaitLimit: pick(g, waits), TTL: pick(g, ttls), Namespace: pick(g, names),
		Lease: pick(g, leases), LockDelay: pick(g, delays), Nonce: fmt.Sprint("a", g.IntN(30))}
	if g.chance(30) {
		return &locktable.Cancel{Caller: locktable.Caller{Principal: a.Principal}, Namespace: a.Namespace,
			Nonce: a.Nonce}
	}
	g.nonces = append(g.nonces, a)
	return a
}

func (g *generator) convert(c *client, grant held) *locktable.Convert {
	v := &locktable.Convert{Caller: g.caller(c), Grant: grant.id, Name: pick(g, grant.names),
		Mode: pick(g, modes), WaitLimit: pick(g, waits), Priority: pick(g, priorities)}
	switch {
	case g.chance(10):
		v.Name = ""
	case g.chance(5):
		v.Name = pick(g, g.hot)
	}
	if g.chance(12) {
		v.Mode = locktable.None
	}
	if g.chance(10) {
		v.OnDeadlock = locktable.ReleaseOwner
	}
	return v
}

func (g *generator) cancel(c *client) locktable.Command {
	who := locktable.Caller{Principal: c.principal, Session: c.id}
	who.Request = uint64(1 + g.IntN(int(c.next)+1))
	if g.chance(60) {
		who.Request = uint64(max(1, int(c.next)-g.IntN(4)))
	}
	if g.chance(10) {
		who.Request = c.next + 1 + uint64(g.IntN(3))
	}
	return &locktable.Cancel{Caller: who}
}

// again repeats a command, or sends another one under its id.
func (g *generator) again(c *client) locktable.Command {
	if len(g.nonces) > 0 && g.chance(25) {
		command := pick(g, g.nonces)
		if sent, ok := command.(*locktable.Acquire); ok && g.chance(15) {
			a := *sent
			a.Priority++
			command = &a
		}
		return command
	}
	if len(c.sent) == 0 {
		return nil
	}
	command := c.sent[max(0, len(c.sent)-1-g.IntN(6))]
	sent, ok := command.(*locktable.Acquire)
	if !ok {
		return command
	}
	a := *sent
	switch {
	case g.chance(10):
		a.Claims = slices.Clone(a.Claims)
		slices.Reverse(a.Claims)
		return &a
	case g.chance(10):
		a.WaitLimit++
		return &a
	case g.chance(10):
		return &locktable.Renew{Caller: a.Caller, Grant: 1}
	}
	return command
}

// learn takes note of what came of a batch.
func (g *generator) learn(b locktable.Batch, fx locktable.Effects) {
	for i, r := range fx.Results {
		if r.Session == 0 || r.Outcome == locktable.Refused && r.SessionDeadline == 0 {
			continue
		}
		switch c := b.Commands[i].(type) {
		case *locktable.OpenSession:
			g.meet(&client{id: r.Session, principal: c.Principal, namespace: c.Namespace})
		case *locktable.Acquire:
			if c.Session == 0 {
				g.meet(&client{id: r.Session, principal: c.Principal, namespace: c.Namespace, implicit: true, next: 1})
			}
		}
	}
	for _, e := range fx.Events {
		switch {
		case e.Kind == locktable.EventSessionEnded:
			if c := g.client(e.Session); c != nil {
				c.ended = true
			}
		case e.Grant.ID != 0 && (e.Kind == locktable.EventGranted || e.Kind == locktable.EventOutcome):
			if c := g.client(e.Session); c != nil {
				h := held{id: e.Grant.ID, client: c}
				for _, n := range e.Grant.Claims {
					h.names = append(h.names, n.Name)
				}
				g.grants = append(g.grants, h)
			}
		case e.Kind == locktable.EventGrantEnded && !g.chance(20):
			g.grants = slices.DeleteFunc(g.grants, func(h held) bool { return h.id == e.Grant.ID })
		}
	}
	if over := len(g.grants) - 24; over > 0 {
		g.grants = g.grants[over:]
	}
}

func (g *generator) meet(c *client) {
	if g.client(c.id) == nil {
		g.sessions = append(g.sessions, c)
	}
	if len(g.sessions) > 14 {
		dead := slices.IndexFunc(g.sessions, func(c *client) bool { return c.ended })
		if dead < 0 {
			dead = 0
		}
		g.sessions = slices.Delete(g.sessions, dead, dead+1)
	}
}

func (g *generator) client(id locktable.SessionID) *client {
	for _, c := range g.sessions {
		if c.id == id {
			return c
		}
	}
	return nil
}
