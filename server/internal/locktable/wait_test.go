package locktable

import (
	"fmt"
	"testing"
)

// HF-4.2: position and total count all that stand in the way, in queues longer than what is listed
// and walked, and with owners that wait more than once.
func TestLongQueuesAreCountedWhole(t *testing.T) {
	table := New()
	commands := []Command{&Bootstrap{ClusterID: "c"}, &OpenSession{Namespace: DefaultNamespace, TTL: day}}
	for i := range 60 {
		mode := []Mode{S, X, IX, S, IS}[i%5]
		commands = append(commands, &Acquire{
			Caller: Caller{Session: 1, Request: uint64(i + 1)}, Owner: fmt.Sprint(i % 23),
			Claims: []Claim{{"a/b", mode}, {"c", []Mode{X, S}[i%2]}}, WaitLimit: day, Priority: int32(i % 7 / 6),
		})
	}
	queued := 0
	for at, command := range commands {
		result := table.Apply(Batch{Index: uint64(at + 1), Version: 1, Commands: []Command{command}}).Results[0]
		if result.Outcome != Queued {
			continue
		}
		queued++
		position, total := table.sessions[1].waiting[uint64(at-1)].countAll()
		if result.Position != position || result.BlockersTotal != total || len(result.Blockers) != min(total, blockersShown) {
			t.Errorf("request %d has position %d, %d of %d blockers; there are %d, the position is %d",
				at-1, result.Position, len(result.Blockers), result.BlockersTotal, total, position)
		}
	}
	if queued < 2*blockersShown {
		t.Fatalf("only %d requests wait", queued)
	}
}

// countAll counts one by one what inTheWay counts.
func (r *request) countAll() (position, total int) {
	for i := range r.places {
		p := &r.places[i]
		if p.satisfied {
			continue
		}
		for h := range p.lock.eachHold() {
			if p.lock.space.t.ownerOf(h) != r.owner && !compatible[p.mode][h.mode] {
				total++
			}
		}
		ahead := 0
		for q := p.lock.first; q != p; q = q.next {
			if q.conflicts(p) {
				ahead++
			}
		}
		total += ahead
		position = max(position, ahead)
	}
	return position + 1, total
}
