package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

const accountColumns = "SELECT id, slug, name, labels, thumbnail, password, created_at, updated_at, deleted_at FROM accounts"

func scanAccount(row sqldb.Scanner) (a service.Account, err error) {
	err = row.Scan(&a.ID, &a.Slug, &a.Name, sqldb.ScanJSON(&a.Labels), sqldb.ScanText(&a.Thumbnail), sqldb.ScanText(&a.PasswordHash),
		sqldb.ScanTime(&a.CreatedAt), sqldb.ScanTime(&a.UpdatedAt), sqldb.ScanTime(&a.DeletedAt))
	return a, err
}

// Account implements service.Reader.
func (r reader) Account(ctx context.Context, id string) (service.Account, error) {
	return one("read account", r.q.QueryRow(ctx, accountColumns+" WHERE id = ? AND deleted_at IS NULL", id), scanAccount)
}

// AccountBySlug implements service.Reader.
func (r reader) AccountBySlug(ctx context.Context, slug string) (service.Account, error) {
	return one("read account", r.q.QueryRow(ctx, accountColumns+" WHERE slug = ? AND deleted_at IS NULL", slug), scanAccount)
}

// accountsWhere gives the conditions of a query, without those of paging.
func accountsWhere(q service.AccountQuery) where {
	var w where
	w.and("deleted_at IS NULL")
	w.in("id", q.IDs)
	if q.ContactID != "" {
		w.and("id IN (SELECT user_id FROM contacts WHERE id = ?)", q.ContactID)
	}
	if q.Search != "" {
		w.and(`search LIKE ? ESCAPE '\'`, "%"+sqldb.EscapeLike(strings.ToLower(q.Search))+"%")
	}
	return w
}

// Accounts implements service.Reader.
func (r reader) Accounts(ctx context.Context, q service.AccountQuery) ([]service.Account, error) {
	column, order, behind := "created_at", "DESC", "<"
	if q.ByUpdate {
		column = "updated_at"
	}
	if q.Ascending {
		order, behind = "ASC", ">"
	}
	w := accountsWhere(q)
	if !q.After.IsZero() {
		w.and(column+" "+behind+" ?", sqldb.Time(q.After))
	}
	page, err := all(ctx, r, "list accounts", scanAccount,
		fmt.Sprintf("%s%s ORDER BY %s %s, id %s", accountColumns, w.text, column, order, order)+sqldb.Limit, append(w.args, q.Limit)...)
	if err != nil || len(page) < q.Limit {
		return page, err
	}
	// The next page begins behind the time of the last account: those of the same time belong to this one.
	last := page[len(page)-1]
	at := last.CreatedAt
	if q.ByUpdate {
		at = last.UpdatedAt
	}
	w = accountsWhere(q)
	w.and(column+" = ? AND id "+behind+" ?", sqldb.Time(at), last.ID)
	same, err := all(ctx, r, "list accounts", scanAccount, fmt.Sprintf("%s%s ORDER BY id %s", accountColumns, w.text, order), w.args...)
	return append(page, same...), err
}

// CountAccounts implements service.Reader.
func (r reader) CountAccounts(ctx context.Context, q service.AccountQuery) (int, error) {
	w := accountsWhere(q)
	return one("count accounts", r.q.QueryRow(ctx, "SELECT count(*) FROM accounts"+w.text, w.args...), scanInt)
}

func scanInt(row sqldb.Scanner) (n int, err error) {
	err = row.Scan(&n)
	return n, err
}

// ReserveSlug implements service.Tx.
func (t *tx) ReserveSlug(ctx context.Context, slug, owner string) error {
	if err := t.exec(ctx, "reserve slug", "INSERT INTO slugs (slug, owner) VALUES (?, ?) ON CONFLICT DO NOTHING", slug, owner); err != nil {
		return err
	}
	has, err := one("reserve slug", t.q.QueryRow(ctx, "SELECT owner FROM slugs WHERE slug = ?", slug), scanText)
	if err == nil && has != owner {
		err = service.ErrTaken
	}
	return err
}

// HadSlug implements service.Tx.
func (t *tx) HadSlug(ctx context.Context, owner string) (bool, error) {
	_, err := one("look for an owner of slugs", t.q.QueryRow(ctx, "SELECT owner FROM slugs WHERE owner = ? LIMIT 1", owner), scanText)
	if errors.Is(err, service.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Slugs returns every slug that was ever given to an account or an organization.
//
// Errors: Unavailable.
func (s *Store) Slugs(ctx context.Context) ([]string, error) {
	return all(ctx, s.reader, "list slugs", scanText, "SELECT slug FROM slugs")
}

// DeletedSlugs returns the slugs of the accounts that were deleted.
//
// Errors: Unavailable.
func (s *Store) DeletedSlugs(ctx context.Context) ([]string, error) {
	return all(ctx, s.reader, "list slugs of deleted accounts", scanText, "SELECT slug FROM accounts WHERE deleted_at IS NOT NULL")
}

// InsertAccount implements service.Tx.
func (t *tx) InsertAccount(ctx context.Context, a service.Account) error {
	return t.insert(ctx, "insert account", `INSERT INTO accounts (id, slug, name, labels, thumbnail, password, search, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.Slug, a.Name, sqldb.JSON(a.Labels), sqldb.Text(a.Thumbnail), sqldb.Text(a.PasswordHash), searchText(a, nil),
		sqldb.Time(a.CreatedAt), sqldb.Time(a.UpdatedAt))
}

// UpdateAccount implements service.Tx.
func (t *tx) UpdateAccount(ctx context.Context, a service.Account) error {
	contacts, err := t.ContactsOf(ctx, a.ID)
	if err != nil {
		return err
	}
	return t.exec(ctx, "update account", `UPDATE accounts SET name = ?, labels = ?, thumbnail = ?, password = ?, search = ?, updated_at = ?, deleted_at = ?
		WHERE id = ?`,
		a.Name, sqldb.JSON(a.Labels), sqldb.Text(a.Thumbnail), sqldb.Text(a.PasswordHash), searchText(a, contacts),
		sqldb.Time(a.UpdatedAt), sqldb.Time(a.DeletedAt), a.ID)
}

// maxSearch bounds what a search looks into: Postgres takes at most 2,700 bytes into an index.
const maxSearch = 2000

// searchText is what a search looks into.
func searchText(a service.Account, contacts []service.Contact) string {
	parts := []string{a.Slug, strings.ToLower(a.Name)}
	for _, c := range contacts {
		parts = append(parts, strings.ToLower(c.Handle))
	}
	text := strings.Join(parts, "\n")
	return strings.ToValidUTF8(text[:min(len(text), maxSearch)], "")
}
