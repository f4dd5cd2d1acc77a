package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
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
	// Bury sets events aside that are larger than NATS takes, with the size of each.
	Bury(ctx context.Context, sizes map[string]int64) error
	// Exhume puts events back that were set aside and have at most so many bytes.
	Exhume(ctx context.Context, limit int64) (n int64, err error)
	// Outgoing is signalled after a commit that put an event in.
	Outgoing() <-chan struct{}
}

var _ Outbox = (*sqldb.DB)(nil)

// Relay publishes a service's outbox.
type Relay struct {
	outbox  Outbox
	js      jetstream.JetStream
	signer  *Signer
	schemas map[string]Schema // by topic
	log     *slog.Logger

	oldest atomic.Pointer[time.Time] // when the oldest event that waits happened; nil where none does
}

const (
	batch     = 200
	interval  = time.Second // between looks at an outbox that signals nothing: what another process left
	retention = 7 * 24 * time.Hour

	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second

	// renewal is how often the stream, the schemas and the signer's key are put in place again without a reason: the key is
	// vouched for by a certificate, which is replaced long before it ends.
	renewal = time.Hour

	// dedupe is how long JetStream knows an event's id: a relay that was killed between publishing and taking out
	// publishes again when it is back.
	dedupe = 30 * time.Minute
)

// NewRelay makes a relay for the outbox of the signer's service.
func NewRelay(outbox Outbox, js jetstream.JetStream, signer *Signer, log *slog.Logger, schemas ...Schema) *Relay {
	r := &Relay{outbox: outbox, js: js, signer: signer, schemas: map[string]Schema{}, log: log.With("relay", signer.slug)}
	for _, s := range schemas {
		r.schemas[s.Topic] = s
	}
	return r
}

