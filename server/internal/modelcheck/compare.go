package modelcheck

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/conformance/model"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// pair is a table and a model that are given the same batches.
type pair struct {
	tuning locktable.Tuning
	table  *locktable.Table
	model  *model.Table
}

func newPair(tuning locktable.Tuning) *pair {
	return &pair{
		tuning: tuning,
		table:  locktable.NewWith(tuning),
		model: model.New(model.Tuning{Work: tuning.BatchWork, Overtaking: tuning.PassLimit,
			Answers: tuning.KeptAnswers, Deadlocks: 1000}),
	}
}

// restoreEvery is how often the table is replaced by one restored from its snapshot.
const restoreEvery = 17

// apply gives a batch to both, and tells how they differ, if they do.
func (p *pair) apply(b locktable.Batch) (fx locktable.Effects, difference string) {
	defer func() {
		if r := recover(); r != nil {
			difference = fmt.Sprintf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	batch := model.Batch{Index: b.Index, Stamp: b.Stamp}
	for _, c := range b.Commands {
		batch.Commands = append(batch.Commands, toModel(c))
	}
	fx = p.table.Apply(b)
	want := p.model.Apply(batch)
	if difference = differ(fx, want); difference != "" {
		return fx, difference
	}
	if got, want := observable(p.table.Dump()), describe(p.model); got != want {
		return fx, "state differs (- table, + model):\n" + lineDiff(got, want)
	}
	if difference := p.viewsDiffer(b.Index, fx.Backlog); difference != "" {
		return fx, difference
	}
	if err := p.table.Check(); err != nil {
		return fx, "check: " + err.Error()
	}
	if b.Index%restoreEvery == 0 {
		return fx, p.restore()
	}
	return fx, ""
}

// restore puts a table restored from the snapshot in the place of the table.
func (p *pair) restore() string {
	restored, err := snapshotAndRestore(p.table, p.tuning)
	switch {
	case err != nil:
		return "restore: " + err.Error()
	case restored.Hash() != p.table.Hash():
		return "a restored table has another hash:\n" + lineDiff(p.table.Dump(), restored.Dump())
	case restored.Check() != nil:
		return "check of a restored table: " + restored.Check().Error()
	}
	p.table = restored
	return ""
}

// differ compares what a batch did in the table with what it did in the model.
func differ(got locktable.Effects, want model.Effects) string {
	var b strings.Builder
	if got.Time != want.Time {
		fmt.Fprintf(&b, "T: table %d, model %d\n", got.Time, want.Time)
	}
	if got.Backlog != want.Backlog {
		fmt.Fprintf(&b, "backlog: table %v, model %v\n", got.Backlog, want.Backlog)
	}
	for i := range max(len(got.Results), len(want.Results)) {
		var g, w model.Result
		if i < len(got.Results) {
			g = fromTable(got.Results[i])
		}
		if i < len(want.Results) {
			w = want.Results[i]
		}
		if !reflect.DeepEqual(g, w) {
			fmt.Fprintf(&b, "result %d: %s", i, fields(g, w))
		}
	}
	for i := range max(len(got.Events), len(want.Events)) {
		var g, w model.Event
		if i < len(got.Events) {
			g = eventFromTable(got.Events[i])
		}
		if i < len(want.Events) {
			w = want.Events[i]
		}
		if !reflect.DeepEqual(g, w) {
			fmt.Fprintf(&b, "event %d (%s, %s): %s", i, g.Kind, w.Kind, fields(g, w))
			break
		}
	}
	return b.String()
}

// fields lists the fields in which two values of one type differ.
func fields(got, want any) string {
	var b strings.Builder
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if f := g.Type().Field(i); !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			fmt.Fprintf(&b, "\n   %s: table %+v\n   %*s  model %+v", f.Name, g.Field(i).Interface(),
				len(f.Name), "", w.Field(i).Interface())
		}
	}
	return b.String() + "\n"
}

// observable takes from a dump what nobody can see: the outcome of a decided wait before it is told.
func observable(dump string) string {
	lines := strings.Split(dump, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "decided ") {
			lines[i] = line[:strings.Index(line, " outcome=")]
		}
	}
	return strings.Join(lines, "\n")
}

func lineDiff(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var b strings.Builder
	for _, line := range g {
		if !slices.Contains(w, line) {
			fmt.Fprintln(&b, " - ", line)
		}
	}
	for _, line := range w {
		if !slices.Contains(g, line) {
			fmt.Fprintln(&b, " + ", line)
		}
	}
	if b.Len() == 0 {
		return "the same lines in another order:\n" + got + "\n" + want
	}
	return b.String()
}

func snapshotAndRestore(t *locktable.Table, tuning locktable.Tuning) (*locktable.Table, error) {
	var all []byte
	s := t.Snapshot()
	for more := true; more; {
		all, more = s.Next(all)
	}
	return locktable.RestoreWith(tuning, bytes.NewReader(all))
}
