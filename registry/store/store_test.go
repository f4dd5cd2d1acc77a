package store_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/registry/service"
	"micromesh/registry/store"
	"micromesh/registry/store/storetest"
)

func TestStore(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, _ *sqldb.DB) {
		t.Helper()
		postgres := t.Name() == "TestStore/postgres"
		storetest.Run(t, func(t *testing.T) storetest.Subject {
			t.Helper()
			url := sqldbtest.SQLiteURL(t)
			if postgres {
				url, _ = sqldbtest.PostgresURL(t)
			}
			return open(t, sqldbtest.Open(t, url))
		})
	})
}

// encoded remembers the events that were encoded, by the id of their message: which of them were committed, the outbox
// tells.
type encoded struct {
	mu sync.Mutex
	by map[string]service.Event
}

func (e *encoded) encode(ev service.Event) (sqldb.Message, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	body, err := json.Marshal(ev)
	if err != nil {
		return sqldb.Message{}, err
	}
	id := fmt.Sprint(len(e.by))
	e.by[id] = ev
	return sqldb.Message{ID: id, Topic: "instances", Key: ev.ID, Type: fmt.Sprintf("%T", ev.What), Payload: body, Time: ev.Time}, nil
}

func open(t *testing.T, db *sqldb.DB) storetest.Subject {
	t.Helper()
	e := &encoded{by: map[string]service.Event{}}
	st, err := store.New(t.Context(), db, e.encode)
	if err != nil {
		t.Fatal(err)
	}
	return storetest.Subject{Store: st, Events: func(t *testing.T) []service.Event {
		t.Helper()
		pending, err := db.Pending(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		var out []service.Event
		for _, m := range pending {
			out = append(out, e.by[m.ID])
		}
		return out
	}}
}
