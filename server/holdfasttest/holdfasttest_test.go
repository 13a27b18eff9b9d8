package holdfasttest_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

// acquire does what a person with curl does.
func acquire(t *testing.T, url, name string) string {
	t.Helper()
	response, err := http.Post(url+"/holdfast.v1.LockService/Acquire", "application/json",
		strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A server is ready when Start returns, keeps its locks over a restart, and says nothing unless
// it is asked to.
func TestStart(t *testing.T) {
	var log bytes.Buffer
	srv := holdfasttest.Start(t, holdfasttest.WithLog(&log, 0))
	if got := acquire(t, srv.URL(), "a"); !strings.Contains(got, `"outcome":"OUTCOME_GRANTED"`) {
		t.Error(got)
	}
	srv.Stop()
	srv.Restart()
	if got := acquire(t, srv.URL(), "a"); !strings.Contains(got, `"outcome":"OUTCOME_HELD"`) {
		t.Error(got)
	}
	srv.Stop()
	if !strings.Contains(log.String(), "this node leads now") || strings.Contains(log.String(), "level=DEBUG") {
		t.Error(log.String())
	}
}

// The servers of a cluster hold the same locks, and go on without one of them.
func TestStartCluster(t *testing.T) {
	cluster := holdfasttest.StartCluster(t, 3)
	if got := acquire(t, cluster.Follower().URL(), "a"); !strings.Contains(got, `"outcome":"OUTCOME_GRANTED"`) {
		t.Error(got)
	}
	leader := cluster.Leader()
	leader.Kill()
	if got := acquire(t, cluster.Leader().URL(), "a"); !strings.Contains(got, `"outcome":"OUTCOME_HELD"`) {
		t.Error(got)
	}
	leader.Restart()
	cluster.WaitReady()
	for _, url := range cluster.URLs() {
		if got := acquire(t, url, "a"); !strings.Contains(got, `"outcome":"OUTCOME_HELD"`) {
			t.Error(got)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		holdfasttest.Start(b).Kill()
	}
}
