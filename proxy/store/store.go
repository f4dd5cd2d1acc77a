// Package store keeps the proxy's routes and certificates in SQL.
package store

import (
	"context"
	"embed"
	"fmt"

	"micromesh/pkg/sqldb"
	"micromesh/proxy/service"
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

// SaveRoutes implements service.Store.
func (s *Store) SaveRoutes(ctx context.Context, routes []service.Route, events []service.Event) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, r := range routes {
			_, err := tx.Exec(ctx, `INSERT INTO routes (id, shown, target) VALUES (?, ?, ?)
				ON CONFLICT (id) DO UPDATE SET shown = excluded.shown, target = excluded.target`, r.ID, r.Shown, r.Target)
			if err != nil {
				return fmt.Errorf("insert route: %w", err)
			}
		}
		return s.enqueue(ctx, tx, events)
	})
}

// Routes implements service.Store.
func (s *Store) Routes(ctx context.Context, ids []string) ([]service.Route, error) {
	where, args := byID(ids)
	return sqldb.All(ctx, s.db, scanRoute, "SELECT id, shown, target FROM routes"+where+" ORDER BY id", args...)
}

func scanRoute(row sqldb.Scanner) (r service.Route, err error) {
	return r, row.Scan(&r.ID, &r.Shown, &r.Target)
}

// DeleteRoutes implements service.Store.
func (s *Store) DeleteRoutes(ctx context.Context, ids []string, event func(service.Route) service.Event) (gone []service.Route, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		in, args := sqldb.In(ids)
		if gone, err = sqldb.All(ctx, tx, scanRoute, "DELETE FROM routes WHERE id IN "+in+" RETURNING id, shown, target", args...); err != nil {
			return fmt.Errorf("delete routes: %w", err)
		}
		events := make([]service.Event, len(gone))
		for i, r := range gone {
			events[i] = event(r)
		}
		return s.enqueue(ctx, tx, events)
	})
	return gone, err
}

// SaveCerts implements service.Store.
func (s *Store) SaveCerts(ctx context.Context, certs []service.Cert, events []service.Event) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, c := range certs {
			_, err := tx.Exec(ctx, `INSERT INTO certs (id, chain, sealed, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (id) DO UPDATE SET chain = excluded.chain, sealed = excluded.sealed, updated_at = excluded.updated_at`,
				c.ID, c.Chain, c.Sealed, sqldb.Time(c.CreatedAt), sqldb.Time(c.UpdatedAt))
			if err != nil {
				return fmt.Errorf("insert certificate: %w", err)
			}
		}
		return s.enqueue(ctx, tx, events)
	})
}

// DeleteCerts implements service.Store.
func (s *Store) DeleteCerts(ctx context.Context, ids []string, event func(id string) service.Event) (gone []string, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	scan := func(row sqldb.Scanner) (id string, err error) { return id, row.Scan(&id) }
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		in, args := sqldb.In(ids)
		if gone, err = sqldb.All(ctx, tx, scan, "DELETE FROM certs WHERE id IN "+in+" RETURNING id", args...); err != nil {
			return fmt.Errorf("delete certificates: %w", err)
		}
		events := make([]service.Event, len(gone))
		for i, id := range gone {
			events[i] = event(id)
		}
		return s.enqueue(ctx, tx, events)
	})
	return gone, err
}

// Certs implements service.Store.
func (s *Store) Certs(ctx context.Context, ids []string) ([]service.Cert, error) {
	where, args := byID(ids)
	return sqldb.All(ctx, s.db, scanCert, "SELECT id, chain, sealed, created_at, updated_at FROM certs"+where+" ORDER BY id", args...)
}

func scanCert(row sqldb.Scanner) (c service.Cert, err error) {
	return c, row.Scan(&c.ID, &c.Chain, &c.Sealed, sqldb.ScanTime(&c.CreatedAt), sqldb.ScanTime(&c.UpdatedAt))
}

// byID is the condition for some ids, or none for all.
func byID(ids []string) (where string, args []any) {
	if len(ids) == 0 {
		return "", nil
	}
	in, args := sqldb.In(ids)
	return " WHERE id IN " + in, args
}

func (s *Store) enqueue(ctx context.Context, tx *sqldb.Tx, events []service.Event) error {
	for _, e := range events {
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
