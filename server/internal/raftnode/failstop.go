package raftnode

import (
	"errors"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// failStop ends the node at the first error that it cannot live with (HF-10.4). Raft itself would
// go on: a leader that cannot write is elected again, a follower forgets what it has truncated.
type failStop struct {
	dir     *Dir
	log     *slog.Logger
	onFatal func(error)

	running atomic.Bool // false while the node starts: then errors are returned, not fatal
	over    atomic.Bool // true once everything is being closed: errors are to be expected
	once    sync.Once
	err     atomic.Pointer[error]
	failed  chan struct{} // closed at the first failure
}

func newFailStop(dir *Dir, log *slog.Logger, onFatal func(error)) *failStop {
	return &failStop{dir: dir, log: log, onFatal: onFatal, failed: make(chan struct{})}
}

// Err is the reason why the node failed, nil if it did not.
func (f *failStop) Err() error {
	if e := f.err.Load(); e != nil {
		return *e
	}
	return nil
}

// fatal stops the node. Damage is written into the data directory; a full or slow disk, or an
// entry of a newer version, is no damage: the node may start again when the cause is gone.
func (f *failStop) fatal(err error) {
	f.once.Do(func() {
		f.err.Store(&err)
		if isDamage(err) {
			if merr := f.dir.markDamaged(err); merr != nil {
				f.log.Error("cannot mark the data directory as damaged", "error", merr)
			}
		}
		f.log.Error("the node stops", "reason", err)
		close(f.failed)
		f.onFatal(err)
	})
}

// check passes nil on. Any other error stops the node and ends the calling goroutine, one of
// Raft's, so that Raft cannot go on from it. While the node starts the error is just returned.
func (f *failStop) check(err error) error {
	if err == nil || !f.running.Load() {
		return err
	}
	if !f.over.Load() {
		f.fatal(err)
	}
	runtime.Goexit()
	return err
}

// harmless are errors after which the disk is as it was: no room, no right, too many open files.
var harmless = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, fs.ErrPermission}

func isDamage(err error) bool {
	var d damage
	return errors.As(err, &d) && !slices.ContainsFunc(harmless, func(h error) bool { return errors.Is(err, h) })
}
