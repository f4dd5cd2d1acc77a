package host

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// replicated makes streams and buckets with so many replicas, whoever asks for them. Those that exist already with
// another number are changed.
type replicated struct {
	jetstream.JetStream
	replicas int
}

// CreateOrUpdateStream implements jetstream.JetStream.
func (r replicated) CreateOrUpdateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	cfg.Replicas = r.replicas
	return r.JetStream.CreateOrUpdateStream(ctx, cfg)
}

// CreateKeyValue implements jetstream.JetStream.
func (r replicated) CreateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	cfg.Replicas = r.replicas
	return r.JetStream.CreateKeyValue(ctx, cfg)
}

// CreateOrUpdateKeyValue implements jetstream.JetStream.
func (r replicated) CreateOrUpdateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	cfg.Replicas = r.replicas
	return r.JetStream.CreateOrUpdateKeyValue(ctx, cfg)
}
