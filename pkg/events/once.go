package events

import (
	"context"
	"errors"
	"time"

	"micromesh/pkg/sqldb"
)

// noteLife is how long it is known that an event was applied: as long as one may come again, from the stream or from
// the dead letters.
const noteLife = retention + deadRetention

// Once applies an event in a transaction that also notes that the consumer has applied it: both are done, or neither. It
// tells false where the event was applied before. The database must have sqldb.MigrateConsumed's table. Like any function
// of [sqldb.DB.Write], f may run again where the transaction is tried again.
//
// Errors: those of f; Unavailable.
func Once(ctx context.Context, db *sqldb.DB, consumer, eventID string, f func(*sqldb.Tx) error) (applied bool, err error) {
	if eventID == "" {
		return false, Permanent(errors.New("the event has no id, by which it could be applied once"))
	}
	err = db.Write(ctx, func(tx *sqldb.Tx) error {
		if applied, err = tx.Consume(ctx, consumer, eventID, time.Now()); err != nil || !applied {
			return err
		}
		return f(tx)
	})
	return applied && err == nil, err
}
