package proc

import "syscall"

// filesWanted is what ten thousand sessions, with two or three connections each, need on one side.
const filesWanted = 65_536

// RaiseFiles raises how many files this process and its children may open, as far as it may, and
// returns the limit.
func RaiseFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur >= filesWanted {
		return limit.Cur, nil
	}
	more := syscall.Rlimit{Cur: filesWanted, Max: max(limit.Max, filesWanted)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &more) == nil {
		return more.Cur, nil
	}
	limit.Cur = min(limit.Max, filesWanted) // not everybody may raise the hard limit
	return limit.Cur, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
