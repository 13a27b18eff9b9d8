package main

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFaultsOfPages(t *testing.T) {
	file := func(lines ...string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.Join(lines, "\n") + "\n")}
	}
	root := fstest.MapFS{
		"Makefile":            file("test: lint", "\tgo test"),
		"docs/SEMANTICS.md":   file("## 1 Names", "- 1.1 A name."),
		"examples/go/main.go": file("func main() {", "\tone()", "", "\t\ttwo()", "}"),
		"docs/good.md":        file("# One, two `x`", "[a](SEMANTICS.md) [b](#one-two-x) HF-1.1 `make test`"),
		"docs/link.md":        file("[a](gone.md)", "[b](good.md#two)", "[c](https://example.org/x)"),
		"docs/target.md":      file("`make gone`", "do not make haste"),
		"docs/snippet.md":     file("<!-- from examples/go/main.go -->", "```go", "one()", "two()", "```"),
		"docs/old.md":         file("<!-- from examples/go/main.go -->", "```go", "one()", "three()", "```"),
		"server/x.go":         file("// HF-1.2 and HF-1"),
		"README.md":           file(slices.Repeat([]string{"x"}, 151)...),
	}
	got, err := check(root, []string{
		"docs/good.md", "docs/link.md", "docs/target.md", "docs/snippet.md", "docs/old.md", "server/x.go", "README.md",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"docs/link.md:1: the link leads nowhere: gone.md",
		"docs/link.md:2: there is no such heading: good.md#two",
		`docs/target.md:1: there is no target "gone" in the Makefile`,
		"docs/old.md:1: the snippet is not in examples/go/main.go any more",
		"server/x.go:1: there is no clause HF-1.2",
		"README.md:151: the page has 151 lines, at most 150 are read",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
