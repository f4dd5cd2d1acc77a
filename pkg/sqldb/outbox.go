package sqldb

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/telemetry"
)

// outboxFiles are the migrations of the outbox.
//
//go:embed outbox/*.sql
var outboxFiles embed.FS

// Message is an event that waits in the outbox to be published.
type Message struct {
	ID      string    // unique; it is what a broker drops duplicates by
	Topic   string    // where it is published
	Key     string    // what it is about; messages of one key keep their order
	Type    string    // its name within the topic
	Payload []byte    // encoded
	Time    time.Time // when it happened
	Trace   string    // W3C traceparent; Enqueue takes the context's where it is empty
}

// MigrateOutbox creates the outbox, or brings it up to date. It comes before [Migrate] in a service that publishes.
func MigrateOutbox(ctx context.Context, db *DB) error {
	dir, err := fs.Sub(outboxFiles, "outbox")
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return migrate(ctx, db, outboxSchema, dir)
}

// MaxPayload bounds the payload of a message in bytes: with its headers, NATS takes it by its default of 1 MiB.
const MaxPayload = 1<<20 - 16<<10

// Enqueue puts a message into the outbox: it is published, sooner or later, if and only if the transaction is committed.
//
// Errors: TooLarge beyond [MaxPayload]; those of the transaction.
func (tx *Tx) Enqueue(ctx context.Context, m Message) error {
	if n := len(m.Payload); n > MaxPayload {
		return errs.New(errs.TooLarge, "EVENT_TOO_LARGE", "the event %s has %d bytes; at most %d are published", m.Type, n, MaxPayload)
	}
	_, err := tx.Exec(ctx, "INSERT INTO outbox (id, topic, key, type, payload, time, trace) VALUES (?, ?, ?, ?, ?, ?, ?)",
		m.ID, m.Topic, m.Key, m.Type, m.Payload, Time(m.Time), Text(cmp.Or(m.Trace, telemetry.Traceparent(ctx))))
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", m.Type, err)
	}
	tx.queued = true
	return nil
}

// Pending gives the messages that were not yet reported as sent, oldest first, at most limit of them.
//
// Errors: Unavailable.
func (db *DB) Pending(ctx context.Context, limit int) ([]Message, error) {
	return All(ctx, db, scanMessage, "SELECT id, topic, key, type, payload, time, trace FROM outbox ORDER BY seq"+Limit, limit)
}

func scanMessage(row Scanner) (m Message, err error) {
	err = row.Scan(&m.ID, &m.Topic, &m.Key, &m.Type, &m.Payload, ScanTime(&m.Time), ScanText(&m.Trace))
	return m, err
}

// Sent removes messages that were published for good.
//
// Errors: Unavailable.
func (db *DB) Sent(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	in, args := In(ids)
	return db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM outbox WHERE id IN "+in, args...)
		return err
	})
}

// Bury sets messages aside that are larger than the broker takes, with the size of each in bytes. Others don't wait for them any more.
//
// Errors: Unavailable.
func (db *DB) Bury(ctx context.Context, sizes map[string]int64) error {
	return db.Write(ctx, func(tx *Tx) error {
		for id, size := range sizes {
			if _, err := tx.Exec(ctx, `INSERT INTO outbox_dead (id, topic, key, type, payload, time, trace, size)
				SELECT id, topic, key, type, payload, time, trace, ? FROM outbox WHERE id = ?`, size, id); err != nil {
				return fmt.Errorf("bury event: %w", err)
			}
			if _, err := tx.Exec(ctx, "DELETE FROM outbox WHERE id = ?", id); err != nil {
				return fmt.Errorf("bury event: %w", err)
			}
		}
		return nil
	})
}

// Exhume puts messages back that Bury has set aside, if their size is at most limit bytes, and returns how many there were.
//
// Errors: Unavailable.
func (db *DB) Exhume(ctx context.Context, limit int64) (n int64, err error) {
	err = db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO outbox (id, topic, key, type, payload, time, trace)
			SELECT id, topic, key, type, payload, time, trace FROM outbox_dead WHERE size <= ? ORDER BY time, id`, limit); err != nil {
			return fmt.Errorf("exhume events: %w", err)
		}
		var err error
		if n, err = tx.Exec(ctx, "DELETE FROM outbox_dead WHERE size <= ?", limit); err != nil {
			return fmt.Errorf("exhume events: %w", err)
		}
		return nil
	})
	return n, err
}

// Outgoing is signalled when a message was committed by this process. Signals that nobody takes become one; messages of
// earlier processes give none, so look into Pending first.
func (db *DB) Outgoing() <-chan struct{} { return db.outgoing }

// signal tells one listener that something happened, however often.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) signal() {
	select {
	case s <- struct{}{}:
	default:
	}
}
