package watch

import (
	"fmt"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

// BenchmarkApplied is what one event costs the goroutine that applies the log.
func BenchmarkApplied(b *testing.B) {
	for _, subscribers := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			h := New(Config{})
			for i := range subscribers {
				if _, err := h.Session(locktable.SessionID(i+1), ""); err != nil {
					b.Fatal(err)
				}
			}
			var batch []locktable.Event
			for i := range 1000 {
				e := outcomeOf(locktable.SessionID(i*7+1), 1, fmt.Sprintf("orders/%d/lines/%d", i, i))
				if i%2 == 0 {
					e.Kind = locktable.EventGranted
				}
				batch = append(batch, e)
			}
			b.ReportAllocs()
			index := uint64(0)
			for n := b.N; n > 0; n -= len(batch) {
				index++
				h.Applied(proposer.Applied{Effects: locktable.Effects{Index: index, Events: batch[:min(n, len(batch))]}})
			}
		})
	}
}
