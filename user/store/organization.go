package store

import (
	"context"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

const organizationColumns = "SELECT id, app_id, slug, name, thumbnail, created_at, updated_at FROM organizations"

func scanOrganization(row sqldb.Scanner) (o service.Organization, err error) {
	err = row.Scan(&o.ID, &o.AppID, &o.Slug, &o.Name, sqldb.ScanText(&o.Thumbnail), sqldb.ScanTime(&o.CreatedAt), sqldb.ScanTime(&o.UpdatedAt))
	return o, err
}

// Organization implements service.Reader.
func (r reader) Organization(ctx context.Context, id string) (service.Organization, error) {
	return one("read organization", r.q.QueryRow(ctx, organizationColumns+" WHERE id = ?", id), scanOrganization)
}

// Organizations implements service.Reader.
func (r reader) Organizations(ctx context.Context, q service.OrganizationQuery) ([]service.Organization, error) {
	var w where
	w.in("id", q.IDs)
	w.is("app_id", q.AppID)
	if q.MemberID != "" {
		w.and("id IN (SELECT organization_id FROM memberships WHERE user_id = ?)", q.MemberID)
	}
	if !q.After.IsZero() {
		w.and("created_at > ?", sqldb.Time(q.After))
	}
	return all(ctx, r, "list organizations", scanOrganization, organizationColumns+w.text+" ORDER BY created_at, id"+sqldb.Limit, append(w.args, q.Limit)...)
}

// SaveOrganization implements service.Tx.
func (t *tx) SaveOrganization(ctx context.Context, o service.Organization) error {
	return t.exec(ctx, "save organization", `INSERT INTO organizations (id, app_id, slug, name, thumbnail, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET slug = excluded.slug, name = excluded.name, thumbnail = excluded.thumbnail, updated_at = excluded.updated_at`,
		o.ID, o.AppID, o.Slug, o.Name, sqldb.Text(o.Thumbnail), sqldb.Time(o.CreatedAt), sqldb.Time(o.UpdatedAt))
}

const membershipColumns = "SELECT m.organization_id, m.user_id, m.role, m.created_at FROM memberships m"

func scanMembership(row sqldb.Scanner) (m service.Membership, err error) {
	err = row.Scan(&m.OrganizationID, &m.UserID, &m.Role, sqldb.ScanTime(&m.CreatedAt))
	return m, err
}

// Membership implements service.Reader.
func (r reader) Membership(ctx context.Context, organizationID, userID string) (service.Membership, error) {
	return one("read membership", r.q.QueryRow(ctx, membershipColumns+" WHERE m.organization_id = ? AND m.user_id = ?", organizationID, userID), scanMembership)
}

// Memberships implements service.Reader.
func (r reader) Memberships(ctx context.Context, userID, appID string) ([]service.Membership, error) {
	var w where
	w.and("m.user_id = ?", userID)
	w.is("o.app_id", appID)
	return all(ctx, r, "list memberships", scanMembership,
		membershipColumns+" JOIN organizations o ON o.id = m.organization_id"+w.text+" ORDER BY m.created_at, o.id", w.args...)
}

// CountOrgAdmins implements service.Reader.
func (r reader) CountOrgAdmins(ctx context.Context, organizationID string) (int, error) {
	return one("count admins", r.q.QueryRow(ctx, "SELECT count(*) FROM memberships WHERE organization_id = ? AND role = ?", organizationID, service.OrgAdmin), scanInt)
}

// InsertMembership implements service.Tx.
func (t *tx) InsertMembership(ctx context.Context, m service.Membership) error {
	return t.exec(ctx, "insert membership", "INSERT INTO memberships (organization_id, user_id, role, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		m.OrganizationID, m.UserID, m.Role, sqldb.Time(m.CreatedAt))
}

// DeleteMembership implements service.Tx.
func (t *tx) DeleteMembership(ctx context.Context, organizationID, userID string) error {
	return t.exec(ctx, "delete membership", "DELETE FROM memberships WHERE organization_id = ? AND user_id = ?", organizationID, userID)
}

// Members implements service.Reader.
func (r reader) Members(ctx context.Context, organizationID string) ([]service.Membership, error) {
	return all(ctx, r, "list members", scanMembership, membershipColumns+" WHERE m.organization_id = ? ORDER BY m.created_at, m.user_id", organizationID)
}

// DeleteOrganization implements service.Tx.
func (t *tx) DeleteOrganization(ctx context.Context, id string) error {
	if err := t.exec(ctx, "delete memberships", "DELETE FROM memberships WHERE organization_id = ?", id); err != nil {
		return err
	}
	return t.exec(ctx, "delete organization", "DELETE FROM organizations WHERE id = ?", id)
}
