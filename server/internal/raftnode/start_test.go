package raftnode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/peerport"
)

// used makes a directory that a node has run on.
func used(t *testing.T) *member {
	t.Helper()
	m := newMember(t)
	m.mustStart(true)
	m.waitLeading()
	if err := m.propose(1); err != nil {
		t.Fatal(err)
	}
	m.kill()
	return m
}

func (m *member) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.path, name), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// Every way in which a start can fail says what is wrong and what to do about it.
func TestEveryFailureToStartIsNamed(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T) *member
		failure StartFailure
		says    string
	}{
		{"neither bootstrapped nor joined", func(t *testing.T) *member { return newMember(t) }, NotInitialised, "belongs to no cluster yet"},
		{"in use", func(t *testing.T) *member {
			m := used(t)
			d, err := OpenDir(m.path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			return m
		}, DirectoryInUse, "is in use by another process (process "},
		{"foreign cluster", func(t *testing.T) *member {
			m := used(t)
			m.cfg = func(c *Config) { c.ClusterID = "c-other" }
			return m
		}, ForeignCluster, "not to c-other"},
		{"wrong node", func(t *testing.T) *member {
			m := used(t)
			m.cfg = func(c *Config) { c.NodeID = "n-other" }
			return m
		}, WrongNode, "not to n-other"},
		{"put together from two", func(t *testing.T) *member {
			m, other := used(t), used(t)
			b, err := os.ReadFile(filepath.Join(other.path, nodeFile))
			if err != nil {
				t.Fatal(err)
			}
			m.write(nodeFile, string(b))
			return m
		}, WrongNode, "the log belongs to node"},
		{"marked", func(t *testing.T) *member {
			m := used(t)
			m.write(damageFile, "append to the log: input/output error\n")
			return m
		}, Damaged, "is marked as damaged: append to the log: input/output error"},
		{"log lost", func(t *testing.T) *member {
			m := used(t)
			if err := os.Remove(filepath.Join(m.path, logFile)); err != nil {
				t.Fatal(err)
			}
			return m
		}, Damaged, "has lost its log"},
		{"identity lost", func(t *testing.T) *member {
			m := used(t)
			if err := os.Remove(filepath.Join(m.path, nodeFile)); err != nil {
				t.Fatal(err)
			}
			return m
		}, Damaged, "has lost its node.json"},
		{"identity damaged", func(t *testing.T) *member {
			m := used(t)
			m.write(nodeFile, "{")
			return m
		}, Damaged, "cannot be read"},
		{"log entry damaged", func(t *testing.T) *member {
			m := used(t)
			flip(t, m.path, "logs", logKey(2), 8*80)
			return m
		}, Damaged, "log entry 2"},
		{"vote damaged", func(t *testing.T) *member {
			m := used(t)
			flip(t, m.path, "conf", hardStateKey, 8*3)
			return m
		}, Damaged, "record of term and vote"},
		{"log is no database", func(t *testing.T) *member {
			m := used(t)
			m.write(logFile, strings.Repeat("not a database. ", 4096))
			return m
		}, Damaged, "is damaged"},
		{"log cut off", func(t *testing.T) *member {
			m := used(t)
			m.mustStart(false)
			m.waitLeading()
			for i := range uint64(200) { // a small log may fit into what is left
				if err := m.propose(i + 2); err != nil {
					t.Fatal(err)
				}
			}
			m.kill()
			if err := os.Truncate(filepath.Join(m.path, logFile), 3*4096); err != nil {
				t.Fatal(err)
			}
			return m
		}, Damaged, "is damaged"},
		{"removed", func(t *testing.T) *member {
			m := used(t)
			d, err := OpenDir(m.path)
			if err == nil {
				err = errors.Join(d.removed(), d.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			return m
		}, Removed, "was removed from its cluster"},
		{"newer directory", func(t *testing.T) *member {
			m := used(t)
			m.write(nodeFile, `{"format":2,"node_id":"n-1","cluster_id":"c-1"}`)
			return m
		}, UnknownFormat, "has format 2"},
		{"not a directory", func(t *testing.T) *member {
			m := newMember(t)
			if err := os.WriteFile(m.path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return m
		}, BadDirectory, "cannot be made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.prepare(t)
			err := m.start(false)
			var start *StartError
			if !errors.As(err, &start) {
				t.Fatalf("got %v", err)
			}
			if start.Failure != c.failure || !strings.Contains(err.Error(), c.says) || start.Hint() == "" {
				t.Errorf("failure %d, %q, want %d and %q", start.Failure, err, c.failure, c.says)
			}
			if !strings.Contains(err.Error(), m.path) {
				t.Errorf("%q does not name the directory", err)
			}
		})
	}
}

func TestTakenPortIsNoStart(t *testing.T) {
	m := used(t)
	other, err := peerport.Listen(peerport.Config{Listen: m.addr, NodeID: "n-x", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	var taken *peerport.ListenError
	if err := m.start(false); !errors.As(err, &taken) || !taken.Taken {
		t.Errorf("got %v", err)
	}
	_ = other.Close()
	m.mustStart(false) // the directory was given free
}

// A failed start gives the directory and the port free.
func TestFailedStartCanBeRepeated(t *testing.T) {
	m := newMember(t)
	for range 2 {
		var start *StartError
		if err := m.start(false); !errors.As(err, &start) || start.Failure != NotInitialised {
			t.Fatalf("got %v", err)
		}
	}
	m.mustStart(true)
}

func TestWipedDirectoryIsANewNode(t *testing.T) {
	m := used(t)
	id := func() string {
		d, err := OpenDir(m.path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		return d.NodeID()
	}
	before := id()
	if again := id(); again != before {
		t.Errorf("node %s became %s", before, again)
	}
	if err := os.RemoveAll(m.path); err != nil {
		t.Fatal(err)
	}
	if after := id(); after == before || after == "" {
		t.Errorf("the wiped node is %q again", after)
	}
}

func TestBootstrapAgainChangesNothing(t *testing.T) {
	m := used(t)
	m.mustStart(true)
	m.waitLeading()
	if _, ok := m.seen.find(1); !ok {
		t.Error("what was there is gone")
	}
}

func TestJoinNotesTheClusterOnce(t *testing.T) {
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := errors.Join(d.Join("c-1"), d.Join("c-1")); err != nil {
		t.Fatal(err)
	}
	var start *StartError
	if err := d.Join("c-2"); !errors.As(err, &start) || start.Failure != ForeignCluster {
		t.Errorf("got %v", err)
	}
	if err := d.Bootstrap(); err != nil || d.ClusterID() != "c-1" {
		t.Errorf("cluster %s, %v", d.ClusterID(), err)
	}
}
