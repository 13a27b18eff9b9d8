package raftnode

import (
	"errors"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// The promise is less than one change of leader in ten minutes: -leader-load 10m.
var leaderLoad = flag.Duration("leader-load", 3*time.Second, "how long TestLeaderStaysUnderFullLoad writes")

// fullEntry is an entry of the size that a busy proposer makes: acquires of one session.
func fullEntry(proposal uint64, session locktable.SessionID, stamp locktable.Millis) Entry {
	e := Entry{Proposal: proposal, Version: SemanticsMax, Stamp: stamp}
	const pairs = 256
	for i := range uint64(pairs) {
		caller := locktable.Caller{Principal: "load", Session: session, Request: (proposal*pairs + i) + 1, Acked: proposal * pairs}
		e.Commands = append(e.Commands, locktable.Acquire{
			Caller: caller, Owner: fmt.Sprint(i), NoReentry: true,
			Claims: []locktable.Claim{{Name: fmt.Sprintf("orders/%d", (proposal*pairs+i)%100_000), Mode: locktable.X}},
		})
	}
	return e
}

// Heartbeats wait behind writes, so a leader could lose its followers under load. Two entries are
// always in flight, as the proposer has it, on three nodes that share this machine's disk.
func TestLeaderStaysUnderFullLoad(t *testing.T) {
	members := threeNodes(t, func(c *Config) { c.Timing = LAN; c.SnapshotBytes = 16 << 20 })
	leader := members[0]
	term := leader.Term()
	f := leader.Propose(Entry{Proposal: 1, Version: SemanticsMax, Commands: []locktable.Command{
		locktable.OpenSession{Principal: "load", Namespace: "default", TTL: 86_400_000, Nonce: "load"}}})
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	opened, _ := leader.seen.find(1)
	session := opened.Effects.Results[0].Session
	for _, m := range members {
		m.seen.forget()
	}

	deadline := time.Now().Add(*leaderLoad)
	var entries, lost atomic.Int64
	inFlight := make(chan *Future, 1) // and one in the hand
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		for f := range inFlight {
			entries.Add(1)
			if err := f.Err(); err != nil {
				lost.Add(1)
				if !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotDone) {
					t.Error(err)
				}
			}
		}
	}()
	for i := uint64(2); time.Now().Before(deadline) && leader.State() == Leader; i++ {
		inFlight <- leader.Propose(fullEntry(i, session, 1))
	}
	close(inFlight)
	<-waited
	t.Logf("%d entries of 256 commands in %v, %d of unknown fate", entries.Load(), *leaderLoad, lost.Load())
	if now := leaderOf(t, members).Term(); now != term {
		t.Errorf("the leader of term %d was replaced: the term is %d", term, now)
	}
	agree(t, members)
}
