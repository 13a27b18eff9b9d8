package raftnode

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

const (
	restartLocks    = 1_000_000
	restartSessions = 10_000
	restartBatch    = 2_000 // commands in an entry
)

// BenchmarkRestart starts a node that holds a million locks of ten thousand sessions. What is measured
// is Open, with nothing but the snapshot, and with a quarter of the locks in the log after it.
func BenchmarkRestart(b *testing.B) {
	for _, c := range []struct {
		name string
		tail int // locks acquired after the snapshot
	}{{"snapshot", 0}, {"log", restartLocks / 4}} {
		b.Run(c.name, func(b *testing.B) {
			m := newMember(b)
			m.mustStart(true)
			m.waitLeading()
			m.seen.forget()
			m.fill(0, restartLocks-c.tail)
			if err := m.Snapshot(b.Context()); err != nil {
				b.Fatal(err)
			}
			pause := m.SnapshotPause()
			m.fill(restartLocks-c.tail, restartLocks)
			hash := m.StateHash()
			m.kill()
			for b.Loop() {
				start := time.Now()
				if err := m.start(false); err != nil {
					b.Fatal(err)
				}
				opened := time.Since(start)
				m.waitLeading()
				b.ReportMetric(float64(opened.Milliseconds()), "open-ms")
				b.ReportMetric(float64(time.Since(start).Milliseconds()), "leading-ms")
				if got := m.StateHash(); got.Hash != hash.Hash {
					b.Fatalf("state %+v instead of %+v", got, hash)
				}
				m.kill()
			}
			b.ReportMetric(float64(pause.Microseconds()), "snapshot-pause-us")
			b.ReportMetric(float64(size(b, filepath.Join(m.path, logFile)))/1e6, "log-MB")
		})
	}
}

func size(b *testing.B, path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

// fill acquires locks, each session a hundred of them below one name.
func (m *member) fill(from, to int) {
	m.t.Helper()
	const each = restartLocks / restartSessions
	var commands []locktable.Command
	flush := func() {
		if err := m.Propose(Entry{Version: SemanticsMax, Commands: commands}).Err(); err != nil {
			m.t.Fatal(err)
		}
		commands = nil
	}
	for i := from; i < to; i += each {
		session := locktable.SessionID(i/each + 1)
		commands = append(commands, &locktable.OpenSession{
			Principal: "p", Namespace: "default", TTL: 3_600_000, Nonce: fmt.Sprint("nonce-", session)})
		for k := range uint64(each) {
			commands = append(commands, &locktable.Acquire{
				Caller: locktable.Caller{Principal: "p", Session: session, Request: k + 1, Acked: k},
				Claims: []locktable.Claim{{Name: fmt.Sprintf("orders/%d/%d", session, k), Mode: locktable.X}},
			})
		}
		if len(commands) >= restartBatch || i+each >= to {
			flush()
		}
	}
}
