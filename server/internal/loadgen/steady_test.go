package loadgen

import (
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

func TestWhatIsLeftHeldIsFound(t *testing.T) {
	srv := holdfasttest.Start(t)
	client, err := holdfast.New(t.Context(), holdfast.Endpoints(srv.URL()), holdfast.WithCallTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	v := &violations{}
	ns := newNames(Config{Prefix: "bench", Depth: 2}, v)
	ns.wait = 50 * time.Millisecond
	ns.leftHeld(newReport(Config{}), client)
	wantViolations(t, v)

	h, err := client.Lock(ns.own(0, 0)).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(Config{})
	ns.leftHeld(r, client)
	wantViolations(t, v, "are held or waited for, although all was given back")
	if r.Checks.LeftHeld == 0 {
		t.Errorf("checks %+v", r.Checks)
	}
	after := newReport(Config{})
	after.Unfinished = 1 // after a failure it may be so
	ns.leftHeld(after, client)
	if v.count != 1 || after.Checks.LeftHeld == 0 {
		t.Errorf("%d violations, checks %+v", v.count, after.Checks)
	}
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}

	srv.Kill()
	gone := newReport(Config{})
	ns.leftHeld(gone, client)
	if len(gone.Errors) != 1 || gone.FirstErr() == nil || v.count != 1 {
		t.Errorf("errors %v, %d violations; a service that is gone is a failure", gone.Errors, v.count)
	}
}

// A service whose events tell of fewer grants than holders had is wrong.
func TestEventsThatAreMissingAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{orders: []*order{{bad: &violations{}, known: true}}}
		told(w.orders[0], "g1 r1 g2 r2")
		if !w.settle(2) {
			t.Error("all was told")
		}
		if w.settle(3) {
			t.Error("one grant was not told")
		}
		w.gaps = 1
		if !w.settle(3) {
			t.Error("events that are known to be missing prove nothing")
		}
	})
}
