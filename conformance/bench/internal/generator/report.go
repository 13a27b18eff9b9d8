// Package generator runs `holdfast bench`, the load generator, and reads its report.
package generator

// Report is what the generator says at the end. Fields that nobody here reads are left out.
type Report struct {
	Scenario            string  `json:"scenario"`
	StartedUnixMS       int64   `json:"started_unix_ms"` // of the measured window
	Seconds             float64 `json:"seconds"`
	OperationsPerSecond float64 `json:"operations_per_second"`
	Operations          int64   `json:"operations"`
	Acquire             Latency `json:"acquire"`
	Release             Latency `json:"release"`

	BacklogMost  int64    `json:"backlog_most"`
	NotStarted   int64    `json:"not_started"`
	Saturated    bool     `json:"saturated"`
	SaturatedWhy []string `json:"saturated_why"`

	Errors     map[string]int64 `json:"errors"`
	FirstError string           `json:"first_error"`
	Checks     Checks           `json:"checks"`
	Generator  struct {
		CPUSeconds        float64 `json:"cpu_seconds"`
		CPUUSPerOperation float64 `json:"cpu_us_per_operation"`
	} `json:"generator"`
	Series []Second `json:"series"`

	Hot struct {
		HandoffsPerSecond float64 `json:"handoffs_per_second"`
	} `json:"hot"`
	Unary struct {
		CallsPerSecond float64 `json:"calls_per_second"`
	} `json:"unary"`
	Sessions struct {
		OpenSeconds float64 `json:"open_seconds"`
		Lost        int64   `json:"lost"`
	} `json:"sessions"`
	Levels []struct {
		Depth               int     `json:"depth"`
		OperationsPerSecond float64 `json:"operations_per_second"`
		Acquire             Latency `json:"acquire"`
	} `json:"levels"`
	Failover struct {
		ClientGaps []Gap `json:"client_gaps"`
	} `json:"failover"`
}

// Latency is a distribution, in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P95   float64 `json:"p95_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	P9999 float64 `json:"p9999_us"`
	Max   float64 `json:"max_us"`
}

// Checks are what the generator looked at while it measured.
type Checks struct {
	Grants     int64    `json:"grants"`
	Lost       int64    `json:"lost"`
	LeftHeld   int64    `json:"left_held"`
	FIFOGrants int64    `json:"fifo_grants"` // whose order was compared with the queue
	Violations int64    `json:"violations"`
	Examples   []string `json:"violation_examples"`
}

// Second of a run.
type Second struct {
	Second       float64 `json:"second"`
	Acquires     int64   `json:"acquires"`
	Releases     int64   `json:"releases"`
	Errors       int64   `json:"errors"`
	AcquireP99US float64 `json:"acquire_p99_us"`
	AcquireMaxUS float64 `json:"acquire_max_us"`
}

// Gap is a time of at least 50 ms in which a client completed no operation.
type Gap struct {
	Client   int     `json:"client"`
	StartMS  float64 `json:"start_ms"`
	LengthMS float64 `json:"length_ms"`
}

// Failed is how many operations failed.
func (r *Report) Failed() int64 {
	var n int64
	for _, count := range r.Errors {
		n += count
	}
	return n
}
