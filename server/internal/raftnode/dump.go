package raftnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// LogRecord is one entry of a log as ReadLog shows it.
type LogRecord struct {
	Index    uint64
	Term     uint64
	Kind     string    // commands, configuration, no-op, barrier
	Appended time.Time // by the wall clock of the leader that made it; shown, never relied on
	Size     int       // of what it carries, in bytes
	Entry    *Entry    // commands
	Members  []string  // configuration: "n-1234 voter 10.0.0.1:7481"
	Err      error     // what is wrong with it
}

// ReadLog reads the log of a node that does not run, in order, without changing anything. A record
// that is damaged is passed on with its error, and the next one follows.
func ReadLog(dir string, each func(LogRecord) error) error {
	path := filepath.Join(dir, logFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return &StartError{Failure: BadDirectory, Dir: dir, What: "has no log (" + logFile + ")"}
	}
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: path, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: boltLockTimeout},
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return &StartError{Failure: DirectoryInUse, Dir: dir, What: "is in use by another process"}
	}
	if err != nil {
		return &StartError{Failure: BadDirectory, Dir: dir, What: "has a log that cannot be opened", Err: err}
	}
	defer func() { _ = store.Close() }()
	return guarded("read the log", func() error { return readLog(store, each) })
}

func readLog(store *raftboltdb.BoltStore, each func(LogRecord) error) error {
	first, err := store.FirstIndex()
	if err != nil {
		return err
	}
	last, err := store.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	for i := first; i <= last; i++ {
		if err := each(readRecord(store, i)); err != nil {
			return err
		}
	}
	return nil
}

func readRecord(store *raftboltdb.BoltStore, index uint64) LogRecord {
	var l raft.Log
	if err := store.GetLog(index, &l); err != nil {
		return LogRecord{Index: index, Kind: "missing", Err: err}
	}
	r := LogRecord{Index: index, Term: l.Term, Appended: l.AppendedAt, Size: len(l.Data)}
	r.Err = unseal(index, &l)
	switch l.Type {
	case raft.LogCommand:
		r.Kind = "commands"
		e, err := Decode(l.Data)
		if err == nil {
			r.Entry = &e
		}
		r.Err = errors.Join(r.Err, err)
	case raft.LogConfiguration:
		r.Kind = "configuration"
		if r.Err == nil {
			r.Members = membersIn(l.Data)
		}
	case raft.LogNoop:
		r.Kind = "no-op"
	case raft.LogBarrier:
		r.Kind = "barrier"
	default:
		r.Kind = fmt.Sprintf("type %d", l.Type)
	}
	return r
}

func membersIn(data []byte) []string {
	var members []string
	for _, s := range raft.DecodeConfiguration(data).Servers {
		part := "voter"
		if s.Suffrage != raft.Voter {
			part = "learner"
		}
		members = append(members, fmt.Sprintf("%s %s %s", s.ID, part, s.Address))
	}
	return members
}
