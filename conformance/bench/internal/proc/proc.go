// Package proc starts the processes that are measured, looks at what they cost, and ends them: only
// those it started, and all of them.
package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is a process to be.
type Command struct {
	Name    string // for errors
	Path    string
	Args    []string
	Env     []string // besides ours
	Dir     string   // working directory; empty means ours
	LogFile string   // gets stdout, unless Stdout is wanted, and stderr; its directory is made
	Talk    bool     // with pipes to stdin and from stdout
}

// Process is one that was started.
type Process struct {
	Name   string
	Stdin  io.WriteCloser // with Talk
	Stdout io.Reader      // with Talk

	logFile string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// spawner starts all processes from one thread that lives as long as we do: the kernel ends them
// with the thread that started them (see deathsig_linux.go).
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// Start starts a process, which ends with ours at the latest.
func Start(c Command) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(c.LogFile), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	p := &Process{Name: c.Name, logFile: c.LogFile, cmd: exec.Command(c.Path, c.Args...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us, not for it
	dieWithParent(p.cmd.SysProcAttr)
	var ours []io.Closer
	if c.Talk {
		// Pipes of our own: those of os/exec are closed by Wait before all was read.
		in, toIn, err1 := os.Pipe()
		fromOut, out, err2 := os.Pipe()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		p.cmd.Stdin, p.cmd.Stdout = in, out
		p.Stdin, p.Stdout = toIn, fromOut
		ours = []io.Closer{in, out}
	}
	done := make(chan error, 1)
	spawner() <- func() { done <- p.cmd.Start() }
	err = <-done
	for _, c := range ours {
		_ = c.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state
		close(p.exited)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it fails only if the process has ended
	<-p.exited
}

// Stop asks the process to end, and kills it if it has not within the limit.
func (p *Process) Stop(limit time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.Kill()
	}
}

// How tells how the process ended, and its last words.
func (p *Process) How() string {
	<-p.exited
	return fmt.Sprintf("%s ended (%s)\n%s", p.Name, p.cmd.ProcessState, p.LastWords())
}

// LastWords is the end of the log.
func (p *Process) LastWords() string {
	const lines = 8
	text, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// Group is a number of processes that are ended together.
type Group struct {
	mu  sync.Mutex
	all []*Process
}

// Start starts a process of the group.
func (g *Group) Start(c Command) (*Process, error) {
	p, err := Start(c)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, p)
	return p, nil
}

// Stop ends all of the group at once.
func (g *Group) Stop(limit time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range g.all {
		all.Go(func() { p.Stop(limit) })
	}
	all.Wait()
	g.all = nil
}
