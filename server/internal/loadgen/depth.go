package loadgen

import (
	"context"
	"fmt"
)

// Level is what was measured with names of one depth.
type Level struct {
	Depth     int      `json:"depth"`
	PerSecond float64  `json:"operations_per_second"`
	Started   int64    `json:"started_unix_ms"`
	Seconds   float64  `json:"seconds"`
	Acquire   *Latency `json:"acquire"`
	Release   *Latency `json:"release"`
}

// runDepth is a steady load with names of one level, then of two, and so on. Each depth has the same
// share of the time and a warm-up of its own.
func runDepth(ctx context.Context, c Config) (*Report, error) {
	cs, err := openClients(ctx, c)
	if err != nil {
		return nil, err
	}
	defer cs.close()
	c.tell(Ready{Event: "open", Sessions: c.Clients, OpenSeconds: round3(cs.took.Seconds())})
	bad := &violations{}
	whole := newReport(c)
	part := c
	part.Duration, part.WarmUp = c.Duration/depthMost, c.WarmUp/depthMost
	for depth := 1; depth <= depthMost && ctx.Err() == nil; depth++ {
		part.Depth = depth
		r := measureOwn(ctx, part, cs, newNames(part, bad))
		whole.add(r)
		whole.Levels = append(whole.Levels, Level{Depth: depth, PerSecond: r.PerSecond, Started: r.Started,
			Seconds: r.Seconds, Acquire: r.Acquire, Release: r.Release})
	}
	whole.PerSecond = perSecond(whole.Operations, whole.Seconds)
	whole.Generator.CPUPerOperation = 0
	if whole.Operations > 0 {
		whole.Generator.CPUPerOperation = round3(1e6 * whole.Generator.CPUSeconds / float64(whole.Operations))
	}
	whole.judged(bad)
	return whole, nil
}

// add takes the counts of one part of a run.
func (r *Report) add(part *Report) {
	if r.Started == 0 {
		r.Started = part.Started
	}
	r.Seconds = round3(r.Seconds + part.Seconds)
	r.Operations += part.Operations
	r.Interrupted = r.Interrupted || part.Interrupted
	r.NotStarted += part.NotStarted
	r.Unfinished += part.Unfinished
	r.Saturated = r.Saturated || part.Saturated
	for _, why := range part.SaturatedWhy {
		r.SaturatedWhy = append(r.SaturatedWhy, fmt.Sprintf("depth %d: %s", part.Depth, why))
	}
	for reason, n := range part.Errors {
		r.Errors[reason] += n
	}
	if r.firstError == nil {
		r.firstError, r.FirstError = part.firstError, part.FirstError
	}
	r.Checks.Grants += part.Checks.Grants
	r.Checks.Releases += part.Checks.Releases
	r.Checks.Lost += part.Checks.Lost
	r.Checks.LeftHeld += part.Checks.LeftHeld
	r.Generator.CPUSeconds = round3(r.Generator.CPUSeconds + part.Generator.CPUSeconds)
	r.Generator.HeapBytes, r.Generator.GOMAXPROCS = part.Generator.HeapBytes, part.Generator.GOMAXPROCS
}
