// Command bench measures Holdfast: against its targets, against the limits of the machine and the
// libraries, and against peers. docs/benchmarks.md is what it writes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/bare"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/peers"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/report"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/scenario"
)

const usage = `usage: bench COMMAND [FLAGS]

  run      measure the targets            (-only NAMES, -quick, -scale F, -out FILE)
  peers    measure etcd, ZooKeeper, Redis and Holdfast in turns    (-only NAMES, -scale F, -out FILE)
  page     write docs/benchmarks.md from the last results
  compare  say how far runs agree         (FILE...)
  list     say which scenarios run has

It is started within the repository, and wants bin/holdfast. Exit code 1: a target is not met or was
not measured.
`

// errTargets is why a run that went well ends with 1.
var errTargets = errors.New("not all targets are met")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("no command was given")
	}
	switch name, args := args[0], args[1:]; name {
	case "run":
		return run(ctx, args)
	case "peers":
		return runPeers(ctx, args)
	case "page":
		return page()
	case "compare":
		return compare(args)
	case "list":
		for _, sc := range scenario.All() {
			fmt.Printf("%-10s %s\n", sc.Name, sc.About)
		}
		return nil
	case "child": // what we start ourselves
		return child(args)
	default:
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("%s is no command", name)
	}
}

func child(args []string) error {
	if len(args) == 0 {
		return errors.New("child of what kind?")
	}
	switch args[0] {
	case "raft":
		return bare.RaftChild(args[1:], os.Stdin, os.Stdout)
	case "echo":
		return bare.EchoChild(args[1:], os.Stdin)
	}
	return fmt.Errorf("no child is a %s", args[0])
}

// options of both kinds of run.
type options struct {
	only  string
	out   string
	dir   string
	quick bool
	scale float64
}

func parse(name string, args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	flags.StringVar(&o.only, "only", "", "names of those to measure, with commas; empty means all")
	flags.StringVar(&o.out, "out", "", "file for the results; - for none (default docs/benchmarks/"+name+".json for a whole run)")
	flags.StringVar(&o.dir, "dir", "", "directory for data, on a real disk (default .cache/bench of the repository)")
	flags.Float64Var(&o.scale, "scale", 1, "shorten all times by this factor, to try things out")
	flags.BoolVar(&o.quick, "quick", false, "the main ratios in two minutes")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not expected", flags.Arg(0))
	}
	if o.scale <= 0 || o.scale > 10 {
		return o, fmt.Errorf("-scale %g: more than 0, at most 10", o.scale)
	}
	return o, nil
}

// names are those given by -only.
func (o options) names() []string {
	if o.only == "" {
		return nil
	}
	return strings.Split(o.only, ",")
}

// place is where a run works.
type place struct {
	root, binary, self, dir string
}

// prepare finds the repository, checks what is needed, and makes a directory for data.
func prepare(o options) (place, func(), error) {
	p := place{}
	var err error
	if p.root, err = repository(); err != nil {
		return p, nil, err
	}
	p.binary = filepath.Join(p.root, "bin", "holdfast")
	if _, err := os.Stat(p.binary); err != nil {
		return p, nil, fmt.Errorf("%w (hint: make build)", err)
	}
	if p.self, err = os.Executable(); err != nil {
		return p, nil, err
	}
	parent := o.dir
	if parent == "" {
		parent = filepath.Join(p.root, ".cache", "bench")
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return p, nil, err
	}
	if results.InMemory(parent) {
		return p, nil, fmt.Errorf("%s is in memory: choose a directory on a disk with -dir", parent)
	}
	if p.dir, err = os.MkdirTemp(parent, "run-"); err != nil {
		return p, nil, err
	}
	if _, err := proc.RaiseFiles(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: the limit of open files stays as it is:", err)
	}
	return p, func() { _ = os.RemoveAll(p.dir) }, nil
}

// repository is the directory above us with the Makefile and the server.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "server", "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("this is not within the repository")
}

