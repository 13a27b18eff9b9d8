package locktable

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

const day = 86_400_000

// world is a table under load. Each of its sessions sends commands with request ids and
// acknowledgements, as an SDK does.
type world struct {
	*Table
	index    uint64
	requests []uint64 // the last id of each session
	busy     int      // the first of the sessions, which do what is measured
}

// opened makes a table with n sessions of a day.
func opened(n int) *world {
	w := &world{Table: New(), index: 1, requests: make([]uint64, n+1), busy: n}
	commands := []Command{&Bootstrap{ClusterID: "bench"}}
	for range n {
		commands = append(commands, &OpenSession{Namespace: DefaultNamespace, TTL: day})
	}
	w.apply(commands)
	return w
}

func (w *world) apply(commands []Command) Effects {
	w.index++
	return w.Apply(Batch{Index: w.index, Stamp: Millis(w.index), Version: 1, Commands: commands})
}

// caller names a session, which has its answers to all commands but the last n.
func (w *world) caller(s SessionID, n uint64) Caller {
	w.requests[s]++
	id := w.requests[s]
	return Caller{Session: s, Request: id, Acked: id - min(id, n+1)}
}

// fill makes the sessions hold n locks three names deep, with answers that are not acknowledged.
func (w *world) fill(n int) []Result {
	var all []Result
	sessions := len(w.requests) - 1
	for at := 0; at < n; {
		var commands []Command
		for ; at < n && len(commands) < 1000; at++ {
			commands = append(commands, &Acquire{
				Caller: w.caller(SessionID(at%sessions+1), 1000),
				Claims: []Claim{{fmt.Sprintf("tenants/%d/rows/%d", at%1000, at), X}},
			})
		}
		all = append(all, w.apply(commands).Results...)
	}
	return all
}

const (
	batchCommands = 128
	batchSets     = 64 // of names, so that they are not all in the cache
)

// pairs acquires and releases free locks, a batch of the one and a batch of the other. An operation
// of the benchmark is one of the commands.
func (w *world) pairs(b *testing.B, name func(i int) []Claim) {
	var sets [batchSets][batchCommands][]Claim
	runtime.GC()
	for i := range batchSets * batchCommands {
		sets[i/batchCommands][i%batchCommands] = name(i)
	}
	acquires, releases := make([]Acquire, batchCommands), make([]Release, batchCommands)
	commands := make([]Command, batchCommands)
	b.ReportAllocs()
	b.ResetTimer()
	used := cpu()
	for n := 0; n < b.N; n += 2 * batchCommands {
		session := SessionID(n/256%w.busy + 1)
		for i := range commands {
			acquires[i] = Acquire{Caller: w.caller(session, batchCommands), Claims: sets[n/256%batchSets][i]}
			commands[i] = &acquires[i]
		}
		results := w.apply(commands).Results
		for i := range commands {
			if results[i].Outcome != Granted || results[i].Grant.Depth != 1 {
				b.Fatalf("an acquire came to %v", results[i])
			}
			releases[i] = Release{Caller: w.caller(session, batchCommands), Grant: results[i].Grant.ID}
			commands[i] = &releases[i]
		}
		for _, r := range w.apply(commands).Results {
			if r.Outcome != Done {
				b.Fatalf("a release came to %v", r)
			}
		}
	}
	b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpu is the time that this process has used, which other processes do not add to.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApplyUncontended is the acquire or release of a free lock beside others that are held.
func BenchmarkApplyUncontended(b *testing.B) {
	for _, held := range []int{1000, 100_000, 1_000_000} {
		filled := sync.OnceValue(func() *world {
			w := opened(min(held, 10_000))
			w.fill(held)
			return w
		})
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			filled().pairs(b, func(i int) []Claim {
				return []Claim{{fmt.Sprintf("tenants/%d/rows/free-%d", i*7919%1000, i), X}}
			})
		})
	}
}

