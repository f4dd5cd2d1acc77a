package sqldb_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

func TestOutbox(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		for range 2 {
			if err := sqldb.MigrateOutbox(t.Context(), db); err != nil {
				t.Fatal(err)
			}
		}
		message := func(i int) sqldb.Message {
			return sqldb.Message{ID: fmt.Sprint("id", i), Topic: "accounts", Key: "k", Type: "AccountCreated", Payload: []byte{0, byte(i)},
				Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
		}
		outgoing := func() bool {
			select {
			case <-db.Outgoing():
				return true
			default:
				return false
			}
		}
		mine := errors.New("mine")
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error { return errors.Join(mine, tx.Enqueue(t.Context(), message(9))) })
		if !errors.Is(err, mine) || outgoing() {
			t.Errorf("a message that was rolled back is going out: %v", err)
		}
		for i := range 3 {
			mustWrite(t, db, func(tx *sqldb.Tx) error { return tx.Enqueue(t.Context(), message(i)) })
		}
		if !outgoing() || outgoing() {
			t.Error("there is not exactly one signal")
		}
		check := func(limit int, want ...sqldb.Message) {
			t.Helper()
			got, err := db.Pending(t.Context(), limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pending (-want +got):\n%s", diff)
			}
		}
		check(2, message(0), message(1))
		for _, ids := range [][]string{nil, {"id0", "id2"}, {"id0"}} {
			if err := db.Sent(t.Context(), ids); err != nil {
				t.Fatal(err)
			}
		}
		check(10, message(1))
	})
}
