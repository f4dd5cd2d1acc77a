package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// withPets gives suite a database with a table.
func withPets(t *testing.T, suite func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		createPets(t, db)
		suite(t, db)
	})
}

func createPets(tb testing.TB, db *sqldb.DB) {
	tb.Helper()
	mustWrite(tb, db, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(tb.Context(), `CREATE TABLE pets (
			name TEXT NOT NULL PRIMARY KEY, owner TEXT, born BIGINT, tags TEXT, photo BYTEA, good BOOLEAN NOT NULL DEFAULT TRUE)`)
		return err
	})
}

func mustWrite(tb testing.TB, db *sqldb.DB, fn func(*sqldb.Tx) error) {
	tb.Helper()
	if err := db.Write(tb.Context(), fn); err != nil {
		tb.Fatal(err)
	}
}

// addPet gives a function for Write.
func addPet(ctx context.Context, name string) func(*sqldb.Tx) error {
	return func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO pets (name) VALUES (?)", name)
		return err
	}
}

func petNames(tb testing.TB, from sqldb.Reader) []string {
	tb.Helper()
	names, err := sqldb.All(tb.Context(), from, scanName, "SELECT name FROM pets ORDER BY name")
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

func scanName(row sqldb.Scanner) (name string, err error) {
	err = row.Scan(&name)
	return name, err
}

func checkPets(tb testing.TB, db *sqldb.DB, want ...string) {
	tb.Helper()
	if diff := cmp.Diff(want, petNames(tb, db)); diff != "" {
		tb.Errorf("pets (-want +got):\n%s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		type pet struct {
			Name, Owner string
			Born        time.Time
			Tags        []string
			Photo       []byte
			Good        bool
		}
		scan := func(row sqldb.Scanner) (p pet, err error) {
			err = row.Scan(&p.Name, sqldb.ScanText(&p.Owner), sqldb.ScanTime(&p.Born), sqldb.ScanJSON(&p.Tags), &p.Photo, &p.Good)
			return p, err
		}
		pets := []pet{
			{Name: "rex", Owner: "o'hara?", Born: time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC), Tags: []string{"big", "ü"}, Photo: []byte{0, 0xff}, Good: true},
			{Name: "tom"},
		}
		mustWrite(t, db, func(tx *sqldb.Tx) error {
			for _, p := range pets {
				n, err := tx.Exec(t.Context(), "INSERT INTO pets (name, owner, born, tags, photo, good) VALUES (?, ?, ?, ?, ?, ?)",
					p.Name, sqldb.Text(p.Owner), sqldb.Time(p.Born), sqldb.JSON(p.Tags), p.Photo, p.Good)
				if err != nil || n != 1 {
					return fmt.Errorf("inserted %d: %w", n, err)
				}
			}
			return nil
		})
		got, err := sqldb.All(t.Context(), db, scan, "SELECT name, owner, born, tags, photo, good FROM pets ORDER BY name")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(pets, got); diff != "" {
			t.Errorf("pets (-want +got):\n%s", diff)
		}
		in, args := sqldb.In([]string{"rex", "x", "y"})
		var n int
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM pets WHERE good AND name IN "+in, args...).Scan(&n); err != nil || n != 1 {
			t.Errorf("IN found %d, %v", n, err)
		}
		if err := db.QueryRow(t.Context(), "SELECT name FROM pets WHERE name = ?", "none").Scan(new(string)); !errors.Is(err, sqldb.ErrNoRows) {
			t.Errorf("no rows: %v", err)
		}
	})
}

func TestSameOnBoth(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, addPet(t.Context(), "Rex_1%"))
		for pattern, want := range map[string]int{"rex%": 0, "Rex%": 1, sqldb.EscapeLike("Rex_1%"): 1, sqldb.EscapeLike("Rex%1_"): 0} {
			var n int
			if err := db.QueryRow(t.Context(), `SELECT count(*) FROM pets WHERE name LIKE ? ESCAPE '\'`, pattern).Scan(&n); err != nil || n != want {
				t.Errorf("LIKE %q found %d, want %d (%v)", pattern, n, want, err)
			}
		}
		if err := db.QueryRow(t.Context(), `SELECT "no such column" FROM pets`).Scan(new(string)); err == nil {
			t.Error("an unknown name in double quotes was read as a text")
		}
		rows, err := db.Query(t.Context(), "INSERT INTO pets (name) VALUES ('x') RETURNING name")
		if err == nil {
			rows.Next()
			err = rows.Err()
			rows.Close()
		}
		if err == nil {
			t.Error("a query wrote")
		}
		checkPets(t, db, "Rex_1%")
	})
}

func TestWriteRollsBack(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, addPet(t.Context(), "rex"))
		mine := errors.New("mine")
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			if err := addPet(t.Context(), "tom")(tx); err != nil {
				return err
			}
			if got := petNames(t, tx); len(got) != 2 {
				t.Errorf("the transaction sees %v", got)
			}
			return mine
		})
		if !errors.Is(err, mine) {
			t.Errorf("got %v, want the function's error", err)
		}
		checkPets(t, db, "rex")
	})
}

func TestStatementThatFailsEndsTransaction(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, addPet(t.Context(), "rex"))
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			first := addPet(t.Context(), "rex")(tx)
			if _, ok := sqldb.IsUnique(first); !ok {
				t.Errorf("insert a duplicate: %v", first)
			}
			if err := addPet(t.Context(), "tom")(tx); !errors.Is(err, first) {
				t.Errorf("the next statement gave %v, want the first one's error", err)
			}
			return nil
		})
		if key, ok := sqldb.IsUnique(err); !ok || key != "pets.name" {
			t.Errorf("Write gave %v (%q)", err, key)
		}
		checkPets(t, db, "rex")
	})
}

