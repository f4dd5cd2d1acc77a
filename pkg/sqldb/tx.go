package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Mistakes in the use of a [Tx].
var (
	errTxDone   = errors.New("the transaction is over: a Tx is valid only until its function returns")
	errOpenRows = errors.New("the rows of an earlier query are still open: close them before the next statement")
)

// txMode is how a transaction is isolated.
type txMode string

const (
	serializable  txMode = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"
	readCommitted txMode = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE" // each statement sees what is committed by then
)

// Tx is the transaction of one function that runs in [DB.Write]. It belongs to the goroutine of that function.
//
// A statement that fails ends it, as Postgres has it: later statements give the same error, and so does Write even where the function
// returned nil. To try an insert, say ON CONFLICT DO NOTHING. While rows are open no other statement can run.
type Tx struct {
	conn  *sql.Conn
	limit time.Time // when the transaction must be over; zero is never
	rows  *Rows     // open ones
	err   error     // what ended the transaction

	queued bool // a message lies in the outbox
}

// Exec runs a statement and tells how many rows it changed.
//
// Errors: Unavailable; see also [IsUnique].
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	if err := tx.ready(ctx); err != nil {
		return 0, err
	}
	res, err := tx.conn.ExecContext(callContext{caller: ctx, limit: tx.limit, writes: true}, query, args...)
	if err != nil {
		return 0, tx.fail(err)
	}
	if changed, err = res.RowsAffected(); err != nil {
		return 0, nil //nolint:nilerr // the text held no statement, such as a migration for another dialect
	}
	return changed, nil
}

// Query runs a query that gives any number of rows, such as a SELECT or an INSERT … RETURNING.
//
// Errors: Unavailable; see also [IsUnique].
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	if err := tx.ready(ctx); err != nil {
		return nil, err
	}
	inner, err := tx.conn.QueryContext(callContext{caller: ctx, limit: tx.limit, writes: true}, query, args...) //nolint:rowserrcheck // Rows.Err does it
	if err != nil {
		return nil, tx.fail(err)
	}
	tx.rows = &Rows{inner: inner, release: func(err error) {
		tx.rows = nil
		if err != nil {
			_ = tx.fail(err) // the rows give it to the function themselves
		}
	}}
	return tx.rows, nil
}

// QueryRow runs a query of which the first row counts. Scan it before the next statement.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *Row {
	rows, err := tx.Query(ctx, query, args...)
	return &Row{rows: rows, err: err}
}

// ready tells whether a statement may run.
func (tx *Tx) ready(ctx context.Context) error {
	switch {
	case tx.err != nil:
		return tx.err
	case tx.rows != nil:
		return tx.fail(errOpenRows)
	case ctx.Err() != nil:
		return tx.fail(ctx.Err())
	}
	return nil
}

// fail ends the transaction with err.
func (tx *Tx) fail(err error) error {
	err = classify(err)
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// run calls fn and gives what the transaction came to. Afterwards tx is of no use to fn, even if that panicked.
func (tx *Tx) run(fn func(*Tx) error) (err error) {
	defer func() {
		tx.closeRows() // fn may have panicked
		if tx.err == nil {
			tx.err = errTxDone
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	tx.closeRows()
	return tx.err
}

// closeRows closes the rows that were left open; an error of theirs ends the transaction.
func (tx *Tx) closeRows() {
	if tx.rows != nil {
		_ = tx.rows.Close() // their release has it
	}
}
