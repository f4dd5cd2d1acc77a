package sqldb

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

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

// Enqueue puts a message into the outbox: it is published, sooner or later, if and only if the transaction is committed.
func (tx *Tx) Enqueue(ctx context.Context, m Message) error {
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
