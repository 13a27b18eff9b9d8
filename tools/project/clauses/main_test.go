package main

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestClausesWithoutTestOrMutantAreListed(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	root := fstest.MapFS{
		"docs/SEMANTICS.md":                                file("## 1\n- 1.1 A\n- 1.2 B, see 1.4\n- **2.3a** C\n- 4.5 D\n- 9.1 E\n- 9.4 F\n"),
		"server/internal/locktable/testdata/names.txt":     file("# HF-1.1 and HF-2.3a\n"),
		"server/internal/locktable/table_test.go":          file("// HF-1.2\n"),
		"server/internal/locktable/table.go":               file("// HF-4.5\n"),
		"server/internal/locktable/mutants/1.1.patch":      file("Clause: HF-1.1\n\n--- a/x\n+++ b/x\n-// HF-1.2\n"),
		"server/internal/locktable/mutants/2.3a-two.patch": file("Clause: HF-2.3a\n"),
	}
	got, err := check(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"HF-1.2: no mutant breaks it",
		"HF-4.5: no test names it",
		"HF-4.5: no mutant breaks it",
		"HF-9.1: no test names it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClauseThatStandsTwiceIsAnError(t *testing.T) {
	root := fstest.MapFS{"docs/SEMANTICS.md": {Data: []byte("- 1.1 A\n- 1.1 B\n")}}
	if _, err := check(root); err == nil {
		t.Error("no error")
	}
}
