package store_test

import (
	"fmt"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/service"
	"micromesh/user/store"
)

// TestTokensLoseAdminRolesOfOneApp upgrades a database that has admins of one app: their tokens of that app lose the role.
func TestTokensLoseAdminRolesOfOneApp(t *testing.T) {
	for name, url := range map[string]func(*testing.T) (string, bool){
		"sqlite":   func(t *testing.T) (string, bool) { t.Helper(); return sqldbtest.SQLiteURL(t), true },
		"postgres": func(t *testing.T) (string, bool) { t.Helper(); return sqldbtest.PostgresURL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			u, ok := url(t)
			if !ok {
				u = sqldbtest.SQLiteURL(t) // there is no Postgres here; a loud line has said so
			}
			db := sqldbtest.Open(t, u)
			before := fstest.MapFS{}
			for _, file := range []string{"0001_accounts.sql", "0002_sessions.sql", "0003_slug_owners.sql"} {
				b, err := os.ReadFile("migrations/" + file)
				if err != nil {
					t.Fatal(err)
				}
				before["migrations/"+file] = &fstest.MapFile{Data: b}
			}
			if err := sqldb.MigrateService(t.Context(), db, before); err != nil {
				t.Fatal(err)
			}
			issued := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
			fill(t, db, issued)
			if err := store.Migrate(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			lost, err := store.New(db, nil).RolesLost(t.Context(), "")
			want := service.LostRole{UserID: "eve", AppID: "ten", Role: "user-svc:admin", At: issued}
			if err != nil || len(lost) != 1 || !lost[0].At.Equal(want.At) || lost[0].UserID != want.UserID || lost[0].AppID != want.AppID || lost[0].Role != want.Role || lost[0].Back {
				t.Errorf("lost: %+v, %v; want %+v", lost, err, want)
			}
		})
	}
}

// fill saves an admin of one app, one of the default app, and one of every app, with a token of each.
func fill(t *testing.T, db *sqldb.DB, issued time.Time) {
	t.Helper()
	at := issued.UnixMicro()
	statements := []string{"INSERT INTO apps (id, host) VALUES ('ten', 'ten.example'), ('unnamed', 'unnamed')"}
	for user, apps := range map[string][]string{"eve": {"ten"}, "bob": {"unnamed"}, "ann": {"ten", "*"}} {
		token := apps[0]
		statements = append(statements,
			fmt.Sprintf("INSERT INTO accounts (id, slug, name, search, created_at, updated_at) VALUES ('%[1]s', '%[1]s', '', '', %[2]d, %[2]d)", user, at),
			fmt.Sprintf("INSERT INTO sessions (id, user_id, app_id, device, created_at, expires_at) VALUES ('%[1]s', '%[1]s', '%[2]s', 'd', %[3]d, %[3]d)", user, token, at),
			fmt.Sprintf("INSERT INTO tokens (id, session_id, key_id, user_id, slug, app_id, device, roles, issued_at, expires_at) VALUES "+
				"('%[1]s', '%[1]s', 'k', '%[1]s', '%[1]s', '%[2]s', 'd', '[]', %[3]d, %[3]d)", user, token, at))
		for _, app := range apps {
			statements = append(statements, fmt.Sprintf("INSERT INTO enrolls (id, app_id, role, user_id, created_at, updated_at) VALUES "+
				"('%[1]s-%[2]s', '%[2]s', 'user-svc:admin', '%[1]s', %[3]d, %[3]d)", user, app, at))
		}
	}
	err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
