package generator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
)

// fake is a generator that says these lines, and ends when it is interrupted.
func fake(t *testing.T, lines string) *Generator {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncat <<'END'\n" + lines + "\nEND\n"
	if err := os.WriteFile(filepath.Join(dir, "holdfast"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	g := &Generator{Binary: filepath.Join(dir, "holdfast"), LogFile: filepath.Join(dir, "log"), Processes: &proc.Group{}}
	t.Cleanup(func() { g.Processes.Stop(time.Second) })
	return g
}

// An event has fields of the same names as the report, with other types.
func TestEventsAndTheReport(t *testing.T) {
	l, err := fake(t, `{"event":"open","sessions":10,"open_seconds":0.5}
{"scenario":"sessions","operations_per_second":5000,"acquire":{"p50_us":12},"sessions":{"lost":0}}`).Start("sessions")
	if err != nil {
		t.Fatal(err)
	}
	event, err := l.WaitEvent(t.Context(), "open")
	if err != nil || event["open_seconds"] != 0.5 {
		t.Fatalf("event %v, %v", event, err)
	}
	r, err := l.Report(t.Context())
	if err != nil || r.OperationsPerSecond != 5000 || r.Acquire.P50 != 12 {
		t.Errorf("report %+v, %v", r, err)
	}
}

func TestAReportSkipsEvents(t *testing.T) {
	r, err := fake(t, `{"event":"open","sessions":10}
{"scenario":"sessions","operations":7}`).Run(t.Context(), time.Minute, "sessions")
	if err != nil || r.Operations != 7 {
		t.Errorf("report %+v, %v", r, err)
	}
}

// What was measured while the service broke its word is no measurement.
func TestViolationsAreAnError(t *testing.T) {
	_, err := fake(t, `{"scenario":"hot","checks":{"violations":1,"violation_examples":["two holders of a"]}}`).
		Run(t.Context(), time.Minute, "hot")
	if err == nil || !strings.Contains(err.Error(), "two holders of a") {
		t.Errorf("got %v", err)
	}
}

func TestAGeneratorThatSaysNothingIsAnError(t *testing.T) {
	if _, err := fake(t, "").Run(t.Context(), time.Minute, "hot"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want how it ended", err)
	}
}
