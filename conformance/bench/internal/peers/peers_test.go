package peers

import (
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/load"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

func TestSummaryIsTheMedianOfTheRounds(t *testing.T) {
	got := summary([]int{1, 64}, map[int][]load.Result{64: {
		{PerSecond: 100, P50: time.Millisecond}, {PerSecond: 120, P50: 3 * time.Millisecond}, {PerSecond: 110, P50: 2 * time.Millisecond},
	}})
	if len(got) != 1 || got[0].PerSecond != 110 || got[0].P50 != 2 || got[0].Rounds != 3 {
		t.Errorf("%+v", got)
	}
}

func TestJudge(t *testing.T) {
	run := &results.Run{}
	for name, rate := range map[string]float64{results.Holdfast: 60_000, etcdName: 3000, redisName: 80_000} {
		run.Peers = append(run.Peers, results.Peer{Name: name, Pairs: []results.PeerResult{{Callers: 1, PerSecond: rate, P50: 1000 / rate}}})
	}
	judge(Config{Run: run})
	verdicts := map[string]results.Verdict{}
	for _, c := range run.Checks {
		verdicts[c.What] = c.Verdict
	}
	for what, want := range map[string]results.Verdict{
		"pairs per second / etcd": results.Met, "pairs per second / Redis": results.NotMet,
		"pairs per second / ZooKeeper":           results.NotMeasured,
		"acquire P50 / that of etcd, one caller": results.Met,
	} {
		if verdicts[what] != want {
			t.Errorf("%s: %s, want %s", what, verdicts[what], want)
		}
	}
}
