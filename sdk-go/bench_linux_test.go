package holdfast

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is how much time this process has had of the processors.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
