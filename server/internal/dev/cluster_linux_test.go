package dev

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// The test binary is also the server that the tests run (as `holdfast server ...`), and a parent
// that is to be killed (role "parent").
func TestMain(m *testing.M) {
	switch os.Getenv("HOLDFAST_DEV_TEST_ROLE") {
	case "server":
		fakeServer(os.Args[1:])
	case "parent":
		fakeParent()
	default:
		os.Exit(m.Run())
	}
}

// fakeServer is ready as soon as it runs, and leaves a file as a server leaves its data.
func fakeServer(args []string) {
	value := func(flag string) string {
		if i := slices.Index(args, flag); i >= 0 {
			return args[i+1]
		}
		return ""
	}
	fmt.Println("args", strings.Join(args, " "))
	_, err := os.Stat(filepath.Join(value("--dir"), "poison"))
	if slices.Contains(args, "--fail") || err == nil {
		fmt.Println("something is wrong")
		os.Exit(3)
	}
	_ = os.MkdirAll(value("--dir"), 0o700)
	_ = os.WriteFile(filepath.Join(value("--dir"), "data"), nil, 0o600)
	port, _ := strconv.Atoi(value("--client-port"))
	l, err := net.Listen("tcp", address(port+2))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, syscall.SIGTERM)
		<-terminated
		fmt.Println("goodbye")
		os.Exit(0)
	}()
	go fakeStatus(port)
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
}

// fakeStatus says that the cluster has all the members one could want.
func fakeStatus(port int) {
	status := &holdfastv1.GetStatusResponse{Healthy: true, Members: make([]*holdfastv1.Member, 5)}
	for i := range status.Members {
		status.Members[i] = &holdfastv1.Member{Role: holdfastv1.MemberRole_MEMBER_ROLE_FOLLOWER}
	}
	mux := http.NewServeMux()
	mux.Handle(holdfastv1connect.NewClusterServiceHandler(fakeCluster{status: status}))
	_ = http.ListenAndServe(address(port), mux)
}

type fakeCluster struct {
	holdfastv1connect.UnimplementedClusterServiceHandler
	status *holdfastv1.GetStatusResponse
}

func (f fakeCluster) GetStatus(context.Context, *holdfastv1.GetStatusRequest) (*holdfastv1.GetStatusResponse, error) {
	return f.status, nil
}

// fakeParent runs a cluster until it is killed.
func fakeParent() {
	_ = os.Setenv("HOLDFAST_DEV_TEST_ROLE", "server")
	port, _ := strconv.Atoi(os.Args[2])
	c, err := New(Config{Binary: os.Args[0], Dir: os.Args[1], Nodes: 1, ClientPort: port})
	if err == nil {
		err = c.Start(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.Nodes[0].PID())
	select {}
}

func testConfig(t *testing.T, nodes int) Config {
	t.Helper()
	port, err := FreePorts(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Binary: os.Args[0], Dir: t.TempDir(), Nodes: nodes, ClientPort: port,
		Env: append(os.Environ(), "HOLDFAST_DEV_TEST_ROLE=server")}
}

func startTestCluster(t *testing.T, config Config) *Cluster {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range c.Nodes {
			n.Kill()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheFirstNodeBootstrapsAndTheOthersJoin(t *testing.T) {
	c := startTestCluster(t, testConfig(t, 3))
	for i, n := range c.Nodes {
		words := n.LastWords()
		want := "--join " + c.Nodes[0].PeerAddr
		if i == 0 {
			want = "--bootstrap"
		}
		if !strings.Contains(words, want) {
			t.Errorf("%s was started with %q, want %s", n.Name, words, want)
		}
	}
}

func TestANodeWhoseDataIsGoneJoinsTheOthers(t *testing.T) {
	config := testConfig(t, 3)
	if err := os.MkdirAll(filepath.Join(config.Dir, "n2", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if args := c.Nodes[0].args; !slices.Contains(args, c.Nodes[1].PeerAddr) || slices.Contains(args, "--bootstrap") {
		t.Errorf("the first node is started with %q; it must join the second, not begin a new history", args)
	}
}

func TestAKilledNodeIsStartedAgain(t *testing.T) {
	c := startTestCluster(t, testConfig(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	said := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- c.Supervise(ctx, func(format string, args ...any) { said <- fmt.Sprintf(format, args...) })
	}()
	before := c.Nodes[0].PID()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := <-said; !strings.Contains(s, fmt.Sprintf("n1 (pid %d) ended: signal: killed", before)) {
		t.Errorf("said %q", s)
	}
	if s := <-said; !strings.Contains(s, "n1 runs again") {
		t.Errorf("said %q", s)
	}
	if after := c.Nodes[0].PID(); after == before || after == 0 {
		t.Errorf("pid %d after %d", after, before)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestANodeThatKeepsEndingIsLeftAloneAndTheOthersGoOn(t *testing.T) {
	c := startTestCluster(t, testConfig(t, 3))
	c.restartPause = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	said := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- c.Supervise(ctx, func(format string, args ...any) { said <- fmt.Sprintf(format, args...) })
	}()
	if err := os.WriteFile(filepath.Join(c.Nodes[1].Dir, "poison"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(c.Nodes[1].PID(), syscall.SIGKILL)
	for s := range said {
		if strings.HasSuffix(s, "n2 is left alone") {
			if !strings.Contains(s, "n2 ended 6 times in a row (exit status 3)") || !strings.Contains(s, "something is wrong") {
				t.Errorf("said %q", s)
			}
			break
		}
	}
	if c.Nodes[0].PID() == 0 || c.Nodes[1].PID() != 0 || c.Nodes[2].PID() == 0 {
		t.Error("the first and the third must run, and the second not")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestANodeThatCannotStartSaysWhy(t *testing.T) {
	config := testConfig(t, 1)
	config.ServerArgs = []string{"--fail"}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "something is wrong") {
		t.Errorf("got %v, want the exit status and the last words", err)
	}
}

func TestStopIsGraceful(t *testing.T) {
	c := startTestCluster(t, testConfig(t, 3))
	c.Stop(t.Context())
	for _, n := range c.Nodes {
		if n.PID() != 0 || !strings.HasSuffix(n.LastWords(), "goodbye") {
			t.Errorf("%s: pid %d, last words %q", n.Name, n.PID(), n.LastWords())
		}
	}
}

func TestNewRefuses(t *testing.T) {
	used := t.TempDir()
	for _, n := range []string{"n1", "n2", "n3"} {
		if err := os.MkdirAll(filepath.Join(used, n, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"an even number":          {Config{Nodes: 2, ClientPort: 7480}, "2 nodes: a cluster has 1, 3 or 5"},
		"ports beyond the last":   {Config{Nodes: 3, ClientPort: 65500}, "65535 is the last"},
		"fewer nodes than before": {Config{Nodes: 1, ClientPort: 7480, Dir: used}, "has the data of 3 nodes"},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	config := testConfig(t, 1)
	l, err := net.Listen("tcp", address(config.ClientPort+1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want the address and that it is in use", err)
	}
}

func TestNodesDoNotOutliveTheirParent(t *testing.T) {
	config := testConfig(t, 1)
	parent := exec.Command(os.Args[0], config.Dir, strconv.Itoa(config.ClientPort))
	parent.Env = append(os.Environ(), "HOLDFAST_DEV_TEST_ROLE=parent")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent said %q", line)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	for deadline := time.Now().Add(10 * time.Second); !ended(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("node %d outlived its parent", pid)
		}
		time.Sleep(5 * time.Millisecond) // another process's end cannot be waited for
	}
}

// ended reports whether a process is gone, or only waits for whoever adopted it to notice.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
