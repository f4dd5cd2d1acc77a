package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/schema"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/telemetry"
)

// Outbox is where a relay takes events from: a [sqldb.DB].
type Outbox interface {
	// Pending gives the oldest events that were not sent, in their order.
	Pending(ctx context.Context, limit int) ([]sqldb.Message, error)
	// Sent takes events out.
	Sent(ctx context.Context, ids []string) error
	// Outgoing is signalled after a commit that put an event in.
	Outgoing() <-chan struct{}
}

var _ Outbox = (*sqldb.DB)(nil)

// Relay publishes a service's outbox.
type Relay struct {
	outbox  Outbox
	js      jetstream.JetStream
	source  string
	schemas map[string]Schema // by topic
	log     *slog.Logger
}

const (
	batch     = 200
	interval  = time.Second // between looks at an outbox that signals nothing: what another process left
	retention = 7 * 24 * time.Hour

	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second

	// dedupe is how long JetStream knows an event's id: a relay that was killed between publishing and taking out
	// publishes again when it is back.
	dedupe = 30 * time.Minute
)

// NewRelay makes a relay for a service's outbox. Source is the service's slug.
func NewRelay(outbox Outbox, js jetstream.JetStream, source string, log *slog.Logger, schemas ...Schema) *Relay {
	r := &Relay{outbox: outbox, js: js, source: source, schemas: map[string]Schema{}, log: log.With("relay", source)}
	for _, s := range schemas {
		r.schemas[s.Topic] = s
	}
	return r
}

// Run publishes until ctx ends. Failures are retried for ever: until the stream acknowledges, an event stays where it
// is. The stream and the schemas are put in place again after each failure and each reconnect, since NATS may have lost what
// it had; and before any event, so that nothing is published while there is no connection: nats.go would keep it and send
// it first.
func (r *Relay) Run(ctx context.Context) {
	reconnected := r.js.Conn().StatusChanged(nats.CONNECTED)
	defer r.js.Conn().RemoveStatusListener(reconnected)
	ready := false
	delay := firstRetry
	for ctx.Err() == nil {
		err := r.connected()
		if err == nil && !ready {
			err = r.prepare(ctx)
		}
		if err == nil {
			err = r.drain(ctx)
		}
		wait, outgoing := interval, r.outbox.Outgoing()
		if ready = err == nil; ready {
			delay = firstRetry
		} else {
			if ctx.Err() == nil {
				r.log.Warn("events_wait", "error", err)
			}
			wait, outgoing = delay, nil
			delay = min(2*delay, lastRetry)
		}
		timer := time.NewTimer(wait)
		select {
		case <-outgoing:
		case <-timer.C:
		case <-reconnected:
			ready = false
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (r *Relay) connected() error {
	if !r.js.Conn().IsConnected() {
		return errors.New("there is no connection to NATS")
	}
	return nil
}

func (r *Relay) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := EnsureStream(ctx, r.js); err != nil {
		return err
	}
	all := make([]schema.Schema, 0, len(r.schemas))
	for _, s := range r.schemas {
		all = append(all, schema.Schema{Hash: s.Hash, Set: s.Set})
	}
	return schema.Put(ctx, r.js, all...)
}

// EnsureStream makes sure that the stream of events exists. One that does is taken as it is, as with [kv.Open].
func EnsureStream(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.Stream(ctx, Stream)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		if err != nil {
			return fmt.Errorf("look for stream of events: %w", err)
		}
		return nil
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: Stream, Subjects: []string{Subject(">")}, Storage: jetstream.FileStorage, MaxAge: retention, Duplicates: dedupe,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was first
		return fmt.Errorf("open stream of events: %w", err)
	}
	return nil
}

// drain publishes until nothing is pending. Events are sent in their order; the next batch waits for all acks of one.
func (r *Relay) drain(ctx context.Context) error {
	for {
		opCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
		n, err := r.send(opCtx)
		cancel()
		if err != nil || n < batch {
			return err
		}
	}
}

func (r *Relay) send(ctx context.Context) (int, error) {
	pending, err := r.outbox.Pending(ctx, batch)
	if err != nil {
		return 0, fmt.Errorf("read outbox: %w", err)
	}
	if len(pending) == 0 {
		return 0, nil
	}
	acks := make([]jetstream.PubAckFuture, len(pending))
	for i, m := range pending {
		if acks[i], err = r.js.PublishMsgAsync(r.message(m)); err != nil {
			return 0, fmt.Errorf("publish event: %w", err)
		}
	}
	sent := make([]string, 0, len(pending))
	var failed error
	for i, ack := range acks {
		select {
		case <-ack.Ok():
			sent = append(sent, pending[i].ID)
		case err := <-ack.Err():
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			failed = errors.Join(failed, ctx.Err())
		}
	}
	if err := r.outbox.Sent(ctx, sent); err != nil {
		return 0, fmt.Errorf("take events out of the outbox: %w", err)
	}
	if failed != nil {
		return 0, fmt.Errorf("publish events: %w", failed)
	}
	return len(pending), nil
}

func (r *Relay) message(m sqldb.Message) *nats.Msg {
	msg := &nats.Msg{
		Subject: Subject(m.Topic),
		Data:    m.Payload,
		Header: nats.Header{
			nats.MsgIdHdr: {m.ID},
			headerSpec:    {"1.0"},
			headerID:      {m.ID},
			headerSource:  {"/" + r.source},
			headerType:    {m.Type},
			headerSubject: {m.Key},
			headerTime:    {m.Time.UTC().Format(time.RFC3339Nano)},
			headerContent: {contentType},
			headerSchema:  {r.schemas[m.Topic].Hash},
		},
	}
	if m.Trace != "" {
		msg.Header.Set(telemetry.Header, m.Trace)
	}
	return msg
}
