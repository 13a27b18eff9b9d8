// Package bare measures what the machine and the libraries can do at best, with the settings of the
// product: writes to the disk, entries of the Raft library, calls of connect-go.
package bare

import (
	"context"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Rate is how often something was done one after the other, and how long once takes.
type Rate struct {
	PerSecond float64 `json:"per_second"`
	P50MS     float64 `json:"p50_ms"`
	P99MS     float64 `json:"p99_ms"`
}

// newRate makes a rate of single times.
func newRate(took []time.Duration) Rate {
	if len(took) == 0 {
		return Rate{}
	}
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	slices.Sort(took)
	ms := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
	return Rate{PerSecond: float64(len(took)) / sum.Seconds(), P50MS: ms(0.5), P99MS: ms(0.99)}
}

const (
	page      = 4 << 10
	fsyncFile = 16 << 20 // written over and over, as a log whose pages are used again
)

// Fsync writes pages of 4 KiB into a file below a directory, with fdatasync after each.
func Fsync(ctx context.Context, dir string, duration time.Duration) (Rate, error) {
	f, err := os.CreateTemp(dir, "fsync")
	if err != nil {
		return Rate{}, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if _, err := f.Write(make([]byte, fsyncFile)); err != nil {
		return Rate{}, err
	}
	if err := f.Sync(); err != nil {
		return Rate{}, err
	}
	buf := make([]byte, page)
	var took []time.Duration
	for end := time.Now().Add(duration); time.Now().Before(end) && ctx.Err() == nil; {
		buf[0]++
		began := time.Now()
		if _, err := f.WriteAt(buf, int64(len(took))*page%fsyncFile); err != nil {
			return Rate{}, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return Rate{}, err
		}
		took = append(took, time.Since(began))
	}
	return newRate(took), ctx.Err()
}