// BenchmarkApplyDepth is the acquire or release of a free lock with a name of so many segments.
func BenchmarkApplyDepth(b *testing.B) {
	for depth := 1; depth <= 8; depth++ {
		w := opened(100)
		w.fill(1000)
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			w.pairs(b, func(i int) []Claim {
				name := ""
				for level := 1; level < depth; level++ {
					name += fmt.Sprintf("level-%d/", level)
				}
				return []Claim{{name + fmt.Sprintf("free-%d", i), X}}
			})
		})
	}
}

// BenchmarkApplyBeside is the acquire or release of a free lock while others wait elsewhere.
func BenchmarkApplyBeside(b *testing.B) {
	for _, waiters := range []int{1, 100, 10_000} {
		w := opened(11_001)
		w.fill(1000)
		w.busy = 1000
		w.queue(waiters, func(i int) string { return fmt.Sprintf("queues/%d", i%100) })
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			w.pairs(b, func(i int) []Claim { return []Claim{{fmt.Sprintf("tenants/%d/free-%d", i%1000, i), X}} })
		})
	}
}

// queue makes sessions wait for names that the last of them holds.
func (w *world) queue(waiters int, name func(i int) string) {
	var commands []Command
	for i := range waiters {
		commands = append(commands, &Acquire{
			Caller: w.caller(SessionID(len(w.requests)-1), 0), Claims: []Claim{{name(i), X}},
		})
	}
	for i := range waiters {
		commands = append(commands, &Acquire{
			Caller: w.caller(SessionID(len(w.requests)-2-i), 0), Claims: []Claim{{name(i), X}}, WaitLimit: day,
		})
	}
	for len(commands) > 0 {
		n := min(len(commands), 1000)
		w.apply(commands[:n])
		commands = commands[n:]
	}
}

// BenchmarkApplyHandOff is a hot lock: all sessions queue for it, each release grants the next, and
// who has released queues again behind the others.
func BenchmarkApplyHandOff(b *testing.B) {
	for _, waiters := range []int{2, 64, 1000, 10_000} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			w := opened(waiters)
			ask := func(s SessionID) *Acquire {
				return &Acquire{Caller: w.caller(s, 2), Claims: []Claim{{"hot", X}}, WaitLimit: day}
			}
			var commands []Command
			for s := range waiters {
				commands = append(commands, ask(SessionID(s+1)))
			}
			at := w.apply(commands).Results[0].Grant
			holder := SessionID(1)
			var times samples
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				commands = append(commands[:0], &Release{Caller: w.caller(holder, 2), Grant: at.ID}, ask(holder))
				start := time.Now()
				effects := w.apply(commands)
				times = append(times, time.Since(start))
				for _, e := range effects.Events {
					if e.Kind == EventOutcome && e.Outcome == Granted {
						at, holder = e.Grant, e.Session
					}
				}
			}
			times.report(b)
		})
	}
}

// samples are times of single calls of Apply.
type samples []time.Duration

func (s samples) report(b *testing.B) {
	slices.Sort(s)
	us := func(share float64) float64 {
		return float64(s[int(share*float64(len(s)-1))].Nanoseconds()) / 1000
	}
	b.ReportMetric(us(0.5), "p50-us")
	b.ReportMetric(us(0.99), "p99-us")
	b.ReportMetric(us(1), "max-us")
}

// BenchmarkApplyStorm is a storm of deadlocks: of 1,000 owners that wait in queues some, 2 to 32 of
// them, hold a lock each and then ask for that of the next, the last for that of the first. Its
// victim gives way, and all release. An operation is the Apply of one request that waits; with
// cycles=false the last does not ask.
func BenchmarkApplyStorm(b *testing.B) {
	for _, cycles := range []bool{false, true} {
		b.Run(fmt.Sprintf("cycles=%v", cycles), func(b *testing.B) {
			const owners = 1000
			w := opened(owners + 1)
			w.queue(owners, func(i int) string { return fmt.Sprintf("queues/%d", i%50) })
			var times samples
			b.ResetTimer()
			for round := 0; len(times) < b.N; round++ {
				w.ring(round*37%(owners-32), 2+round%31, cycles, &times)
			}
			times.report(b)
		})
	}
}

