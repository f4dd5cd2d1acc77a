package store_test

import (
	"encoding/json"
	"sync"
	"testing"

	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/service"
	"micromesh/user/store"
	"micromesh/user/store/storetest"
)

func TestStore(t *testing.T) {
	for name, url := range map[string]func(*testing.T) (string, bool){
		"sqlite":   func(t *testing.T) (string, bool) { t.Helper(); return sqldbtest.SQLiteURL(t), true },
		"postgres": func(t *testing.T) (string, bool) { t.Helper(); return sqldbtest.PostgresURL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) (service.Store, func() []service.Event) {
				t.Helper()
				u, ok := url(t)
				if !ok {
					u = sqldbtest.SQLiteURL(t) // there is no Postgres here; a loud line has said so
				}
				return open(t, sqldbtest.Open(t, u))
			})
		})
	}
}

// open gives a store whose events are kept as they are.
func open(t *testing.T, db *sqldb.DB) (service.Store, func() []service.Event) {
	t.Helper()
	if err := store.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	encoded := map[string]service.Event{}
	encode := func(e service.Event) (sqldb.Message, error) {
		b, err := json.Marshal(e)
		mu.Lock()
		defer mu.Unlock()
		encoded[string(b)] = e
		return sqldb.Message{Topic: "accounts", Key: e.UserID, Type: "test", Payload: b}, err
	}
	published := func() (out []service.Event) {
		pending, err := db.Pending(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range pending {
			out = append(out, encoded[string(m.Payload)])
		}
		return out
	}
	return store.New(db, encode), published
}