func (p place) newRun(kind string, o options) *results.Run {
	r := &results.Run{Kind: kind, Started: time.Now().UTC().Truncate(time.Second), Scale: o.scale, Only: o.names(),
		Machine: results.ThisMachine(p.dir)}
	if out, err := exec.Command(p.binary, "version").Output(); err == nil {
		if fields := strings.Fields(string(out)); len(fields) > 1 {
			r.Version = fields[1]
		}
	}
	return r
}

func run(ctx context.Context, args []string) error {
	o, err := parse("bench", args)
	if err != nil {
		return err
	}
	all, err := chosen(o)
	if err != nil {
		return err
	}
	p, done, err := prepare(o)
	if err != nil {
		return err
	}
	defer done()
	r := p.newRun("bench", o)
	config := scenario.Config{Root: p.root, Binary: p.binary, Self: p.self, Dir: p.dir, Scale: o.scale, Quick: o.quick,
		Run: r, Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	began := time.Now()
	for _, sc := range all {
		_ = scenario.Measure(ctx, config, sc) // what went wrong is among the checks
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	r.Seconds = time.Since(began).Seconds()
	return finish(p, r, o, "bench")
}

// chosen are the scenarios that are asked for.
func chosen(o options) ([]scenario.Scenario, error) {
	all := scenario.All()
	names := o.names()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(sc scenario.Scenario) bool { return sc.Name == name }) {
			return nil, fmt.Errorf("no scenario is called %s (hint: bench list)", name)
		}
	}
	return slices.DeleteFunc(all, func(sc scenario.Scenario) bool {
		return names != nil && !slices.Contains(names, sc.Name) || o.quick && !sc.Quick
	}), nil
}

func runPeers(ctx context.Context, args []string) error {
	o, err := parse("peers", args)
	if err != nil {
		return err
	}
	p, done, err := prepare(o)
	if err != nil {
		return err
	}
	defer done()
	r := p.newRun("peers", o)
	began := time.Now()
	err = peers.Measure(ctx, peers.Config{Root: p.root, Binary: p.binary, Dir: p.dir, Scale: o.scale, Only: o.names(), Run: r,
		Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }})
	if err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	return finish(p, r, o, "peers")
}

// finish keeps the results, writes the page after a whole run, and says what was not met.
func finish(p place, r *results.Run, o options, name string) error {
	whole := !o.quick && o.only == "" && o.scale == 1
	file := o.out
	if file == "" && whole {
		file = filepath.Join(p.root, "docs", "benchmarks", name+".json")
	}
	if file != "" && file != "-" {
		if err := r.Write(file); err != nil {
			return err
		}
		fmt.Println("results:", file)
	}
	if whole && o.out == "" {
		if err := page(); err != nil {
			return err
		}
	}
	notMet, notMeasured := r.Failed()
	fmt.Printf("%d targets, %d not met, %d not measured, in %.0f s\n", len(r.Checks), notMet, notMeasured, r.Seconds)
	if notMet+notMeasured > 0 {
		return errTargets
	}
	return nil
}

// page writes docs/benchmarks.md from what was measured last.
func page() error {
	root, err := repository()
	if err != nil {
		return err
	}
	docs := filepath.Join(root, "docs")
	read := func(name string) (*results.Run, error) {
		r, err := results.Read(filepath.Join(docs, "benchmarks", name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return r, err
	}
	bench, err1 := read("bench")
	others, err2 := read("peers")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return report.Page(docs, bench, others)
}

func compare(files []string) error {
	if len(files) < 2 {
		return errors.New("which files? (bench compare a.json b.json c.json)")
	}
	var runs []*results.Run
	for _, f := range files {
		r, err := results.Read(f)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	if !report.Compare(os.Stdout, runs) {
		return fmt.Errorf("some ratios differ by more than %.0f %%, or are missing", 100*report.SpreadMost)
	}
	return nil
}
