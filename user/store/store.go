// Package store keeps the user service's data on SQL: the one implementation of service.Store, for SQLite and for Postgres.
package store

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Encoder turns an event into what goes into the outbox, apart from its id and time.
type Encoder func(service.Event) (sqldb.Message, error)

// Store is a service.Store.
type Store struct {
	reader
	db     *sqldb.DB
	encode Encoder
}

var (
	_ service.Store = (*Store)(nil)
	_ service.Tx    = (*tx)(nil)
)

// New makes a store on a database that [Migrate] has brought up to date. The database stays the caller's.
func New(db *sqldb.DB, encode Encoder) *Store {
	return &Store{reader: reader{db}, db: db, encode: encode}
}

// Migrate creates the schema, or brings it up to date.
func Migrate(ctx context.Context, db *sqldb.DB) error {
	return sqldb.MigrateService(ctx, db, migrations)
}

// Update implements service.Store.
func (s *Store) Update(ctx context.Context, fn func(service.Tx) error) error {
	return s.db.Write(ctx, func(t *sqldb.Tx) error {
		return fn(&tx{reader: reader{t}, tx: t, encode: s.encode})
	})
}

// reader implements service.Reader, in or outside of a transaction.
type reader struct{ q sqldb.Reader }

// tx implements service.Tx.
type tx struct {
	reader
	tx     *sqldb.Tx
	encode Encoder
}

// exec runs a statement of which the number of changed rows is of no interest.
func (t *tx) exec(ctx context.Context, what, query string, args ...any) error {
	if _, err := t.tx.Exec(ctx, query, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// insert runs an INSERT … ON CONFLICT DO NOTHING, and gives ErrTaken where it did nothing. An error of the database would end the
// transaction.
func (t *tx) insert(ctx context.Context, what, query string, args ...any) error {
	n, err := t.tx.Exec(ctx, query+" ON CONFLICT DO NOTHING", args...)
	if err == nil && n == 0 {
		err = service.ErrTaken
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Emit implements service.Tx.
func (t *tx) Emit(ctx context.Context, e service.Event) error {
	m, err := t.encode(e)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	m.ID, m.Time = rand.Text(), time.Now()
	return t.tx.Enqueue(ctx, m)
}

// one reads one row.
func one[T any](what string, row *sqldb.Row, scan func(sqldb.Scanner) (T, error)) (T, error) {
	v, err := scan(row)
	if errors.Is(err, sqldb.ErrNoRows) {
		return v, service.ErrNotFound
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", what, err)
	}
	return v, nil
}

// all reads every row.
func all[T any](ctx context.Context, r reader, what string, scan func(sqldb.Scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := sqldb.All(ctx, r.q, scan, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return rows, nil
}

func scanText(row sqldb.Scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}

// where collects conditions that are joined by AND.
type where struct {
	text string
	args []any
}

func (w *where) and(condition string, args ...any) {
	if w.text == "" {
		w.text = " WHERE " + condition
	} else {
		w.text += " AND " + condition
	}
	w.args = append(w.args, args...)
}

// in adds that a column has one of the values; no values are no condition.
func (w *where) in(column string, values []string) {
	if len(values) > 0 {
		list, args := sqldb.In(values)
		w.and(column+" IN "+list, args...)
	}
}

// is adds that a column has a value; the empty value is no condition.
func (w *where) is(column, value string) {
	if value != "" {
		w.and(column+" = ?", value)
	}
}
