package gobench

import "testing"

func TestParse(t *testing.T) {
	r := Parse([]byte(`goos: linux
BenchmarkApply/held=1000-2         	 1000	       950.0 ns/op	       0 B/op
BenchmarkApply/held=1000-2         	 1000	       970.0 ns/op	       0 B/op
BenchmarkMemory/plain              	    1	 12345 ns/op	       101.5 B/claim
BenchmarkMemory/owners             	    1	 12345 ns/op	       140.5 B/claim
PASS
`))
	if v, err := r.Get("Apply/held=1000", "ns/op"); err != nil || v != 960 {
		t.Errorf("%v, %v", v, err)
	}
	if v, name := r.Most("Memory", "B/claim"); v != 140.5 || name != "Memory/owners" {
		t.Errorf("%v of %s", v, name)
	}
	if _, err := r.Get("Apply/held=1000", "p99-us"); err == nil {
		t.Error("a unit that was not told has no value")
	}
}
