package metrics

import "github.com/prometheus/client_golang/prometheus"

// gauges shows the state of the node at the moment of a scrape.
type gauges struct {
	state func() State
	lines []gauge
}

type gauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*State) float64
}

func newGauges(state func() State) *gauges {
	g := &gauges{state: state}
	add := func(kind prometheus.ValueType, name, help string, value func(*State) float64) {
		g.lines = append(g.lines, gauge{prometheus.NewDesc("holdfast_"+name, help, nil, nil), kind, value})
	}
	const now, total = prometheus.GaugeValue, prometheus.CounterValue
	add(now, "sessions", "Sessions that live.",
		func(s *State) float64 { return float64(s.Sessions) })
	add(now, "grants", "Grants that are held.",
		func(s *State) float64 { return float64(s.Grants) })
	add(now, "waiters", "Requests that wait.",
		func(s *State) float64 { return float64(s.Waiting) })
	add(now, "leader", "1 if this node leads.",
		func(s *State) float64 { return bit(s.Leader) })
	add(now, "has_leader", "1 if this node knows a leader.",
		func(s *State) float64 { return bit(s.HasLeader) })
	add(now, "term", "Raft term.",
		func(s *State) float64 { return float64(s.Term) })
	add(now, "applied_index", "Raft index up to which this node has applied the log.",
		func(s *State) float64 { return float64(s.AppliedIndex) })
	add(now, "semantics_version", "Semantics version in force.",
		func(s *State) float64 { return float64(s.SemanticsVersion) })
	add(now, "cluster_time_seconds", "Cluster time: elapsed time, not a date.",
		func(s *State) float64 { return s.ClusterTime.Seconds() })
	add(now, "snapshot_pause_seconds", "Longest time for which a snapshot kept entries from being applied since the start.",
		func(s *State) float64 { return s.SnapshotPause.Seconds() })
	add(now, "proposer_waiting_commands", "Commands that wait at the leader to be proposed.",
		func(s *State) float64 { return float64(s.ProposerWaiting) })
	add(now, "proposer_waiting_bytes", "Size of the commands that wait at the leader, about.",
		func(s *State) float64 { return float64(s.ProposerWaitingBytes) })
	add(now, "proposer_in_flight_entries", "Entries that were proposed and not applied yet.",
		func(s *State) float64 { return float64(s.ProposerInFlight) })
	add(total, "proposer_entries_total", "Entries that this node proposed.",
		func(s *State) float64 { return float64(s.ProposerEntries) })
	add(total, "proposer_time_entries_total", "Entries that this node proposed for the sake of time alone.",
		func(s *State) float64 { return float64(s.ProposerEntriesOfTime) })
	add(total, "proposer_stalls_total", "Times at which an entry took too long to be committed.",
		func(s *State) float64 { return float64(s.ProposerStalls) })
	add(total, "proposer_rate_limited_total", "Calls refused because too much waited to be proposed.",
		func(s *State) float64 { return float64(s.ProposerRateLimited) })
	return g
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, line := range g.lines {
		out <- line.desc
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	state := g.state()
	for _, line := range g.lines {
		out <- prometheus.MustNewConstMetric(line.desc, line.kind, line.value(&state))
	}
}
