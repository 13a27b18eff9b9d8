package results

import (
	"math"
	"path/filepath"
	"testing"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.1234: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567.8: "1,234,568",
		-1234: "-1,234",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestMedianAndSpread(t *testing.T) {
	if m := Median(3, 1, 2); m != 2 {
		t.Errorf("median %v", m)
	}
	if m := Median(4, 1, 2, 3); m != 2.5 {
		t.Errorf("median %v", m)
	}
	if s := Spread(9, 10, 11); math.Abs(s-0.2) > 1e-9 {
		t.Errorf("spread %v", s)
	}
	if Median() != 0 || Spread() != 0 {
		t.Error("nothing has neither")
	}
}

// A value that is no number cannot be kept, and is said to be missing.
func TestWhatIsNoNumberWasNotMeasured(t *testing.T) {
	r := &Run{Kind: "bench"}
	r.Add(Check{Row: 1, What: "a ratio", Value: math.Inf(1), Verdict: Met}, Check{Row: 1, What: "another", Value: 2, Verdict: NotMet})
	if notMet, notMeasured := r.Failed(); notMet != 1 || notMeasured != 1 {
		t.Errorf("%d not met, %d not measured", notMet, notMeasured)
	}
	file := filepath.Join(t.TempDir(), "new", "run.json")
	if err := r.Write(file); err != nil {
		t.Fatal(err)
	}
	again, err := Read(file)
	if err != nil || len(again.Checks) != 2 || again.Checks[0].Verdict != NotMeasured {
		t.Errorf("read %+v, %v", again, err)
	}
}

func TestThisMachineIsDescribed(t *testing.T) {
	m := ThisMachine(t.TempDir())
	if m.Cores == 0 || m.MemoryMiB == 0 || m.Kernel == "" || m.Filesystem == "" || m.Go == "" {
		t.Errorf("%+v", m)
	}
}
