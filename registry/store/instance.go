package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/registry/service"
)

const columns = "id, slug, url, host, ip, deployment_id, health_path, metadata, tags, generation, node_url, status, details, since, created_at, last_heartbeat, beats, proves, proved, vacant"

// Instances implements service.Store.
func (s *Store) Instances(ctx context.Context) ([]service.Instance, error) {
	return sqldb.All(ctx, s.db, scanInstance, "SELECT "+columns+" FROM instances ORDER BY id")
}

func scanInstance(row sqldb.Scanner) (in service.Instance, err error) {
	var url string
	err = row.Scan(&in.ID, &in.Slug, &url, &in.Host, &in.IP, &in.DeploymentID, &in.HealthPath, sqldb.ScanJSON(&in.Metadata),
		sqldb.ScanJSON(&in.Tags), &in.Generation, &in.NodeURL, &in.Status, &in.Details, sqldb.ScanTime(&in.Since),
		sqldb.ScanTime(&in.CreatedAt), sqldb.ScanTime(&in.LastHeartbeat), &in.Beats, &in.Proves, &in.Proved, &in.Vacant)
	if err != nil {
		return in, err
	}
	if in.URL, err = service.ParseURL(url); err != nil {
		return in, fmt.Errorf("read instance %s: its url %w", in.ID, err)
	}
	return in, nil
}

// Find implements service.Store.
func (s *Store) Find(ctx context.Context, ids []string, url string) ([]service.Instance, error) {
	in, args := sqldb.In(append([]string{""}, ids...)) // no instance has an empty id
	return sqldb.All(ctx, s.db, scanInstance, "SELECT "+columns+" FROM instances WHERE id IN "+in+" OR url = ? ORDER BY id", append(args, url)...)
}

// Pulses implements service.Store.
func (s *Store) Pulses(ctx context.Context) ([]service.Pulse, error) {
	return sqldb.All(ctx, s.db, scanPulse, "SELECT id, generation, status, last_heartbeat, beats FROM instances")
}

func scanPulse(row sqldb.Scanner) (p service.Pulse, err error) {
	return p, row.Scan(&p.ID, &p.Generation, &p.Status, sqldb.ScanTime(&p.LastHeartbeat), &p.Beats)
}

// past is what is known of an instance that was at a URL, or had an id.
type past struct {
	id, slug   string
	generation int32
	there      bool // it still is
}

func scanPast(row sqldb.Scanner) (p past, err error) {
	return p, row.Scan(&p.id, &p.slug, &p.generation, &p.there)
}

// Add implements service.Store.
func (s *Store) Add(ctx context.Context, in service.Instance, known int32, over *service.Displaced, event func(service.Instance) service.Event) (stored service.Instance, err error) {
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		stored = in
		if err := s.displace(ctx, tx, over, in); err != nil {
			return err
		}
		if err := s.succeed(ctx, tx, &stored, known); err != nil {
			return err
		}
		if err := insert(ctx, tx, stored); err != nil {
			return err
		}
		return s.enqueue(ctx, tx, event(stored))
	})
	return stored, err
}

// succeed gives an instance the id and the generation that follow from what was at its URL or had its id before, and
// clears that away. What is there now is another registry's doing.
func (s *Store) succeed(ctx context.Context, tx *sqldb.Tx, in *service.Instance, known int32) error {
	url := in.URL.String()
	rows, err := sqldb.All(ctx, tx, scanPast, `SELECT id, slug, generation, 1 FROM instances WHERE url = ? OR id = ?
		UNION ALL SELECT id, slug, generation, 0 FROM tombstones WHERE url = ? OR id = ?`, url, in.ID, url, in.ID)
	if err != nil {
		return fmt.Errorf("select instances and tombstones: %w", err)
	}
	if err := clashes(rows, in); err != nil {
		return err
	}
	generation, graves := int32(0), false
	for _, p := range rows { // only tombstones are left
		if p.slug == in.Slug {
			graves = true
			generation = max(generation, p.generation)
			if in.ID == "" {
				in.ID = p.id
			}
		}
	}
	if known != 0 && known < generation {
		return service.ErrStale
	}
	in.Generation = generation + 1
	if in.ID == "" {
		in.ID = strings.ToLower(rand.Text()[:16]) // 80 bits
	}
	if !graves {
		return nil
	}
	if _, err := tx.Exec(ctx, "DELETE FROM tombstones WHERE slug = ? AND id = ?", in.Slug, in.ID); err != nil {
		return fmt.Errorf("delete tombstones: %w", err)
	}
	return nil
}

// clashes tells why an instance can't be added where there are others.
func clashes(rows []past, in *service.Instance) error {
	there := false
	for _, p := range rows {
		switch {
		case !p.there:
		case p.slug == in.Slug:
			there = true
		case p.id == in.ID:
			return service.ErrIDTaken
		default:
			return service.ErrURLTaken
		}
	}
	if there {
		return service.ErrChanged
	}
	return nil
}

func insert(ctx context.Context, tx *sqldb.Tx, in service.Instance) error {
	n, err := tx.Exec(ctx, "INSERT INTO instances ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		in.ID, in.Slug, in.URL.String(), in.Host, in.IP, in.DeploymentID, in.HealthPath, sqldb.JSON(in.Metadata), sqldb.JSON(in.Tags),
		in.Generation, in.NodeURL, string(in.Status), in.Details, sqldb.Time(in.Since), sqldb.Time(in.CreatedAt), sqldb.Time(in.LastHeartbeat),
		in.Beats, in.Proves, in.Proved, in.Vacant)
	if err != nil {
		return fmt.Errorf("insert instance: %w", err)
	}
	if n == 0 {
		return service.ErrURLTaken
	}
	return nil
}

