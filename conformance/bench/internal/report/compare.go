package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

// SpreadMost is how far the ratios of several runs may lie apart: (most - least) / median.
const SpreadMost = 0.15

// Compare prints how far runs agree, and tells whether all ratios do.
func Compare(w io.Writer, runs []*results.Run) bool {
	agree := true
	fmt.Fprintf(w, "| row | what | unit |%s spread | |\n", strings.Repeat(" |", len(runs)))
	fmt.Fprintf(w, "|---|---|---|%s---|---|\n", strings.Repeat("---|", len(runs)))
	for _, key := range keys(runs) {
		values, cells, missing := key.values(runs)
		if len(values) == 0 {
			fmt.Fprintf(w, "| %d | %s | %s | %s | | not measured |\n", key.row, key.what, key.unit, strings.Join(cells, " | "))
			agree = false
			continue
		}
		spread, verdict := results.Spread(values...), ""
		if key.unit == "x" {
			verdict = "agree"
			if spread > SpreadMost || missing {
				verdict, agree = "**differ**", false
			}
		}
		fmt.Fprintf(w, "| %d | %s | %s | %s | %.0f %% | %s |\n", key.row, key.what, key.unit, strings.Join(cells, " | "),
			100*spread, verdict)
	}
	return agree
}

// key names a check of any run.
type key struct {
	row        int
	what, unit string
}

// keys are those of all runs, by row, and else in the order in which they were measured.
func keys(runs []*results.Run) []key {
	var all []key
	for _, r := range runs {
		for _, c := range r.Checks {
			if k := (key{c.Row, c.What, c.Unit}); !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b key) int { return a.row - b.row })
	return all
}

func (k key) values(runs []*results.Run) (values []float64, cells []string, missing bool) {
	for _, r := range runs {
		i := slices.IndexFunc(r.Checks, func(c results.Check) bool {
			return c.Row == k.row && c.What == k.what && c.Verdict != results.NotMeasured
		})
		if i < 0 {
			cells, missing = append(cells, "-"), true
			continue
		}
		values = append(values, r.Checks[i].Value)
		cells = append(cells, results.Number(r.Checks[i].Value))
	}
	return values, cells, missing
}
