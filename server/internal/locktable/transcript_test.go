package locktable_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

var update = flag.Bool("update", false, "rewrite the outputs in testdata; review the difference")

// TestTranscripts runs testdata/*.txt. Their language is described in testdata/README.md.
func TestTranscripts(t *testing.T) { runTranscripts(t, &plain{}) }

// HF-6.2, HF-10.5: a table that is written and read back after every entry answers the same.
func TestTranscriptsThroughSnapshots(t *testing.T) {
	if *update {
		return // TestTranscripts writes them
	}
	runTranscripts(t, &reloaded{})
}

func runTranscripts(t *testing.T, under keeper) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts in testdata: %v", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var rewritten strings.Builder
			for _, c := range cases(string(text)) {
				t.Run(c.name(), func(t *testing.T) { c.run(t, path, under, &rewritten) })
			}
			if *update && !t.Failed() && rewritten.String() != string(text) {
				if err := os.WriteFile(path, []byte(rewritten.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A transcript is one case of a file: it begins with a line "# HF-x.y sentence" and has a table of
// its own.
type transcript struct {
	line  int // of the header
	lines []string
}

var header = regexp.MustCompile(`^# HF-\d+(\.\d+[a-z]?)?\b`)

func cases(text string) []transcript {
	var all []transcript
	for at, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if header.MatchString(line) || len(all) == 0 {
			all = append(all, transcript{line: at + 1})
		}
		last := &all[len(all)-1]
		last.lines = append(last.lines, line)
	}
	return all
}

func (c transcript) name() string { return strings.TrimPrefix(c.lines[0], "# ") }

// run copies a case to the builder with the outputs that the table gives, and compares.
func (c transcript) run(t *testing.T, path string, under keeper, rewritten *strings.Builder) {
	s := newScript(under)
	var input []string
	for at := 0; at < len(c.lines); at++ {
		line := c.lines[at]
		rewritten.WriteString(line + "\n")
		switch {
		case line == "----":
			var want []string
			for at+1 < len(c.lines) && c.lines[at+1] != "" {
				at++
				want = append(want, c.lines[at])
			}
			where := fmt.Sprintf("%s:%d", path, c.line+at-len(want))
			got, err := s.block(input)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			input = nil
			for _, line := range got {
				rewritten.WriteString(line + "\n")
			}
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w && !*update {
				t.Errorf("%s:\ngot:\n%s\nwant:\n%s", where, g, w)
			}
		case line != "" && !strings.HasPrefix(line, "#"):
			input = append(input, line)
		}
	}
	if len(input) > 0 {
		t.Fatalf("%s: %q has no output; end it with ----", path, input)
	}
}

// A keeper makes the tables of a run and does with them what lies between two entries.
type keeper interface {
	make(locktable.Tuning) *locktable.Table
	between(*locktable.Table) (*locktable.Table, error)
}

type plain struct{}

func (*plain) make(tuning locktable.Tuning) *locktable.Table { return locktable.NewWith(tuning) }

func (*plain) between(t *locktable.Table) (*locktable.Table, error) { return t, t.Check() }
