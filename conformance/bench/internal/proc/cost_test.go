package proc

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestTimesOfAProcessWhoseNameIsOdd(t *testing.T) {
	got, err := parseStat([]byte("42 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 8 0 100"))
	if err != nil || got != 2*time.Second {
		t.Errorf("got %v, %v, want 2 s", got, err)
	}
	if _, err := parseStat([]byte("42 (cut) S 1")); err == nil {
		t.Error("a line that is cut is no time")
	}
}

func TestMemoryLines(t *testing.T) {
	got, err := kilobytes([]byte("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"), "VmRSS:")
	if err != nil || got != 1<<20 {
		t.Errorf("got %d, %v, want 1 MiB", got, err)
	}
}

// What is started talks, shows what it costs, and is gone afterwards.
func TestAProcessIsStartedAndEnded(t *testing.T) {
	g := &Group{}
	p, err := g.Start(Command{Name: "cat", Path: "cat", Talk: true, LogFile: t.TempDir() + "/log"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stdin.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := p.Stdout.Read(buf); err != nil || string(buf) != "hello" {
		t.Errorf("it said %q, %v", buf, err)
	}
	if _, err := p.CPU(); err != nil {
		t.Error(err)
	}
	if now, most, err := p.Memory(); err != nil || now == 0 || most < now {
		t.Errorf("memory %d, at most %d, %v", now, most, err)
	}
	g.Stop(time.Minute)
	if !strings.Contains(p.How(), "cat ended") {
		t.Errorf("it ended like this: %s", p.How())
	}
}

func TestFreePortsAreFree(t *testing.T) {
	first, err := FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	if !free(first, 3) {
		t.Errorf("ports from %d on are taken", first)
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Error("costs of processes are read from /proc, which is not there")
	}
}
