package sqldb

import (
	"context"
	"database/sql"
)

// ErrNoRows is what [Row.Scan] gives where the query found nothing.
var ErrNoRows = sql.ErrNoRows

// Scanner is a row that can be read: a [Row], or the present one of [Rows].
type Scanner interface {
	// Scan copies the columns into dest, by the rules of database/sql.
	Scan(dest ...any) error
}

// Rows is the result of a query. Use it as sql.Rows: Next, Scan, then Err, and always Close.
type Rows struct {
	inner   *sql.Rows
	release func(error) // called once, with the query's error, when the connection is free
	closed  bool
}

// Next readies the next row for Scan. At the end, and after an error, it closes the rows and gives false.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	if r.inner.Next() {
		return true
	}
	_ = r.finish() // Err has it
	return false
}

// Scan copies the columns of the present row into dest.
func (r *Rows) Scan(dest ...any) error { return r.inner.Scan(dest...) }

// Err gives the error that ended the rows early. Errors: Unavailable.
func (r *Rows) Err() error { return classify(r.inner.Err()) }

// Close frees the connection. It may be called more than once.
func (r *Rows) Close() error {
	if r.closed {
		return nil
	}
	return r.finish()
}

func (r *Rows) finish() error {
	r.closed = true
	err := r.inner.Close()
	if ierr := r.inner.Err(); ierr != nil {
		err = ierr
	}
	r.release(err)
	return classify(err)
}

// Row is the result of QueryRow.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the row's columns into dest and frees the connection. It must be called, once.
//
// Errors: [ErrNoRows]; Unavailable.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	err := r.rows.Scan(dest...)
	if cerr := r.rows.Close(); err == nil {
		err = cerr
	}
	return err
}

// All runs a query and reads every row with scan. No rows are a nil slice.
func All[T any](ctx context.Context, from Reader, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := from.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
