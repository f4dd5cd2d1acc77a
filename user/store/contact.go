package store

import (
	"context"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

const contactColumns = "SELECT id, platform, handle, user_id, is_primary, verified, created_at, updated_at FROM contacts"

func scanContact(row sqldb.Scanner) (c service.Contact, err error) {
	err = row.Scan(&c.ID, &c.Platform, &c.Handle, &c.UserID, &c.Primary, &c.Verified, sqldb.ScanTime(&c.CreatedAt), sqldb.ScanTime(&c.UpdatedAt))
	return c, err
}

// Contact implements service.Reader.
func (r reader) Contact(ctx context.Context, id string) (service.Contact, error) {
	return one("read contact", r.q.QueryRow(ctx, contactColumns+" WHERE id = ?", id), scanContact)
}

// ContactsOf implements service.Reader.
func (r reader) ContactsOf(ctx context.Context, userIDs ...string) ([]service.Contact, error) {
	list, args := sqldb.In(userIDs)
	return all(ctx, r, "list contacts", scanContact, contactColumns+" WHERE user_id IN "+list+" ORDER BY created_at, id", args...)
}

// SaveContact implements service.Tx.
func (t *tx) SaveContact(ctx context.Context, c service.Contact) error {
	before, err := t.Contact(ctx, c.ID)
	err = t.onlyMissing(err)
	if err != nil {
		return err
	}
	err = t.exec(ctx, "save contact", `INSERT INTO contacts (id, platform, handle, user_id, is_primary, verified, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET handle = excluded.handle, user_id = excluded.user_id, is_primary = excluded.is_primary,
			verified = excluded.verified, updated_at = excluded.updated_at`,
		c.ID, c.Platform, c.Handle, c.UserID, c.Primary, c.Verified, sqldb.Time(c.CreatedAt), sqldb.Time(c.UpdatedAt))
	if err != nil {
		return err
	}
	if before.UserID != "" && before.UserID != c.UserID {
		if err := t.refreshSearch(ctx, before.UserID); err != nil {
			return err
		}
	}
	return t.refreshSearch(ctx, c.UserID)
}

// DeleteContactsOf implements service.Tx.
func (t *tx) DeleteContactsOf(ctx context.Context, userID string) error {
	if err := t.exec(ctx, "delete contacts", "DELETE FROM contacts WHERE user_id = ?", userID); err != nil {
		return err
	}
	return t.refreshSearch(ctx, userID)
}

// refreshSearch makes an account be found by its present contacts.
func (t *tx) refreshSearch(ctx context.Context, userID string) error {
	a, err := t.Account(ctx, userID)
	if err = t.onlyMissing(err); err != nil || a.ID == "" {
		return err
	}
	contacts, err := t.ContactsOf(ctx, userID)
	if err != nil {
		return err
	}
	return t.exec(ctx, "update account", "UPDATE accounts SET search = ? WHERE id = ?", searchText(a, contacts), userID)
}
