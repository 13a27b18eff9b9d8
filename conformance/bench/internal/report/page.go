package report

import (
	_ "embed" // the template
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

// rows are the targets, by number.
var rows = []string{
	1:  "Uncontended acquire and release, SDK batches, open loop at 100 K ops/s",
	2:  "The same, closed loop, 50 clients x 128 outstanding",
	3:  "Pairs per second against peers, 3 nodes, each at its best number of callers",
	4:  "One client, one outstanding",
	5:  "Hot lock: 2, 16, 64, 1,000 clients queue for one name",
	6:  "1,000 hot locks x 10 waiters",
	7:  "One unary call per operation",
	8:  "10 K connected sessions",
	9:  "1 M locks held by 10 K sessions",
	10: "Growth",
	11: "Fail-over under the load of row 1",
	12: "Deadlock storm: cycles of 2 to 32 among 1,000 waiting owners; 10 K waiters on one name",
	13: "Apply in the table alone",
}

//go:embed page.md.tmpl
var pageTemplate string

// page is what the template sees.
type page struct {
	Bench, Peers *results.Run
	Rows         []pageRow
	Plots        []results.Plot
}

// pageRow is a row of the table of targets with its checks.
type pageRow struct {
	Number int
	Title  string
	Checks []results.Check
}

var funcs = template.FuncMap{
	"number":   results.Number,
	"percent":  func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) },
	"value":    value,
	"best":     results.Best,
	"cell":     cell,
	"one":      oneCaller,
	"ratio":    ratio,
	"minutes":  func(seconds float64) string { return fmt.Sprintf("%.0f min", seconds/60) },
	"verdict":  verdict,
	"commands": commands,
	"day":      func(r *results.Run) string { return r.Started.UTC().Format("2006-01-02 15:04 UTC") },
}

// Page writes docs/benchmarks.md and its pictures below a directory. One of the runs may be nil.
func Page(dir string, bench, peers *results.Run) error {
	p := page{Bench: bench, Peers: peers}
	var checks []results.Check
	for _, r := range []*results.Run{bench, peers} {
		if r != nil {
			checks = append(checks, r.Checks...)
			p.Plots = append(p.Plots, r.Plots...)
		}
	}
	if peers != nil {
		p.Plots = append(p.Plots, peerPlots(peers.Peers)...)
	}
	for n, title := range rows {
		row := pageRow{Number: n, Title: title}
		for _, c := range checks {
			if c.Row == n {
				row.Checks = append(row.Checks, c)
			}
		}
		if title != "" {
			p.Rows = append(p.Rows, row)
		}
	}
	return p.write(dir)
}

func (p page) write(dir string) error {
	t, err := template.New("page").Funcs(funcs).Parse(pageTemplate)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	pictures := filepath.Join(dir, "benchmarks")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	for _, plot := range p.Plots {
		if err := os.WriteFile(filepath.Join(pictures, plot.Name+".svg"), []byte(SVG(plot)), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(b.String()), 0o644)
}

// cell is a text that does not end a cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(text), "|", "\\|"), "\n", " ")
}

func value(c results.Check) string {
	if c.Verdict == results.NotMeasured {
		return "-"
	}
	text := results.Number(c.Value)
	switch c.Unit {
	case "":
		return text
	case "x":
		return "**" + text + "**"
	}
	return text + " " + c.Unit
}

func verdict(c results.Check) string {
	if c.Verdict == results.Met {
		return "met"
	}
	return "**" + string(c.Verdict) + "**"
}

// commands are the different ones of a row.
func commands(row pageRow) []string {
	var all []string
	for _, c := range row.Checks {
		if c.Command != "" && !slices.Contains(all, c.Command) {
			all = append(all, c.Command)
		}
	}
	return all
}

// oneCaller is the result of a single caller.
func oneCaller(all []results.PeerResult) results.PeerResult {
	for _, r := range all {
		if r.Callers == 1 {
			return r
		}
	}
	return results.PeerResult{}
}

// ratio is how many times more Holdfast does, at the best of each.
func ratio(peers []results.Peer, p results.Peer) string {
	theirs := results.Best(p.Pairs).PerSecond
	for _, h := range peers {
		if h.Name == results.Holdfast && theirs > 0 {
			return results.Number(results.Best(h.Pairs).PerSecond / theirs)
		}
	}
	return "-"
}

func peerPlots(peers []results.Peer) []results.Plot {
	pairs := results.Plot{Name: "peers-pairs", Title: "Uncontended lock and unlock: pairs per second, best number of callers",
		Y: "/s", Bars: true, LogY: true, Lines: []results.Line{{Name: "pairs"}}}
	hot := results.Plot{Name: "peers-hot", Title: "One lock for all: hand-offs per second", Y: "/s", Bars: true, LogY: true}
	for _, p := range peers {
		if best := results.Best(p.Pairs); best.PerSecond > 0 {
			pairs.Lines[0].Labels = append(pairs.Lines[0].Labels, p.Name)
			pairs.Lines[0].Y = append(pairs.Lines[0].Y, best.PerSecond)
		}
		if len(p.HandOffs) == 0 {
			continue
		}
		line := results.Line{Name: p.Name}
		for _, r := range p.HandOffs {
			line.Labels = append(line.Labels, fmt.Sprintf("%d clients", r.Callers))
			line.Y = append(line.Y, r.PerSecond)
		}
		hot.Lines = append(hot.Lines, line)
	}
	return []results.Plot{pairs, hot}
}
