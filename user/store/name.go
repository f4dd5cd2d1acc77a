package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"micromesh/pkg/sqldb"
)

// NamesInUse returns the names of programs, each with the time until which it is in use.
func (s *Store) NamesInUse(ctx context.Context) (map[string]time.Time, error) {
	type name struct {
		name  string
		until time.Time
	}
	scan := func(row sqldb.Scanner) (n name, err error) {
		err = row.Scan(&n.name, sqldb.ScanTime(&n.until))
		return n, err
	}
	rows, err := all(ctx, s.reader, "list names", scan, "SELECT name, until FROM names_in_use")
	names := make(map[string]time.Time, len(rows))
	for _, n := range rows {
		names[n.name] = n.until
	}
	return names, err
}

// UseNames saves names of programs, each with the time until which it is in use.
func (s *Store) UseNames(ctx context.Context, until map[string]time.Time) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, name := range slices.Sorted(maps.Keys(until)) {
			_, err := tx.Exec(ctx, "INSERT INTO names_in_use (name, until) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET until = excluded.until",
				name, sqldb.Time(until[name]))
			if err != nil {
				return fmt.Errorf("save name: %w", err)
			}
		}
		return nil
	})
}

// DropNames deletes names of programs that were in use until a time before now.
func (s *Store) DropNames(ctx context.Context, now time.Time) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM names_in_use WHERE until < ?", sqldb.Time(now))
		return err
	})
}
