package locktable

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// HF-9.1: pages of locks are in name order and whole, while more locks come and go than stand apart
// as the newest.
func TestPagesAreInOrderWhileLocksComeAndGo(t *testing.T) {
	table, random := New(), rand.New(rand.NewPCG(1, 2))
	index := uint64(0)
	apply := func(commands ...Command) []Result {
		index++
		return table.Apply(Batch{Index: index, Version: 1, Commands: commands}).Results
	}
	apply(&OpenSession{Namespace: DefaultNamespace, TTL: day})
	held := map[string]GrantID{}
	for round := range 6 {
		for range freshLocks {
			name := fmt.Sprintf("%c/%d", 'a'+random.IntN(3), random.IntN(1_000_000))
			if held[name] == 0 {
				held[name] = apply(&Acquire{Caller: Caller{Session: 1}, Claims: []Claim{{name, S}}})[0].Grant.ID
			}
		}
		for name, grant := range held {
			if random.IntN(2) == 0 {
				apply(&Release{Caller: Caller{Session: 1}, Grant: grant})
				delete(held, name)
			}
		}
		if err := table.Check(); err != nil {
			t.Fatal(err)
		}
		for _, prefix := range []string{"", "b", "c/1"} {
			listed := table.names(prefix)
			if want := namesOf(held, prefix); !slices.Equal(listed, want) {
				t.Fatalf("round %d: %d locks are listed below %q, there are %d", round, len(listed), prefix, len(want))
			}
		}
	}
}

// names lists page by page.
func (t *Table) names(prefix string) (names []string) {
	after := ""
	for more := true; more; {
		var page []LockView
		page, more = t.Locks(DefaultNamespace, prefix, after, 1000)
		for _, l := range page {
			names = append(names, l.Name)
			after = l.Name
		}
	}
	return names
}

// namesOf gives the names that grants with these names stand on.
func namesOf(held map[string]GrantID, prefix string) (names []string) {
	for name := range held {
		parent, _, _ := strings.Cut(name, "/")
		names = append(names, name, parent)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return !isBelow(name, prefix) })
}
