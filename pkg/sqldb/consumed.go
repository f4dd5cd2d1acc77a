package sqldb

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"
)

// consumedFiles are the migrations of the notes on applied events.
//
//go:embed consumed/*.sql
var consumedFiles embed.FS

// MigrateConsumed creates the table of events that were applied, or brings it up to date. It comes before [Migrate] in a
// service that consumes events.
func MigrateConsumed(ctx context.Context, db *DB) error {
	dir, err := fs.Sub(consumedFiles, "consumed")
	if err != nil {
		return fmt.Errorf("consumed: %w", err)
	}
	return migrate(ctx, db, consumedSchema, dir)
}

// Consume notes that a consumer applies an event, and tells false where that was noted before: then nothing is to be done.
func (tx *Tx) Consume(ctx context.Context, consumer, eventID string, at time.Time) (first bool, err error) {
	n, err := tx.Exec(ctx, "INSERT INTO consumed (consumer, event_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", consumer, eventID, Time(at))
	if err != nil {
		return false, fmt.Errorf("note event %s: %w", eventID, err)
	}
	return n > 0, nil
}

// ForgetConsumed takes out the notes from before a time.
//
// Errors: Unavailable.
func (db *DB) ForgetConsumed(ctx context.Context, before time.Time) error {
	return db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM consumed WHERE at < ?", Time(before))
		return err
	})
}
