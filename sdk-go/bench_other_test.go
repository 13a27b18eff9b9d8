//go:build !linux

package holdfast

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