// ring makes sessions from one on wait for each other's locks.
func (w *world) ring(from, length int, closed bool, times *samples) {
	name := func(i int) []Claim { return []Claim{{fmt.Sprintf("ring/%d", from+i%length), X}} }
	session := func(i int) SessionID { return SessionID(len(w.requests) - 2 - from - i) }
	var commands []Command
	for i := range length {
		commands = append(commands, &Acquire{Caller: w.caller(session(i), 0), Claims: name(i)})
	}
	held := w.apply(commands).Results
	for i := range length {
		if i == length-1 && !closed {
			break
		}
		ask := []Command{&Acquire{Caller: w.caller(session(i), 0), Claims: name(i + 1), WaitLimit: day}}
		start := time.Now()
		w.apply(ask)
		*times = append(*times, time.Since(start))
	}
	for i := length - 1; i >= 0; i-- { // each lets the one before it through
		effects := w.apply([]Command{&Release{Caller: w.caller(session(i), 0), Grant: held[i].Grant.ID}})
		for _, e := range effects.Events {
			if e.Kind == EventOutcome && e.Outcome == Granted {
				w.apply([]Command{&Release{Caller: w.caller(e.Session, 0), Grant: e.Grant.ID}})
			}
		}
	}
}

// BenchmarkMemory shows what a held lock of one named and three implied claims costs, with all that
// belongs to it: its name, its answer while that is not acknowledged, and, with owners, an owner of
// its own.
func BenchmarkMemory(b *testing.B) {
	const held = 1_000_000
	for _, shape := range []struct {
		name            string
		answers, owners bool
	}{{"plain", false, false}, {"answers", true, false}, {"answers+owners", true, true}} {
		b.Run(shape.name, func(b *testing.B) {
			for range b.N {
				runtime.GC()
				before := heap()
				w := opened(10_000)
				var commands []Command
				for at := 0; at < held; {
					commands = commands[:0]
					for ; at < held && len(commands) < 1000; at++ {
						a := &Acquire{
							Caller: Caller{Session: SessionID(at%10_000 + 1)},
							Claims: []Claim{{fmt.Sprintf("tenants/%d/rows/%d", at%1000, at), X}},
						}
						if shape.answers {
							a.Caller = w.caller(a.Session, 1000)
						}
						if shape.owners {
							a.Owner = fmt.Sprint(at)
						}
						commands = append(commands, a)
					}
					w.apply(commands)
				}
				commands = nil
				start := time.Now()
				runtime.GC()
				b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "gc-ms")
				used := float64(heap() - before)
				b.ReportMetric(used/held, "B/lock")
				b.ReportMetric(used/(4*held), "B/claim")
				runtime.KeepAlive(w)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSnapshot shows how long Apply is kept waiting by a snapshot of a million locks: for the
// longest of its parts.
func BenchmarkSnapshot(b *testing.B) {
	w := opened(10_000)
	w.fill(1_000_000)
	b.ResetTimer()
	var parts samples
	for range b.N {
		s := w.Snapshot()
		buf, size := []byte(nil), 0
		for more := true; more; {
			start := time.Now()
			buf, more = s.Next(buf[:0])
			parts = append(parts, time.Since(start))
			size += len(buf)
		}
		b.ReportMetric(float64(size)/1_000_000, "B/lock")
	}
	parts.report(b)
}

// BenchmarkRestore shows how long a million locks take to be read back.
func BenchmarkRestore(b *testing.B) {
	file := func() (file []byte) {
		w := opened(10_000)
		w.fill(1_000_000)
		s := w.Snapshot()
		for more := true; more; {
			file, more = s.Next(file)
		}
		return file
	}()
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := Restore(bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMassExpiry lets 10,000 sessions with a million locks end at the same time, and shows the
// longest Apply on the way.
func BenchmarkMassExpiry(b *testing.B) {
	for range b.N {
		b.StopTimer()
		w := opened(10_000)
		w.fill(1_000_000)
		runtime.GC()
		b.StartTimer()
		var times samples
		w.index = 2 * day
		for more := true; more; {
			start := time.Now()
			more = w.apply(nil).Backlog
			times = append(times, time.Since(start))
		}
		times.report(b)
		if left := w.Status().Grants; left != 0 {
			b.Fatalf("%d grants are left", left)
		}
	}
}