// Run publishes until ctx ends. Failures are retried for ever: until the stream acknowledges, an event stays where it
// is. The stream, the schemas and the signer's key are put in place again after each failure and each reconnect, since NATS may have lost what
// it had; and before any event, so that nothing is published while there is no connection: nats.go would keep it and send
// it first.
func (r *Relay) Run(ctx context.Context) {
	reconnected := r.js.Conn().StatusChanged(nats.CONNECTED)
	defer r.js.Conn().RemoveStatusListener(reconnected)
	ready := false
	var prepared, looked time.Time
	delay := firstRetry
	for ctx.Err() == nil {
		err := r.connected()
		if err == nil && ready && time.Since(looked) > kv.Look {
			looked = time.Now()
			ready = !r.signer.lost(ctx, r.js)
		}
		if err == nil && (!ready || time.Since(prepared) > renewal) {
			prepared = time.Now()
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
			r.look(ctx)
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
	if err := r.signer.Announce(ctx, r.js); err != nil {
		return err
	}
	if n, err := r.outbox.Exhume(ctx, r.js.Conn().MaxPayload()); err != nil {
		return err
	} else if n > 0 {
		r.log.Info("dead_events_go_out", "events", n)
	}
	all := make([]schema.Schema, 0, len(r.schemas))
	for _, s := range r.schemas {
		all = append(all, schema.Schema{Hash: s.Hash, Set: s.Set})
	}
	return schema.Put(ctx, r.js, all...)
}

// EnsureStream makes sure that the stream of events exists. One that does is not changed, as with [kv.Open], and refused
// where it does more than keep events.
func EnsureStream(ctx context.Context, js jetstream.JetStream) error {
	s, err := js.Stream(ctx, Stream)
	if err == nil {
		return kv.Plain(s.CachedInfo().Config, Subject(">"))
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("look for stream of events: %w", err)
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
	r.note(pending)
	if len(pending) == 0 {
		return 0, nil
	}
	acks := make([]jetstream.PubAckFuture, len(pending))
	large := map[string]int64{}
	for i, m := range pending {
		msg := r.message(m)
		acks[i], err = r.js.PublishMsgAsync(msg)
		if errors.Is(err, nats.ErrMaxPayload) {
			large[m.ID] = int64(msg.Size())
		} else if err != nil {
			return 0, fmt.Errorf("publish event: %w", err)
		}
	}
	sent := make([]string, 0, len(pending))
	var failed error
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		select {
		case <-ack.Ok():
			sent = append(sent, pending[i].ID)
		case err := <-ack.Err():
			if tooLarge(err) {
				large[pending[i].ID] = int64(ack.Msg().Size())
				continue
			}
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			failed = errors.Join(failed, ctx.Err())
		}
	}
	if err := r.outbox.Sent(ctx, sent); err != nil {
		return 0, fmt.Errorf("take events out of the outbox: %w", err)
	}
	if err := r.bury(ctx, pending, large); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("publish events: %w", failed)
	}
	r.note(nil) // until the next look
	return len(pending), nil
}

// streamRefuses is JetStream's code of an error for a message that is larger than the stream takes.
const streamRefuses jetstream.ErrorCode = 10054

func tooLarge(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == streamRefuses
}

// bury sets events aside that NATS doesn't take, so that later ones don't wait for them. They stay in the database, and go out once NATS takes
// messages of their size; a dead letter of the publisher names each.
func (r *Relay) bury(ctx context.Context, pending []sqldb.Message, large map[string]int64) error {
	if len(large) == 0 {
		return nil
	}
	if err := r.outbox.Bury(ctx, large); err != nil {
		return fmt.Errorf("set large events aside: %w", err)
	}
	for _, m := range pending {
		size, ok := large[m.ID]
		if !ok {
			continue
		}
		why := fmt.Sprintf("the event has %d bytes; NATS takes %d. It waits in the table outbox_dead of %s until NATS takes it", size, r.js.Conn().MaxPayload(), r.signer.slug)
		r.log.Error("event_dead", "topic", m.Topic, "id", m.ID, "type", m.Type, "bytes", size, "error", why)
		letter := r.message(m)
		letter.Subject, letter.Data = deadSubject(r.signer.slug), nil
		letter.Header.Set(nats.MsgIdHdr, "outbox."+m.ID)
		letter.Header.Set(headerDeadSubject, Subject(m.Topic))
		letter.Header.Set(headerDeadWhy, oneLine(why))
		letter.Header.Set(headerDeadAt, time.Now().UTC().Format(time.RFC3339))
		letter.Header.Set(headerDeadKept, "1")
		if err := EnsureDeadStream(ctx, r.js); err != nil {
			r.log.Warn("dead_letter_lost", "id", m.ID, "error", err) // the event itself isn't
		} else if _, err := r.js.PublishMsg(ctx, letter); err != nil {
			r.log.Warn("dead_letter_lost", "id", m.ID, "error", err)
		}
	}
	return nil
}

// Oldest tells when the oldest event happened that was not published when the relay last looked, which is every few seconds
// while the database answers; zero where there was none.
func (r *Relay) Oldest() time.Time {
	if at := r.oldest.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// look looks for what waits while nothing can be published. While the database is away too, what it said last counts.
func (r *Relay) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastRetry)
	defer cancel()
	if pending, err := r.outbox.Pending(ctx, 1); err == nil {
		r.note(pending)
	}
}

// note takes down the age of the outbox's oldest.
func (r *Relay) note(pending []sqldb.Message) {
	if len(pending) == 0 {
		r.oldest.Store(nil)
		return
	}
	r.oldest.Store(&pending[0].Time)
}

func (r *Relay) message(m sqldb.Message) *nats.Msg {
	msg := &nats.Msg{
		Subject: Subject(m.Topic),
		Data:    m.Payload,
		Header: nats.Header{
			nats.MsgIdHdr: {m.ID},
			headerSpec:    {specVersion},
			headerID:      {m.ID},
			headerSource:  {"/" + r.signer.slug},
			headerType:    {m.Type},
			headerSubject: {m.Key},
			headerTime:    {m.Time.UTC().Format(time.RFC3339Nano)},
			headerContent: {contentType},
			headerSchema:  {r.schemas[m.Topic].Hash},
		},
	}
	r.signer.Sign(msg)
	if m.Trace != "" {
		msg.Header.Set(telemetry.Header, m.Trace)
	}
	return msg
}
