package loadgen

import (
	"context"
	"time"
)

// SessionsReport is of many sessions.
type SessionsReport struct {
	OpenSeconds float64 `json:"open_seconds"` // until all were open
	Idle        bool    `json:"idle"`
	Lost        int64   `json:"lost"`
}

// runIdle keeps sessions alive and does nothing else.
func runIdle(ctx context.Context, c Config) (*Report, error) {
	cs, err := openClients(ctx, c)
	if err != nil {
		return nil, err
	}
	defer cs.close()
	c.tell(Ready{Event: "open", Sessions: c.Clients, OpenSeconds: round3(cs.took.Seconds())})

	w := &window{from: time.Now().Add(c.WarmUp)}
	w.until = w.from.Add(c.Duration)
	cpu := time.Duration(0)
	if sleepUntil(ctx, w.from) {
		started := cpuTime()
		sleepUntil(ctx, w.until)
		cpu = cpuTime() - started
	}
	w.cut(time.Now())
	r := newReport(c)
	r.Outstanding = 0
	r.Generator.measure(cpu)
	r.fill(newRecorder(w, 1).totals(), w)
	r.Acquire, r.Release = nil, nil
	r.Sessions = cs.report(ctx, true)
	return r, nil
}

func (cs *clients) report(ctx context.Context, idle bool) *SessionsReport {
	return &SessionsReport{OpenSeconds: round3(cs.took.Seconds()), Idle: idle, Lost: cs.lost(context.WithoutCancel(ctx))}
}
