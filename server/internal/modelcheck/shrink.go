package modelcheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// replay gives batches to a fresh pair and returns the number of those applied before a
// difference shows, with the difference.
func replay(tuning locktable.Tuning, batches []locktable.Batch) (int, string) {
	p := newPair(tuning)
	for i, b := range batches {
		if _, difference := p.apply(b); difference != "" {
			return i, difference
		}
	}
	return len(batches), ""
}

// shrink takes away batches, then commands, for as long as a difference remains.
func (f *failure) shrink() {
	try := func(batches []locktable.Batch) bool {
		at, difference := replay(f.tuning, batches)
		if difference == "" {
			return false
		}
		f.batches, f.difference = batches[:at+1], difference
		return true
	}
	for before := -1; before != f.size(); {
		before = f.size()
		for chunk := len(f.batches) / 2; chunk > 0; chunk /= 2 {
			for i := 0; i+chunk <= len(f.batches); {
				if !try(slices.Delete(slices.Clone(f.batches), i, i+chunk)) {
					i += chunk
				}
			}
		}
		for i := len(f.batches) - 1; i >= 0; i-- {
			for j := 0; i < len(f.batches) && j < len(f.batches[i].Commands); {
				batches := slices.Clone(f.batches)
				batches[i].Commands = slices.Delete(slices.Clone(batches[i].Commands), j, j+1)
				if !try(batches) {
					j++
				}
			}
		}
		for i := range f.batches {
			for j := range f.batches[min(i, len(f.batches)-1)].Commands {
				f.simplify(i, j, try)
			}
		}
	}
}

// simplify drops claims of an acquire one by one, and its options.
func (f *failure) simplify(i, j int, try func([]locktable.Batch) bool) {
	with := func(c locktable.Command) bool {
		batches := slices.Clone(f.batches)
		batches[i].Commands = slices.Clone(batches[i].Commands)
		batches[i].Commands[j] = c
		return try(batches)
	}
	now := func() (locktable.Acquire, bool) { // a copy
		if i >= len(f.batches) || j >= len(f.batches[i].Commands) {
			return locktable.Acquire{}, false
		}
		if a, ok := f.batches[i].Commands[j].(*locktable.Acquire); ok {
			return *a, true
		}
		return locktable.Acquire{}, false
	}
	for k := 0; ; k++ {
		a, ok := now()
		if !ok || k >= len(a.Claims) || len(a.Claims) == 1 {
			break
		}
		a.Claims = slices.Delete(slices.Clone(a.Claims), k, k+1)
		if with(&a) {
			k--
		}
	}
	for _, change := range []func(*locktable.Acquire){
		func(a *locktable.Acquire) { a.Lease = 0 },
		func(a *locktable.Acquire) { a.MaxHold = 0 },
		func(a *locktable.Acquire) { a.LockDelay = 0 },
		func(a *locktable.Acquire) { a.Priority = 0 },
		func(a *locktable.Acquire) { a.OnDeadlock = locktable.AbortWait },
		func(a *locktable.Acquire) { a.NoReentry = false },
		func(a *locktable.Acquire) { a.Request = 0 },
		func(a *locktable.Acquire) { a.Acked = 0 },
		func(a *locktable.Acquire) { a.Owner = "" },
	} {
		if a, ok := now(); ok {
			b := a
			if change(&b); fmt.Sprint(a) != fmt.Sprint(b) {
				with(&b)
			}
		}
	}
}

func (f *failure) size() int {
	n := len(f.batches)
	for _, b := range f.batches {
		n += len(b.Commands)
	}
	return n
}

// String is a transcript of the failing world.
func (f *failure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table and model differ (seed %d, work %d, overtaking %d, answers %d)\n", f.seed,
		f.tuning.BatchWork, f.tuning.PassLimit, f.tuning.KeptAnswers)
	p := newPair(f.tuning)
	for _, batch := range f.batches {
		fmt.Fprintf(&b, "batch %d at %d\n", batch.Index, batch.Stamp)
		fx, difference := p.apply(batch)
		for i, c := range batch.Commands {
			fmt.Fprintf(&b, "  %s\n", sentence(c))
			if i < len(fx.Results) {
				fmt.Fprintf(&b, "      -> %s\n", answer(fx.Results[i]))
			}
		}
		if difference != "" {
			fmt.Fprintf(&b, "%s\nstate of the model:\n%s", difference, describe(p.model))
			break
		}
	}
	return b.String()
}

// sentence tells a command on one line, leaving out what is not set.
func sentence(c locktable.Command) string {
	text := fmt.Sprintf("%+v", c)
	var kept []string
	for _, word := range strings.Fields(text) {
		word = strings.ReplaceAll(word, "Caller:{Principal:", "Principal:")
		if value := strings.TrimRight(word, "}"); strings.HasSuffix(value, ":0") || strings.HasSuffix(value, ":") ||
			strings.HasSuffix(value, ":false") {
			continue
		}
		kept = append(kept, word)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T ", c), "*locktable.") + strings.Trim(strings.Join(kept, " "), "&{}")
}

func answer(r locktable.Result) string {
	text := outcomes[r.Outcome] + " " + refusals[r.Refusal]
	if r.Session != 0 {
		text += fmt.Sprintf(" session=%d", r.Session)
	}
	if r.Grant.ID != 0 {
		text += fmt.Sprintf(" grant=%d token=%d depth=%d", r.Grant.ID, r.Grant.Token, r.Grant.Depth)
	}
	if r.Position != 0 {
		text += fmt.Sprintf(" position=%d", r.Position)
	}
	return text
}
