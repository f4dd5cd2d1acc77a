package store

import (
	"context"
	"fmt"

	"micromesh/pkg/sqldb"
	"micromesh/registry/service"
)

// SaveNode implements service.Store. A node that has another id now takes the place of the one at its URL.
func (s *Store) SaveNode(ctx context.Context, n service.Node) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM nodes WHERE url = ? AND id <> ?", n.URL, n.ID); err != nil {
			return fmt.Errorf("delete node: %w", err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO nodes (id, url, region, availability_zone, usage, last_heartbeat) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET url = excluded.url, region = excluded.region, availability_zone = excluded.availability_zone,
			usage = excluded.usage, last_heartbeat = excluded.last_heartbeat`,
			n.ID, n.URL, n.Region, n.AvailabilityZone, sqldb.JSON(n.Usage), sqldb.Time(n.LastHeartbeat))
		if err != nil {
			return fmt.Errorf("insert node: %w", err)
		}
		return nil
	})
}

// DeleteNode implements service.Store.
func (s *Store) DeleteNode(ctx context.Context, url string) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM nodes WHERE url = ?", url)
		if err != nil {
			return fmt.Errorf("delete node: %w", err)
		}
		if n == 0 {
			return service.NoNode(url)
		}
		return nil
	})
}

// Nodes implements service.Store.
func (s *Store) Nodes(ctx context.Context, ids []string) ([]service.Node, error) {
	where, args := "", []any(nil)
	if len(ids) > 0 {
		var in string
		in, args = sqldb.In(ids)
		where = " WHERE id IN " + in
	}
	return sqldb.All(ctx, s.db, func(row sqldb.Scanner) (n service.Node, err error) {
		return n, row.Scan(&n.ID, &n.URL, &n.Region, &n.AvailabilityZone, sqldb.ScanJSON(&n.Usage), sqldb.ScanTime(&n.LastHeartbeat))
	}, "SELECT id, url, region, availability_zone, usage, last_heartbeat FROM nodes"+where+" ORDER BY id", args...)
}
