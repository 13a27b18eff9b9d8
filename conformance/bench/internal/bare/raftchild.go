package bare

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// order is what the parent asks of a node, a line of JSON; answer is what it says.
type order struct {
	Bytes   int     `json:"bytes"`
	Seconds float64 `json:"seconds"` // 0 asks only who leads
}

type answer struct {
	Leader bool   `json:"leader"`
	Rate   Rate   `json:"rate"`
	Error  string `json:"error,omitempty"`
}

// RaftChild is one node of a bare cluster: the library, its log in a bolt database, and a state
// machine that does nothing. It obeys orders on stdin until that ends.
func RaftChild(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("raft", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the log")
	id := flags.String("id", "", "address of this node")
	members := flags.String("members", "", "addresses of all nodes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	node, err := openRaft(*dir, *id, strings.Split(*members, ","))
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if err := encoder.Encode(obey(node, o)); err != nil {
			return err
		}
	}
	return node.Shutdown().Error()
}

func openRaft(dir, id string, members []string) (*raft.Raft, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), BoltOptions: boltOptions()})
	if err != nil {
		return nil, err
	}
	logs, err := raft.NewLogCache(logCacheEntries, store)
	if err != nil {
		return nil, err
	}
	snapshots, err := raft.NewFileSnapshotStore(dir, 1, io.Discard)
	if err != nil {
		return nil, err
	}
	layer, err := raft.NewTCPTransportWithConfig(id, nil, &raft.NetworkTransportConfig{
		MaxPool: transportPool, Timeout: transportTimeout, MaxRPCsInFlight: maxRPCsInFlight,
		Logger: raftConfig(id).Logger,
	})
	if err != nil {
		return nil, err
	}
	var all raft.Configuration
	for _, m := range members {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(m), Address: raft.ServerAddress(m)})
	}
	config := raftConfig(id)
	if err := raft.BootstrapCluster(config, logs, store, snapshots, layer, all); err != nil {
		return nil, err
	}
	return raft.NewRaft(config, nothing{}, logs, store, snapshots, layer)
}

// obey commits entries, one at a time, for as long as asked.
func obey(node *raft.Raft, o order) answer {
	if node.State() != raft.Leader {
		return answer{}
	}
	var took []time.Duration
	data := make([]byte, o.Bytes)
	for end := time.Now().Add(time.Duration(o.Seconds * float64(time.Second))); time.Now().Before(end); {
		began := time.Now()
		if err := node.Apply(data, 10*time.Second).Error(); err != nil {
			return answer{Leader: true, Error: err.Error()}
		}
		took = append(took, time.Since(began))
	}
	return answer{Leader: true, Rate: newRate(took)}
}

// nothing is a state machine without state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any { return nil }

func (nothing) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("there is nothing to keep")
}

func (nothing) Restore(r io.ReadCloser) error {
	return fmt.Errorf("there is nothing to restore: %w", r.Close())
}
