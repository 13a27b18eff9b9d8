package bare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
)

// Raft is a bare cluster of three processes.
type Raft struct {
	nodes []*raftNode
}

type raftNode struct {
	process *proc.Process
	answers chan answer
}

// electionLimit is how long the nodes may take to agree on a leader.
const electionLimit = 20 * time.Second

// StartRaft starts a bare cluster below a directory; self is our own executable.
func StartRaft(ctx context.Context, g *proc.Group, self, dir string) (*Raft, error) {
	first, err := proc.FreePorts(3)
	if err != nil {
		return nil, err
	}
	var members []string
	for i := range 3 {
		members = append(members, proc.Address(first+i))
	}
	r := &Raft{}
	for i, m := range members {
		name := fmt.Sprintf("raft%d", i+1)
		p, err := g.Start(proc.Command{
			Name: name, Path: self, Talk: true, LogFile: filepath.Join(dir, name+".log"),
			Args: []string{"child", "raft", "--dir", filepath.Join(dir, name), "--id", m, "--members", strings.Join(members, ",")},
		})
		if err != nil {
			return nil, err
		}
		n := &raftNode{process: p, answers: make(chan answer, 1)}
		go n.read()
		r.nodes = append(r.nodes, n)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, electionLimit, errors.New("the bare raft nodes elect no leader"))
	defer cancel()
	for {
		if _, err := r.Measure(ctx, 0, 0); !errors.Is(err, errNoLeader) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *raftNode) read() {
	defer close(n.answers)
	for lines := bufio.NewScanner(n.process.Stdout); lines.Scan(); {
		var a answer
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			return
		}
		n.answers <- a
	}
}

var errNoLeader = errors.New("no node leads")

// Measure has the leader commit entries of a size, one at a time.
func (r *Raft) Measure(ctx context.Context, bytes int, duration time.Duration) (Rate, error) {
	for _, n := range r.nodes {
		a, err := n.ask(ctx, order{Bytes: bytes, Seconds: duration.Seconds()})
		if err != nil {
			return Rate{}, err
		}
		if a.Error != "" {
			return Rate{}, errors.New(a.Error)
		}
		if a.Leader {
			return a.Rate, nil
		}
	}
	return Rate{}, errNoLeader
}

func (n *raftNode) ask(ctx context.Context, o order) (answer, error) {
	if err := json.NewEncoder(n.process.Stdin).Encode(o); err != nil {
		return answer{}, err
	}
	select {
	case a, ok := <-n.answers:
		if !ok {
			return answer{}, errors.New(n.process.How())
		}
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}
