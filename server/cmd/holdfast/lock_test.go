package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// fakeLock is a lock whose time the test sets.
type fakeLock struct {
	mu     sync.Mutex
	until  time.Time
	lost   chan struct{}
	reason holdfast.LostReason
}

func newFakeLock(remaining time.Duration) *fakeLock {
	return &fakeLock{until: time.Now().Add(remaining), lost: make(chan struct{})}
}

func (l *fakeLock) Token() int64                  { return 17 }
func (l *fakeLock) Lost() <-chan struct{}         { return l.lost }
func (l *fakeLock) Renew(context.Context) error   { return nil }
func (l *fakeLock) Release(context.Context) error { return nil }

func (l *fakeLock) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason != "" {
		return 0
	}
	return max(time.Until(l.until), 0)
}

func (l *fakeLock) LostReason() holdfast.LostReason {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

func (l *fakeLock) Err() error {
	if r := l.LostReason(); r != "" {
		return errors.New(string(r))
	}
	return nil
}

func (l *fakeLock) lose(why holdfast.LostReason) {
	l.mu.Lock()
	l.reason = why
	l.mu.Unlock()
	close(l.lost)
}

// loseWhenDue loses the lock when its time is up, as the SDK does.
func (l *fakeLock) loseWhenDue() {
	time.AfterFunc(time.Until(l.until), func() { l.lose(holdfast.LostExpired) })
}

// kept is a command under a fake lock.
type kept struct {
	keeper  *keeper
	signals chan os.Signal
	words   *bytes.Buffer
	dir     string
}

// keep runs a shell script; the script makes the file "started" when it is ready.
func keep(t *testing.T, l *fakeLock, grace time.Duration, script string) *kept {
	t.Helper()
	k := &kept{signals: make(chan os.Signal, 1), words: new(bytes.Buffer), dir: t.TempDir()}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	c, err := startChild([]string{"sh", "-c", "cd " + k.dir + "\n" + script}, os.Environ(), null, null, null)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	k.keeper = &keeper{lock: l, child: c, name: "orders/42", grace: grace, stderr: k.words}
	return k
}

func (k *kept) appears(t *testing.T, file string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if _, err := os.Stat(filepath.Join(k.dir, file)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not appear", file)
		}
		time.Sleep(5 * time.Millisecond) // another process makes it
	}
}

const (
	obedientScript = "trap 'exit 3' TERM; echo > started; while :; do sleep 0.02; done"
	stubbornScript = "trap '' TERM; echo > started; while :; do sleep 0.02; done"
)

func TestTheExitCodeIsTheCommands(t *testing.T) {
	k := keep(t, newFakeLock(time.Hour), time.Second, "exit 7")
	if status := k.keeper.run(k.signals); status.ExitStatus() != 7 || k.keeper.lost {
		t.Errorf("exit status %d, lost %v", status.ExitStatus(), k.keeper.lost)
	}
}

// USR1 and not HUP: what runs the tests may have them ignore that one, and a shell cannot trap it then.
func TestSignalsReachTheCommand(t *testing.T) {
	k := keep(t, newFakeLock(time.Hour), time.Second, "trap 'exit 5' USR1; echo > started; while :; do sleep 0.02; done")
	k.appears(t, "started")
	k.signals <- syscall.SIGUSR1
	if status := k.keeper.run(k.signals); status.ExitStatus() != 5 {
		t.Errorf("exit status %d, want 5", status.ExitStatus())
	}
}

func TestACommandWhoseLockIsNotRenewedIsTerminatedBeforeTheEnd(t *testing.T) {
	l := newFakeLock(600 * time.Millisecond)
	l.loseWhenDue()
	k := keep(t, l, 500*time.Millisecond, obedientScript)
	k.appears(t, "started")
	status := k.keeper.run(k.signals)
	if status.ExitStatus() != 3 || !k.keeper.lost || l.Remaining() == 0 {
		t.Errorf("exit status %d, lost %v, %v left", status.ExitStatus(), k.keeper.lost, l.Remaining())
	}
	if !strings.Contains(k.words.String(), "error: orders/42 could not be renewed and ends in ") {
		t.Errorf("it said %q", k.words)
	}
}

func TestACommandThatDoesNotListenIsKilledWhenItsLockEnds(t *testing.T) {
	l := newFakeLock(300 * time.Millisecond)
	l.loseWhenDue()
	k := keep(t, l, 200*time.Millisecond, stubbornScript)
	k.appears(t, "started")
	status := k.keeper.run(k.signals)
	if !status.Signaled() || status.Signal() != syscall.SIGKILL || !k.keeper.lost {
		t.Errorf("status %v, lost %v; want killed", status, k.keeper.lost)
	}
	if late := time.Since(l.until); late > 100*time.Millisecond {
		t.Errorf("killed %v after the end of the lock", late)
	}
}

func TestARenewalInTimeLeavesTheCommandAlone(t *testing.T) {
	l := newFakeLock(time.Second)
	k := keep(t, l, 800*time.Millisecond, "echo > started; while [ ! -e finish ]; do sleep 0.02; done")
	k.appears(t, "started")
	time.AfterFunc(10*time.Millisecond, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.until = time.Now().Add(time.Hour)
	})
	time.AfterFunc(400*time.Millisecond, func() { _ = os.WriteFile(filepath.Join(k.dir, "finish"), nil, 0o600) })
	if status := k.keeper.run(k.signals); status.ExitStatus() != 0 || k.keeper.lost {
		t.Errorf("status %v, lost %v, it said %q", status, k.keeper.lost, k.words)
	}
}

func TestARevokedLockGivesTheCommandItsGrace(t *testing.T) {
	l := newFakeLock(time.Hour)
	k := keep(t, l, 300*time.Millisecond, stubbornScript)
	k.appears(t, "started")
	l.lose(holdfast.LostRevoked)
	began := time.Now()
	status := k.keeper.run(k.signals)
	if took := time.Since(began); !status.Signaled() || took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("status %v after %v, want a kill after the grace of 300ms", status, took)
	}
}

func TestASuspendedCommandIsEndedWhenItsLockIsLost(t *testing.T) {
	l := newFakeLock(time.Hour)
	k := keep(t, l, time.Second, "trap 'exit 3' TERM; echo > started; kill -STOP $$; while :; do sleep 0.02; done")
	k.appears(t, "started")
	time.AfterFunc(50*time.Millisecond, func() { l.lose(holdfast.LostRevoked) })
	if status := k.keeper.run(k.signals); status.ExitStatus() != 3 {
		t.Errorf("status %v, want the exit that its trap makes", status)
	}
}

func TestTheGraceLeavesRoomForRenewals(t *testing.T) {
	for _, c := range []struct {
		f     acquireFlags
		after time.Duration
		want  time.Duration
	}{
		{acquireFlags{ttl: 30 * time.Second}, 5 * time.Second, 5 * time.Second},
		{acquireFlags{ttl: 6 * time.Second}, 5 * time.Second, 2 * time.Second},
		{acquireFlags{ttl: 30 * time.Second, lease: 3 * time.Second}, 5 * time.Second, time.Second},
		{acquireFlags{ttl: 30 * time.Second, maxHold: 9 * time.Second}, 5 * time.Second, 3 * time.Second},
		{acquireFlags{ttl: 30 * time.Second}, 0, 0},
	} {
		if got := graceFor(&c.f, c.after); got != c.want {
			t.Errorf("%+v and %v: %v, want %v", c.f, c.after, got, c.want)
		}
	}
}
