package modelcheck

import (
	"fmt"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// direct writes a script: commands that chance alone would seldom put together.
func (g *generator) direct() {
	g.scripts++
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		g.ring(2 + g.IntN(7))
	case 4, 5:
		g.stand()
	case 6:
		g.upgrade()
	case 7:
		g.storm()
	case 8:
		g.overtake()
	case 9:
		g.reuse()
	case 10:
		g.crowd()
	case 11:
		g.impatient()
	}
}

// line is one line of work: a session and an owner key.
type line struct {
	client *client
	key    string
}

// lines returns up to n different owners of one namespace.
func (g *generator) lines(n int) (out []line) {
	var alive []*client
	namespace := "default"
	if first := g.someone(); first != nil {
		namespace = first.namespace
	}
	for _, c := range g.sessions {
		if !c.ended && c.namespace == namespace && !c.implicit {
			alive = append(alive, c)
		}
	}
	for i := 0; len(alive) > 0 && len(out) < n; i++ {
		out = append(out, line{alive[i%len(alive)], fmt.Sprint("k", i/len(alive))})
	}
	return out
}

func (g *generator) take(l line, wait locktable.Millis, claims ...locktable.Claim) locktable.Command {
	l.client.next++
	a := &locktable.Acquire{Owner: l.key, Claims: claims, WaitLimit: wait, Priority: pick(g, priorities),
		Caller: locktable.Caller{Principal: l.client.principal, Session: l.client.id, Request: l.client.next}}
	if g.chance(15) {
		a.OnDeadlock = locktable.ReleaseOwner
	}
	if g.chance(10) {
		a.LockDelay = 100
	}
	return g.remember(l.client, a)
}

func (g *generator) name(i int) string {
	if g.scripts%3 == 0 {
		return fmt.Sprintf("y%d/%d", g.scripts, i)
	}
	return fmt.Sprintf("y%d-%d", g.scripts, i)
}

// say adds commands to the script, one or more to a batch.
func (g *generator) say(commands ...locktable.Command) {
	var batch []locktable.Command
	for _, c := range commands {
		if c == nil {
			continue
		}
		batch = append(batch, c)
		if g.chance(40) {
			g.script, batch = append(g.script, batch), nil
		}
	}
	if batch != nil {
		g.script = append(g.script, batch)
	}
}

func (g *generator) shuffled(commands []locktable.Command) []locktable.Command {
	for i := len(commands) - 1; i > 0; i-- {
		j := g.IntN(i + 1)
		commands[i], commands[j] = commands[j], commands[i]
	}
	return commands
}

// ring builds a cycle of n owners, each holding what the one before it then asks for.
func (g *generator) ring(n int) {
	owners := g.lines(n)
	if len(owners) < n {
		return
	}
	var first, second []locktable.Command
	for i, o := range owners {
		first = append(first, g.take(o, 0, locktable.Claim{Name: g.name(i), Mode: locktable.X}))
		wanted := []locktable.Claim{{Name: g.name((i + 1) % n), Mode: pick(g, modes)}}
		if g.chance(20) {
			wanted = append(wanted, locktable.Claim{Name: g.name(100 + g.IntN(3)), Mode: pick(g, modes)})
		}
		second = append(second, g.take(o, 60_000, wanted...))
	}
	g.say(first...)
	g.say(g.shuffled(second)...)
}

// stand builds cycles in which some edges come from the order of the queue.
func (g *generator) stand() {
	n := 2 + g.IntN(5)
	owners := g.lines(n + 2)
	if len(owners) < n+2 {
		return
	}
	var first, second []locktable.Command
	for i, o := range owners[:n] {
		first = append(first, g.take(o, 0, locktable.Claim{Name: g.name(i), Mode: pick(g, modes)}))
	}
	for range n + 2 {
		o := pick(g, owners)
		claims := []locktable.Claim{{Name: g.name(g.IntN(n)), Mode: pick(g, modes)}}
		if other := g.name(g.IntN(n)); g.chance(60) && other != claims[0].Name {
			claims = append(claims, locktable.Claim{Name: other, Mode: pick(g, modes)})
		}
		second = append(second, g.take(o, 60_000, claims...))
	}
	g.say(first...)
	g.say(second...)
}

