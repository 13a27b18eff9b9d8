// Command clauses lists the clauses of docs/SEMANTICS.md that hold today (docs/ROADMAP.md) and that
// no test names, and those of sections 1 to 8 that no mutant of the core breaks. It prints nothing
// and exits with 0 if there is none.
//
//	clauses ROOT
//
// A test names a clause by its number, HF-4.5, in a Go test file or in a transcript below a
// testdata directory. A mutant names one in its header (see tools/project/mutants).
package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	semantics = "docs/SEMANTICS.md"
	mutants   = "server/internal/locktable/mutants"
)

// later are the clauses that do not hold yet.
var later = []string{"9.4"}

var (
	clause  = regexp.MustCompile(`^- \*{0,2}(\d+\.\d+[a-z]?)\*{0,2} `)
	core    = regexp.MustCompile(`^[1-8]\.`)
	mention = regexp.MustCompile(`HF-(\d+\.\d+[a-z]?)\b`)
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: clauses ROOT")
		os.Exit(2)
	}
	missing, err := check(os.DirFS(os.Args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, "clauses:", err)
		os.Exit(2)
	}
	for _, m := range missing {
		fmt.Println(m)
	}
	if len(missing) > 0 {
		os.Exit(1)
	}
}

// check returns one line for each clause without a test or without a mutant.
func check(root fs.FS) ([]string, error) {
	clauses, err := list(root)
	if err != nil {
		return nil, err
	}
	if len(clauses) == 0 {
		return nil, fmt.Errorf("no clause in %s", semantics)
	}
	tests, err := mentions(root, []string{"server", "conformance", "sdk-go"}, isTest)
	if err != nil {
		return nil, err
	}
	patches, err := mentions(root, []string{mutants}, func(path string) bool {
		return strings.HasSuffix(path, ".patch")
	})
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, c := range clauses {
		if !tests[c] {
			missing = append(missing, fmt.Sprintf("HF-%s: no test names it", c))
		}
		if core.MatchString(c) && !patches[c] {
			missing = append(missing, fmt.Sprintf("HF-%s: no mutant breaks it", c))
		}
	}
	return missing, nil
}

// list returns the numbers of the clauses that hold today, in the order of the page.
func list(root fs.FS) ([]string, error) {
	f, err := root.Open(semantics)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var clauses []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := clause.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if slices.Contains(clauses, m[1]) {
			return nil, fmt.Errorf("%s has clause %s twice", semantics, m[1])
		}
		if !slices.Contains(later, m[1]) {
			clauses = append(clauses, m[1])
		}
	}
	return clauses, nil
}

func isTest(path string) bool {
	return strings.HasSuffix(path, "_test.go") || strings.Contains(filepath.ToSlash(path), "/testdata/")
}

// mentions returns the clauses that the chosen files below the directories name. A patch names
// those of its header only, since the lines it changes may name others.
func mentions(root fs.FS, dirs []string, choose func(path string) bool) (map[string]bool, error) {
	found := map[string]bool{}
	for _, dir := range dirs {
		err := fs.WalkDir(root, dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !choose(path) {
				return err
			}
			text, err := fs.ReadFile(root, path)
			if err != nil {
				return err
			}
			if strings.HasSuffix(path, ".patch") {
				header, _, _ := strings.Cut(string(text), "\n--- ")
				text = []byte(header)
			}
			for _, m := range mention.FindAllStringSubmatch(string(text), -1) {
				found[m[1]] = true
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	return found, nil
}
