// Command mutants breaks the lock table on purpose and sees whether the tests notice.
//
//	mutants [-run REGEXP] [-jobs N] [-v] ROOT
//
// Each file server/internal/locktable/mutants/*.patch is one small break of the table. It begins
// with a header and goes on with a unified diff against the root of the repository:
//
//	Breaks: a newcomer passes an earlier waiter of its own priority
//	Clause: HF-4.5
//	Test: ./internal/locktable TestTranscripts/queue
//
//	--- a/server/internal/locktable/queue.go
//	+++ b/server/internal/locktable/queue.go
//	@@ ...
//
// "Test" is a package of the server module and a pattern for "go test -run". It must pass on the
// tree as it is, and fail on the tree with the patch: then the mutant is killed. A mutant that makes
// the test run for ever needs a line "Hangs: yes" in its header to count. Patches are tried
// in copies of the tree; the tree itself is not touched. The exit code is 0 if all are killed.
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
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	patches = "server/internal/locktable/mutants"
	module  = "server"
)

// testTimeout bounds the test of one mutant.
var testTimeout = 2 * time.Minute

// copied is what the tests of the server module need.
var copied = []string{"go.work", "go.work.sum", "proto", "server", "conformance", "sdk-go", "examples"}

type mutant struct {
	name    string // file name without .patch
	path    string
	breaks  string
	clauses []string
	pkg     string
	run     string
	hangs   bool // the test does not end, which is how it notices
}

type verdict struct {
	mutant
	killed bool
	err    error // the mutant could not be tried
	output string
	took   time.Duration
}

func main() {
	run := flag.String("run", "", "try only the mutants whose names match")
	jobs := flag.Int("jobs", runtime.NumCPU(), "how many to try at a time")
	verbose := flag.Bool("v", false, "show the output of the tests")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := try(ctx, flag.Arg(0), *run, *jobs, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func try(ctx context.Context, root, only string, jobs int, verbose bool) error {
	mutants, err := load(root, only)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	trees := make([]string, min(max(jobs, 1), len(mutants)))
	for i := range trees {
		trees[i] = filepath.Join(scratch, fmt.Sprint(i))
		if err := copyTree(ctx, root, trees[i]); err != nil {
			return err
		}
	}
	if err := baseline(ctx, trees[0], mutants); err != nil {
		return err
	}
	return report(mutants, judgeAll(ctx, trees, mutants), verbose)
}

func load(root, only string) ([]mutant, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(root, patches, "*.patch"))
	if err != nil {
		return nil, err
	}
	var mutants []mutant
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m.name = strings.TrimSuffix(filepath.Base(path), ".patch")
		if m.path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		if pattern.MatchString(m.name) {
			mutants = append(mutants, m)
		}
	}
	if len(mutants) == 0 {
		return nil, fmt.Errorf("no mutant in %s matches %q", patches, only)
	}
	return mutants, nil
}

// parse reads the header of a patch.
func parse(text string) (mutant, error) {
	header, _, found := strings.Cut("\n"+text, "\n--- ")
	if !found {
		return mutant{}, errors.New("no diff")
	}
	var m mutant
	for line := range strings.Lines(header) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Breaks":
			m.breaks = value
		case "Clause":
			m.clauses = strings.Fields(strings.ReplaceAll(value, ",", " "))
		case "Test":
			m.pkg, m.run, _ = strings.Cut(value, " ")
			m.run = strings.TrimSpace(m.run)
		case "Hangs":
			m.hangs = value == "yes"
		}
	}
	if m.breaks == "" || len(m.clauses) == 0 || m.pkg == "" || m.run == "" {
		return m, errors.New(`the header needs "Breaks: ...", "Clause: HF-..." and "Test: PACKAGE PATTERN"`)
	}
	return m, nil
}

