package raftnode

import (
	"fmt"
	"sync/atomic"
	"time"
)

// diskClock times every write. A leader whose disk hangs would lead for ever, because its
// heartbeats do not pass the disk: after slow it goes silent, so that the others elect a leader
// that can write, and asks for a transfer; after stuck the node stops.
type diskClock struct {
	slow, stuck time.Duration
	onSlow      func()
	onStuck     func(error)

	writes atomic.Int64 // writes that have been slow and are still running
}

// silent tells whether a write hangs.
func (c *diskClock) silent() bool { return c.writes.Load() > 0 }

// time runs a write.
func (c *diskClock) time(what string, write func() error) error {
	var late atomic.Bool
	slow := time.AfterFunc(c.slow, func() {
		if late.CompareAndSwap(false, true) {
			c.writes.Add(1)
			c.onSlow()
		}
	})
	stuck := time.AfterFunc(c.stuck, func() {
		c.onStuck(fmt.Errorf("the disk has not finished %s for %v", what, c.stuck))
	})
	defer func() {
		slow.Stop()
		stuck.Stop()
		if !late.CompareAndSwap(false, true) {
			c.writes.Add(-1)
		}
	}()
	return write()
}
