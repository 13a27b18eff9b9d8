package proposer

import (
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

const (
	tick      = 100 * time.Millisecond // without a proposal, while something has a deadline
	stampStep = 2 * tick               // most by which one stamp rises above the one before
	grace     = time.Second            // for which T stands still after a fail-over
)

// clock makes the stamps of one reign (HF-2.8). It is given readings of a monotonic clock, and
// what it does not trust it drops: time before the reign, time of the grace, and whatever exceeds
// stampStep between two stamps. So T never runs ahead of the time this node has really led, and a
// stall of any length adds at most stampStep for each entry that is in flight.
type clock struct {
	at     time.Duration // T as last stamped, with the fraction of a millisecond that T leaves out
	read   time.Duration // reading at that stamp
	holdTo time.Duration // reading until which T stands still
}

// win begins a reign: T goes on from where the log left it, after the grace.
func (c *clock) win(now time.Duration, t locktable.Millis, hold time.Duration) {
	*c = clock{at: time.Duration(t) * time.Millisecond, read: now, holdTo: now + hold}
}

// stamp returns the stamp of an entry that is proposed at now.
func (c *clock) stamp(now time.Duration) locktable.Millis {
	from := max(c.read, c.holdTo)
	if step := min(now-from, stampStep); step > 0 {
		c.at += step
	}
	c.read = now
	return c.millis()
}

// back takes back the stamps above t: the entries that carried them were refused. What has passed
// since is dropped.
func (c *clock) back(now time.Duration, t locktable.Millis) {
	if t < c.millis() {
		c.at = time.Duration(t) * time.Millisecond
	}
	c.read = now
}

func (c *clock) millis() locktable.Millis { return c.at.Milliseconds() }
