package holdfast

import (
	"context"
	"reflect"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const instrumentation = "github.com/holdfast-dev/holdfast/sdk-go"

// telemetry is what the client tells OpenTelemetry. With the providers that are there unless the
// program installs others, it does nothing.
type telemetry struct {
	tracer   trace.Tracer
	deaf     reflect.Type // of the global provider that does nothing, if that is the one there is
	acquires metric.Int64Counter
	losses   metric.Int64Counter
	wait     metric.Float64Histogram
	held     metric.Float64Histogram
}

func newTelemetry(cfg *config) *telemetry {
	tracers, meters := cfg.tracer, cfg.meter
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	m := meters.Meter(instrumentation)
	t := &telemetry{tracer: tracers.Tracer(instrumentation)}
	if kind := reflect.TypeOf(tracers); cfg.tracer == nil && kind.Kind() == reflect.Pointer &&
		kind.Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global" {
		t.deaf = kind
	}
	// An instrument that cannot be made is one that does nothing; names are constants, so it can.
	t.acquires, _ = m.Int64Counter("holdfast.client.acquires",
		metric.WithDescription("Acquires by outcome"))
	t.losses, _ = m.Int64Counter("holdfast.client.losses",
		metric.WithDescription("Locks lost while they were held, by reason"))
	t.wait, _ = m.Float64Histogram("holdfast.client.acquire.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the call to the outcome of an acquire"))
	t.held, _ = m.Float64Histogram("holdfast.client.hold.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the grant to the release by its holder"))
	return t
}

// listens says whether anybody would notice what is told. Spans and measurements for nobody would cost
// more than the rest of an acquire.
func (t *telemetry) listens(ctx context.Context) bool {
	return t.deaf == nil || reflect.TypeOf(otel.GetTracerProvider()) != t.deaf ||
		t.acquires.Enabled(ctx) || t.wait.Enabled(ctx) || t.held.Enabled(ctx)
}

// acquire begins the span of an acquire; finish ends it with what came of it.
func (t *telemetry) acquire(ctx context.Context, claims []Claim) (finish func(*Handle, error)) {
	start := time.Now()
	ctx, span := t.tracer.Start(ctx, "holdfast acquire", trace.WithSpanKind(trace.SpanKindClient))
	describe(span, claims)
	return func(h *Handle, err error) {
		outcome := "GRANTED"
		if err != nil {
			outcome = string(reasonOf(err))
			span.SetStatus(codes.Error, outcome)
		} else if span.IsRecording() {
			span.SetAttributes(attribute.Int64("holdfast.token", h.Token()))
		}
		attrs := metric.WithAttributes(attribute.String("holdfast.outcome", outcome))
		t.acquires.Add(ctx, 1, attrs)
		t.wait.Record(ctx, time.Since(start).Seconds(), attrs)
		span.End()
	}
}

// hold begins the span of a hold; spans of the work within the handle's context are its children.
func (t *telemetry) hold(ctx context.Context, h *hold) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, "holdfast hold")
	span.SetAttributes(attribute.String("holdfast.lock", h.name),
		attribute.Int64("holdfast.grant", h.id))
	return ctx, span
}

func describe(span trace.Span, claims []Claim) {
	if span.IsRecording() && len(claims) > 0 {
		span.SetAttributes(attribute.String("holdfast.lock", label(claims)),
			attribute.String("holdfast.mode", claims[0].Mode.String()))
	}
}

func (t *telemetry) lost(reason LostReason) {
	t.losses.Add(context.Background(), 1,
		metric.WithAttributes(attribute.String("holdfast.reason", string(reason))))
}

// released ends the time that a handle was held.
func (t *telemetry) released(ctx context.Context, held time.Duration) {
	t.held.Record(ctx, held.Seconds())
}
