package sqldb

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// boundFiles are the migrations of the note on the secret key.
//
//go:embed bound/*.sql
var boundFiles embed.FS

// ErrOtherKey means that a database belongs to another secret key.
var ErrOtherKey = errors.New("the secret key is not the one of this database")

// Bind binds the database to a secret key, or fails with [ErrOtherKey] if it is bound to another one. A verifier stands for the
// key. Before the first binding, fits reports whether the key opens the values that are stored already. Of processes with different
// keys that start together, the first one binds the database.
//
// Errors: ErrOtherKey, Unavailable, and those of fits.
func (db *DB) Bind(ctx context.Context, verifier string, fits func(context.Context) error) error {
	dir, err := fs.Sub(boundFiles, "bound")
	if err != nil {
		return fmt.Errorf("bound: %w", err)
	}
	if err := migrate(ctx, db, boundSchema, dir); err != nil {
		return err
	}
	bound, err := db.boundTo(ctx)
	if err != nil {
		return err
	}
	if bound == "" {
		if err := fits(ctx); err != nil {
			return err
		}
		if err := db.Write(ctx, func(tx *Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO secret_key (id, verifier, bound_at) VALUES (1, ?, ?) ON CONFLICT DO NOTHING", verifier, Time(time.Now()))
			return err
		}); err != nil {
			return fmt.Errorf("bind database to its secret key: %w", err)
		}
		if bound, err = db.boundTo(ctx); err != nil {
			return err
		}
	}
	if bound != verifier {
		return ErrOtherKey
	}
	return nil
}

// boundTo returns the verifier of the key that the database is bound to; empty if it is not bound.
func (db *DB) boundTo(ctx context.Context) (string, error) {
	all, err := All(ctx, db, func(row Scanner) (v string, err error) { return v, row.Scan(&v) }, "SELECT verifier FROM secret_key WHERE id = 1")
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

// Unbind empties the tables of sealed values, and unbinds the database from the key that sealed them. The next Bind binds it to
// another key.
//
// Errors: Unavailable.
func (db *DB) Unbind(ctx context.Context, tables ...string) error {
	return db.Write(ctx, func(tx *Tx) error {
		for _, t := range append(tables, "secret_key") {
			if _, err := tx.Exec(ctx, "DELETE FROM "+t); err != nil {
				return fmt.Errorf("delete sealed values of %s: %w", t, err)
			}
		}
		return nil
	})
}
