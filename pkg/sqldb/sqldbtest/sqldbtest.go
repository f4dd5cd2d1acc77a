// Package sqldbtest runs tests on real databases: a fresh SQLite file, and a fresh database of a real Postgres server.
//
// The server is that of TEST_DATABASE_URL; without it, one that this package starts from the initdb and postgres that it finds
// in PATH or where distributions put them. There is one for each test process, and it goes with the process, however that ends.
// Where there is none, tests fail if CI is set, and elsewhere run on SQLite alone after one loud line.
package sqldbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lib/pq"

	"micromesh/pkg/sqldb"
)

// Run runs suite as the subtests "sqlite" and "postgres", each with an empty database.
func Run(t *testing.T, suite func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { suite(t, Open(t, SQLiteURL(t))) })
	if _, ok := postgres(t); ok {
		t.Run("postgres", func(t *testing.T) {
			u, _ := PostgresURL(t)
			suite(t, Open(t, u))
		})
	}
}

// Open opens a database for the length of the test.
func Open(tb testing.TB, rawURL string) *sqldb.DB {
	tb.Helper()
	db, err := sqldb.Open(tb.Context(), sqldb.Config{URL: rawURL, Logger: slog.New(slog.NewTextHandler(tb.Output(), nil))})
	if err != nil {
		tb.Fatalf("open database: %v", err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close database: %v", err)
		}
	})
	return db
}

// SQLiteURL gives the URL of a file that does not exist yet.
func SQLiteURL(tb testing.TB) string {
	tb.Helper()
	return "sqlite:" + filepath.Join(tb.TempDir(), "test.db")
}

// PostgresURL creates an empty database, which is dropped after the test. It tells false where there is no Postgres.
func PostgresURL(tb testing.TB) (string, bool) {
	tb.Helper()
	server, ok := postgres(tb)
	if !ok {
		return "", false
	}
	name := "test_" + strings.ToLower(rand.Text())
	execute(tb, server, "CREATE DATABASE "+name)
	tb.Cleanup(func() { execute(tb, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	u := *server
	u.Path = "/" + name
	return u.String(), true
}

// execute runs a statement on the server's own database.
func execute(tb testing.TB, server *url.URL, statement string) {
	tb.Helper()
	connector, err := pq.NewConnector(server.String())
	if err != nil {
		tb.Fatalf("connect to %s: %v", server.Redacted(), err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	// The test's own context is over when clean-ups run.
	if _, err := db.ExecContext(context.WithoutCancel(tb.Context()), statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// find finds or starts the server of this process.
var find = sync.OnceValues(func() (*server, error) {
	if env := os.Getenv("TEST_DATABASE_URL"); env != "" {
		u, err := url.Parse(env)
		if err != nil {
			return nil, errors.New("TEST_DATABASE_URL is not a URL")
		}
		return &server{url: u}, nil
	}
	return startServer()
})

// warn says once that Postgres is missing.
var warn = sync.OnceFunc(func() {
	fmt.Fprintln(os.Stderr, "*** NO POSTGRES FOUND: these tests run on SQLite alone. Install it, or set TEST_DATABASE_URL. ***")
})

// postgres gives the URL of the server, and false where there is none.
func postgres(tb testing.TB) (*url.URL, bool) {
	tb.Helper()
	s, err := find()
	switch {
	case err == nil:
		return s.url, true
	case errors.Is(err, errNoPostgres) && os.Getenv("CI") == "":
		warn()
		return nil, false
	default:
		tb.Fatalf("start Postgres: %v", err)
		return nil, false
	}
}
