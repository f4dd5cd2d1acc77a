// Package store keeps the registry's instances, definitions and nodes in SQL.
package store

import (
	"context"
	"embed"
	"fmt"

	"micromesh/pkg/sqldb"
	"micromesh/registry/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Encoder makes the message that tells of an event.
type Encoder func(service.Event) (sqldb.Message, error)

// Store is the SQL implementation.
type Store struct {
	db     *sqldb.DB
	encode Encoder
}

var _ service.Store = (*Store)(nil)

// New brings the database up to date and makes a store on it.
func New(ctx context.Context, db *sqldb.DB, encode Encoder) (*Store, error) {
	if err := sqldb.MigrateService(ctx, db, migrations); err != nil {
		return nil, err
	}
	return &Store{db, encode}, nil
}

func (s *Store) enqueue(ctx context.Context, tx *sqldb.Tx, events ...service.Event) error {
	for _, e := range events {
		if e.What == nil { // a change without an event
			continue
		}
		m, err := s.encode(e)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		if err := tx.Enqueue(ctx, m); err != nil {
			return err
		}
	}
	return nil
}
