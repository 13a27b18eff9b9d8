package holdfast

import (
	"sync"
	"time"
)

// clock tells time elapsed since some fixed instant, suspend included. Deadlines are judged by it.
type clock interface{ Now() time.Duration }

// suspendLeap is how far leapClock jumps when it suspects a suspend: past every session, lease and
// longest hold that there can be.
const suspendLeap = 31 * 24 * time.Hour

// leapClock is for systems without a clock that runs during suspend. It follows the monotonic clock;
// if the wall clock has run more than a second ahead of that, the machine may have slept for any
// length of time, so it leaps ahead and whatever was held counts as lost (HF-11.2).
type leapClock struct {
	monotonic func() time.Duration
	wall      func() time.Time

	mu       sync.Mutex
	leapt    time.Duration
	lastMono time.Duration
	lastWall time.Time
}

func newLeapClock(monotonic func() time.Duration, wall func() time.Time) *leapClock {
	return &leapClock{monotonic: monotonic, wall: wall, lastMono: monotonic(), lastWall: wall()}
}

func (c *leapClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	mono, wall := c.monotonic(), c.wall()
	ahead := wall.Sub(c.lastWall) - (mono - c.lastMono)
	switch {
	case ahead > time.Second:
		c.leapt += suspendLeap
		c.lastMono, c.lastWall = mono, wall
	case ahead < 0: // the wall clock was set back, or runs slowly: measure from here
		c.lastMono, c.lastWall = mono, wall
	}
	return mono + c.leapt
}
