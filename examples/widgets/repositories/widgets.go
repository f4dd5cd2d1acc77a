// Package repositories keeps widgets in SQLite or Postgres.
package repositories

import (
	"context"

	"micromesh/examples/widgets/models"
	"micromesh/sdk/go/datastore"
)

// Widgets keeps widgets.
type Widgets struct {
	all *datastore.Collection[models.Widget]
}

// NewWidgets opens the collection in a database.
func NewWidgets(ctx context.Context, db *datastore.DB) (*Widgets, error) {
	all, err := datastore.NewCollection[models.Widget](ctx, db, "widgets", datastore.WithIndex("color"))
	if err != nil {
		return nil, err
	}
	return &Widgets{all}, nil
}

// Find gives a widget. Errors: NotFound.
func (r *Widgets) Find(ctx context.Context, id string) (models.Widget, error) {
	return r.all.Get(ctx, id)
}

// List gives a page of widgets, by id.
func (r *Widgets) List(ctx context.Context, q models.WidgetQuery) (models.WidgetPage, error) {
	var where datastore.Filter
	if q.Color != "" {
		where = datastore.Eq("color", q.Color)
	}
	found, next, err := r.all.Query(ctx, datastore.Query{Where: where, OrderBy: []datastore.Order{datastore.Asc("id")}, Limit: q.Limit, After: q.After})
	if found == nil {
		found = []models.Widget{}
	}
	return models.WidgetPage{Widgets: found, Next: next}, err
}

// Save adds a widget or replaces it.
func (r *Widgets) Save(ctx context.Context, w models.Widget) error { return r.all.Upsert(ctx, w) }

// Delete takes a widget away. Errors: NotFound.
func (r *Widgets) Delete(ctx context.Context, id string) error { return r.all.Delete(ctx, id) }
