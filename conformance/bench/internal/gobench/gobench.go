// Package gobench runs Go benchmarks of other modules and reads what they print.
package gobench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

// Results are the values of benchmarks, by name (without "Benchmark") and unit, one for each round.
type Results map[string]map[string][]float64

// Build compiles the benchmarks of a package, so that compiling is not in the way of measuring.
func Build(ctx context.Context, module, pkg, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg)
	cmd.Dir, cmd.Env = module, append(os.Environ(), "GOWORK=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the benchmarks of %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Run runs benchmarks in the directory of their package, with so many operations in each round. The
// pattern is a whole name without "Benchmark", with patterns of names within after slashes.
func Run(ctx context.Context, dir, binary, pattern string, operations, rounds int) (Results, error) {
	anchored := "^Benchmark" + strings.ReplaceAll(pattern, "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+anchored, "-test.benchmem",
		"-test.benchtime="+strconv.Itoa(operations)+"x", "-test.count="+strconv.Itoa(rounds))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("benchmark %s: %w\n%s", pattern, err, out)
	}
	r := Parse(out)
	if len(r) == 0 {
		return nil, fmt.Errorf("there is no benchmark %s", pattern)
	}
	return r, nil
}

var procs = regexp.MustCompile(`-\d+$`)

// Parse reads lines such as "BenchmarkApply/held=0-2  1000  950 ns/op  0 B/op".
func Parse(out []byte) Results {
	r := Results{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := procs.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		if r[name] == nil {
			r[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				r[name][fields[i+1]] = append(r[name][fields[i+1]], v)
			}
		}
	}
	return r
}

// Get is the median of a benchmark's value over the rounds.
func (r Results) Get(name, unit string) (float64, error) {
	values := r[name][unit]
	if len(values) == 0 {
		return 0, fmt.Errorf("benchmark %s tells no %s", name, unit)
	}
	return results.Median(values...), nil
}

// Most is the greatest such value of all whose names begin so.
func (r Results) Most(prefix, unit string) (most float64, name string) {
	for n := range r {
		if !strings.HasPrefix(n, prefix) {
			continue
		}
		if v, err := r.Get(n, unit); err == nil && (v > most || name == "") {
			most, name = v, n
		}
	}
	return most, name
}
