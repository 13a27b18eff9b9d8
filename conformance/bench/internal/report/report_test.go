package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

func bench(values ...float64) *results.Run {
	r := &results.Run{Kind: "bench", Scale: 1, Machine: results.Machine{CPU: "a processor", Cores: 2},
		Bare: []results.Figure{{What: "fdatasync", Value: 4000, Unit: "/s"}}}
	for i, v := range values {
		r.Add(results.Check{Row: i + 4, What: "a | ratio", Unit: "x", Value: v, Target: "<= 1.25", Verdict: results.Met,
			Command: "holdfast bench one"})
	}
	r.Plots = []results.Plot{
		{Name: "bars", Title: "a < b", Bars: true, LogY: true, Lines: []results.Line{
			{Name: "one", Labels: []string{"x", "y"}, Y: []float64{1, 1000}}, {Name: "two", Y: []float64{0, 5}}}},
		{Name: "lines", X: "s", Y: "ms", Lines: []results.Line{{Name: "one", X: []float64{1, 2, 3}, Y: []float64{3, 3, 3}}}},
		{Name: "empty", Bars: true},
	}
	return r
}

func peers() *results.Run {
	r := &results.Run{Kind: "peers", Scale: 1}
	for i, name := range []string{results.Holdfast, "etcd"} {
		r.Peers = append(r.Peers, results.Peer{Name: name, Version: "1", Durability: "disk",
			Pairs:    []results.PeerResult{{Callers: 1, PerSecond: 100, P50: 1}, {Callers: 64, PerSecond: 10_000 / float64(1+i)}},
			HandOffs: []results.PeerResult{{Callers: 2, PerSecond: 50}}})
	}
	r.Peers = append(r.Peers, results.Peer{Name: "Redis", Why: "it is not installed"})
	return r
}

func TestPage(t *testing.T) {
	dir := t.TempDir()
	if err := Page(dir, bench(1.1), peers()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| Processor | a processor, 2 cores", "| fdatasync | 4,000 /s |", `| a \| ratio | <= 1.25 | **1.10** | met |`,
		"- `holdfast bench one`", "| etcd 1 | disk | 5,000 | 64 |", "2.00 x |", "not measured: it is not installed",
		"](benchmarks/bars.svg)", "](benchmarks/peers-pairs.svg)", "Not part of the runs on this page.",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "benchmarks", "*.svg"))
	if err != nil || len(pictures) != 5 {
		t.Fatalf("pictures %v, %v", pictures, err)
	}
	for _, p := range pictures {
		wellFormed(t, p)
	}
}

func wellFormed(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for d := xml.NewDecoder(f); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

// The page can be written before anything was measured.
func TestPageOfNothing(t *testing.T) {
	if err := Page(t.TempDir(), nil, nil); err != nil {
		t.Error(err)
	}
}

func TestCompare(t *testing.T) {
	var out strings.Builder
	if !Compare(&out, []*results.Run{bench(1, 2), bench(1.1, 2), bench(1.05, 2)}) {
		t.Errorf("10 %% is agreement:\n%s", out.String())
	}
	if Compare(&out, []*results.Run{bench(1), bench(1.3)}) {
		t.Error("30 % is none")
	}
	if Compare(&out, []*results.Run{bench(1, 2), bench(1)}) {
		t.Error("what is missing does not agree")
	}
}
