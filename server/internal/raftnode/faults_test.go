package raftnode

import (
	"sync"

	"github.com/hashicorp/raft"
)

// faultStore lets a test come between Raft and the database.
type faultStore struct {
	boltStore
	mu     sync.Mutex
	store  func(logs []*raft.Log) error
	set    func(key []byte) error
	delete func(from, to uint64) error
}

// faulty makes a member use a store with faults, which are none at first.
func faulty(m *member) *faultStore {
	f := &faultStore{}
	m.cfg = func(c *Config) {
		c.faults.store = func(s boltStore) boltStore {
			f.boltStore = s
			return f
		}
	}
	return f
}

func (f *faultStore) on(set func(f *faultStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set(f)
}

func (f *faultStore) StoreLogs(logs []*raft.Log) error {
	f.mu.Lock()
	hook := f.store
	f.mu.Unlock()
	if hook != nil {
		if err := hook(logs); err != nil {
			return err
		}
	}
	return f.boltStore.StoreLogs(logs)
}

func (f *faultStore) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *faultStore) Set(key, value []byte) error {
	f.mu.Lock()
	hook := f.set
	f.mu.Unlock()
	if hook != nil {
		if err := hook(key); err != nil {
			return err
		}
	}
	return f.boltStore.Set(key, value)
}

func (f *faultStore) DeleteRange(from, to uint64) error {
	f.mu.Lock()
	hook := f.delete
	f.mu.Unlock()
	if hook != nil {
		if err := hook(from, to); err != nil {
			return err
		}
	}
	return f.boltStore.DeleteRange(from, to)
}
