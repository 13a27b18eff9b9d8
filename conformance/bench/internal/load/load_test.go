package load

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Each of ten workers takes 10 ms for a round, so that a second has a thousand; what fails is not
// counted as done.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		r := Run(t.Context(), 11, time.Second, time.Second, func(_ context.Context, worker int) (time.Duration, error) {
			if worker == 10 {
				return 0, broken
			}
			time.Sleep(10 * time.Millisecond)
			return 3 * time.Millisecond, nil
		})
		if r.Rounds < 950 || r.Rounds > 1000 || r.P50.Round(time.Millisecond) != 3*time.Millisecond {
			t.Errorf("%d rounds, P50 %v", r.Rounds, r.P50)
		}
		if r.Failed == 0 || !errors.Is(r.Err, broken) {
			t.Errorf("%d failed, %v", r.Failed, r.Err)
		}
	})
}
