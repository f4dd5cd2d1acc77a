package sqldb

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// migrationBegin is what a step begins with on Postgres. It may take long; but the server looks, where it can (since version 14),
// whether its client still lives: else a statement of a process that was killed would keep the lock until it ends. The
// lock (its key is "meshmigr") is held to the end of the transaction, so that each step finds what others did meanwhile.
const migrationBegin = `SET LOCAL statement_timeout = 0;
SELECT set_config(name, '500ms', true) FROM pg_settings WHERE name = 'client_connection_check_interval';
SELECT pg_advisory_xact_lock(7882833615131338610)`

// migrationTable records what was applied. A component is a part of the schema with numbers of its own.
const migrationTable = `CREATE TABLE IF NOT EXISTS schema_migrations (
	component TEXT NOT NULL,
	version BIGINT NOT NULL,
	name TEXT NOT NULL,
	checksum TEXT NOT NULL,
	applied_at BIGINT NOT NULL,
	PRIMARY KEY (component, version)
)`

// The components.
const (
	serviceSchema  = "service"
	outboxSchema   = "outbox"
	consumedSchema = "consumed"
	boundSchema    = "bound"
)

// migrationName is the form of a migration's file.
var migrationName = regexp.MustCompile(`^([0-9]{4})_([a-z0-9_]+)\.sql$`)

// migration is one step of a schema.
type migration struct {
	version  int64
	name     string // of its file
	checksum string // of the whole file, whatever the dialect
	script   string
}

// Migrate brings the schema up to date with the files NNNN_name.sql in dir, in order, each in a transaction of its own that
// also records it. Any number of processes may call it at once; one that is killed leaves whole steps. Migrations only
// add: it is an error if a file that was applied has changed or is missing, or if a new one sorts before it.
//
// Where the databases differ, a line that ends in "-- +sqlite" or "-- +postgres" counts for that one alone; so do the lines
// between one that holds nothing else and the next "-- +end".
//
// Errors: Unavailable; others are one line for the operator.
func Migrate(ctx context.Context, db *DB, dir fs.FS) error {
	return migrate(ctx, db, serviceSchema, dir)
}

// MigrateService brings a service's database up to date: the outbox, then what is in the folder "migrations".
func MigrateService(ctx context.Context, db *DB, files fs.FS) error {
	if err := MigrateOutbox(ctx, db); err != nil {
		return err
	}
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return Migrate(ctx, db, dir)
}

func migrate(ctx context.Context, db *DB, component string, dir fs.FS) error {
	all, err := readMigrations(dir, db.dialect)
	if err != nil {
		return err
	}
	for {
		var next *migration
		err := db.writer.write(ctx, readCommitted, func(tx *Tx) (err error) {
			next, err = migrateStep(ctx, tx, db.dialect, component, all)
			return err
		})
		switch {
		case err != nil && next != nil:
			return fmt.Errorf("migration %s: %w", next.name, err)
		case err != nil:
			return fmt.Errorf("migrations: %w", err)
		case next == nil:
			return nil
		}
	}
}

// migrateStep applies the first migration that is missing. It gives nil where none is.
func migrateStep(ctx context.Context, tx *Tx, dialect Dialect, component string, all []migration) (*migration, error) {
	if dialect == Postgres {
		if _, err := tx.Exec(ctx, migrationBegin); err != nil {
			return nil, err
		}
	}
	if _, err := tx.Exec(ctx, migrationTable); err != nil {
		return nil, err
	}
	applied, err := All(ctx, tx, scanMigration,
		"SELECT version, name, checksum FROM schema_migrations WHERE component = ? ORDER BY version", component)
	if err != nil {
		return nil, err
	}
	if err := checkApplied(applied, all); err != nil {
		return nil, err
	}
	if len(applied) == len(all) {
		return nil, nil
	}
	next := &all[len(applied)]
	if _, err := tx.Exec(ctx, next.script); err != nil {
		return next, err
	}
	_, err = tx.Exec(ctx, "INSERT INTO schema_migrations (component, version, name, checksum, applied_at) VALUES (?, ?, ?, ?, ?)",
		component, next.version, next.name, next.checksum, Time(time.Now()))
	return next, err
}

func scanMigration(row Scanner) (m migration, err error) {
	err = row.Scan(&m.version, &m.name, &m.checksum)
	return m, err
}

// checkApplied makes sure that what was applied is how all begins.
func checkApplied(applied, all []migration) error {
	for i, a := range applied {
		switch {
		case i >= len(all):
			return fmt.Errorf("%s was applied to this database, but this program does not know it: it is older than the database", a.name)
		case a.version > all[i].version:
			return fmt.Errorf("%s is new, but %s was applied before it: give it a higher number", all[i].name, a.name)
		case a.name != all[i].name:
			return fmt.Errorf("%s was applied to this database, but this program does not know it", a.name)
		case a.checksum != all[i].checksum:
			return fmt.Errorf("%s has changed since it was applied: restore it, and make the change in a new migration", a.name)
		}
	}
	return nil
}

// readMigrations reads the files of dir in order.
func readMigrations(dir fs.FS, dialect Dialect) ([]migration, error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	if len(names) == 0 {
		return nil, errors.New("migrations: there are no files NNNN_name.sql")
	}
	all := make([]migration, 0, len(names))
	for _, name := range names {
		m, err := readMigration(dir, name, dialect)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", name, err)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i := range all[1:] {
		if all[i].version == all[i+1].version {
			return nil, fmt.Errorf("migrations %s and %s have the same number", all[i].name, all[i+1].name)
		}
	}
	return all, nil
}

func readMigration(dir fs.FS, name string, dialect Dialect) (migration, error) {
	parts := migrationName.FindStringSubmatch(path.Base(name))
	if parts == nil {
		return migration{}, errors.New("the name must be NNNN_name.sql, in lower case")
	}
	version, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return migration{}, err
	}
	text, err := fs.ReadFile(dir, name)
	if err != nil {
		return migration{}, err
	}
	script, err := forDialect(string(text), dialect)
	if err != nil {
		return migration{}, err
	}
	sum := sha256.Sum256(text)
	return migration{version: version, name: name, checksum: hex.EncodeToString(sum[:]), script: script}, nil
}

// forDialect gives the lines of a migration that count for a dialect.
func forDialect(text string, dialect Dialect) (string, error) {
	var b strings.Builder
	section := Dialect("") // of which dialect the lines are; empty is all
	for n, line := range strings.Split(text, "\n") {
		code, mark, marked := strings.Cut(line, "-- +")
		only := Dialect(strings.TrimSpace(mark))
		switch {
		case !marked:
			only = ""
		case only == "end" && section == "", only != "end" && section != "":
			return "", fmt.Errorf("line %d: sections do not nest: each begins with -- +sqlite or -- +postgres and ends with -- +end", n+1)
		case only == "end":
			section = ""
			continue
		case only != SQLite && only != Postgres:
			return "", fmt.Errorf("line %d: -- +%s is neither sqlite, postgres nor end", n+1, only)
		case strings.TrimSpace(code) == "":
			section = only
			continue
		}
		if only = cmp.Or(only, section); only == "" || only == dialect {
			b.WriteString(code)
			b.WriteByte('\n')
		}
	}
	if section != "" {
		return "", fmt.Errorf("the section -- +%s has no -- +end", section)
	}
	return b.String(), nil
}
