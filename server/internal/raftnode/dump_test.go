package raftnode

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// writeTestLog writes a log of a configuration, a batch of commands and a no-op.
func writeTestLog(t *testing.T, dir string) {
	t.Helper()
	store, err := openBolt(dir)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := Encode(Entry{Proposal: 9, Version: 1, Stamp: 1234, Commands: []locktable.Command{
		&locktable.OpenSession{Namespace: "default", TTL: 30_000},
		&locktable.Release{Caller: locktable.Caller{Session: 1, Request: 2}, Grant: 17},
	}})
	if err != nil {
		t.Fatal(err)
	}
	members := raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: "n-1", Address: "127.0.0.1:7481"},
		{Suffrage: raft.Nonvoter, ID: "n-2", Address: "127.0.0.1:7581"},
	}}
	for i, l := range []*raft.Log{
		{Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(members)},
		{Type: raft.LogCommand, Data: frame},
		{Type: raft.LogNoop},
	} {
		l.Index, l.Term, l.AppendedAt = uint64(i+1), 3, time.Unix(1, 0)
		l.Extensions = seal(l)
		if err := store.StoreLogs([]*raft.Log{l}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func readTestLog(t *testing.T, dir string) []LogRecord {
	t.Helper()
	var records []LogRecord
	if err := ReadLog(dir, func(r LogRecord) error { records = append(records, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

func TestReadLogShowsEveryKindOfEntry(t *testing.T) {
	dir := t.TempDir()
	writeTestLog(t, dir)
	records := readTestLog(t, dir)
	if len(records) != 3 {
		t.Fatalf("got %d records, want 3", len(records))
	}
	for _, r := range records {
		if r.Err != nil || r.Term != 3 {
			t.Errorf("record %+v, want term 3 and no error", r)
		}
	}
	if m := records[0].Members; len(m) != 2 || m[1] != "n-2 learner 127.0.0.1:7581" {
		t.Errorf("members %q", m)
	}
	if e := records[1].Entry; e == nil || e.Stamp != 1234 || len(e.Commands) != 2 {
		t.Errorf("entry %+v", e)
	}
	if records[2].Kind != "no-op" {
		t.Errorf("kind %q, want no-op", records[2].Kind)
	}
}

func TestReadLogGoesOnAfterADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	writeTestLog(t, dir)
	store, err := openBolt(dir)
	if err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	if err := store.GetLog(2, &l); err != nil {
		t.Fatal(err)
	}
	l.Data[len(l.Data)-1] ^= 1
	if err := store.StoreLogs([]*raft.Log{&l}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	records := readTestLog(t, dir)
	if len(records) != 3 || records[1].Err == nil || records[2].Err != nil {
		t.Errorf("records %+v, want the second alone damaged", records)
	}
}

func TestReadLogRefusesARunningNodeAndAForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	writeTestLog(t, dir)
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for d, want := range map[string]StartFailure{dir: DirectoryInUse, t.TempDir(): BadDirectory} {
		err := ReadLog(d, func(LogRecord) error { return nil })
		var se *StartError
		if !errors.As(err, &se) || se.Failure != want {
			t.Errorf("got %v, want failure %d", err, want)
		}
	}
}
