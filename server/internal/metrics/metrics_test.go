package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A scrape shows what was counted, and the state of that moment.
func TestScrape(t *testing.T) {
	state := State{Sessions: 2, Grants: 3, Leader: true, ClusterTime: 1500 * time.Millisecond, SnapshotPause: 2 * time.Millisecond}
	m := New("n1", "1.2.3", func() State { return state })
	m.Operations("acquire", "granted", 1)
	m.Operations("acquire", "granted", 1)
	m.Operations("release", "not_holder", 1)
	m.Called("LockService/Acquire", "ok", time.Millisecond)
	m.Parked(2)
	m.Parked(-1)
	m.Applied(7)
	state.Waiting = 4

	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	lines := strings.Split(answer.Body.String(), "\n")
	for _, want := range []string{
		`holdfast_node_info{node="n1",version="1.2.3"} 1`,
		`holdfast_operations_total{kind="acquire",outcome="granted"} 2`,
		`holdfast_operations_total{kind="release",outcome="not_holder"} 1`,
		`holdfast_calls_total{code="ok",method="LockService/Acquire"} 1`,
		`holdfast_parked_calls 1`,
		`holdfast_batch_commands_sum 7`,
		`holdfast_sessions 2`,
		`holdfast_grants 3`,
		`holdfast_waiters 4`,
		`holdfast_leader 1`,
		`holdfast_has_leader 0`,
		`holdfast_cluster_time_seconds 1.5`,
		`holdfast_snapshot_pause_seconds 0.002`,
	} {
		found := false
		for _, line := range lines {
			found = found || line == want
		}
		if !found {
			t.Errorf("no line %s", want)
		}
	}
}
