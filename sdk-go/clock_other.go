//go:build !linux

package holdfast

import "time"

var processStart = time.Now()

// systemClock follows the monotonic clock and takes a wall clock that runs ahead for a suspend.
var systemClock clock = newLeapClock(
	func() time.Duration { return time.Since(processStart) },
	func() time.Time { return time.Now().Round(0) })
