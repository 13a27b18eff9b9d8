package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHeaderNamesBreakClauseAndTest(t *testing.T) {
	m, err := parse("Breaks: x\nClause: HF-1.1, HF-1.2\nTest: ./internal/locktable TestA|TestB\n\n--- a/x\n+++ b/x\n")
	if err != nil || m.breaks != "x" || len(m.clauses) != 2 || m.pkg != "./internal/locktable" || m.run != "TestA|TestB" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, text := range []string{
		"", "--- a/x\n", "Breaks: x\nClause: HF-1.1\n--- a/x\n",
		"Breaks: x\nClause: HF-1.1\nTest: ./p\n--- a/x\n", "Breaks: x\nClause: HF-1.1\nTest: ./p T\n",
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// tree is a repository with a server module of one function, one test, and the given patches.
func tree(t *testing.T, patchFiles map[string]string) string {
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.work", "go 1.26.0\n\nuse ./server\n")
	write("server/go.mod", "module example.org/server\n\ngo 1.26.0\n")
	write("server/internal/locktable/t.go", "package locktable\n\nfunc F() int { return 1 }\n\nfunc G() int { return 2 }\n")
	write("server/internal/locktable/t_test.go",
		"package locktable\n\nimport \"testing\"\n\nfunc TestF(t *testing.T) {\n\tif F() != 1 {\n\t\tt.Fatal(F())\n\t}\n}\n")
	for name, text := range patchFiles {
		write(filepath.Join(patches, name), text)
	}
	if out, err := exec.Command("git", "-C", root, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return root
}

func patch(name, from, to string) string {
	const diff = `Breaks: NAME
Clause: HF-1.1
Test: ./internal/locktable TestF

--- a/server/internal/locktable/t.go
+++ b/server/internal/locktable/t.go
@@ -1,5 +1,5 @@
 package locktable
 
-func F() int { return 1 }
+func F() int { return 1 }
 
-func G() int { return 2 }
+func G() int { return 2 }
`
	return strings.Replace(strings.ReplaceAll(diff, "NAME", name), "+"+from, "+"+to, 1)
}

func TestVerdicts(t *testing.T) {
	limit := testTimeout
	defer func() { testTimeout = limit }()
	testTimeout = 5 * time.Second
	hangs := patch("h", "func F() int { return 1 }", "func F() int { for { } }")
	for _, c := range []struct{ name, patch, want string }{
		{"killed", patch("k", "func F() int { return 1 }", "func F() int { return 3 }"), ""},
		{"survivor", patch("s", "func G() int { return 2 }", "func G() int { return 3 }"), "1 of 1 mutants were not killed"},
		{"no program", patch("b", "func F() int { return 1 }", "func F() int { return x }"), "1 of 1 mutants were not killed"},
		{"hangs", hangs, "1 of 1 mutants were not killed"},
		{"is known to hang", "Hangs: yes\n" + hangs, ""},
		{"no test", strings.Replace(patch("n", "", ""), "TestF", "TestNone", 1), "no such test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, map[string]string{"m.patch": c.patch})
			err := try(context.Background(), root, "", 1, false)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
