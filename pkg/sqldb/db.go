package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// Dialect names the database behind a [DB].
type Dialect string

// The dialects. Migrations name them in their sections.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Defaults of [Config].
const (
	DefaultTimeout       = 2 * time.Second
	DefaultPostgresConns = 16
	DefaultSQLiteReaders = 4
)

// Config tells which database to open.
type Config struct {
	// URL is "sqlite:<file>", absolute or relative, or "postgres://user:password@host:port/database?sslmode=…" as
	// lib/pq reads it. It may hold a password: it is never logged, and never part of an error.
	URL string

	// Logger hears of retries and of broken connections. Default: silence.
	Logger *slog.Logger

	// Timeout bounds a query on Postgres, and a write with all its retries on Postgres or its wait in the queue on
	// SQLite. An earlier deadline of the caller counts. Default: 2 s.
	Timeout time.Duration

	// MaxConns bounds the open connections on Postgres, those for reading on SQLite. Default: 16 and 4.
	MaxConns int
}

// Reader runs queries: a [DB], or a [Tx] that also sees what it has written.
type Reader interface {
	// Query runs a query that gives any number of rows. Close them.
	Query(ctx context.Context, query string, args ...any) (*Rows, error)
	// QueryRow runs a query of which the first row counts. Its errors come from Row.Scan.
	QueryRow(ctx context.Context, query string, args ...any) *Row
}

var (
	_ Reader = (*DB)(nil)
	_ Reader = (*Tx)(nil)
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect Dialect
	pool    *sql.DB // every connection on Postgres, those that read on SQLite
	slots   slots   // a slot for each connection of pool
	timeout time.Duration
	writer  writer

	outgoing signal // of messages in the outbox
}

// writer runs functions in transactions, in the way of its dialect.
type writer interface {
	// write is the contract of [DB.Write].
	write(ctx context.Context, mode txMode, fn func(*Tx) error) error
	// close waits for the functions that were accepted.
	close() error
}

// Open opens the database that cfg.URL names.
//
// An SQLite file is created with mode 0600 if it is missing; its folder must exist and be writable. Postgres is not dialled
// before the first call, so that a service can start while its database is away. Errors are one line for the operator.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	if cfg.Timeout < 0 || cfg.MaxConns < 0 {
		return nil, errors.New("database: Timeout and MaxConns must not be negative")
	}
	scheme, rest, ok := strings.Cut(cfg.URL, ":")
	switch {
	case ok && scheme == "sqlite":
		return openSQLite(ctx, cfg, rest)
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return openPostgres(cfg)
	}
	return nil, errors.New("database URL: must be sqlite:<file> or postgres://user:password@host/database")
}

// Dialect tells which database this is, for the rare store that must know.
func (db *DB) Dialect() Dialect { return db.dialect }

// Query runs a query that gives any number of rows. The rows hold a connection until they are closed.
//
// Errors: Unavailable.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return db.query(ctx, false, query, args)
}

// QueryRow runs a query of which the first row counts. The row holds a connection until it is scanned.
//
// It is the cheap way to a point of an index. On SQLite nothing interrupts it once it runs, so a query that sorts or scans
// much is better run with Query.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) *Row {
	rows, err := db.query(ctx, true, query, args)
	return &Row{rows: rows, err: err}
}

func (db *DB) query(ctx context.Context, point bool, query string, args []any) (*Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, classify(err)
	}
	if err := db.slots.acquire(ctx); err != nil {
		return nil, err
	}
	call := callContext{caller: ctx, limit: db.limit(), point: point}
	inner, err := db.pool.QueryContext(call, query, args...) //nolint:rowserrcheck // Rows.Err does it
	if err != nil {
		db.slots.release()
		return nil, classify(err)
	}
	return &Rows{inner: inner, release: func(error) { db.slots.release() }}, nil
}

// limit is when a call that begins now must be over. On SQLite, where nothing is remote, only its caller says so.
func (db *DB) limit() time.Time {
	if db.dialect == SQLite {
		return time.Time{}
	}
	return time.Now().Add(db.timeout)
}

// Write runs fn in a transaction and gives nil once that is durable. The error of fn comes back as it is, and nothing
// of fn stays. While its turn has not come, a cancelled ctx means that fn never runs; after that, Write waits for the
// outcome.
//
// A statement that fails ends the transaction, whatever fn returns. A panic of fn rolls back and goes on in the caller.
// fn may run more than once (what it assigns outside must be assigned anew each time) and must not call Write itself.
// On SQLite every other writer waits for fn, so it does nothing slow.
//
// Errors: those of fn; Unavailable when the database could not be reached, or had no time. On Postgres, when the connection
// is lost in the middle of the commit, the error is Unavailable and the outcome unknown; [IsUnknown] tells.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, db.timeout)
	defer cancel()
	queued := false
	err := db.writer.write(ctx, serializable, func(tx *Tx) error {
		err := fn(tx)
		queued = tx.queued
		return err
	})
	if queued && (err == nil || IsUnknown(err)) {
		db.outgoing.signal()
	}
	return err
}

// Ping tells whether the database answers. Errors: Unavailable.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.QueryRow(ctx, "SELECT 1").Scan(&one)
}

// Stats tells how the pool is: on SQLite that of the connections that read.
func (db *DB) Stats() sql.DBStats { return db.pool.Stats() }

// Close waits for the writes that were accepted, then closes the connections. Later calls give Unavailable.
func (db *DB) Close() error {
	if db.dialect == SQLite {
		// The last connection that closes folds the log into the file. It must be the writer's: readers may not write.
		return errors.Join(db.pool.Close(), db.writer.close())
	}
	return errors.Join(db.writer.close(), db.pool.Close())
}

// slots bounds the calls on a pool to as many as it has connections: database/sql alone would let callers wait for ever.
type slots chan struct{}

// poolWait is how long a call waits for a connection.
const poolWait = time.Second

func (s slots) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(poolWait)
	defer timer.Stop()
	select {
	case s <- struct{}{}:
		return nil
	case <-timer.C:
		return errs.New(errs.Unavailable, "", "the database is busy").Because(errPoolFull)
	case <-ctx.Done():
		return classify(ctx.Err())
	}
}

func (s slots) release() { <-s }
