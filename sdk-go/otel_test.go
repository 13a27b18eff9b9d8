package holdfast

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// recorder keeps what the client tells OpenTelemetry, one line for each span that ended and each
// value that was recorded.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// take returns the lines so far, in order of their text, and forgets them.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func attributes(set attribute.Set) string {
	var all []string
	for _, kv := range set.ToSlice() {
		all = append(all, fmt.Sprintf("%s=%s", strings.TrimPrefix(string(kv.Key), "holdfast."), kv.Value.String()))
	}
	return strings.Join(all, " ")
}

type recordingTracers struct {
	tracenoop.TracerProvider
	r *recorder
}

func (p recordingTracers) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return recordingTracer{r: p.r}
}

type recordingTracer struct {
	tracenoop.Tracer
	r *recorder
}

func (t recordingTracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := "root"
	if s, ok := trace.SpanFromContext(ctx).(*recordingSpan); ok {
		parent = s.name
	}
	s := &recordingSpan{r: t.r, name: name, parent: parent}
	return trace.ContextWithSpan(ctx, s), s
}

type recordingSpan struct {
	tracenoop.Span
	r            *recorder
	name, parent string
	mu           sync.Mutex
	attrs        []attribute.KeyValue
	status       string
}

func (s *recordingSpan) IsRecording() bool { return true }

func (s *recordingSpan) SetAttributes(kv ...attribute.KeyValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attrs = append(s.attrs, kv...)
}

func (s *recordingSpan) SetStatus(code codes.Code, text string) {
	s.status = code.String() + " " + text
}

func (s *recordingSpan) End(...trace.SpanEndOption) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.add("span %s in %s: %s %s", s.name, s.parent, attributes(attribute.NewSet(s.attrs...)), s.status)
}

type recordingMeters struct {
	metricnoop.MeterProvider
	r *recorder
}

func (p recordingMeters) Meter(string, ...metric.MeterOption) metric.Meter {
	return recordingMeter{r: p.r}
}

type recordingMeter struct {
	metricnoop.Meter
	r *recorder
}

func (m recordingMeter) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return recordingCounter{name: name, r: m.r}, nil
}

func (m recordingMeter) Float64Histogram(name string, _ ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return recordingHistogram{name: name, r: m.r}, nil
}

type recordingCounter struct {
	metricnoop.Int64Counter
	name string
	r    *recorder
}

func (c recordingCounter) Add(_ context.Context, n int64, opts ...metric.AddOption) {
	c.r.add("%s +%d %s", c.name, n, attributes(metric.NewAddConfig(opts).Attributes()))
}

type recordingHistogram struct {
	metricnoop.Float64Histogram
	name string
	r    *recorder
}

func (h recordingHistogram) Record(_ context.Context, v float64, opts ...metric.RecordOption) {
	h.r.add("%s %.1f %s", h.name, v, attributes(metric.NewRecordConfig(opts).Attributes()))
}

func TestTelemetry(t *testing.T) {
	r := &recorder{}
	inBubble(t, func(t *testing.T, f *fake, c *Client) {
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			got := r.take()
			want = append([]string(nil), want...)
			slices.Sort(want)
			if got != strings.Join(want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		}
		ctx, work := recordingTracer{r: r}.Start(t.Context(), "work")
		h := must[*Handle](t)(c.Lock("a").Acquire(ctx))
		expect("holdfast.client.acquire.duration 0.0 outcome=GRANTED",
			"holdfast.client.acquires +1 outcome=GRANTED",
			fmt.Sprintf("span holdfast acquire in work: lock=a mode=exclusive token=%d", h.Token()))

		_, inner := recordingTracer{r: r}.Start(h.Context(), "step")
		inner.End()
		expect("span step in holdfast hold:")

		_, err := c.Lock("a").Acquire(t.Context(), WithWaitLimit(0))
		wantErr(t, err, ErrHeld)
		expect("holdfast.client.acquire.duration 0.0 outcome=HELD",
			"holdfast.client.acquires +1 outcome=HELD",
			"span holdfast acquire in root: lock=a mode=exclusive Error HELD")

		time.Sleep(2 * time.Second)
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold := fmt.Sprintf("span holdfast hold in work: end=a was released grant=%d lock=a", h.GrantID())
		expect("holdfast.client.hold.duration 2.0", hold)

		lost := must[*Handle](t)(c.Lock("b").Shared().Acquire(t.Context()))
		synctest.Wait()
		r.take()
		f.revoke(lost.GrantID(), "maintenance")
		<-lost.Lost()
		hold = fmt.Sprintf("span holdfast hold in root: end=%v grant=%d lock=b", lost.Err(),
			lost.GrantID())
		expect("holdfast.client.losses +1 reason=revoked", hold)
		work.End()
	}, WithTracerProvider(recordingTracers{r: r}), WithMeterProvider(recordingMeters{r: r}))
}
