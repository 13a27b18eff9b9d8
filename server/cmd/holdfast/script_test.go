package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-dev/holdfast/server/internal/dev"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"holdfast": main})
}

// TestScripts runs the transcripts in testdata/script. Besides the commands of testscript they have:
//
//	nodes N                    start a cluster; HOLDFAST_ENDPOINTS then names it
//	kill-node I, start-node I  kill -9 the I-th node; start it again
//	exits CODE COMMAND...      run a command that must leave with that code
//	eventually RE COMMAND...   run a command until its output matches
//	appears FILE               wait until a file has a whole line
//	signal SIG FILE            send a signal to the process whose id is in a file
//	gone FILE                  wait until that process has ended
//	save VAR RE                keep what the first group of RE matches in stdout
//	free-port VAR [NODES]      find ports for `dev`
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOLDFAST_ENDPOINTS", "")
			env.Setenv("HOLDFAST_NAMESPACE", "")
			env.Values[clusterKey{}] = new(dev.Cluster)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"nodes":      scriptNodes,
			"kill-node":  func(ts *testscript.TestScript, _ bool, args []string) { scriptNode(ts, args).Kill() },
			"start-node": scriptStartNode,
			"exits":      scriptExits,
			"eventually": scriptEventually,
			"appears":    scriptAppears,
			"signal":     scriptSignal,
			"gone":       scriptGone,
			"save":       scriptSave,
			"free-port":  scriptFreePort,
		},
	})
}

// patience is how long a script waits for what must come.
const patience = 30 * time.Second

type clusterKey struct{}

func scriptNodes(ts *testscript.TestScript, _ bool, args []string) {
	count, err := strconv.Atoi(strings.Join(args, ""))
	ts.Check(err)
	port, err := dev.FreePorts(count)
	ts.Check(err)
	binary, err := exec.LookPath("holdfast")
	ts.Check(err)
	c, err := dev.New(dev.Config{Binary: binary, Dir: ts.MkAbs("cluster"), Nodes: count, ClientPort: port})
	ts.Check(err)
	*ts.Value(clusterKey{}).(*dev.Cluster) = *c
	ts.Defer(func() {
		for _, n := range c.Nodes {
			n.Kill()
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(c.Start(ctx))
	ts.Setenv("HOLDFAST_ENDPOINTS", strings.Join(c.Endpoints(), ","))
	ts.Setenv("DIR1", c.Nodes[0].Dir)
}

func scriptNode(ts *testscript.TestScript, args []string) *dev.Node {
	i, err := strconv.Atoi(strings.Join(args, ""))
	ts.Check(err)
	return ts.Value(clusterKey{}).(*dev.Cluster).Nodes[i-1]
}

func scriptStartNode(ts *testscript.TestScript, _ bool, args []string) {
	n := scriptNode(ts, args)
	ts.Check(n.Start())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(n.WaitReady(ctx))
}

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptEventually(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	waitUntil(ts, "output that matches "+args[0], func() bool {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = append(os.Environ(), "HOLDFAST_ENDPOINTS="+ts.Getenv("HOLDFAST_ENDPOINTS"))
		out, _ = cmd.CombinedOutput() // what it says is what counts
		return re.Match(out)
	})
	ts.Logf("%s", out)
}

func scriptAppears(ts *testscript.TestScript, _ bool, args []string) {
	waitUntil(ts, args[0], func() bool { return wholeLine(ts, args[0]) != "" })
}

// wholeLine is the first line of a file, once it ends.
func wholeLine(ts *testscript.TestScript, file string) string {
	b, err := os.ReadFile(ts.MkAbs(file))
	if err != nil {
		return ""
	}
	line, _, whole := strings.Cut(string(b), "\n")
	if !whole {
		return ""
	}
	return line
}

func pidIn(ts *testscript.TestScript, file string) int {
	pid, err := strconv.Atoi(strings.TrimSpace(wholeLine(ts, file)))
	ts.Check(err)
	return pid
}

func scriptSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "USR1": syscall.SIGUSR1, "KILL": syscall.SIGKILL,
		"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "TSTP": syscall.SIGTSTP,
	}
	sig, ok := signals[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	ts.Check(syscall.Kill(pidIn(ts, args[1]), sig))
}

func scriptGone(ts *testscript.TestScript, _ bool, args []string) {
	pid := pidIn(ts, args[0])
	waitUntil(ts, fmt.Sprintf("the end of process %d", pid), func() bool {
		if syscall.Kill(pid, 0) != nil {
			return true
		}
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err == nil && strings.Contains(string(stat), ") Z ")
	})
}

func scriptSave(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no match for %s in stdout", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func scriptFreePort(ts *testscript.TestScript, _ bool, args []string) {
	count := 1
	if len(args) > 1 {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		count = n
	}
	port, err := dev.FreePorts(count)
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(port))
}

// waitUntil asks again and again: other processes do not tell when they are done.
func waitUntil(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			ts.Fatalf("waited %v in vain for %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
