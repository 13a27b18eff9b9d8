package cluster

import (
	"strings"
	"testing"
)

func TestFindMetric(t *testing.T) {
	const text = "# HELP a_seconds x\na_seconds_more 7\na_seconds 0.25\n"
	if v, err := findMetric(strings.NewReader(text), "a_seconds"); err != nil || v != 0.25 {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := findMetric(strings.NewReader(text), "b_seconds"); err == nil {
		t.Error("a metric that is missing is an error")
	}
}
