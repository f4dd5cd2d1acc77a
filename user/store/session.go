package store

import (
	"context"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

const sessionColumns = "SELECT id, user_id, app_id, device, created_at, refreshed_at, expires_at, revoked_at, parent_id, contact_id FROM sessions"

func scanSession(row sqldb.Scanner) (s service.Session, err error) {
	err = row.Scan(&s.ID, &s.UserID, &s.AppID, &s.Device, sqldb.ScanTime(&s.CreatedAt), sqldb.ScanTime(&s.RefreshedAt),
		sqldb.ScanTime(&s.ExpiresAt), sqldb.ScanTime(&s.RevokedAt), sqldb.ScanText(&s.ParentID), sqldb.ScanText(&s.ContactID))
	return s, err
}

// Session implements service.Reader.
func (r reader) Session(ctx context.Context, id string) (service.Session, error) {
	return one("read session", r.q.QueryRow(ctx, sessionColumns+" WHERE id = ?", id), scanSession)
}

// SessionsOf implements service.Reader.
func (r reader) SessionsOf(ctx context.Context, userID, appID, device string, at time.Time) ([]service.Session, error) {
	var w where
	w.and("user_id = ?", userID)
	w.is("app_id", appID)
	w.is("device", device)
	w.and("revoked_at IS NULL AND expires_at > ?", sqldb.Time(at))
	return all(ctx, r, "list sessions", scanSession, sessionColumns+w.text+" ORDER BY created_at, id", w.args...)
}

// AllSessions implements service.Reader.
func (r reader) AllSessions(ctx context.Context, at time.Time) ([]service.Session, error) {
	return all(ctx, r, "list sessions", scanSession, sessionColumns+" WHERE revoked_at IS NULL AND expires_at > ? ORDER BY user_id, created_at, id", sqldb.Time(at))
}

// SessionsFrom implements service.Reader.
func (r reader) SessionsFrom(ctx context.Context, parentID string, at time.Time) ([]service.Session, error) {
	return all(ctx, r, "list sessions", scanSession,
		sessionColumns+" WHERE parent_id = ? AND revoked_at IS NULL AND expires_at > ? ORDER BY created_at, id", parentID, sqldb.Time(at))
}

// SessionsOfApp implements service.Reader.
func (r reader) SessionsOfApp(ctx context.Context, appID string, at time.Time) ([]service.Session, error) {
	return all(ctx, r, "list sessions", scanSession,
		sessionColumns+" WHERE app_id = ? AND revoked_at IS NULL AND expires_at > ? ORDER BY created_at, id", appID, sqldb.Time(at))
}

// RevokedSince implements service.Reader.
func (r reader) RevokedSince(ctx context.Context, t time.Time) ([]string, error) {
	return all(ctx, r, "list revoked sessions", scanText, "SELECT id FROM sessions WHERE revoked_at > ?", sqldb.Time(t))
}

// InsertSession implements service.Tx.
func (t *tx) InsertSession(ctx context.Context, s service.Session) error {
	return t.exec(ctx, "insert session", `INSERT INTO sessions (id, user_id, app_id, device, created_at, expires_at, parent_id, contact_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.UserID, s.AppID, s.Device, sqldb.Time(s.CreatedAt), sqldb.Time(s.ExpiresAt), sqldb.Text(s.ParentID), sqldb.Text(s.ContactID))
}

// UpdateSession implements service.Tx.
func (t *tx) UpdateSession(ctx context.Context, s service.Session) error {
	return t.exec(ctx, "update session", "UPDATE sessions SET refreshed_at = ?, expires_at = ?, revoked_at = ? WHERE id = ?",
		sqldb.Time(s.RefreshedAt), sqldb.Time(s.ExpiresAt), sqldb.Time(s.RevokedAt), s.ID)
}

const tokenColumns = "SELECT id, session_id, key_id, user_id, slug, app_id, device, roles, active_org, " +
	"issued_at, expires_at, rotated_at, successor, plain FROM tokens"

func scanToken(row sqldb.Scanner) (t service.Token, err error) {
	err = row.Scan(&t.ID, &t.SessionID, &t.KeyID, &t.UserID, &t.Slug, &t.AppID, &t.Device, sqldb.ScanJSON(&t.Roles), sqldb.ScanText(&t.ActiveOrg),
		sqldb.ScanTime(&t.IssuedAt), sqldb.ScanTime(&t.ExpiresAt), sqldb.ScanTime(&t.RotatedAt), sqldb.ScanText(&t.Successor), &t.Plain)
	return t, err
}

// Token implements service.Reader.
func (r reader) Token(ctx context.Context, id string) (service.Token, error) {
	return one("read token", r.q.QueryRow(ctx, tokenColumns+" WHERE id = ?", id), scanToken)
}

// NewestToken implements service.Reader.
func (r reader) NewestToken(ctx context.Context, sessionID string) (service.Token, error) {
	return one("read token", r.q.QueryRow(ctx, tokenColumns+" WHERE session_id = ? ORDER BY issued_at DESC, id LIMIT 1", sessionID), scanToken)
}

// InsertToken implements service.Tx.
func (t *tx) InsertToken(ctx context.Context, k service.Token) error {
	return t.exec(ctx, "insert token", `INSERT INTO tokens (id, session_id, key_id, user_id, slug, app_id, device, roles, active_org, issued_at, expires_at, plain)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.SessionID, k.KeyID, k.UserID, k.Slug, k.AppID, k.Device, sqldb.JSON(k.Roles), sqldb.Text(k.ActiveOrg),
		sqldb.Time(k.IssuedAt), sqldb.Time(k.ExpiresAt), k.Plain)
}

// RotateToken implements service.Tx.
func (t *tx) RotateToken(ctx context.Context, id, successor string, at time.Time) error {
	return t.exec(ctx, "rotate token", "UPDATE tokens SET rotated_at = ?, successor = ? WHERE id = ?", sqldb.Time(at), successor, id)
}

// Expire implements service.Tx.
func (t *tx) Expire(ctx context.Context, before service.Expiry) error {
	for _, e := range []struct {
		query string
		at    time.Time
	}{
		{"DELETE FROM tokens WHERE NOT plain AND rotated_at < ?", before.Rotated},
		{"DELETE FROM tokens WHERE plain AND rotated_at < ?", before.Plain},
		{"DELETE FROM sessions WHERE expires_at < ?", before.Sessions},
		{"DELETE FROM sessions WHERE revoked_at < ?", before.Sessions},
		{"DELETE FROM codes WHERE expires_at < ?", before.Codes},
		{"DELETE FROM attempts WHERE tried_at < ?", before.Attempts},
		{"DELETE FROM lost_roles WHERE lost_at < ?", before.Lost},
		{"DELETE FROM roles_lost WHERE lost_at < ?", before.Lost},
	} {
		if err := t.exec(ctx, "delete what has expired", e.query, sqldb.Time(e.at)); err != nil {
			return err
		}
	}
	return nil
}
