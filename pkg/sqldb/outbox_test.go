package sqldb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// TestLargeMessagesAreSetAside refuses a message that is too large for any broker, and sets one aside that is too large for this one.
func TestLargeMessagesAreSetAside(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		if err := sqldb.MigrateOutbox(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		message := func(id string, size int) sqldb.Message {
			return sqldb.Message{ID: id, Topic: "accounts", Key: "k", Type: "AccountCreated", Payload: make([]byte, size), Time: time.Unix(1, 0).UTC(), Trace: "t"}
		}
		put := func(m sqldb.Message) error {
			return db.Write(t.Context(), func(tx *sqldb.Tx) error { return tx.Enqueue(t.Context(), m) })
		}
		err := put(message("huge", sqldb.MaxPayload+1))
		if !errs.Is(err, errs.TooLarge) || !strings.Contains(err.Error(), fmt.Sprint(sqldb.MaxPayload+1)) {
			t.Errorf("a message that is too large: %v", err)
		}
		large := message("large", sqldb.MaxPayload)
		if err := errors.Join(put(large), put(message("small", 1))); err != nil {
			t.Fatal(err)
		}
		waiting := func() string {
			all, err := db.Pending(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, m := range all {
				if ids = append(ids, m.ID); m.ID == "large" && cmp.Diff(m, large) != "" {
					t.Errorf("it has changed: %s", cmp.Diff(m, large))
				}
			}
			return strings.Join(ids, " ")
		}
		for range 2 { // a second time changes nothing
			if err := db.Bury(t.Context(), map[string]int64{"large": 5000}); err != nil {
				t.Fatal(err)
			}
		}
		if ids := waiting(); ids != "small" {
			t.Errorf("%q wait", ids)
		}
		for limit, want := range []string{4999: "small", 5000: "small large"} {
			if want == "" {
				continue
			}
			if _, err := db.Exhume(t.Context(), int64(limit)); err != nil || waiting() != want {
				t.Errorf("after %d: %q wait, %v", limit, waiting(), err)
			}
		}
	})
}

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
