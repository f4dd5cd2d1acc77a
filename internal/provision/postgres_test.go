package provision_test

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"testing"

	_ "github.com/lib/pq"

	"micromesh/internal/provision"
	"micromesh/pkg/sqldb/sqldbtest"
)

// psql runs a script as psql does: \gexec executes what the query before it has given.
func psql(t *testing.T, db *sql.DB, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		query, generated := strings.CutSuffix(line, `\gexec`)
		if line == "" || strings.HasPrefix(line, "--") || strings.HasPrefix(line, `\`) {
			continue
		}
		if generated {
			err := db.QueryRowContext(t.Context(), query).Scan(&query)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

func open(t *testing.T, u url.URL) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestEachServiceHasADatabaseThatNoOtherConnectsTo(t *testing.T) {
	raw, ok := sqldbtest.PostgresURL(t)
	if !ok {
		return // sqldbtest has told so, or failed
	}
	server, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	super := open(t, *server)
	random := strings.ToLower(rand.Text()) // the server may be one that stays
	cfg := provision.Config{Dir: t.TempDir(), Services: []provision.Service{provision.Other("a" + random + "-svc"), provision.Other("b" + random + "-svc")}}
	secrets(t, cfg)
	script := read(t, cfg.Dir, "postgres", "init.sql")
	var logins []*url.URL
	for _, s := range cfg.Services {
		u, err := url.Parse(read(t, cfg.Dir, s.Slug, "database.url"))
		if err != nil {
			t.Fatal(err)
		}
		logins = append(logins, u)
		t.Cleanup(func() { psqlCleanup(t, *server, u.User.Username()) })
	}
	psql(t, super, script)
	psql(t, super, script) // it can be run again
	for i, login := range logins {
		own := *server
		own.User, own.Path = login.User, login.Path
		if _, err := open(t, own).ExecContext(t.Context(), "CREATE TABLE mine (id TEXT)"); err != nil {
			t.Errorf("%s in its own database: %v", login.User.Username(), err)
		}
		for _, path := range []string{logins[1-i].Path, "/postgres", "/template1"} {
			other := own
			other.Path = path
			if err := open(t, other).PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "permission denied for database") {
				t.Errorf("%s in %s: %v", login.User.Username(), path, err)
			}
		}
	}
}

func psqlCleanup(t *testing.T, server url.URL, name string) {
	db, err := sql.Open("postgres", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, query := range []string{`DROP DATABASE "` + name + `" WITH (FORCE)`, `DROP ROLE "` + name + `"`} {
		if _, err := db.Exec(query); err != nil {
			t.Error(err)
		}
	}
}
