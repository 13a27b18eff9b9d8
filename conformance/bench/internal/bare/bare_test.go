package bare

import (
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	r := newRate([]time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond})
	if r.PerSecond != 500 || r.P50MS != 2 {
		t.Errorf("%+v", r)
	}
	if r := newRate(nil); r.PerSecond != 0 {
		t.Errorf("nothing has a rate of %v", r)
	}
}

func TestFsync(t *testing.T) {
	r, err := Fsync(t.Context(), t.TempDir(), 20*time.Millisecond)
	if err != nil || r.PerSecond == 0 || r.P50MS == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
