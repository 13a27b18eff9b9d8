package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/server/internal/loadgen"
)

// printBench shows a report, in words or as it is.
func (a *app) printBench(r *loadgen.Report) error {
	w := a.stdout
	if a.format == outputJSON {
		return json.NewEncoder(w).Encode(r)
	}
	if r.Interrupted {
		fmt.Fprintf(w, "interrupted after %.1f s\n", r.Seconds)
	}
	if err := printBenchLoad(w, r); err != nil {
		return err
	}
	printBenchScenario(w, r)
	for _, why := range r.SaturatedWhy {
		fmt.Fprintf(w, "saturated: %s\n", why)
	}
	for _, reason := range benchReasons(r) {
		fmt.Fprintf(w, "failed: %s\n", reason)
	}
	if r.Checks.Grants > 0 {
		fmt.Fprintf(w, "checked: %s\n", benchChecks(r.Checks))
	}
	if r.Operations > 0 {
		fmt.Fprintf(w, "the generator itself took %.1f us of CPU per operation\n", r.Generator.CPUPerOperation)
	}
	return nil
}

// printBenchLoad shows rates and latencies.
func printBenchLoad(w io.Writer, r *loadgen.Report) error {
	if r.Operations == 0 {
		return nil
	}
	switch {
	case r.Acquire == nil: // in parts
		fmt.Fprintf(w, "%.0f operations/s\n", r.PerSecond)
	case r.Hold == nil:
		fmt.Fprintf(w, "%.0f operations/s (%d acquires and %d releases in %.1f s)\n", r.PerSecond,
			r.Acquire.Count, r.Release.Count, r.Seconds)
	}
	t := newTable(w, "OPERATION", "COUNT", "MEAN", "P50", "P90", "P95", "P99", "P99.9", "MAX")
	row := func(name string, l *loadgen.Latency) {
		if l == nil || l.Count == 0 {
			return
		}
		t.row(name, fmt.Sprint(l.Count), micros(int64(l.Mean)), micros(l.P50), micros(l.P90), micros(l.P95), micros(l.P99),
			micros(l.P999), micros(l.Max))
	}
	row("acquire", r.Acquire)
	row("release", r.Release)
	row("(began late)", r.StartDelay)
	if r.Deadlock != nil {
		row("resolve", r.Deadlock.Resolve)
	}
	for _, l := range r.Levels {
		row(fmt.Sprintf("acquire, depth %d", l.Depth), l.Acquire)
		row(fmt.Sprintf("release, depth %d", l.Depth), l.Release)
	}
	return t.flush()
}

// printBenchScenario shows what only some scenarios have.
func printBenchScenario(w io.Writer, r *loadgen.Report) {
	if h := r.Hot; h != nil {
		fmt.Fprintf(w, "%.0f hand-offs/s\n", h.PerSecond)
	}
	if s := r.Sessions; s != nil {
		fmt.Fprintf(w, "%d sessions were open after %.1f s, %d were lost\n", r.Clients, s.OpenSeconds, s.Lost)
	}
	if h := r.Hold; h != nil {
		fmt.Fprintf(w, "%d locks were acquired in %.1f s and held for %.1f s, %d were lost\n", r.Checks.Grants,
			h.FillSeconds, h.HeldSeconds, h.Lost)
		if h.AtEnd == loadgen.EndAbandon {
			fmt.Fprintln(w, "they are left to expire")
		} else {
			fmt.Fprintf(w, "they were given back in %.1f s\n", h.EndSeconds)
		}
	}
	if d := r.Deadlock; d != nil {
		fmt.Fprintf(w, "%d cycles had %d victims (%.0f cycles/s)\n", d.Cycles, d.Victims, d.PerSecond)
	}
	if f := r.Failover; f != nil {
		fmt.Fprintf(w, "%d gaps of 50 ms or more, the longest %.0f ms\n", len(f.Gaps), f.LongestGap)
	}
}

// benchReasons are the failures by reason.
func benchReasons(r *loadgen.Report) []string {
	var lines []string
	for _, reason := range slices.Sorted(maps.Keys(r.Errors)) {
		lines = append(lines, fmt.Sprintf("%d times %s", r.Errors[reason], reason))
	}
	if len(lines) > 0 {
		lines = append(lines, "first: "+printable(r.FirstError))
	}
	if r.Unfinished > 0 {
		lines = append(lines, fmt.Sprintf("%d operations were given up in the end", r.Unfinished))
	}
	return lines
}

func benchChecks(c loadgen.Checks) string {
	parts := []string{fmt.Sprintf("%d grants", c.Grants)}
	if c.FIFONames > 0 {
		parts = append(parts, fmt.Sprintf("the order of %d of them", c.FIFOGrants))
	}
	if c.FIFOGaps > 0 {
		parts = append(parts, fmt.Sprintf("%d times events were missed", c.FIFOGaps))
	}
	if c.Lost > 0 {
		parts = append(parts, fmt.Sprintf("%d were lost", c.Lost))
	}
	parts = append(parts, fmt.Sprintf("%d violations", c.Violations))
	return strings.Join(parts, ", ")
}
