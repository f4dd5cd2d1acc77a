package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

// Attempts implements service.Reader.
func (r reader) Attempts(ctx context.Context, kind, subject, ip string, since time.Time) (n int, first time.Time, err error) {
	var w where
	w.and("kind = ?", kind)
	w.is("subject", subject)
	w.is("ip", ip)
	w.and("tried_at > ?", sqldb.Time(since))
	err = r.q.QueryRow(ctx, "SELECT count(*), min(tried_at) FROM attempts"+w.text, w.args...).Scan(&n, sqldb.ScanTime(&first))
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count attempts: %w", err)
	}
	return n, first, nil
}

// InsertAttempt implements service.Tx.
func (t *tx) InsertAttempt(ctx context.Context, a service.Attempt) error {
	return t.exec(ctx, "insert attempt", "INSERT INTO attempts (kind, subject, ip, tried_at) VALUES (?, ?, ?, ?)", a.Kind, a.Subject, a.IP, sqldb.Time(a.At))
}

// ClearAttempts implements service.Tx.
func (t *tx) ClearAttempts(ctx context.Context, kind, subject, ip string) error {
	return t.exec(ctx, "clear attempts", "DELETE FROM attempts WHERE kind = ? AND subject = ? AND ip = ?", kind, subject, ip)
}

func scanCode(row sqldb.Scanner) (c service.Code, err error) {
	err = row.Scan(&c.ID, &c.ContactID, &c.Salt, &c.Hash, &c.Tries, sqldb.ScanTime(&c.ExpiresAt))
	return c, err
}

// Code implements service.Reader.
func (r reader) Code(ctx context.Context, id string) (service.Code, error) {
	return one("read code", r.q.QueryRow(ctx, "SELECT id, contact_id, salt, hash, tries, expires_at FROM codes WHERE id = ?", id), scanCode)
}

// InsertCode implements service.Tx.
func (t *tx) InsertCode(ctx context.Context, c service.Code) error {
	return t.exec(ctx, "insert code", "INSERT INTO codes (id, contact_id, salt, hash, tries, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
		c.ID, c.ContactID, c.Salt, c.Hash, c.Tries, sqldb.Time(c.ExpiresAt))
}

// TriedCode implements service.Tx.
func (t *tx) TriedCode(ctx context.Context, id string) error {
	return t.exec(ctx, "count try", "UPDATE codes SET tries = tries + 1 WHERE id = ?", id)
}

// UseCode implements service.Tx.
func (t *tx) UseCode(ctx context.Context, id string) error {
	return t.exec(ctx, "use code", "DELETE FROM codes WHERE id = ?", id)
}

// onlyMissing drops the error that something isn't there.
func (t *tx) onlyMissing(err error) error {
	if errors.Is(err, service.ErrNotFound) {
		return nil
	}
	return err
}
