// Package telemetry carries traces from the gateway through RPC and events: spans by OpenTelemetry's API, on whatever
// provider the process has set, and W3C trace context (https://www.w3.org/TR/trace-context/) between processes. Without a
// provider spans cost next to nothing, and the trace of a request still goes on from one process to the next, so that
// logs and events of one request can be found by it.
package telemetry

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Header is the name of the field that a trace travels in: of HTTP, of gRPC metadata, and of events.
const Header = "traceparent"

const scope = "micromesh"

// carrier is the two fields of a trace context.
type carrier struct{ parent, state string }

var _ propagation.TextMapCarrier = (*carrier)(nil)

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(key string) string {
	switch key {
	case Header:
		return c.parent
	case "tracestate":
		return c.state
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (c *carrier) Set(key, value string) {
	switch key {
	case Header:
		c.parent = value
	case "tracestate":
		c.state = value
	}
}

// Keys implements propagation.TextMapCarrier.
func (*carrier) Keys() []string { return []string{Header, "tracestate"} }

// Extract gives a context in which spans continue the trace that a traceparent names. One that is not valid changes
// nothing.
func Extract(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, &carrier{parent: traceparent})
}

// Traceparent is the trace of a context, as it travels; empty where there is none.
func Traceparent(ctx context.Context) string {
	var c carrier
	propagation.TraceContext{}.Inject(ctx, &c)
	return c.parent
}

// Start begins a span of work that serves a request.
func Start(ctx context.Context, name string) (context.Context, trace.Span) {
	return otel.GetTracerProvider().Tracer(scope).Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
}

// End ends a span; failed says that the work went wrong on our side, and how.
func End(span trace.Span, failed string) {
	if failed != "" {
		span.SetStatus(codes.Error, failed)
	}
	span.End()
}
