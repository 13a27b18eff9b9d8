package generator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
)

// Generator starts load against one cluster.
type Generator struct {
	Binary    string // bin/holdfast
	Endpoints []string
	LogFile   string
	Processes *proc.Group
}

// stopLimit is how long a generator may take to end what is under way.
const stopLimit = 2 * time.Minute

// Load is a generator at work.
type Load struct {
	Process *proc.Process
	lines   chan []byte
}

// Command is what a person would type for it.
func Command(args ...string) string {
	return "holdfast bench " + strings.Join(args, " ")
}

// Start starts the generator.
func (g *Generator) Start(args ...string) (*Load, error) {
	args = append([]string{"bench"}, args...)
	args = append(args, "--endpoints", strings.Join(g.Endpoints, ","), "--output", "json")
	p, err := g.Processes.Start(proc.Command{
		Name: "load generator", Path: g.Binary, Args: args, LogFile: g.LogFile, Talk: true})
	if err != nil {
		return nil, err
	}
	l := &Load{Process: p, lines: make(chan []byte, 16)}
	go l.read()
	return l, nil
}

// read passes lines on until the generator has ended.
func (l *Load) read() {
	defer close(l.lines)
	in := bufio.NewReaderSize(l.Process.Stdout, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			l.lines <- line
		}
		if err != nil {
			return
		}
	}
}

// WaitEvent waits for a line that tells of an event.
func (l *Load) WaitEvent(ctx context.Context, event string) (map[string]any, error) {
	for {
		line, err := l.line(ctx)
		if err != nil {
			return nil, fmt.Errorf("waiting for %q: %w", event, err)
		}
		var found map[string]any
		if err := json.Unmarshal(line, &found); err != nil {
			return nil, err
		}
		if found["event"] == event {
			return found, nil
		}
		if found["scenario"] != nil {
			return nil, fmt.Errorf("the generator ended before %q: %s", event, l.Process.How())
		}
	}
}

func (l *Load) line(ctx context.Context) ([]byte, error) {
	select {
	case line, ok := <-l.lines:
		if !ok {
			return nil, errors.New(l.Process.How())
		}
		return line, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Report waits for the generator's report, and checks that nothing went wrong that must not: a
// measurement that was not correct is none.
func (l *Load) Report(ctx context.Context) (*Report, error) {
	for {
		line, err := l.line(ctx)
		if err != nil {
			l.Process.Stop(time.Second)
			return nil, err
		}
		if isEvent(line) {
			continue
		}
		r := &Report{}
		if err := json.Unmarshal(line, r); err != nil {
			l.Process.Stop(time.Second)
			return nil, fmt.Errorf("report of the generator: %w", err)
		}
		select {
		case <-l.Process.Exited():
		case <-time.After(stopLimit):
			l.Process.Kill()
		}
		if r.Checks.Violations > 0 {
			return r, fmt.Errorf("%d violations: %s", r.Checks.Violations, strings.Join(r.Checks.Examples, "; "))
		}
		return r, nil
	}
}

// isEvent tells lines of events, whose fields have names of the report, too.
func isEvent(line []byte) bool {
	var e struct {
		Event string `json:"event"`
	}
	return json.Unmarshal(line, &e) == nil && e.Event != ""
}

// Stop ends the measurement now and gives the report.
func (l *Load) Stop(ctx context.Context) (*Report, error) {
	if err := syscall.Kill(l.Process.PID(), syscall.SIGINT); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stopLimit, fmt.Errorf("the generator does not end within %v", stopLimit))
	defer cancel()
	return l.Report(ctx)
}

// Run runs the generator to its end, which must come within the limit.
func (g *Generator) Run(ctx context.Context, limit time.Duration, args ...string) (*Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took more than %v", Command(args...), limit))
	defer cancel()
	l, err := g.Start(args...)
	if err != nil {
		return nil, err
	}
	return l.Report(ctx)
}