// Replace implements service.Store.
func (s *Store) Replace(ctx context.Context, in service.Instance, over *service.Displaced, events []service.Event) error {
	err := s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if err := s.displace(ctx, tx, over, in); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE instances SET url = ?, host = ?, ip = ?, deployment_id = ?, health_path = ?, metadata = ?, tags = ?,
			generation = ?, node_url = ?, status = ?, details = ?, since = ?, beats = ?, proves = ?, proved = ?, vacant = ?
			WHERE id = ? AND slug = ? AND generation = ?`,
			in.URL.String(), in.Host, in.IP, in.DeploymentID, in.HealthPath, sqldb.JSON(in.Metadata), sqldb.JSON(in.Tags),
			in.Generation, in.NodeURL, string(in.Status), in.Details, sqldb.Time(in.Since), in.Beats, in.Proves, in.Proved, in.Vacant,
			in.ID, in.Slug, in.Generation-1)
		if err != nil {
			return fmt.Errorf("update instance: %w", err)
		}
		if n == 0 {
			return service.ErrChanged
		}
		return s.enqueue(ctx, tx, events...)
	})
	if _, taken := sqldb.IsUnique(err); taken {
		return service.ErrURLTaken
	}
	return err
}

// displace deletes the instance that another one displaces, unless it has changed or was heard of. Within an account its
// heartbeats don't matter.
func (s *Store) displace(ctx context.Context, tx *sqldb.Tx, over *service.Displaced, by service.Instance) error {
	if over == nil {
		return nil
	}
	where, args := "id = ? AND slug = ? AND generation = ?", []any{over.ID, over.Slug, over.Generation}
	if over.Slug != by.Slug {
		where, args = where+" AND last_heartbeat = ?", append(args, sqldb.Time(over.Heard))
	}
	gone, err := s.bury(ctx, tx, 0, over.Events[len(over.Events)-1].Time, over.Events, where, args...)
	if err == nil && !gone {
		err = service.ErrChanged
	}
	return err
}

// Remove implements service.Store.
func (s *Store) Remove(ctx context.Context, id, slug string, at time.Time, events []service.Event) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		_, err := s.bury(ctx, tx, 1, at, events, "id = ? AND slug = ?", id, slug)
		return err
	})
}

// Expire implements service.Store.
func (s *Store) Expire(ctx context.Context, in service.Instance, known, at time.Time, events []service.Event) (expired bool, err error) {
	err = s.db.Write(ctx, func(tx *sqldb.Tx) error {
		expired, err = s.bury(ctx, tx, 0, at, events, "id = ? AND slug = ? AND generation = ? AND last_heartbeat = ?",
			in.ID, in.Slug, in.Generation, sqldb.Time(known))
		return err
	})
	return expired, err
}

// bury deletes an instance where it is as the condition says, and remembers its generation, raised by so much. It tells
// whether it did.
func (s *Store) bury(ctx context.Context, tx *sqldb.Tx, raise int, at time.Time, events []service.Event, where string, args ...any) (bool, error) {
	var url string
	var p past
	err := tx.QueryRow(ctx, "DELETE FROM instances WHERE "+where+" RETURNING url, id, slug, generation", args...).Scan(&url, &p.id, &p.slug, &p.generation)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete instance: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO tombstones (url, id, slug, generation, removed_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (url) DO UPDATE SET id = excluded.id, slug = excluded.slug, generation = excluded.generation, removed_at = excluded.removed_at`,
		url, p.id, p.slug, int(p.generation)+raise, sqldb.Time(at))
	if err != nil {
		return false, fmt.Errorf("insert tombstone: %w", err)
	}
	return true, s.enqueue(ctx, tx, events...)
}

// SaveStatuses implements service.Store.
func (s *Store) SaveStatuses(ctx context.Context, all []service.Instance, events []service.Event) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, in := range all {
			_, err := tx.Exec(ctx, "UPDATE instances SET status = ?, details = ?, since = ?, proved = ?, vacant = ? WHERE id = ? AND generation = ?",
				string(in.Status), in.Details, sqldb.Time(in.Since), in.Proved, in.Vacant, in.ID, in.Generation)
			if err != nil {
				return fmt.Errorf("update status: %w", err)
			}
		}
		return s.enqueue(ctx, tx, events...)
	})
}

// SaveHeartbeats implements service.Store.
func (s *Store) SaveHeartbeats(ctx context.Context, ids []string, at time.Time, beating []string) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		in, args := sqldb.In(ids)
		if _, err := tx.Exec(ctx, "UPDATE instances SET last_heartbeat = ? WHERE id IN "+in, append([]any{sqldb.Time(at)}, args...)...); err != nil {
			return fmt.Errorf("update heartbeats: %w", err)
		}
		if len(beating) == 0 {
			return nil
		}
		in, args = sqldb.In(beating)
		if _, err := tx.Exec(ctx, "UPDATE instances SET beats = TRUE WHERE id IN "+in, args...); err != nil {
			return fmt.Errorf("update beating instances: %w", err)
		}
		return nil
	})
}

// Forget implements service.Store.
func (s *Store) Forget(ctx context.Context, before time.Time) error {
	return s.db.Write(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM tombstones WHERE removed_at < ?", sqldb.Time(before)); err != nil {
			return fmt.Errorf("delete tombstones: %w", err)
		}
		return nil
	})
}
