// Package metrics counts what a node does, for Prometheus. Counters of operations are kept at the
// leader, so that their sum over all nodes is what the cluster did; gauges of the state are the
// same on every node, but for its lag.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// State is what the gauges show, as of one moment.
type State struct {
	Sessions, Grants, Waiting uint64
	Leader                    bool // whether this node leads
	HasLeader                 bool // whether it knows a leader
	Term, AppliedIndex        uint64
	SemanticsVersion          uint32
	ClusterTime               time.Duration
	SnapshotPause             time.Duration // the longest for which a snapshot kept entries waiting

	ProposerWaiting       int // commands that wait to be proposed
	ProposerWaitingBytes  int
	ProposerInFlight      int // entries
	ProposerEntries       uint64
	ProposerEntriesOfTime uint64 // proposed for the sake of time alone
	ProposerStalls        uint64
	ProposerRateLimited   uint64
}

// Metrics are the metrics of one node.
type Metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.CounterVec
	commit     prometheus.Histogram
	batch      prometheus.Histogram
	forwarded  prometheus.Histogram
	calls      *prometheus.CounterVec
	callTimes  *prometheus.HistogramVec
	parked     prometheus.Gauge
	streams    prometheus.Gauge

	counter byLabels[prometheus.Counter] // of operations
	call    byLabels[callMetrics]
}

type callMetrics struct {
	count prometheus.Counter
	time  prometheus.Observer
}

// byLabels keeps what belongs to two labels, since to find it in a vector costs more than to count.
type byLabels[M any] struct {
	mu   sync.RWMutex
	made map[[2]string]M
}

func (b *byLabels[M]) get(first, second string, find func() M) M {
	key := [2]string{first, second}
	b.mu.RLock()
	m, ok := b.made[key]
	b.mu.RUnlock()
	if !ok {
		m = find()
		b.mu.Lock()
		b.made[key] = m
		b.mu.Unlock()
	}
	return m
}

// New makes the metrics of a node; state is asked at every scrape.
func New(nodeID, version string, state func() State) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_operations_total",
			Help: "Commands that were applied for callers, by kind and outcome; counted at the leader.",
		}, []string{"kind", "outcome"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_commit_seconds",
			Help:    "Time from the arrival of a call's commands at the leader to their results.",
			Buckets: prometheus.ExponentialBuckets(0.000_25, 2, 14),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_batch_commands",
			Help:    "Commands in one entry of the log, as applied by this node.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
		forwarded: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_forward_calls",
			Help:    "Calls that this node sent together to the leader.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_calls_total",
			Help: "Calls of clients that this node answered, by method and code.",
		}, []string{"method", "code"}),
		callTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "holdfast_call_seconds",
			Help:    "Time that calls of clients took, waiting for locks included.",
			Buckets: prometheus.ExponentialBuckets(0.000_5, 4, 10),
		}, []string{"method"}),
		parked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_parked_calls",
			Help: "Calls that wait at this node for a lock.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_streams",
			Help: "Event streams that are open at this node.",
		}),
		counter: byLabels[prometheus.Counter]{made: make(map[[2]string]prometheus.Counter)},
		call:    byLabels[callMetrics]{made: make(map[[2]string]callMetrics)},
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "holdfast_node_info",
		Help:        "Always 1; which node this is and which version it runs.",
		ConstLabels: prometheus.Labels{"node": nodeID, "version": version},
	})
	info.Set(1)
	m.registry.MustRegister(info, m.operations, m.commit, m.batch, m.forwarded, m.calls, m.callTimes,
		m.parked, m.streams, newGauges(state),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Registry holds the metrics.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Operations counts commands by what came of them.
func (m *Metrics) Operations(kind, outcome string, n int) {
	m.counter.get(kind, outcome, func() prometheus.Counter {
		return m.operations.WithLabelValues(kind, outcome)
	}).Add(float64(n))
}

// Committed notes how long a call's commands took.
func (m *Metrics) Committed(took time.Duration) { m.commit.Observe(took.Seconds()) }

// Applied notes the size of an entry.
func (m *Metrics) Applied(commands int) { m.batch.Observe(float64(commands)) }

// Forwarded notes how many calls travelled together to the leader.
func (m *Metrics) Forwarded(calls int) { m.forwarded.Observe(float64(calls)) }

// Called counts a call of a client.
func (m *Metrics) Called(method, code string, took time.Duration) {
	c := m.call.get(method, code, func() callMetrics {
		return callMetrics{m.calls.WithLabelValues(method, code), m.callTimes.WithLabelValues(method)}
	})
	c.count.Inc()
	c.time.Observe(took.Seconds())
}

// Parked notes that a call began (+1) or ceased (-1) to wait.
func (m *Metrics) Parked(delta int) { m.parked.Add(float64(delta)) }

// Streams notes that a stream was opened (+1) or ended (-1).
func (m *Metrics) Streams(delta int) { m.streams.Add(float64(delta)) }
