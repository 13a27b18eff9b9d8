package proposer

import (
	"errors"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// inFlight is how many entries may be in flight: while one is on its way through disks and network,
// one that is well filled may follow.
const inFlight = 2

// poke wakes the loop; several pokes are one.
func (p *Proposer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run proposes what there is to propose. It is the only one who does, so entries stand in the log
// in the order of their stamps.
func (p *Proposer) run() {
	defer close(p.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.begin()
		p.look()
		e, wait := p.next(time.Now())
		if e != nil {
			future := p.log.Propose(e.Entry)
			go func() { p.finish(e, future.Err()) }()
			continue
		}
		timer.Reset(wait)
		select {
		case <-p.wake:
		case <-timer.C:
		case <-p.stop:
			return
		}
	}
}

// begin starts the clock of a reign that has just been won. A grace is held only if there is
// somebody to hold it for: a fresh cluster, in which nothing has a deadline, needs none.
func (p *Proposer) begin() {
	p.mu.Lock()
	due := p.leads && !p.begun
	p.mu.Unlock()
	if !due {
		return
	}
	now := p.glance()
	hold := time.Duration(0)
	if now.timed {
		hold = grace
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leads {
		p.begun, p.prompt, p.quiet = true, true, !now.timed
		p.applied, p.version = now.t, now.version
		p.clock.win(p.cfg.Now(), now.t, hold)
	}
}

// state is what the proposer wants to know of the table.
type state struct {
	t       locktable.Millis
	timed   bool // something has a deadline
	version uint32
}

// glance reads the table. The proposer's lock must not be held: whoever applies the log may have
// the table when taking it.
func (p *Proposer) glance() (now state) {
	p.log.View(func(table Table) {
		now.t, now.version = table.Time(), table.SemanticsVersion()
		_, now.timed = table.NextDeadline()
	})
	return now
}

// look finds out whether time has to go on, if no entry has carried it for a tick.
func (p *Proposer) look() {
	p.mu.Lock()
	due := p.tickIn(time.Now()) <= 0
	p.mu.Unlock()
	if !due {
		return
	}
	now := p.glance()
	p.mu.Lock()
	p.quiet = !now.timed && !p.backlog
	p.mu.Unlock()
}

const never = time.Hour

// tickIn tells how long it is until an entry is due for the sake of time.
func (p *Proposer) tickIn(now time.Time) time.Duration {
	if !p.begun || p.quiet || p.closed || len(p.flight) > 0 {
		return never
	}
	return tick - now.Sub(p.proposed)
}

// next makes the next entry, if there is cause for one and room in flight, or else tells when to
// look again. The stamp is taken last, after the last command has arrived.
func (p *Proposer) next(now time.Time) (*entry, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.begun || p.stalled || !p.mayFly() {
		return nil, never
	}
	wait := p.tickIn(now)
	if p.queue.renewals > 0 {
		wait = min(wait, p.cfg.RenewalDelay-now.Sub(p.queue.since))
	}
	prompt := p.prompt && len(p.flight) == 0 && !p.closed
	if p.queue.urgent == 0 && !prompt && wait > 0 {
		return nil, wait
	}
	p.number++
	e := &entry{since: now, bytesMax: p.cfg.EntryBytesMax, commandsMax: p.cfg.EntryCommandsMax}
	e.Proposal, e.Version = p.number, p.version
	e.Commands = make([]locktable.Command, 0, min(p.queue.commands, e.commandsMax))
	p.queue.fill(e)
	p.flight = append(p.flight, e)
	if len(p.flight) == 1 {
		p.watchStall(now)
	}
	p.prompt, p.quiet, p.proposed = false, false, now
	p.stats.Entries++
	p.stats.Commands += uint64(len(e.Commands))
	if len(e.parts) == 0 {
		p.stats.Ticks++
	}
	e.Stamp = p.clock.stamp(p.cfg.Now())
	return e, 0
}

// mayFly tells whether there is room in flight for an entry of what waits. The disks take entries one
// after the other, so a small one behind another would hardly be there sooner, and costs each node
// as much as a large one.
func (p *Proposer) mayFly() bool {
	switch len(p.flight) {
	case 0:
		return true
	case inFlight - 1:
		return p.queue.commands >= p.cfg.FillCommands || p.queue.bytes >= p.cfg.EntryBytesMax
	}
	return false
}

// land takes an entry out of flight.
func (p *Proposer) land(e *entry) {
	i := slices.Index(p.flight, e)
	p.flight = slices.Delete(p.flight, i, i+1)
	if i == 0 {
		p.stalled = false
		p.watchStall(time.Now())
	}
}

// finish tells the callers of an entry that its future has spoken. If it was applied, Applied has
// seen to it already. If nothing is known it may still be applied in this reign, so it stays in
// flight: otherwise a leader that is stuck would stamp entry upon entry, and T would run on.
func (p *Proposer) finish(e *entry, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.flight, e) {
		return
	}
	refused := errors.Is(err, ErrLogNotDone)
	if refused || !p.leads {
		p.land(e)
	}
	if refused {
		p.refused()
	}
	p.tell(e, p.verdict(err))
	p.settle()
	p.poke()
}

// tell ends the calls of an entry that was not applied, or not in time.
func (p *Proposer) tell(e *entry, err error) {
	if e.told {
		return
	}
	e.told = true
	for _, part := range e.parts {
		part.call.flying--
		p.queue.remove(part.call)
		part.call.end(part.call.failure(err))
	}
}
