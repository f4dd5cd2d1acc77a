package store

import (
	"context"
	"strings"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

const enrollColumns = "SELECT id, app_id, role, user_id, contact_id, created_by, created_at, updated_at FROM enrolls"

func scanEnroll(row sqldb.Scanner) (e service.Enroll, err error) {
	err = row.Scan(&e.ID, &e.AppID, &e.Role, sqldb.ScanText(&e.UserID), sqldb.ScanText(&e.ContactID), sqldb.ScanText(&e.CreatedBy),
		sqldb.ScanTime(&e.CreatedAt), sqldb.ScanTime(&e.UpdatedAt))
	return e, err
}

// Enrolls implements service.Reader.
func (r reader) Enrolls(ctx context.Context, q service.EnrollQuery) ([]service.Enroll, error) {
	var w where
	w.in("id", q.IDs)
	w.is("role", q.Role)
	w.is("contact_id", q.ContactID)
	w.in("user_id", q.UserIDs)
	if q.AppID != "" {
		w.and("app_id IN (?, ?)", q.AppID, service.AnyApp)
	}
	if len(q.Prefixes) > 0 {
		var either []string
		var args []any
		for _, p := range q.Prefixes {
			either = append(either, `role LIKE ? ESCAPE '\'`)
			args = append(args, sqldb.EscapeLike(p)+":%")
		}
		w.and("("+strings.Join(either, " OR ")+")", args...)
	}
	query := enrollColumns + w.text + " ORDER BY created_at, id"
	if q.Limit > 0 {
		query += sqldb.Limit
		w.args = append(w.args, q.Limit)
	}
	return all(ctx, r, "list enrolls", scanEnroll, query, w.args...)
}

// InsertEnroll implements service.Tx.
func (t *tx) InsertEnroll(ctx context.Context, e service.Enroll) error {
	return t.insert(ctx, "insert enroll", `INSERT INTO enrolls (id, app_id, role, user_id, contact_id, created_by, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.AppID, e.Role, sqldb.Text(e.UserID), sqldb.Text(e.ContactID), sqldb.Text(e.CreatedBy), sqldb.Time(e.CreatedAt), sqldb.Time(e.UpdatedAt))
}

// AssignEnroll implements service.Tx.
func (t *tx) AssignEnroll(ctx context.Context, id, userID string, at time.Time) error {
	return t.exec(ctx, "assign enroll", "UPDATE enrolls SET user_id = ?, updated_at = ? WHERE id = ?", sqldb.Text(userID), sqldb.Time(at), id)
}

// DeleteEnroll implements service.Tx.
func (t *tx) DeleteEnroll(ctx context.Context, id string) error {
	return t.exec(ctx, "delete enroll", "DELETE FROM enrolls WHERE id = ?", id)
}

// DeleteEnrollsOf implements service.Tx.
func (t *tx) DeleteEnrollsOf(ctx context.Context, userID string) error {
	return t.exec(ctx, "delete enrolls", "DELETE FROM enrolls WHERE user_id = ?", userID)
}

// The table lost_roles is that of versions which didn't know the app. Nothing is added to it.
const lostRoles = `SELECT user_id, app_id, role, lost_at, back FROM (
	SELECT user_id, app_id, role, lost_at, back FROM roles_lost
	UNION ALL SELECT user_id, '*' AS app_id, role, lost_at, FALSE AS back FROM lost_roles) AS lost`

// RolesLost implements service.Reader.
func (r reader) RolesLost(ctx context.Context, userID string) ([]service.LostRole, error) {
	scan := func(row sqldb.Scanner) (l service.LostRole, err error) {
		err = row.Scan(&l.UserID, &l.AppID, &l.Role, sqldb.ScanTime(&l.At), &l.Back)
		return l, err
	}
	var w where
	w.is("user_id", userID)
	return all(ctx, r, "list lost roles", scan, lostRoles+w.text+" ORDER BY user_id, role, app_id", w.args...)
}

// Issued implements service.Reader.
func (r reader) Issued(ctx context.Context, userID string) (map[string]time.Time, error) {
	type newest struct {
		app string
		at  time.Time
	}
	scan := func(row sqldb.Scanner) (n newest, err error) {
		err = row.Scan(&n.app, sqldb.ScanTime(&n.at))
		return n, err
	}
	rows, err := all(ctx, r, "find newest tokens", scan, `SELECT s.app_id, MAX(t.issued_at) FROM sessions s JOIN tokens t ON t.session_id = s.id
		WHERE s.user_id = ? AND s.revoked_at IS NULL GROUP BY s.app_id`, userID)
	byApp := make(map[string]time.Time, len(rows))
	for _, n := range rows {
		byApp[n.app] = n.at
	}
	return byApp, err
}

// LoseRole implements service.Tx.
func (t *tx) LoseRole(ctx context.Context, l service.LostRole) error {
	if err := t.dropOldLost(ctx, l); err != nil {
		return err
	}
	return t.exec(ctx, "take role", `INSERT INTO roles_lost (user_id, app_id, role, lost_at, back) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (user_id, app_id, role) DO UPDATE SET lost_at = excluded.lost_at, back = excluded.back`,
		l.UserID, l.AppID, l.Role, sqldb.Time(l.At), l.Back)
}

// DropLost implements service.Tx.
func (t *tx) DropLost(ctx context.Context, l service.LostRole) error {
	if err := t.dropOldLost(ctx, l); err != nil {
		return err
	}
	return t.exec(ctx, "forget lost role", "DELETE FROM roles_lost WHERE user_id = ? AND app_id = ? AND role = ?", l.UserID, l.AppID, l.Role)
}

func (t *tx) dropOldLost(ctx context.Context, l service.LostRole) error {
	if l.AppID != service.AnyApp {
		return nil
	}
	return t.exec(ctx, "forget lost role", "DELETE FROM lost_roles WHERE user_id = ? AND role = ?", l.UserID, l.Role)
}

const permitColumns = "SELECT id, app_id, permission, roles, slugs, created_at, updated_at FROM permits"

func scanPermit(row sqldb.Scanner) (p service.Permit, err error) {
	err = row.Scan(&p.ID, &p.AppID, &p.Permission, sqldb.ScanJSON(&p.Roles), sqldb.ScanJSON(&p.Slugs), sqldb.ScanTime(&p.CreatedAt), sqldb.ScanTime(&p.UpdatedAt))
	return p, err
}

// Permit implements service.Reader.
func (r reader) Permit(ctx context.Context, id string) (service.Permit, error) {
	return one("read permit", r.q.QueryRow(ctx, permitColumns+" WHERE id = ?", id), scanPermit)
}

// Permits implements service.Reader.
func (r reader) Permits(ctx context.Context, permission, slug string) ([]service.Permit, error) {
	var w where
	w.is("permission", permission)
	if slug != "" {
		w.and(`slugs LIKE ? ESCAPE '\'`, `%"`+sqldb.EscapeLike(slug)+`"%`)
	}
	return all(ctx, r, "list permits", scanPermit, permitColumns+w.text+" ORDER BY created_at, id", w.args...)
}

// DeletePermit implements service.Tx.
func (t *tx) DeletePermit(ctx context.Context, id string) error {
	return t.exec(ctx, "delete permit", "DELETE FROM permits WHERE id = ?", id)
}

// SavePermit implements service.Tx.
func (t *tx) SavePermit(ctx context.Context, p service.Permit) error {
	return t.exec(ctx, "save permit", `INSERT INTO permits (id, app_id, permission, roles, slugs, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET app_id = excluded.app_id, permission = excluded.permission, roles = excluded.roles, slugs = excluded.slugs,
			updated_at = excluded.updated_at`,
		p.ID, p.AppID, p.Permission, sqldb.JSON(p.Roles), sqldb.JSON(p.Slugs), sqldb.Time(p.CreatedAt), sqldb.Time(p.UpdatedAt))
}
