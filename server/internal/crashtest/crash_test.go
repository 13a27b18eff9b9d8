package crashtest

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/dev"
)

var (
	rounds = flag.Int("rounds", 10, "how often a node is killed")
	seed   = flag.Uint64("seed", 0, "schedule of the kills; 0 makes one up")
	keep   = flag.String("keep", "", "directory for data and logs, which then stay")
)

const (
	nodes               = 3
	roundLimit          = 30 * time.Second // for a node to come back
	goesOnWithin        = 10 * time.Second // in every round, on a machine that does much else
	usuallyGoesOnWithin = 2 * time.Second  // in nine of ten rounds, if there are many
	manyRounds          = 100
)

// TestKillRounds kills a random node, again and again, and lets it come back each time.
func TestKillRounds(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%d rounds, -seed %d", *rounds, *seed)
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := h.load.start(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range *rounds {
		if err := h.round(ctx, i); err != nil {
			t.Errorf("round %d: %v", i, err)
		}
		if broken := h.load.oracle.broken(); len(broken) > 0 || t.Failed() {
			cancel()
			break
		}
	}
	h.load.end()
	if !t.Failed() && len(h.load.oracle.broken()) == 0 {
		if err := h.finish(ctx); err != nil {
			t.Error(err)
		}
	}
	for _, b := range h.load.oracle.broken() {
		t.Errorf("broken: %s", b)
	}
	h.report()
}

// harness is the cluster, its load, and what was measured.
type harness struct {
	t       *testing.T
	cluster *dev.Cluster
	load    *load
	random  *mathrand.Rand
	probe   *rawClient

	started      time.Time
	afterLeader  []time.Duration // from the kill of the leader to the first command done after it
	afterOthers  []time.Duration
	backInCircle []time.Duration // from the start of a killed node until it has caught up
}

func newHarness(t *testing.T) *harness {
	dir := *keep
	if dir == "" {
		dir = t.TempDir()
	}
	port, err := dev.FreePorts(nodes)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := dev.New(dev.Config{Binary: build(t), Dir: dir, Nodes: nodes, ClientPort: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range cluster.Nodes {
			if t.Failed() {
				t.Logf("%s: the log ends:\n%s", n.Name, n.LastWords())
			}
			n.Kill()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := cluster.Start(ctx); err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, cluster: cluster, load: newLoad(cluster.Endpoints()),
		random: mathrand.New(mathrand.NewPCG(*seed, 0)), started: time.Now()}
	h.probe = h.load.client(0)
	return h
}

// build makes the real binary.
func build(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "holdfast")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary,
		"github.com/holdfast-dev/holdfast/server/cmd/holdfast").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// round kills one node, waits until the service has gone on, lets the node come back, and looks
// whether what is held is still held.
func (h *harness) round(ctx context.Context, i int) error {
	h.load.rest(h.pause())
	victim, leads, err := h.victim(ctx)
	if err != nil {
		return err
	}
	node := h.cluster.Nodes[victim]
	killed := time.Now()
	node.Kill()
	took, err := h.goesOn(ctx, victim, killed, i)
	if err != nil {
		return fmt.Errorf("%s (leader: %v) was killed: %w", node.Name, leads, err)
	}
	if leads {
		h.afterLeader = append(h.afterLeader, took)
	} else {
		h.afterOthers = append(h.afterOthers, took)
	}
	own, hot := h.load.oracle.count("own"), h.load.oracle.count("hot")
	h.load.rest(h.pause())
	if err := h.comesBack(ctx, victim); err != nil {
		return err
	}
	if err := h.loadGoesOn(own, hot); err != nil {
		return err
	}
	for _, k := range h.load.keepers {
		if err := k.verify(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause is how long a round waits before it goes on.
func (h *harness) pause() time.Duration {
	return time.Duration(h.random.IntN(400)) * time.Millisecond
}

// victim chooses a node: every second time the leader, else any.
func (h *harness) victim(ctx context.Context) (index int, leads bool, err error) {
	leader, err := h.leader(ctx)
	if err != nil {
		return 0, false, err
	}
	if h.random.IntN(2) == 0 {
		return leader, true, nil
	}
	index = h.random.IntN(nodes)
	return index, index == leader, nil
}

// leader finds the node that says it leads.
func (h *harness) leader(ctx context.Context) (int, error) {
	deadline := time.Now().Add(roundLimit)
	for time.Now().Before(deadline) {
		for i := range h.cluster.Nodes {
			if s, err := h.status(ctx, i); err == nil && s.GetLeaderId() != "" && s.GetLeaderId() == s.GetNodeId() {
				return i, nil
			}
		}
		h.load.rest(10 * time.Millisecond)
	}
	return 0, fmt.Errorf("no node led within %v", roundLimit)
}

func (h *harness) status(ctx context.Context, i int) (*v1.GetStatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return h.load.endpoints[i].cluster.GetStatus(ctx, &v1.GetStatusRequest{})
}

// goesOn waits until a command that was sent after the kill is done, and tells how long after it.
func (h *harness) goesOn(ctx context.Context, dead int, killed time.Time, round int) (time.Duration, error) {
	var last error
	for n := 0; time.Since(killed) < goesOnWithin; n++ {
		if n%nodes == dead {
			continue
		}
		name := fmt.Sprintf("probe/%d/%d", round, n)
		if last = h.probeOnce(ctx, h.load.endpoints[n%nodes], name); last == nil {
			return time.Since(killed), nil
		}
		h.load.rest(5 * time.Millisecond)
	}
	return 0, fmt.Errorf("no command was done within %v, the last error being %w", goesOnWithin, last)
}

// loadGoesOn waits until both kinds of load have got further than they were.
func (h *harness) loadGoesOn(own, hot int) error {
	for deadline := time.Now().Add(goesOnWithin); ; {
		if h.load.oracle.count("own") > own && h.load.oracle.count("hot") > hot {
			return nil
		}
		if time.Now().After(deadline) || h.load.stopped() {
			return fmt.Errorf("the load stood still for %v though the service went on (%d own, %d hot grants)",
				goesOnWithin, own, hot)
		}
		h.load.rest(5 * time.Millisecond)
	}
}

// probeOnce acquires a lock that goes away by itself, since its ttl is short.
func (h *harness) probeOnce(ctx context.Context, e *endpoint, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
	defer cancel()
	res, err := e.locks.Acquire(ctx, &v1.AcquireRequest{
		Name: name, Ttl: durationpb.New(time.Second), Nonce: rand.Text(),
	})
	if err != nil {
		return err
	}
	if res.GetOutcome() != v1.Outcome_OUTCOME_GRANTED {
		return fmt.Errorf("%s: outcome %v", name, res.GetOutcome())
	}
	return nil
}

// comesBack starts the killed node and waits until it has applied what was committed before.
func (h *harness) comesBack(ctx context.Context, victim int) error {
	leader, err := h.leader(ctx)
	if err != nil {
		return err
	}
	there, err := h.status(ctx, leader)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := h.cluster.Nodes[victim].Start(); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	if err := h.cluster.Nodes[victim].WaitReady(limit); err != nil {
		return err
	}
	for limit.Err() == nil {
		s, err := h.status(ctx, victim)
		if err == nil && s.GetLeaderId() != "" && s.GetStamp().GetIndex() >= there.GetStamp().GetIndex() {
			h.backInCircle = append(h.backInCircle, time.Since(began))
			return nil
		}
		h.load.rest(10 * time.Millisecond)
	}
	return fmt.Errorf("%s did not catch up within %v", h.cluster.Nodes[victim].Name, roundLimit)
}

// finish releases everything and compares the replicas.
func (h *harness) finish(ctx context.Context) error {
	for _, k := range h.load.keepers {
		if err := k.verify(ctx); err != nil {
			return err
		}
		if err := k.release(ctx); err != nil {
			return err
		}
	}
	for _, prefix := range []string{"own", "hot", "kept"} {
		left, err := h.probe.list(ctx, prefix)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("%d locks below %s are held though all was released", len(left), prefix)
		}
	}
	return h.compare(ctx)
}

// compare waits until all nodes stand at one index, and compares their state hashes (HF-10.5).
func (h *harness) compare(ctx context.Context) error {
	deadline := time.Now().Add(roundLimit)
	for time.Now().Before(deadline) {
		seen := make(map[uint64][]string)
		for i := range h.cluster.Nodes {
			if s, err := h.status(ctx, i); err == nil {
				index := s.GetStamp().GetIndex()
				seen[index] = append(seen[index], s.GetStateHash())
			}
		}
		for index, hashes := range seen {
			if len(hashes) < nodes {
				continue
			}
			if len(slices.Compact(hashes)) > 1 {
				return fmt.Errorf("the state hashes at index %d differ: %v", index, hashes)
			}
			return nil
		}
		time.Sleep(10 * time.Millisecond) // three processes are asked, and none of them tells
	}
	return fmt.Errorf("the nodes were not seen at one index within %v", roundLimit)
}

const killedNodeBack = "killed node caught up"

// report prints how long things took, and fails the test if many rounds were usually slow.
func (h *harness) report() {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rounds in %v, %d contended and %d uncontended grants, %d calls repeated, seed %d\n",
		len(h.afterLeader)+len(h.afterOthers), time.Since(h.started).Round(time.Second),
		h.load.oracle.count("hot"), h.load.oracle.count("own"), h.load.retries.Load(), *seed)
	for _, d := range []struct {
		what  string
		times []time.Duration
	}{
		{"went on after the leader was killed", h.afterLeader},
		{"went on after a follower was killed", h.afterOthers},
		{killedNodeBack, h.backInCircle},
	} {
		if len(d.times) == 0 {
			continue
		}
		slices.Sort(d.times)
		at := func(q int) time.Duration { return d.times[(len(d.times)-1)*q/100].Round(time.Millisecond) }
		if d.what != killedNodeBack && len(d.times) >= manyRounds && at(90) > usuallyGoesOnWithin {
			h.t.Errorf("%s: one time in ten after more than %v", d.what, usuallyGoesOnWithin)
		}
		fmt.Fprintf(&b, "%-36s n=%-4d min %-6v median %-6v p90 %-6v p99 %-6v max %v\n", d.what, len(d.times),
			at(0), at(50), at(90), at(99), at(100))
	}
	h.t.Log("\n" + b.String())
}
