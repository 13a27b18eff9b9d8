package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is one server: a place for its data, three ports, and the process, which may come and go.
type Node struct {
	Name      string // n1, n2, ...
	Dir       string // data directory
	LogFile   string // what its processes write
	ClientURL string
	PeerAddr  string
	AdminURL  string

	args []string
	env  []string
	echo io.Writer // besides the log file; may be nil

	mu      sync.Mutex
	process *process
}

// process is one life of a node.
type process struct {
	cmd     *exec.Cmd
	log     *os.File
	started time.Time
	exited  chan struct{} // closed when it has ended and its log is complete
	state   *os.ProcessState
}

// Start starts the node's process, if it does not run.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil && n.process.running() {
		return nil
	}
	log, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log of %s: %w", n.Name, err)
	}
	p := &process{cmd: exec.Command(n.args[0], n.args[1:]...), log: log, started: time.Now(),
		exited: make(chan struct{})}
	// The name matters where one executable is several programs, as test binaries are.
	p.cmd.Args[0] = "holdfast"
	p.cmd.Env = n.env
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if n.echo != nil {
		p.cmd.Stdout = io.MultiWriter(log, &prefixer{to: n.echo, prefix: n.Name + " | "})
		p.cmd.Stderr = p.cmd.Stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us, not for it
	DieWithParent(p.cmd.SysProcAttr)
	if err := spawn(p.cmd); err != nil {
		_ = log.Close()
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.process = p
	go p.reap()
	return nil
}

func (p *process) reap() {
	_ = p.cmd.Wait() // how it ended is in its state
	_ = p.log.Close()
	p.state = p.cmd.ProcessState
	close(p.exited)
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// spawner starts all processes from one thread that lives as long as this process, because
// DieWithParent means that thread.
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

func spawn(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	spawner() <- func() { done <- cmd.Start() }
	return <-done
}

func (n *Node) current() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// PID is the process id, 0 if the node does not run.
func (n *Node) PID() int {
	p := n.current()
	if p == nil || !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

// Exited is closed when the present process has ended.
func (n *Node) Exited() <-chan struct{} {
	if p := n.current(); p != nil {
		return p.exited
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (n *Node) Kill() {
	if p := n.current(); p != nil {
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// Stop ends the process gracefully, and as Kill does when the context ends first.
func (n *Node) Stop(ctx context.Context) {
	p := n.current()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-ctx.Done():
		n.Kill()
	}
}

// Pause stops the process as SIGSTOP does; Resume lets it go on.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(sig os.Signal) {
	if p := n.current(); p != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// WaitReady waits until the node serves commands: it knows a leader, and has caught up.
func (n *Node) WaitReady(ctx context.Context) error {
	exited := n.Exited()
	for {
		if ready(ctx, n.AdminURL) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready (%w); its log ends:\n%s", n.Name, ctx.Err(), n.LastWords())
		case <-exited:
			return fmt.Errorf("%s ended (%s); its log ends:\n%s", n.Name, n.how(), n.LastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, adminURL string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, adminURL+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// how tells how the last process ended: "exit status 1", "signal: killed".
func (n *Node) how() string {
	p := n.current()
	if p == nil || p.running() {
		return "running"
	}
	return p.state.String()
}

// LastWords is the end of the node's log.
func (n *Node) LastWords() string {
	const lines, bytesMax = 12, 8 << 10
	f, err := os.Open(n.LogFile)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-bytesMax), io.SeekStart)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// keepOldLog puts the log of the run before aside, so that one file is about one run.
func (n *Node) keepOldLog() error {
	if err := os.MkdirAll(filepath.Dir(n.LogFile), 0o700); err != nil {
		return err
	}
	err := os.Rename(n.LogFile, n.LogFile+".old")
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// hasData reports whether a node has run in a directory before.
func hasData(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}

// prefixer writes whole lines, each with a prefix.
type prefixer struct {
	to     io.Writer
	prefix string
	part   []byte
}

func (p *prefixer) Write(b []byte) (int, error) {
	p.part = append(p.part, b...)
	for {
		i := bytes.IndexByte(p.part, '\n')
		if i < 0 {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.to, "%s%s", p.prefix, p.part[:i+1]); err != nil {
			return 0, err
		}
		p.part = p.part[i+1:]
	}
}