// upgrade lets two or more holders of a shared lock ask for more.
func (g *generator) upgrade() {
	owners := g.lines(2 + g.IntN(2))
	var takes, converts []locktable.Command
	for _, o := range owners {
		takes = append(takes, g.take(o, 0, locktable.Claim{Name: g.name(0), Mode: locktable.S}))
	}
	for _, h := range g.grants {
		if g.chance(50) {
			converts = append(converts, g.remember(h.client, g.convert(h.client, h)))
		}
	}
	for _, o := range owners {
		converts = append(converts, g.take(o, 60_000, locktable.Claim{Name: g.name(0), Mode: pick(g, modes)}))
	}
	g.say(takes...)
	g.say(converts...)
}

// storm lets many waits and holds end at one rise of T.
func (g *generator) storm() {
	owners := g.lines(8)
	var all []locktable.Command
	for i, o := range owners {
		all = append(all, g.take(o, 0, locktable.Claim{Name: g.name(i % 3), Mode: pick(g, modes)}))
		all = append(all, g.take(o, pick(g, []locktable.Millis{50, 60_000}),
			locktable.Claim{Name: g.name((i + 1) % 3), Mode: pick(g, modes)}))
	}
	g.say(all...)
	g.now += pick(g, []locktable.Millis{0, 0, 900, 1_900})
}

// overtake sends many requests past one that waits.
func (g *generator) overtake() {
	owners := g.lines(4)
	if len(owners) < 3 {
		return
	}
	shared := locktable.Claim{Name: g.name(0), Mode: locktable.S}
	all := []locktable.Command{g.take(owners[0], 0, shared),
		g.take(owners[1], 60_000, locktable.Claim{Name: g.name(0), Mode: locktable.X})}
	for range 3 + g.IntN(4) {
		c := g.take(owners[2+g.IntN(len(owners)-2)], pick(g, waits), locktable.Claim{Name: g.name(0), Mode: pick(g, modes)})
		a := *c.(*locktable.Acquire) // not the one that is remembered
		a.Priority = int32(50 + g.IntN(3))
		a.Owner = fmt.Sprint("o", g.IntN(5))
		all = append(all, &a)
	}
	g.say(all...)
}

// crowd lets more hold and wait for a name than an answer lists.
func (g *generator) crowd() {
	owners := g.lines(24)
	var all []locktable.Command
	mode := pick(g, []locktable.Mode{locktable.S, locktable.IX, locktable.IS})
	for i, o := range owners {
		if i > 10 && g.chance(50) {
			mode = pick(g, modes)
		}
		all = append(all, g.take(o, pick(g, waits), locktable.Claim{Name: g.name(0), Mode: mode}))
	}
	g.say(all...)
}

// impatient converts a grant again while a conversion of it waits.
func (g *generator) impatient() {
	var all []locktable.Command
	for _, o := range g.lines(2) {
		all = append(all, g.take(o, 0, locktable.Claim{Name: pick(g, g.hot), Mode: locktable.S}))
	}
	for range 4 {
		if grant, owner := g.grant(g.someone()); owner != nil {
			for range 3 {
				v := g.convert(owner, grant)
				v.Mode, v.WaitLimit = pick(g, []locktable.Mode{locktable.X, locktable.SIX}), 60_000
				all = append(all, g.remember(owner, v))
			}
		}
	}
	g.say(all...)
}

// reuse cancels ids before they are seen, and uses them afterwards.
func (g *generator) reuse() {
	c := g.someone()
	if c == nil {
		return
	}
	cancel := &locktable.Cancel{Caller: locktable.Caller{Principal: c.principal, Session: c.id, Request: c.next + 1}}
	g.say(cancel, g.remember(c, g.acquire(c)), cancel, g.again(c))
}
