package modelcheck

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	commandsFlag = flag.Int("commands", envInt("MODELCHECK_COMMANDS", 0),
		"number of commands to compare; 0 compares for -budget")
	budgetFlag = flag.Duration("budget", 12*time.Second, "how long to compare without -commands")
	seedFlag   = flag.Uint64("seed", uint64(envInt("MODELCHECK_SEED", 0)),
		"first seed; 0 takes one from the clock")
	worldFlag  = flag.Uint64("world", 0, "replay the world of this one seed")
	shardsFlag = flag.Int("shards", 1, "worlds to live through at the same time")
)

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestTableAndModelAgree lives through many random worlds (HF-4.2, HF-8.3 and all others of
// sections 1 to 8). A failure prints the shortest transcript found, with its seed.
func TestTableAndModelAgree(t *testing.T) {
	if *worldFlag != 0 {
		report(t, runWorld(*worldFlag, newCounts()))
		return
	}
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	budget := *budgetFlag
	if testing.Short() {
		budget = 2 * time.Second
	}
	t.Logf("seeds from %d on", seed)
	var next, done atomic.Uint64
	var failed atomic.Pointer[failure]
	var lock sync.Mutex
	var wait sync.WaitGroup
	total, start := newCounts(), time.Now()
	for range *shardsFlag {
		wait.Go(func() {
			n := newCounts()
			for failed.Load() == nil {
				if *commandsFlag == 0 && time.Since(start) > budget ||
					*commandsFlag > 0 && done.Load() >= uint64(*commandsFlag) {
					break
				}
				before := n.commands
				if f := runWorld(seed+next.Add(1)-1, n); f != nil {
					failed.CompareAndSwap(nil, f)
				}
				done.Add(uint64(n.commands - before))
			}
			lock.Lock()
			defer lock.Unlock()
			total.merge(n)
		})
	}
	wait.Wait()
	t.Logf("%d commands a second", int(float64(total.commands)/time.Since(start).Seconds()))
	total.print(os.Stdout)
	report(t, failed.Load())
	if *commandsFlag >= 1_000_000 { // 10,000 of each outcome among 10 million commands
		for _, what := range total.missing(*commandsFlag / 1_000) {
			t.Error(what)
		}
	}
}

func report(t interface{ Fatal(...any) }, f *failure) {
	if f != nil {
		f.shrink()
		t.Fatal(f.String())
	}
}

// TestGeneratorMeetsWhatMatters holds the generator to its purpose: contention, every outcome,
// every refusal, cycles of 2 to 8.
func TestGeneratorMeetsWhatMatters(t *testing.T) {
	n := newCounts()
	for seed := uint64(1); seed <= 120; seed++ {
		report(t, runWorld(seed, n))
	}
	for _, what := range n.missing(1) {
		t.Error(what)
	}
}

// rapidChooser lets rapid make the choices, so that it can shrink them.
type rapidChooser struct{ t *rapid.T }

func (c rapidChooser) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(c.t, "choice") }

// TestRapidWorlds compares in worlds whose every choice rapid makes.
func TestRapidWorlds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		report(t, live(rapidChooser{t}, 25, 0, newCounts()))
	})
}

// bytesChooser reads the choices from a fuzzer's bytes, and goes on with zeros after them.
type bytesChooser struct{ rest []byte }

func (c *bytesChooser) IntN(n int) int {
	x := 0
	for width := 1; width < n; width <<= 8 {
		b := byte(0)
		if len(c.rest) > 0 {
			b, c.rest = c.rest[0], c.rest[1:]
		}
		x = x<<8 | int(b)
	}
	return x % n
}

// FuzzTable compares in worlds whose choices the fuzzer makes.
func FuzzTable(f *testing.F) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 2))
		data := make([]byte, 500)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		length := min(30, 5+len(data)/20) // short worlds, many of them
		report(t, live(&bytesChooser{data}, length, 0, newCounts()))
	})
}
