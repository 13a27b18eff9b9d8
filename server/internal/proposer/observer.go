package proposer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Applied gives the callers of an entry their results. It is called on the goroutine that applies
// the log, for every entry of the log, whoever proposed it.
func (p *Proposer) Applied(a Applied) {
	p.mu.Lock()
	p.applied = a.Effects.Time
	p.backlog = a.Effects.Backlog
	p.prompt = p.prompt || p.backlog
	for i, c := range a.Commands {
		if set, ok := c.(*locktable.SetSemantics); ok && a.Effects.Results[i].Outcome == locktable.Done {
			p.version = set.Version
		}
	}
	e := p.flying(a.Proposal)
	if e == nil {
		p.mu.Unlock()
		return
	}
	for p.flight[0] != e {
		// The log has passed it by, so it will never be applied.
		p.tell(p.flight[0], ErrOutcomeUnknown)
		p.land(p.flight[0])
	}
	p.land(e)
	ready := e.parts[:0]
	for _, part := range e.parts {
		switch c := part.call; {
		case !c.arrive(part, a.Effects):
		case c.OnApplied != nil:
			ready = append(ready, part)
		case c.state != callDone:
			c.state = callDone
			ready = append(ready, part)
		}
	}
	p.settle()
	p.mu.Unlock()
	p.poke()

	for _, part := range ready {
		p.answer(part.call)
	}
}

// answer wakes the caller of a call that has all its results. The lock is not held: with thousands
// of callers it would be held for too long.
func (p *Proposer) answer(c *call) {
	if c.OnApplied == nil {
		close(c.done)
		return
	}
	c.OnApplied(c.answer)
	p.mu.Lock()
	c.end(nil)
	p.mu.Unlock()
}

// Leading begins a reign. Whatever came before has been applied, so nothing of an earlier reign of
// this node can still be in flight.
func (p *Proposer) Leading(uint64) {
	p.mu.Lock()
	p.clearFlight()
	p.leads, p.begun, p.stalled = true, false, false
	p.mu.Unlock()
	p.poke()
}

// Following ends a reign: what was not proposed fails at once, what was is left to the log.
func (p *Proposer) Following() {
	p.mu.Lock()
	p.leads, p.begun, p.stalled = false, false, false
	p.failWaiting(p.notLeader())
	p.flight = slices.DeleteFunc(p.flight, func(e *entry) bool { return e.told })
	p.settle()
	p.mu.Unlock()
	p.poke()
}

// arrive gives a call the results of one of its entries, and tells whether they were the last.
func (c *call) arrive(part piece, effects locktable.Effects) bool {
	c.flying--
	results := effects.Results[part.from : part.from+part.n : part.from+part.n]
	whole := part.n == len(c.Commands)
	if whole {
		c.answer.Results = results
	} else {
		c.answer.Results = append(c.answer.Results, results...)
		c.answer.split = append(c.answer.split, span{len(c.answer.Results), effects.Time})
	}
	c.landed += part.n
	c.answer.Index, c.answer.Time = effects.Index, effects.Time
	return c.landed == len(c.Commands)
}

// flying finds an entry in flight.
func (p *Proposer) flying(proposal uint64) *entry {
	for _, e := range p.flight {
		if e.Proposal == proposal {
			return e
		}
	}
	return nil
}

// refused drops the stamps of entries that never were, so that refusals do not add up to time.
func (p *Proposer) refused() {
	t := p.applied
	for _, e := range p.flight {
		t = max(t, e.Stamp)
	}
	p.clock.back(p.cfg.Now(), t)
}

// verdict turns what the log says of an entry into what its callers are told.
func (p *Proposer) verdict(err error) error {
	switch {
	case errors.Is(err, ErrLogNotLeader):
		return p.notLeader()
	case errors.Is(err, ErrLogNotDone) && p.closed:
		return ErrShuttingDown
	case errors.Is(err, ErrLogNotDone):
		return fmt.Errorf("%w: %w", ErrNoQuorum, err)
	case err == nil:
		return ErrOutcomeUnknown
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// failure is a verdict on one entry as the whole call sees it: one that was split may have had
// effect by its other entries.
func (c *call) failure(verdict error) error {
	if c.landed > 0 || c.flying > 0 {
		return ErrOutcomeUnknown
	}
	return verdict
}

// failWaiting fails all calls that wait; those that were proposed in part may have had effect.
func (p *Proposer) failWaiting(err error) {
	p.queue.drain(func(c *call) {
		if c.state == callProposed {
			c.end(ErrOutcomeUnknown)
		} else {
			c.end(err)
		}
	})
}

// clearFlight gives up on the entries in flight.
func (p *Proposer) clearFlight() {
	for _, e := range p.flight {
		p.tell(e, ErrOutcomeUnknown)
	}
	p.flight = nil
}

// watchStall sees to it that the oldest entry is missed in time.
func (p *Proposer) watchStall(now time.Time) {
	if p.stall == nil {
		p.stall = time.AfterFunc(never, p.checkStall)
	}
	if len(p.flight) == 0 {
		p.stall.Stop()
		return
	}
	p.stall.Reset(p.cfg.StallAfter - now.Sub(p.flight[0].since))
}

// checkStall fails everything if the oldest entry is stuck: nobody waits longer for a quorum than
// StallAfter, and until the log moves again nobody begins to (HF-10.2). The entries themselves stay
// in flight, since they may still be applied.
func (p *Proposer) checkStall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if len(p.flight) == 0 || now.Sub(p.flight[0].since) < p.cfg.StallAfter {
		return
	}
	p.stalled = true
	p.stats.Stalls++
	for _, e := range p.flight {
		p.tell(e, ErrOutcomeUnknown)
	}
	p.failWaiting(ErrNoQuorum)
}

// settle tells Close when nothing is left to do.
func (p *Proposer) settle() {
	if !p.closed || !p.queue.empty() || len(p.flight) > 0 {
		return
	}
	select {
	case <-p.drained:
	default:
		close(p.drained)
	}
}
