package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	server = "../.." // root of the module
	module = "github.com/holdfast-dev/holdfast/server"
	ours   = "github.com/holdfast-dev/holdfast/"
)

// layers stand from the top down: a package may import those of its own layer and below.
var layers = [][]string{
	{"cmd/holdfast", "internal/crashtest"},
	{"internal/dev", "holdfasttest", "internal/loadgen"},
	{"internal/serve"},
	{"internal/rpc"},
	{"internal/proposer", "internal/proposer/logtest", "internal/waiters", "internal/watch", "internal/metrics"},
	{"internal/raftnode"},
	{"internal/peerport", "internal/modelcheck", "internal/shapebench"},
	{"internal/locktable"},
	{"internal/waitgraph"},
}

// apart have no place in the road from a call to the lock table; nothing imports them.
var apart = []string{"internal/archtest", "internal/shapebench/shapepb"}

// impure is what the lock table and the wait-for graph must not know: they are a pure function of
// (state, time, command).
var impure = []string{
	"time", "os", "net", "net/http", "sync", "sync/atomic", "log", "log/slog", "math/rand", "math/rand/v2",
	"crypto/rand", "context", "io/fs", "os/signal", "runtime", "unsafe",
}

// pure are the packages to which that applies.
var pure = []string{"internal/locktable", "internal/waitgraph"}

// libraries of others that the pure packages may use: a hash function, and a sorted map that is
// walked in order. Neither knows a clock, a file or a lock where we use it.
var libraries = []string{"github.com/cespare/xxhash/v2", "github.com/tidwall/btree"}

// imports returns what each package of the server module imports outside its tests, by its path
// below the module.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(server, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(server, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(dir)
		found[pkg] = append(found[pkg], "") // known, whatever it imports
		found[pkg] = append(found[pkg], importsOf(t, file)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, names := range found {
		slices.Sort(names)
		found[pkg] = slices.Compact(names)[1:]
	}
	return found
}

// importsOf returns what one file imports.
func importsOf(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func layer(pkg string) (int, bool) {
	for i, l := range layers {
		if slices.Contains(l, pkg) {
			return i, true
		}
	}
	return 0, false
}

func TestPackagesImportDownwardsOnly(t *testing.T) {
	for pkg, names := range imports(t) {
		if slices.Contains(apart, pkg) {
			continue
		}
		from, known := layer(pkg)
		if !known {
			t.Errorf("%s has no layer: give it one here and in docs/ARCHITECTURE.md, section 4", pkg)
			continue
		}
		for _, name := range names {
			below, isOurs := strings.CutPrefix(name, module+"/")
			if !isOurs {
				continue
			}
			to, known := layer(below)
			if !known || to < from {
				t.Errorf("%s must not import %s: the way is %s", pkg, below, "cmd -> serve -> rpc -> "+
					"{proposer, waiters, watch} -> raftnode -> locktable -> waitgraph")
			}
		}
	}
}

func TestTheCoreIsPure(t *testing.T) {
	all := imports(t)
	for _, pkg := range pure {
		for _, name := range all[pkg] {
			switch {
			case slices.Contains(impure, name):
				t.Errorf("%s imports %s: it must be a function of state, time and command alone", pkg, name)
			case strings.Contains(name, "protobuf"), strings.Contains(name, "/proto/"):
				t.Errorf("%s imports %s: only raftnode's codec and rpc know the wire", pkg, name)
			case strings.HasPrefix(name, ours) && name != module+"/internal/waitgraph":
				t.Errorf("%s imports %s: of ours it may know the wait-for graph only", pkg, name)
			case strings.Contains(strings.SplitN(name, "/", 2)[0], ".") && !strings.HasPrefix(name, ours) &&
				!slices.Contains(libraries, name):
				t.Errorf("%s imports %s: is it pure? then it can be one of the libraries above", pkg, name)
			}
		}
	}
}

func TestOnlyRaftnodeKnowsTheRaftLibrary(t *testing.T) {
	for pkg, names := range imports(t) {
		for _, name := range names {
			if strings.HasPrefix(name, "github.com/hashicorp/raft") && pkg != "internal/raftnode" {
				t.Errorf("%s imports %s", pkg, name)
			}
		}
	}
}

// The SDK is for users' programs, the model for checking us: neither may lean on the server.
func TestWhatStandsBesideTheServerDoesNotImportIt(t *testing.T) {
	for dir, allowed := range map[string]string{
		"sdk-go":            ours + "proto/",
		"conformance/model": ours + "conformance/model",
	} {
		files, err := filepath.Glob(filepath.Join(server, "..", filepath.FromSlash(dir), "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no program in %s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, name := range importsOf(t, file) {
				if strings.HasPrefix(name, ours) && !strings.HasPrefix(name, allowed) &&
					!strings.HasPrefix(name, ours+dir+"/") {
					t.Errorf("%s imports %s", path.Join(dir, filepath.Base(file)), name)
				}
			}
		}
	}
}

// The load generator measures what users get, so it has no shortcut: the SDK, and the contract where
// single calls are wanted.
func TestTheLoadGeneratorUsesWhatIsPublic(t *testing.T) {
	for _, name := range imports(t)["internal/loadgen"] {
		if strings.HasPrefix(name, ours) && name != ours+"sdk-go" && !strings.HasPrefix(name, ours+"proto/gen/go/holdfast/v1") {
			t.Errorf("internal/loadgen imports %s", name)
		}
	}
}
