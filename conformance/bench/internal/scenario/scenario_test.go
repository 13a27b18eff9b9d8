package scenario

import (
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/generator"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

func TestTargetsJudge(t *testing.T) {
	most, least := Target{What: "a", Most: 5}, Target{What: "b", Least: 0.8}
	for _, c := range []struct {
		check results.Check
		want  results.Verdict
	}{
		{most.Check(5, ""), results.Met}, {most.Check(5.1, ""), results.NotMet},
		{least.Check(0.8, ""), results.Met}, {least.Check(0.79, ""), results.NotMet},
		{least.Unmeasured("why"), results.NotMeasured},
	} {
		if c.check.Verdict != c.want {
			t.Errorf("%+v, want %s", c.check, c.want)
		}
	}
}

// Every target can be judged, has a command, and a name of its own; all rows but 3 are covered,
// which is for the peers.
func TestAllTargets(t *testing.T) {
	covered := map[int]bool{3: true}
	names := map[string]bool{}
	for _, sc := range All() {
		if names[sc.Name] || sc.About == "" {
			t.Errorf("scenario %q: two have the name, or it says nothing", sc.Name)
		}
		names[sc.Name] = true
		whats := map[string]bool{}
		for _, target := range sc.Targets {
			covered[target.Row] = true
			if (target.Most == 0) == (target.Least == 0) || target.Command == "" || target.Text == "" || whats[target.What] {
				t.Errorf("%s: target %+v", sc.Name, target)
			}
			whats[target.What] = true
		}
	}
	for row := 1; row <= 13; row++ {
		if !covered[row] {
			t.Errorf("row %d has no target", row)
		}
	}
}

// Of each client the longest gap around a kill counts; one without a gap waited 50 ms at most.
func TestResumes(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	r := &generator.Report{StartedUnixMS: start.UnixMilli()}
	r.Failover.ClientGaps = []generator.Gap{
		{Client: 0, StartMS: 900, LengthMS: 80}, // before it
		{Client: 0, StartMS: 1001, LengthMS: 300},
		{Client: 0, StartMS: 1400, LengthMS: 100},
		{Client: 1, StartMS: 9000, LengthMS: 700}, // long after
	}
	all, without := resumes(r, 2, []time.Time{start.Add(time.Second)})
	if len(all) != 2 || all[0] != 300 || all[1] != gapLeast || without != 1 {
		t.Errorf("%v, %d without", all, without)
	}
}
