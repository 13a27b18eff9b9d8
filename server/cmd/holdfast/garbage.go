package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbageRoom is how many bytes of garbage a node, or `bench`, lets come together before it collects them. What
// lives is small, or has no pointers to follow: by the usual rule, twice what lives, an idle node
// that is suddenly asked a lot would collect dozens of times a second, and one that holds a million
// locks would take twice the memory that it needs.
const garbageRoom = 96 << 20

// The least and the most GOGC by which that is brought about.
const (
	gogcLeast = 40
	gogcMost  = 1600
)

// roomForGarbage keeps garbageRoom, unless the operator has a rule of his own.
func roomForGarbage() {
	if os.Getenv("GOGC") != "" {
		return
	}
	scanned := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	percent := 0
	afterEachCollection(func() {
		metrics.Read(scanned)
		lives := uint64(1)
		for i := range scanned {
			lives += scanned[i].Value.Uint64()
		}
		want := gogcFor(lives)
		if 4*want < 3*percent || 3*want > 4*percent { // to set it stops the world for a moment
			percent = want
			debug.SetGCPercent(percent)
		}
	})
}

// gogcFor gives the GOGC that leaves room for garbage beside what lives.
func gogcFor(lives uint64) int {
	return int(min(max(garbageRoom*100/lives, gogcLeast), gogcMost))
}

// afterEachCollection calls f now and after each collection, one call at a time.
func afterEachCollection(f func()) {
	f()
	mark := new([2]*int) // not so small that it shares its memory
	runtime.AddCleanup(mark, afterEachCollection, f)
}
