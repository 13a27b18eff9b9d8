package locktable_test

import (
	"bytes"
	"fmt"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// reloaded goes on after every entry with a table read back from a snapshot. While the next entry
// is applied another snapshot is open, which must still give the state before that entry.
type reloaded struct {
	tuning locktable.Tuning
	open   map[*locktable.Table]pending
}

type pending struct {
	snapshot *locktable.Snapshot
	hash     uint64
}

func (k *reloaded) make(tuning locktable.Tuning) *locktable.Table {
	k.tuning, k.open = tuning, map[*locktable.Table]pending{}
	return locktable.NewWith(tuning)
}

func (k *reloaded) between(t *locktable.Table) (*locktable.Table, error) {
	if err := t.Check(); err != nil {
		return t, err
	}
	if p, ok := k.open[t]; ok {
		delete(k.open, t)
		before, err := k.restore(p.snapshot)
		if err != nil {
			return t, fmt.Errorf("restore what was before: %w", err)
		}
		if before.Hash() != p.hash {
			return t, fmt.Errorf("the open snapshot shows later changes:\n%s", before.Dump())
		}
	}
	back, err := k.restore(t.Snapshot())
	if err != nil {
		return t, fmt.Errorf("restore: %w", err)
	}
	if a, b := t.Dump(), back.Dump(); a != b || t.Hash() != back.Hash() {
		return t, fmt.Errorf("read back with hash %x, not %x:\n%s\nof\n%s", back.Hash(), t.Hash(), b, a)
	}
	k.open[back] = pending{back.Snapshot(), back.Hash()}
	return back, back.Check()
}

func (k *reloaded) restore(s *locktable.Snapshot) (*locktable.Table, error) {
	var out []byte
	for more := true; more; {
		out, more = s.Next(out)
	}
	return locktable.RestoreWith(k.tuning, bytes.NewReader(out))
}
