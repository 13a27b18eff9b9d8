// Package results holds what a run measured, as it is kept in a JSON file.
package results

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// Run is one run of a command.
type Run struct {
	Kind    string    `json:"kind"` // "bench", "peers" or "quick"
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Version string    `json:"version"`         // of Holdfast
	Scale   float64   `json:"scale"`           // 1, or how much shorter than meant
	Only    []string  `json:"only,omitempty"`  // scenarios, if not all
	Machine Machine   `json:"machine"`         // where
	Bare    []Figure  `json:"bare,omitempty"`  // limits of the machine and the libraries
	Checks  []Check   `json:"checks"`          // what the targets ask for
	Peers   []Peer    `json:"peers,omitempty"` // with kind "peers"
	Plots   []Plot    `json:"plots,omitempty"`
	Parts   []Part    `json:"parts"` // how long each took
}

// Machine is where a run took place. It has no name on purpose.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryMiB  int64  `json:"memory_mib"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"`
	Go         string `json:"go"`
}

// Figure is something that was measured and has no target of its own.
type Figure struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Verdict on a target.
type Verdict string

// Verdicts.
const (
	Met         Verdict = "met"
	NotMet      Verdict = "not met"
	NotMeasured Verdict = "not measured"
)

// Check is one target and what was measured for it.
type Check struct {
	Row     int     `json:"row"`  // of the table of targets
	What    string  `json:"what"` // which part of the row
	Target  string  `json:"target"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"` // "x" for ratios
	Verdict Verdict `json:"verdict"`
	Note    string  `json:"note,omitempty"` // what the value was made of; or why there is none
	Command string  `json:"command"`
}

// Peer is what one system did in a run with others.
type Peer struct {
	Name       string       `json:"name"`
	Version    string       `json:"version"`
	Durability string       `json:"durability"`
	Pairs      []PeerResult `json:"pairs"`    // uncontended
	HandOffs   []PeerResult `json:"handoffs"` // one lock for all
	Why        string       `json:"why,omitempty"`
}

// PeerResult is the median over the rounds for a number of callers.
type PeerResult struct {
	Callers    int     `json:"callers"`
	PerSecond  float64 `json:"per_second"` // pairs, or hand-offs
	P50        float64 `json:"p50_ms"`     // of the acquire
	P99        float64 `json:"p99_ms"`
	Rounds     int     `json:"rounds"`
	Spread     float64 `json:"spread"` // of the rounds: (most - least) / median
	Violations int     `json:"violations"`
	Failed     int     `json:"failed"`
}

// Best is the result with the most per second.
func Best(all []PeerResult) PeerResult {
	best := PeerResult{}
	for _, r := range all {
		if r.PerSecond > best.PerSecond {
			best = r
		}
	}
	return best
}

// Part of a run, and how long it took.
type Part struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// Plot is what a picture shows.
type Plot struct {
	Name  string `json:"name"` // of the file, without .svg
	Title string `json:"title"`
	X     string `json:"x"`
	Y     string `json:"y"`
	Bars  bool   `json:"bars,omitempty"` // a bar for each label, not lines
	LogY  bool   `json:"log_y,omitempty"`
	LogX  bool   `json:"log_x,omitempty"`
	Lines []Line `json:"lines"`
}

// Line of a plot; with bars, Labels name the values.
type Line struct {
	Name   string    `json:"name"`
	X      []float64 `json:"x,omitempty"`
	Y      []float64 `json:"y"`
	Labels []string  `json:"labels,omitempty"`
}

// Add puts the checks in, as far as their values are numbers that JSON knows.
func (r *Run) Add(checks ...Check) {
	for _, c := range checks {
		if math.IsNaN(c.Value) || math.IsInf(c.Value, 0) {
			c.Value, c.Verdict = 0, NotMeasured
			c.Note = join(c.Note, "the value is no number")
		}
		r.Checks = append(r.Checks, c)
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// Failed tells how many targets were not met, and how many not measured.
func (r *Run) Failed() (notMet, notMeasured int) {
	for _, c := range r.Checks {
		switch c.Verdict {
		case NotMet:
			notMet++
		case NotMeasured:
			notMeasured++
		case Met:
		}
	}
	return notMet, notMeasured
}

// Figure finds one by what it is.
func (r *Run) Figure(what string) (Figure, bool) {
	for _, f := range r.Bare {
		if f.What == what {
			return f, true
		}
	}
	return Figure{}, false
}

// Write writes the run into a file.
func (r *Run) Write(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// Read reads what Write wrote.
func Read(file string) (*Run, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Run{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Holdfast is its own name among the peers.
const Holdfast = "Holdfast"