func TestPanicIsTheCallers(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		func() {
			defer func() {
				if got := recover(); got != "mine" {
					t.Errorf("recovered %v", got)
				}
			}()
			_ = db.Write(t.Context(), func(tx *sqldb.Tx) error {
				if err := addPet(t.Context(), "tom")(tx); err != nil {
					return err
				}
				panic("mine")
			})
			t.Error("the panic was lost")
		}()
		mustWrite(t, db, addPet(t.Context(), "rex"))
		checkPets(t, db, "rex")
	})
}

func TestMisuseOfTx(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, addPet(t.Context(), "rex"))
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			rows, err := tx.Query(t.Context(), "SELECT name FROM pets")
			if err != nil {
				return err
			}
			defer rows.Close()
			return addPet(t.Context(), "tom")(tx)
		})
		if err == nil || !strings.Contains(err.Error(), "still open") {
			t.Errorf("a statement beside open rows gave %v", err)
		}
		var leaked *sqldb.Tx
		mustWrite(t, db, func(tx *sqldb.Tx) error {
			leaked = tx
			_, err := tx.Query(t.Context(), "SELECT name FROM pets") // left open
			return err
		})
		if err := addPet(t.Context(), "tom")(leaked); err == nil || !strings.Contains(err.Error(), "is over") {
			t.Errorf("a statement after the end gave %v", err)
		}
		checkPets(t, db, "rex")
	})
}

func TestCancelledBeforeItsTurn(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := db.Write(ctx, func(*sqldb.Tx) error {
			t.Error("the function ran")
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Write gave %v", err)
		}
		if _, err := db.Query(ctx, "SELECT name FROM pets"); !errors.Is(err, context.Canceled) {
			t.Errorf("Query gave %v", err)
		}
	})
}

func TestCancelledQueryEnds(t *testing.T) {
	const long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT count(*) FROM n"
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		rows, err := db.Query(ctx, long)
		if err == nil {
			rows.Next()
			err = rows.Err()
			rows.Close()
		}
		if !sqldb.IsUnavailable(err) || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("the next query: %v", err)
		}
	})
}

func TestFullPool(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, addPet(t.Context(), "rex"))
		for range sqldb.DefaultPostgresConns { // on SQLite the pool is smaller
			rows, err := db.Query(t.Context(), "SELECT name FROM pets")
			if err != nil {
				break
			}
			defer rows.Close()
		}
		began := time.Now()
		err := db.Ping(t.Context())
		if took := time.Since(began); !errs.Is(err, errs.Unavailable) || took > 1200*time.Millisecond {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestClose(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); !sqldb.IsUnavailable(err) {
			t.Errorf("Ping gave %v", err)
		}
		if err := db.Write(t.Context(), addPet(t.Context(), "rex")); !sqldb.IsUnavailable(err) {
			t.Errorf("Write gave %v", err)
		}
	})
}

func TestIsUniqueNamesTheKey(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `
				CREATE TABLE permits (slug TEXT NOT NULL, role TEXT NOT NULL, mail TEXT, PRIMARY KEY (slug, role));
				CREATE UNIQUE INDEX permits_mail ON permits (lower(mail));`)
			return err
		})
		insert := func(slug, role, mail string) error {
			return db.Write(t.Context(), func(tx *sqldb.Tx) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO permits (slug, role, mail) VALUES (?, ?, ?)", slug, role, mail)
				return err
			})
		}
		if err := insert("a", "b", "m"); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ slug, role, mail, want string }{
			{"a", "b", "n", "permits.slug, permits.role"},
			{"a", "c", "M", "permits_mail"},
		} {
			err := insert(tt.slug, tt.role, tt.mail)
			if key, ok := sqldb.IsUnique(fmt.Errorf("insert: %w", err)); !ok || key != tt.want {
				t.Errorf("%v: key %q, want %q", err, key, tt.want)
			}
		}
		if _, ok := sqldb.IsUnique(errors.New("other")); ok {
			t.Error("any error is one of a duplicate")
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	noDB := filepath.Join(dir, "no.db")
	if err := os.WriteFile(noDB, []byte(strings.Repeat("this is not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, want string }{
		{"", "must be sqlite:<file> or postgres://"},
		{"mysql://root:secret@host/db", "must be sqlite:<file> or postgres://"},
		{"sqlite:", "needs the path of a file"},
		{"sqlite::memory:", "plain path"},
		{"sqlite:/a.db?mode=ro", "plain path"},
		{"sqlite:" + dir + "/", "needs the path of a file"},
		{"sqlite:" + dir + "/none/a.db", "folder " + dir + "/none: no such file or directory"},
		{"sqlite:" + noDB + "/a.db", "is not a folder"},
		{"sqlite:" + dir, "is a directory"},
		{"sqlite:" + noDB, "file is not a database"},
		{"postgres://u:secret@host:port/db", "not a valid postgres://"},
		{"postgres://u:secret@host/db?sslmode=secret", "not a valid postgres://"},
	} {
		db, err := sqldb.Open(t.Context(), sqldb.Config{URL: tt.url})
		if err == nil {
			db.Close()
			t.Errorf("%s: opened", tt.url)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
}

func TestSQLiteFilesAreOurs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "with %20 and #.db")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	db := sqldbtest.Open(t, "sqlite:"+file)
	createPets(t, db)
	for _, name := range []string{file, file + "-wal", file + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log was left behind: %v", err)
	}
}

func TestRelativeFile(t *testing.T) {
	t.Chdir(t.TempDir())
	createPets(t, sqldbtest.Open(t, "sqlite:a.db"))
	if _, err := os.Stat("a.db"); err != nil {
		t.Error(err)
	}
}
