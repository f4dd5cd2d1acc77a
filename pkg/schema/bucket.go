package schema

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
)

const (
	timeout    = 5 * time.Second // of putting schemas
	look       = time.Minute     // between two looks whether the bucket still holds what was put
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// ErrMissing says that the bucket has no schema with a hash. Its publisher puts it there again.
var ErrMissing = errors.New("the schema is not in its bucket")

// Put makes sure that the bucket holds some schemas, and makes the bucket where there is none.
func Put(ctx context.Context, js jetstream.JetStream, schemas ...Schema) error {
	b, err := kv.Open(ctx, js, kv.Schemas, kv.Options{})
	if err != nil {
		return err
	}
	for _, s := range schemas {
		if _, err := kv.Write(ctx, b, s.Hash, func([]byte) ([]byte, error) { return s.Set, nil }); err != nil {
			return fmt.Errorf("publish schema: %w", err)
		}
	}
	return nil
}

// Fetch gives the schema with a hash as it lies in the bucket; [Open] says whether it is that schema.
//
// Errors: [ErrMissing]; others are of the connection.
func Fetch(ctx context.Context, js jetstream.JetStream, hash string) (Schema, error) {
	b, err := js.KeyValue(ctx, kv.Schemas)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return Schema{}, ErrMissing
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read schema: %w", err)
	}
	e, err := b.Get(ctx, hash)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Schema{}, ErrMissing
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read schema: %w", err)
	}
	return Schema{Hash: hash, Set: e.Value()}, nil
}

// Publisher keeps schemas in the bucket while their service runs.
type Publisher struct {
	js      jetstream.JetStream
	log     *slog.Logger
	schemas []Schema

	once      sync.Once
	published chan struct{}
}

// NewPublisher makes a publisher.
func NewPublisher(js jetstream.JetStream, log *slog.Logger, schemas ...Schema) *Publisher {
	return &Publisher{js: js, log: log, schemas: schemas, published: make(chan struct{})}
}

// Published gives a channel that is closed once the schemas are in the bucket for the first time.
func (p *Publisher) Published() <-chan struct{} { return p.published }

// Run keeps the schemas in the bucket until ctx ends. It puts them there again after each failure and each reconnect, since
// NATS may have lost what it had, and looks once a minute whether somebody else has taken them away.
func (p *Publisher) Run(ctx context.Context) {
	reconnected := p.js.Conn().StatusChanged(nats.CONNECTED)
	defer p.js.Conn().RemoveStatusListener(reconnected)
	delay := firstRetry
	for ctx.Err() == nil {
		wait := look
		if err := p.put(ctx); err == nil {
			delay = firstRetry
			p.once.Do(func() { close(p.published) })
		} else {
			if ctx.Err() == nil {
				p.log.Warn("schema_waits", "error", err)
			}
			wait = delay
			delay = min(2*delay, lastRetry)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-reconnected:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (p *Publisher) put(ctx context.Context) error {
	if !p.js.Conn().IsConnected() {
		return errors.New("there is no connection to NATS")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return Put(ctx, p.js, p.schemas...)
}
