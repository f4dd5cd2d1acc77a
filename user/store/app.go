package store

import (
	"context"
	"time"

	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

const appColumns = "SELECT id, host FROM apps"

func scanApp(row sqldb.Scanner) (a service.App, err error) {
	err = row.Scan(&a.ID, &a.Host)
	return a, err
}

// App implements service.Reader.
func (r reader) App(ctx context.Context, id string) (service.App, error) {
	return one("read app", r.q.QueryRow(ctx, appColumns+" WHERE id = ? AND deleted_at IS NULL", id), scanApp)
}

// AppByHost implements service.Reader.
func (r reader) AppByHost(ctx context.Context, host string) (service.App, error) {
	return one("read app", r.q.QueryRow(ctx, appColumns+" WHERE host = ? AND deleted_at IS NULL", host), scanApp)
}

// Apps implements service.Reader.
func (r reader) Apps(ctx context.Context, hosts, ids []string) ([]service.App, error) {
	var w where
	w.and("deleted_at IS NULL")
	switch {
	case len(hosts) > 0 && len(ids) > 0:
		inHosts, hostArgs := sqldb.In(hosts)
		inIDs, idArgs := sqldb.In(ids)
		w.and("(host IN "+inHosts+" OR id IN "+inIDs+")", append(hostArgs, idArgs...)...)
	default:
		w.in("host", hosts)
		w.in("id", ids)
	}
	return all(ctx, r, "list apps", scanApp, appColumns+w.text+" ORDER BY host", w.args...)
}

// InsertApp implements service.Tx.
func (t *tx) InsertApp(ctx context.Context, a service.App) error {
	return t.insert(ctx, "insert app", "INSERT INTO apps (id, host) VALUES (?, ?)", a.ID, a.Host)
}

// SetAppHost implements service.Tx.
func (t *tx) SetAppHost(ctx context.Context, id, host string) error {
	other, err := t.AppByHost(ctx, host)
	if err == nil && other.ID != id {
		return service.ErrTaken
	}
	return t.exec(ctx, "update app", "UPDATE apps SET host = ? WHERE id = ?", host, id)
}

// DeleteApp implements service.Tx.
func (t *tx) DeleteApp(ctx context.Context, id string, at time.Time) error {
	return t.exec(ctx, "delete app", "UPDATE apps SET deleted_at = ?, host = ? WHERE id = ?", sqldb.Time(at), "deleted/"+id, id) // no host has a slash
}
