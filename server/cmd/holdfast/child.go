//go:build unix

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/server/internal/dev"
)

// child is the command that `lock` runs, in a process group of its own so that a signal reaches
// all of it and nothing else.
//
// The terminal stays with us until the command asks for it: reading it from another process group
// stops the whole group with SIGTTIN (changing it, with SIGTTOU), which we see, and then we make
// the group the foreground one. So Ctrl-C reaches the command either way, pipelines keep working,
// and vim or ssh under a lock behave as usual.
type child struct {
	pid     int
	states  chan syscall.WaitStatus // every stop, and the end
	hasTerm bool                    // its group is the terminal's foreground group
}

// startChild starts the command. It keeps the calling goroutine on its thread for good: the kernel
// kills the command when that thread ends, which is to be when this process does.
func startChild(args, env []string, stdin, stdout, stderr *os.File) (*child, error) {
	runtime.LockOSThread()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dev.DieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, startError(args[0], err)
	}
	// From now on we may have to take the terminal back from the background, which is a SIGTTOU
	// to whoever does not ignore it. Not before: the command would inherit it.
	signal.Ignore(syscall.SIGTTOU)
	c := &child{pid: cmd.Process.Pid, states: make(chan syscall.WaitStatus)}
	go c.wait()
	return c, nil
}

// startError says why a command could not be started, with the shell's exit codes.
func startError(name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return failure(exitNotFound, "give the command after --, for example: holdfast lock NAME -- ./report.sh",
			"command %q was not found", name)
	}
	return failure(exitNotRunnable, "", "command %q could not be started: %v", name, err)
}

// wait reports what happens to the command. os/exec does not tell of stops, so it is not used.
func (c *child) wait() {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(c.pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			close(c.states)
			return
		}
		c.states <- status
		if !status.Stopped() {
			return
		}
	}
}

// signal sends a signal to the command and everything in its group. What has ended needs none.
func (c *child) signal(sig syscall.Signal) { _ = syscall.Kill(-c.pid, sig) }

// terminate asks the command to end. A stopped one is made to go on, else it could not hear it.
func (c *child) terminate() {
	c.signal(syscall.SIGTERM)
	c.signal(syscall.SIGCONT)
}

// kill ends the command and everything in its group.
func (c *child) kill() { c.signal(syscall.SIGKILL) }

// stopped deals with a command that has stopped; mayGoOn is asked before it runs again.
func (c *child) stopped(sig syscall.Signal, mayGoOn func() bool) {
	switch sig {
	case syscall.SIGTTIN, syscall.SIGTTOU:
		if !c.giveTerminal() {
			suspendSelf() // we are in the background too: wait for fg, as a shell's jobs do
			c.giveTerminal()
		}
	case syscall.SIGTSTP:
		c.takeTerminal()
		suspendSelf()
		c.giveTerminal()
	default: // SIGSTOP: somebody stopped the command alone and will let it go on
		return
	}
	if mayGoOn() {
		c.signal(syscall.SIGCONT)
	}
}

// suspendSelf stops this process until a SIGCONT. Nothing is renewed meanwhile and the lock may be
// lost, but the command is stopped as well. The stop does not take hold of all threads at once, so
// what comes next waits for the signal that ends it.
func suspendSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-continued
}

// giveTerminal makes the command's group the terminal's foreground group, if ours is that.
func (c *child) giveTerminal() bool {
	return withTerminal(func(fd int) bool {
		foreground, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		if err != nil || foreground != syscall.Getpgrp() {
			return false
		}
		c.hasTerm = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, c.pid) == nil
		return c.hasTerm
	})
}

// takeTerminal takes the terminal back, if the command has it.
func (c *child) takeTerminal() {
	if !c.hasTerm {
		return
	}
	c.hasTerm = false
	withTerminal(func(fd int) bool {
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, syscall.Getpgrp()) == nil
	})
}

func withTerminal(do func(fd int) bool) bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	return do(int(tty.Fd()))
}

// forwarded are the signals that are passed on to the command. SIGTSTP is among them because a
// lock's keeper must not stop while the command runs on: the command stops first, then we do.
func forwarded() []os.Signal {
	signals := []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGWINCH, syscall.SIGTSTP,
	}
	if !signal.Ignored(syscall.SIGHUP) { // nohup holds for the command too
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}
