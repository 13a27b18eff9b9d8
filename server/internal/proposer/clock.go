package proposer

import (
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

const (
	tick      = 100 * time.Millisecond // without an entry, while something has a deadline
	stampStep = 2 * tick               // most by which one stamp rises above the one before
	grace     = time.Second            // for which T stands still after a fail-over
)

// clock makes the stamps of one reign (HF-2.8). It is given readings of a monotonic clock, and
// what it does not trust it drops: time before the reign, the grace, and whatever exceeds
// stampStep between two stamps. So T never runs ahead of the time for which this node has really
// led, and a stall of any length adds at most stampStep for each entry that is in flight, and once
// more for the first one after it.
type clock struct {
	t    time.Duration // T as last stamped, with the part of a millisecond that T leaves out
	read time.Duration // reading at that stamp
	hold time.Duration // what is left of the grace; it is spent by stamps like time is
}

// win begins a reign: T goes on from where the log left it, after the grace.
func (c *clock) win(now time.Duration, t locktable.Millis, hold time.Duration) {
	*c = clock{t: time.Duration(t) * time.Millisecond, read: now, hold: hold}
}

// stamp returns the stamp of an entry that is proposed at now.
func (c *clock) stamp(now time.Duration) locktable.Millis {
	step := min(max(now-c.read, 0), stampStep)
	held := min(step, c.hold)
	c.hold -= held
	c.t += step - held
	c.read = now
	return c.millis()
}

// back takes back what was stamped above t: the entries that carried it were refused. The time
// since then is dropped with it.
func (c *clock) back(now time.Duration, t locktable.Millis) {
	if t < c.millis() {
		c.t = time.Duration(t) * time.Millisecond
	}
	c.read = now
}

func (c *clock) millis() locktable.Millis { return c.t.Milliseconds() }
