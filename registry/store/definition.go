package store

import (
	"context"
	"fmt"

	"micromesh/pkg/sqldb"
	"micromesh/registry/service"
)

// SaveDefinition implements service.Store.
func (s *Store) SaveDefinition(ctx context.Context, d service.Definition, event service.Event) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO definitions (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body", d.ID, sqldb.JSON(d))
		if err != nil {
			return fmt.Errorf("insert definition: %w", err)
		}
		return s.enqueue(ctx, tx, event)
	})
}

// DeleteDefinition implements service.Store.
func (s *Store) DeleteDefinition(ctx context.Context, id string, event service.Event) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM definitions WHERE id = ?", id)
		if err != nil {
			return fmt.Errorf("delete definition: %w", err)
		}
		if n == 0 {
			return service.NoDefinition(id)
		}
		return s.enqueue(ctx, tx, event)
	})
}

// Defined implements service.Store.
func (s *Store) Defined(ctx context.Context, id string) (bool, error) {
	found, err := sqldb.All(ctx, s.db, func(row sqldb.Scanner) (id string, err error) { return id, row.Scan(&id) }, "SELECT id FROM definitions WHERE id = ?", id)
	return len(found) > 0, err
}

// Definitions implements service.Store.
func (s *Store) Definitions(ctx context.Context) ([]service.Definition, error) {
	return sqldb.All(ctx, s.db, func(row sqldb.Scanner) (d service.Definition, err error) {
		return d, row.Scan(sqldb.ScanJSON(&d))
	}, "SELECT body FROM definitions ORDER BY id")
}
