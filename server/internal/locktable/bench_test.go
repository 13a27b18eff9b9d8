package locktable

import (
	"fmt"
	"runtime"
	"testing"
)

// opened makes a table with n sessions of a day.
func opened(b *testing.B, n int) *Table {
	b.Helper()
	t := New()
	batch := Batch{Index: 1, Version: 1, Commands: []Command{&Bootstrap{ClusterID: "bench"}}}
	for range n {
		batch.Commands = append(batch.Commands, &OpenSession{Namespace: DefaultNamespace, TTL: 86_400_000})
	}
	t.Apply(batch)
	return t
}

// BenchmarkApplyUncontended is one acquire and one release of a free lock, in batches of 128
// pairs, with request ids and acknowledgements as an SDK sends them.
func BenchmarkApplyUncontended(b *testing.B) {
	for _, held := range []int{0, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			t := opened(b, 64)
			index, acks := fill(t, held), uint64(0)
			batch := Batch{Version: 1, Commands: make([]Command, 128)}
			names := make([]string, len(batch.Commands))
			for i := range names {
				names[i] = fmt.Sprintf("bench/free/%d", i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += len(batch.Commands) {
				index++
				for i := range batch.Commands {
					batch.Commands[i] = &Acquire{
						Caller: Caller{Session: 1, Request: acks + uint64(i) + 1, Acked: acks},
						Claims: []Claim{{names[i], X}},
					}
				}
				batch.Index, batch.Stamp = index, Millis(index)
				results := t.Apply(batch).Results
				acks += uint64(len(batch.Commands))
				index++
				for i := range batch.Commands {
					batch.Commands[i] = &Release{
						Caller: Caller{Session: 1, Request: acks + uint64(i) + 1, Acked: acks},
						Grant:  results[i].Grant.ID,
					}
				}
				batch.Index = index
				t.Apply(batch)
				acks += uint64(len(batch.Commands))
			}
		})
	}
}

// fill makes sessions hold n locks two levels deep and gives the index reached.
func fill(t *Table, n int) uint64 {
	index := uint64(1)
	for at := 0; at < n; {
		index++
		batch := Batch{Index: index, Version: 1}
		for ; at < n && len(batch.Commands) < 1000; at++ {
			batch.Commands = append(batch.Commands, &Acquire{
				Caller: Caller{Session: SessionID(at%64 + 1)},
				Claims: []Claim{{fmt.Sprintf("tenants/%d/rows/%d", at%1000, at), X}},
			})
		}
		t.Apply(batch)
	}
	return index
}

// BenchmarkApplyHandOff is a hot lock: 64 owners queue for it, each release grants the next, which
// queues again behind the others.
func BenchmarkApplyHandOff(b *testing.B) {
	for _, waiters := range []int{2, 64, 1000} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			t := opened(b, waiters)
			ask := func(s SessionID) *Acquire {
				return &Acquire{Caller: Caller{Session: s}, Claims: []Claim{{"hot", X}}, WaitLimit: 86_400_000}
			}
			batch := Batch{Index: 2, Version: 1}
			for s := range waiters {
				batch.Commands = append(batch.Commands, ask(SessionID(s+1)))
			}
			at := t.Apply(batch).Results[0].Grant
			holder := SessionID(1)
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				effects := t.Apply(Batch{Index: uint64(n + 3), Version: 1, Commands: []Command{
					&Release{Caller: Caller{Session: holder}, Grant: at.ID}, ask(holder),
				}})
				for _, e := range effects.Events {
					if e.Kind == EventOutcome && e.Outcome == Granted {
						at, holder = e.Grant, e.Session
					}
				}
			}
		})
	}
}

// BenchmarkMemory shows what a held lock costs, by claim: each of a million locks has one named
// claim and three implied ones, which many share.
func BenchmarkMemory(b *testing.B) {
	const held = 1_000_000
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		t := opened(b, 64)
		fill(t, held)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/held, "B/lock")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(4*held), "B/claim")
		runtime.KeepAlive(t)
	}
}

// BenchmarkSnapshot shows how long Apply is kept waiting by a snapshot of a million locks: to
// begin it, and for the longest of its parts.
func BenchmarkSnapshot(b *testing.B) {
	t := opened(b, 64)
	fill(t, 1_000_000)
	b.ResetTimer()
	for range b.N {
		s := t.Snapshot()
		buf, size, parts := []byte(nil), 0, 0
		for more := true; more; parts++ {
			buf, more = s.Next(buf[:0])
			size += len(buf)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*parts), "us/part")
		b.ReportMetric(float64(size)/1_000_000, "B/lock")
	}
}
