package modelcheck

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// counts is what a run met.
type counts struct {
	worlds, batches, commands int
	arrivals, contended       int // acquires and raising conversions that were new; not granted on arrival
	restores, backlogs        int
	kinds, outcomes, refusals map[string]int
	ends                      map[string]int
	victims, turned           map[int]int // cycles by length
}

func newCounts() *counts {
	return &counts{kinds: map[string]int{}, outcomes: map[string]int{}, refusals: map[string]int{},
		ends: map[string]int{}, victims: map[int]int{}, turned: map[int]int{}}
}

func (n *counts) add(b locktable.Batch, fx locktable.Effects) {
	n.batches++
	n.commands += len(b.Commands)
	if b.Index%restoreEvery == 0 {
		n.restores++
	}
	if fx.Backlog {
		n.backlogs++
	}
	waited := map[locktable.Index]bool{}
	for _, e := range fx.Events {
		switch e.Kind {
		case locktable.EventQueued:
			waited[e.Arrival] = true
			n.arrivals++
			n.contended++
			n.outcomes[outcomes[locktable.Queued]]++
		case locktable.EventGranted, locktable.EventConverted:
			n.arrivals++
		case locktable.EventOutcome:
			n.outcomes[outcomes[e.Outcome]]++
		case locktable.EventGrantEnded:
			n.ends["grant "+reasons[e.Ended]]++
		case locktable.EventSessionEnded:
			n.ends["session "+reasons[e.Ended]]++
		case locktable.EventDeadlock:
			if e.Victim == (locktable.Index{}) {
				n.turned[len(e.Cycle)]++
			} else {
				n.victims[len(e.Cycle)]++
			}
		}
	}
	for i, r := range fx.Results {
		n.kinds[strings.TrimPrefix(fmt.Sprintf("%T", b.Commands[i]), "*locktable.")]++
		if r.Refusal != locktable.NoRefusal {
			n.refusals[refusals[r.Refusal]]++
		}
		if r.Outcome == locktable.Held && r.First == 0 {
			n.arrivals++
			n.contended++
		}
		if !waited[r.At] && r.Outcome != locktable.Queued {
			n.outcomes[outcomes[r.Outcome]]++
		}
	}
}

func (n *counts) merge(o *counts) {
	n.worlds += o.worlds
	n.batches += o.batches
	n.commands += o.commands
	n.arrivals += o.arrivals
	n.contended += o.contended
	n.restores += o.restores
	n.backlogs += o.backlogs
	mergeMap(n.kinds, o.kinds)
	mergeMap(n.outcomes, o.outcomes)
	mergeMap(n.refusals, o.refusals)
	mergeMap(n.ends, o.ends)
	mergeMap(n.victims, o.victims)
	mergeMap(n.turned, o.turned)
}

func mergeMap[K comparable](to, from map[K]int) {
	for k, v := range from {
		to[k] += v
	}
}

// missing tells of what a run met too little: contention on arrival, an outcome less than least
// times, a refusal or a length of cycles never.
func (n *counts) missing(least int) (all []string) {
	if n.contended*100 < n.arrivals*30 {
		all = append(all, fmt.Sprintf("%d of %d requests contended, want 30 %%", n.contended, n.arrivals))
	}
	for _, name := range outcomes[1:] {
		if n.outcomes[name] < least {
			all = append(all, fmt.Sprintf("outcome %s %d times, want %d", name, n.outcomes[name], least))
		}
	}
	for _, name := range refusals[1:] {
		if n.refusals[name] == 0 {
			all = append(all, "no refusal "+name)
		}
	}
	for length := 2; length <= 8; length++ {
		if n.victims[length]+n.turned[length] == 0 {
			all = append(all, fmt.Sprintf("no cycle of %d", length))
		}
	}
	return all
}

// print shows the counts as a table.
func (n *counts) print(w io.Writer) {
	share := 0
	if n.arrivals > 0 {
		share = 100 * n.contended / n.arrivals
	}
	fmt.Fprintf(w, "%-28s %12d\n%-28s %12d\n%-28s %12d\n", "worlds", n.worlds, "batches", n.batches,
		"commands", n.commands)
	fmt.Fprintf(w, "%-28s %12d\n%-28s %12d\n", "restored from a snapshot", n.restores,
		"batches that left a backlog", n.backlogs)
	fmt.Fprintf(w, "%-28s %12d  (%d %% of %d)\n", "contended on arrival", n.contended, share, n.arrivals)
	for _, part := range []struct {
		title string
		rows  map[string]int
	}{{"command", n.kinds}, {"outcome", n.outcomes}, {"refusal", n.refusals}, {"end", n.ends}} {
		for _, key := range sorted(part.rows) {
			fmt.Fprintf(w, "%-28s %12d\n", part.title+" "+key, part.rows[key])
		}
	}
	lengths := map[int]int{}
	mergeMap(lengths, n.victims)
	mergeMap(lengths, n.turned)
	for _, l := range sorted(lengths) {
		fmt.Fprintf(w, "%-28s %12d  (%d by a victim, %d by a turn)\n", fmt.Sprint("cycles of ", l), lengths[l],
			n.victims[l], n.turned[l])
	}
}

func sorted[K int | string](m map[K]int) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// failure is a world in which table and model differ.
type failure struct {
	seed       uint64
	tuning     locktable.Tuning
	batches    []locktable.Batch
	difference string
}

// batchesPerWorld keeps worlds short: many beginnings find more than one long life.
const batchesPerWorld = 70

// tuningOf makes the constants of HF-2.3a, HF-4.6 and HF-7.2 small in most worlds.
func tuningOf(c chooser) locktable.Tuning {
	return locktable.Tuning{
		BatchWork:   pick(&generator{chooser: c}, []int{1, 2, 3, 5, 8, 1024, 1024}),
		PassLimit:   pick(&generator{chooser: c}, []int{1, 2, 3, 3, 5, 64}),
		KeptAnswers: pick(&generator{chooser: c}, []int{2, 4, 10, 1024}),
	}
}

// runWorld lives through the world of a seed.
func runWorld(seed uint64, n *counts) *failure {
	random := rand.New(rand.NewPCG(seed, 1))
	return live(random, batchesPerWorld, seed, n)
}

func live(c chooser, length int, seed uint64, n *counts) *failure {
	tuning := tuningOf(c)
	g, p := newGenerator(c), newPair(tuning)
	n.worlds++
	var batches []locktable.Batch
	for range length {
		b := g.batch()
		batches = append(batches, b)
		fx, difference := p.apply(b)
		if difference != "" {
			return &failure{seed, tuning, batches, difference}
		}
		n.add(b, fx)
		g.learn(b, fx)
	}
	return nil
}
