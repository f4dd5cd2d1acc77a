package client

import (
	"context"
	"strings"

	micro "go-micro.dev/v5/metadata"
	"google.golang.org/grpc/metadata"

	"micromesh/pkg/telemetry"
)

// travels tells which of a caller's metadata goes on to the service that it calls: who asks, and what belongs together.
// Anything else was meant for the caller alone.
func travels(key string) bool {
	switch key {
	case "authorization", "traceparent", "tracestate", "x-request-id", "baggage":
		return true
	}
	return false
}

// outgoing gives ctx the metadata that travels, and no other.
func outgoing(ctx context.Context) context.Context {
	from, _ := micro.FromContext(ctx)
	md := make(metadata.MD, 4)
	for k, v := range from {
		key := strings.ToLower(k)
		if !travels(key) || !printable(v) {
			continue
		}
		if _, taken := md[key]; taken && k != key {
			continue // spelled twice: the one that is lower-case already counts
		}
		md[key] = []string{v}
	}
	if trace := telemetry.Traceparent(ctx); trace != "" { // of the span that calls, below the one that came in
		md.Set(telemetry.Header, trace)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// explicit gives ctx exactly the metadata of md, lower-cased, without what HTTP/2 can't carry.
func explicit(ctx context.Context, md metadata.MD) context.Context {
	out := make(metadata.MD, len(md))
	for k, values := range md {
		key := strings.ToLower(k)
		for _, v := range values {
			if strings.HasSuffix(key, "-bin") || printable(v) {
				out[key] = append(out[key], v)
			}
		}
	}
	return metadata.NewOutgoingContext(ctx, out)
}

// printable tells whether a value can travel: one that can't would fail the whole call.
func printable(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return false
		}
	}
	return true
}
