package host

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// replicated makes streams and buckets with so many replicas, whoever asks for them. Those that exist already stay as they
// are.
type replicated struct {
	jetstream.JetStream
	replicas int
}

// CreateStream implements jetstream.JetStream.
func (r replicated) CreateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	cfg.Replicas = r.replicas
	return r.JetStream.CreateStream(ctx, cfg)
}

// CreateKeyValue implements jetstream.JetStream.
func (r replicated) CreateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	cfg.Replicas = r.replicas
	return r.JetStream.CreateKeyValue(ctx, cfg)
}