// copyTree copies what git knows or would add; built and ignored files stay behind.
func copyTree(ctx context.Context, root, to string) error {
	list := exec.CommandContext(ctx, "git", append(
		[]string{"-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, copied...)...)
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the tree: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// baseline makes sure that each named test exists and passes without any mutant. The tests of a
// package are built once for all its mutants.
func baseline(ctx context.Context, tree string, mutants []mutant) error {
	built := map[string]binary{}
	var done []string
	for _, m := range mutants {
		key := m.pkg + " " + m.run
		if slices.Contains(done, key) {
			continue
		}
		done = append(done, key)
		b, ok := built[m.pkg]
		if !ok {
			var err error
			if b, err = build(ctx, tree, m.pkg, len(built)); err != nil {
				return err
			}
			built[m.pkg] = b
		}
		cmd := exec.CommandContext(ctx, b.path, "-test.v", "-test.timeout", testTimeout.String(), "-test.run", m.run)
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s fails without any mutant: %w\n%s", key, err, out)
		}
		if !strings.Contains(string(out), "--- PASS") {
			return fmt.Errorf("%s: no such test: %s", m.name, key)
		}
	}
	return nil
}

// binary is the built tests of a package.
type binary struct{ path, dir string }

func build(ctx context.Context, tree, pkg string, number int) (binary, error) {
	b := binary{path: filepath.Join(tree, fmt.Sprintf("baseline%d.test", number))}
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", pkg)
	compile := exec.CommandContext(ctx, "go", "test", "-trimpath", "-c", "-o", b.path, pkg)
	for _, cmd := range []*exec.Cmd{list, compile} {
		inModule(cmd, tree)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return b, fmt.Errorf("%s does not compile without any mutant: %w\n%s", pkg, err, out)
		}
		if cmd == list {
			b.dir = strings.TrimSpace(string(out))
		}
	}
	return b, nil
}

func test(ctx context.Context, tree string, m mutant) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-trimpath", "-vet=off", "-count=1", "-v", "-failfast",
		"-timeout", testTimeout.String(), "-run", m.run, m.pkg)
	inModule(cmd, tree)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// inModule lets a go command work in the copy's own workspace, whatever this one was started in.
func inModule(cmd *exec.Cmd, tree string) {
	cmd.Dir = filepath.Join(tree, module)
	cmd.Env = append(os.Environ(), "GOWORK="+filepath.Join(tree, "go.work"))
}

func judgeAll(ctx context.Context, trees []string, mutants []mutant) map[string]verdict {
	queue := make(chan mutant)
	verdicts := make(map[string]verdict)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, tree := range trees {
		wg.Go(func() {
			for m := range queue {
				v := judge(ctx, tree, m)
				mu.Lock()
				verdicts[m.name] = v
				fmt.Fprintf(os.Stderr, "\r%d of %d", len(verdicts), len(mutants))
				mu.Unlock()
			}
		})
	}
	for _, m := range mutants {
		queue <- m
	}
	close(queue)
	wg.Wait()
	fmt.Fprintln(os.Stderr)
	return verdicts
}

func judge(ctx context.Context, tree string, m mutant) verdict {
	start := time.Now()
	v := verdict{mutant: m}
	if err := apply(ctx, tree, m.path); err != nil {
		v.err = fmt.Errorf("the patch does not apply: %w", err)
		return v
	}
	out, err := test(ctx, tree, m)
	v.output, v.took = out, time.Since(start)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		v.err = ctx.Err()
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		v.err = fmt.Errorf("it does not compile:\n%s", out)
	case strings.Contains(out, "panic: test timed out"):
		// On a busy machine that says nothing about the mutant.
		v.killed = m.hangs
		if !m.hangs {
			v.err = fmt.Errorf("not done in %s; if it never is, its header says \"Hangs: yes\"", testTimeout)
		}
	case strings.Contains(out, "--- FAIL"), strings.Contains(out, "panic: "):
		v.killed = true
	default:
		v.err = fmt.Errorf("no test failed, but the run did: %w\n%s", err, out)
	}
	if err := apply(ctx, tree, "-R", m.path); err != nil {
		v.err = fmt.Errorf("the patch cannot be taken back: %w", err)
	}
	return v
}

func apply(ctx context.Context, tree string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"apply", "--whitespace=nowarn"}, args...)...)
	cmd.Dir = tree
	// The copy is no repository; without this git could find one above it and apply nothing.
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(tree))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func report(mutants []mutant, verdicts map[string]verdict, verbose bool) error {
	killed := 0
	for _, m := range mutants {
		v := verdicts[m.name]
		word := "SURVIVED"
		switch {
		case v.err != nil:
			word = "BROKEN"
		case v.killed:
			word = "killed"
			killed++
		}
		fmt.Printf("%-9s %-28s %-18s %5.1fs  %s\n",
			word, m.name, strings.Join(m.clauses, ","), v.took.Seconds(), m.breaks)
		if v.err != nil {
			fmt.Printf("          %v\n", v.err)
		} else if verbose {
			fmt.Println(v.output)
		}
	}
	fmt.Printf("%d of %d mutants killed\n", killed, len(mutants))
	if killed < len(mutants) {
		return fmt.Errorf("%d of %d mutants were not killed", len(mutants)-killed, len(mutants))
	}
	return nil
}
