package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

func TestPrintsWhatIsExpected(t *testing.T) {
	srv := holdfasttest.Start(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{srv.URL()}, &out); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../expected.txt")
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("it printed\n%s\ninstead of\n%s", out.String(), want)
	}
}
