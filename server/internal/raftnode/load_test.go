//go:build soak

package raftnode

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// The promise is less than one change of leader in ten minutes.
var leaderLoad = flag.Duration("leader-load", 10*time.Minute, "how long TestLeaderStaysUnderFullLoad writes")

// pairsOfEntry acquires, each with its release, are in an entry: about what a busy proposer puts
// into one.
const pairsOfEntry = 256

func fullEntry(n uint64, session locktable.SessionID) Entry {
	e := Entry{Proposal: n, Version: SemanticsMax, Stamp: locktable.Millis(n)}
	request := n * pairsOfEntry * 2
	for i := range uint64(pairsOfEntry) {
		caller := locktable.Caller{Principal: "load", Session: session, Request: request + i*2, Acked: request - 1}
		e.Commands = append(e.Commands, &locktable.Acquire{
			Caller: caller, Owner: fmt.Sprint(i),
			Claims: []locktable.Claim{{Name: fmt.Sprintf("orders/%d", i), Mode: locktable.X}},
		})
		caller.Request++
		e.Commands = append(e.Commands, &locktable.Release{Caller: caller, Grant: grantOf(n, i)})
	}
	return e
}

// grantOf is the grant that an acquire of fullEntry is given: tokens are counted through.
func grantOf(entry, i uint64) locktable.GrantID {
	return locktable.GrantID((entry-1)*pairsOfEntry + i + 1)
}

// Heartbeats wait behind writes, so a leader could lose its followers under load. It wants a machine
// that does nothing else: a process that is not given a processor misses heartbeats, too.
func TestLeaderStaysUnderFullLoad(t *testing.T) {
	if !writeAtFullLoad(t, *leaderLoad) {
		t.Fatal("the leader was replaced")
	}
}

// writeAtFullLoad keeps two entries in flight, as the proposer does, on three nodes that share the
// machine's disk, and tells whether the leader stayed.
func writeAtFullLoad(t *testing.T, d time.Duration) bool {
	t.Helper()
	members := threeNodes(t, func(c *Config) { c.Timing = LAN; c.SnapshotBytes = 16 << 20 })
	defer func() {
		for _, m := range members {
			m.kill()
		}
	}()
	leader := leaderOf(t, members)
	term := leader.Term()
	const first = 1 << 40
	err := leader.Propose(Entry{Proposal: first, Version: SemanticsMax, Commands: []locktable.Command{
		&locktable.OpenSession{Principal: "load", Namespace: "default", TTL: 86_400_000, Nonce: "load"}}}).Err()
	if err != nil {
		return false
	}
	opened, _ := leader.seen.find(first)
	session := opened.Effects.Results[0].Session
	for _, m := range members {
		m.seen.forget()
	}
	deadline := time.Now().Add(d)
	inFlight := make(chan *Future, 1) // and one in the hand
	answered := make(chan int)
	go func() {
		n := 0
		for f := range inFlight {
			if f.Err() == nil {
				n++
			}
		}
		answered <- n
	}()
	for i := uint64(1); time.Now().Before(deadline) && leader.State() == Leader; i++ {
		inFlight <- leader.Propose(fullEntry(i, session))
	}
	close(inFlight)
	t.Logf("%d entries of %d commands in %v", <-answered, pairsOfEntry*2, d)
	stayed := leader.State() == Leader && leader.Term() == term
	agree(t, members)
	leader.View(func(table *locktable.Table) {
		if n := table.Status().Grants; n != 0 {
			t.Errorf("%d grants are left: the releases have missed them", n)
		}
	})
	return stayed
}
