package proposer

// Chain passes what happens to the log to several observers.
type Chain []Observer

// NewChain fixes the order in which they see it. The proposer is first: it hands out the results
// of a batch, and a call whose command was queued is parked while that happens. Then those who
// park calls look at the events of the same batch, so that no outcome can come before its call is
// parked. Event streams follow, then anything else. Those that are nil are left out.
func NewChain(p *Proposer, waiters, watch Observer, more ...Observer) Chain {
	var c Chain
	if p != nil {
		c = append(c, p)
	}
	for _, o := range append([]Observer{waiters, watch}, more...) {
		if o != nil {
			c = append(c, o)
		}
	}
	return c
}

// Applied implements Observer.
func (c Chain) Applied(a Applied) {
	for _, o := range c {
		o.Applied(a)
	}
}

// Leading implements Observer.
func (c Chain) Leading(term uint64) {
	for _, o := range c {
		o.Leading(term)
	}
}

// Following implements Observer.
func (c Chain) Following() {
	for _, o := range c {
		o.Following()
	}
}
