package store

import (
	"context"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

func scanKey(row sqldb.Scanner) (k service.Key, err error) {
	err = row.Scan(&k.ID, &k.Public, &k.Sealed, sqldb.ScanTime(&k.CreatedAt), sqldb.ScanTime(&k.ActiveFrom))
	return k, err
}

// Keys implements service.Reader.
func (r reader) Keys(ctx context.Context) ([]service.Key, error) {
	return all(ctx, r, "list keys", scanKey, "SELECT id, public, sealed, created_at, active_from FROM signing_keys ORDER BY active_from, id")
}

// InsertKey implements service.Tx.
func (t *tx) InsertKey(ctx context.Context, k service.Key) error {
	return t.exec(ctx, "insert key", "INSERT INTO signing_keys (id, public, sealed, created_at, active_from) VALUES (?, ?, ?, ?, ?)",
		k.ID, k.Public, k.Sealed, sqldb.Time(k.CreatedAt), sqldb.Time(k.ActiveFrom))
}

// DeleteKey implements service.Tx.
func (t *tx) DeleteKey(ctx context.Context, id string) error {
	return t.exec(ctx, "delete key", "DELETE FROM signing_keys WHERE id = ?", id)
}
