package raftnode

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Files of a data directory.
const (
	nodeFile   = "node.json"
	lockFile   = "LOCK"
	damageFile = "DAMAGED"
	logFile    = "raft.db"

	nodeFormat = 1
)

// identity is node.json.
type identity struct {
	Format    int    `json:"format"`
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id,omitempty"`
	// Started is set once the log exists, so that a lost log is not taken for a new node.
	Started bool `json:"started,omitempty"`
	// Removed is set when the node has left its cluster for good.
	Removed bool `json:"removed,omitempty"`
}

// Dir is a data directory, locked for this process. The node's identity lives in it: a directory
// that was wiped is a new node, which cannot be mistaken for one that has voted.
type Dir struct {
	path string
	lock *os.File
	id   identity
}

// OpenDir locks a data directory and reads its identity; an empty or missing one becomes a new
// node. It refuses a directory that is damaged, in use, or written by a newer version.
func OpenDir(path string) (*Dir, error) {
	fail := func(f StartFailure, what string, err error) (*Dir, error) {
		return nil, &StartError{Failure: f, Dir: path, What: what, Err: err}
	}
	if err := makeDir(path); err != nil {
		return fail(BadDirectory, "cannot be made", err)
	}
	lock, holder, err := lockDir(path)
	if holder != "" {
		return fail(DirectoryInUse, "is in use by another process ("+holder+")", nil)
	}
	if err != nil {
		return fail(BadDirectory, "cannot be locked", err)
	}
	d := &Dir{path: path, lock: lock}
	if err := d.load(); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) load() error {
	if reason, err := os.ReadFile(d.file(damageFile)); err == nil {
		return &StartError{Failure: Damaged, Dir: d.path,
			What: "is marked as damaged: " + strings.TrimSpace(string(reason))}
	}
	b, err := os.ReadFile(d.file(nodeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return d.create()
	}
	if err != nil {
		return &StartError{Failure: BadDirectory, Dir: d.path, What: "cannot be read", Err: err}
	}
	if err := json.Unmarshal(b, &d.id); err != nil || d.id.NodeID == "" {
		return &StartError{Failure: Damaged, Dir: d.path, What: "has a " + nodeFile + " that cannot be read", Err: err}
	}
	if d.id.Format > nodeFormat {
		return &StartError{Failure: UnknownFormat, Dir: d.path,
			What: fmt.Sprintf("has format %d; this version knows %d", d.id.Format, nodeFormat)}
	}
	if d.id.Removed {
		return &StartError{Failure: Removed, Dir: d.path, What: "belongs to a node that was removed from its cluster"}
	}
	if _, err := os.Stat(d.file(logFile)); d.id.Started && errors.Is(err, fs.ErrNotExist) {
		return &StartError{Failure: Damaged, Dir: d.path, What: "has lost its log (" + logFile + ")"}
	}
	return nil
}

func (d *Dir) create() error {
	if _, err := os.Stat(d.file(logFile)); err == nil {
		return &StartError{Failure: Damaged, Dir: d.path, What: "has a log but has lost its " + nodeFile}
	}
	d.id = identity{Format: nodeFormat, NodeID: "n-" + randomID(8)}
	return d.save()
}

// save replaces node.json, durably.
func (d *Dir) save() error {
	b, err := json.MarshalIndent(d.id, "", "  ")
	if err == nil {
		err = writeFile(d.path, nodeFile, append(b, '\n'))
	}
	if err != nil {
		return &StartError{Failure: BadDirectory, Dir: d.path, What: "cannot be written", Err: err}
	}
	return nil
}

// Path of the directory.
func (d *Dir) Path() string { return d.path }

// NodeID is the id of the node whose directory it is.
func (d *Dir) NodeID() string { return d.id.NodeID }

// ClusterID is the cluster the node belongs to, empty if none yet.
func (d *Dir) ClusterID() string { return d.id.ClusterID }

// Bootstrap makes up a new cluster for a node that has none. It does nothing if it has one.
func (d *Dir) Bootstrap() error {
	if d.id.ClusterID != "" {
		return nil
	}
	d.id.ClusterID = "c-" + randomID(8)
	return d.save()
}

// Join notes the cluster that the node joins. It is called before the node asks a member to add it.
func (d *Dir) Join(clusterID string) error {
	if d.id.ClusterID == clusterID {
		return nil
	}
	if d.id.ClusterID != "" {
		return &StartError{Failure: ForeignCluster, Dir: d.path,
			What: fmt.Sprintf("belongs to cluster %s, not to %s", d.id.ClusterID, clusterID)}
	}
	d.id.ClusterID = clusterID
	return d.save()
}

// started notes that the log exists.
func (d *Dir) started() error {
	if d.id.Started {
		return nil
	}
	d.id.Started = true
	return d.save()
}

// removed notes that the node has left its cluster for good.
func (d *Dir) removed() error {
	d.id.Removed = true
	return d.save()
}

// Close gives the directory free. A node that was opened on it closes it.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// markDamaged makes the directory refuse to start again. It does what it can: the disk may be the
// very thing that failed.
func (d *Dir) markDamaged(reason error) error {
	return writeFile(d.path, damageFile, []byte(reason.Error()+"\n"))
}

// makeDir makes a directory that is still there after a power failure.
func makeDir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return os.MkdirAll(path, 0o700) // an error if it is a file
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// lockDir takes the lock of a directory, or tells who has it.
func lockDir(path string) (lock *os.File, holder string, err error) {
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := os.ReadFile(f.Name())
		_ = f.Close()
		return nil, "process " + strings.TrimSpace(string(pid)), nil
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, "", err
	}
	return f, "", nil
}

// writeFile replaces a file such that after a crash either the old or the new one is there.
func writeFile(dir, name string, content []byte) error {
	tmp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func randomID(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
