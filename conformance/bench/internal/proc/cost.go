package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc; Linux has had 100 a second on every platform for long.
const clockTick = 10 * time.Millisecond

// CPU is the time that the process has spent so far, in user and system mode.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	return parseStat(stat)
}

// parseStat reads utime and stime, the 14th and 15th field; the second, the name, may hold anything.
func parseStat(stat []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("no name in %q", stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("%d fields after the name, 13 are needed", len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("times %q and %q are no numbers", fields[11], fields[12])
	}
	return time.Duration(user+system) * clockTick, nil
}

// Memory is what the process has in memory, and the most it ever had, in bytes.
func (p *Process) Memory() (now, most int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, err
	}
	now, err = kilobytes(status, "VmRSS:")
	if err != nil {
		return 0, 0, err
	}
	most, err = kilobytes(status, "VmHWM:")
	return now, most, err
}

// kilobytes finds a line such as "VmRSS:     1234 kB".
func kilobytes(status []byte, key string) (int64, error) {
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == key && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no line %s", key)
}

// CPUOf adds up the processes' times.
func CPUOf(all ...*Process) (time.Duration, error) {
	var sum time.Duration
	for _, p := range all {
		cpu, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}
