// Package store keeps the pets in a database, through the SDK's data store.
package store

import (
	"context"
	"strings"

	"micromesh/examples/basic/service"
	"micromesh/sdk/go/datastore"
)

// Pets keeps pets.
type Pets struct {
	pets *datastore.Collection[service.Pet]
}

var _ service.Store = (*Pets)(nil)

// New opens the collection of pets in a database.
func New(ctx context.Context, db *datastore.DB) (*Pets, error) {
	pets, err := datastore.NewCollection[service.Pet](ctx, db, "pets", datastore.WithIndex("kind", "age"))
	if err != nil {
		return nil, err
	}
	return &Pets{pets}, nil
}

// Save implements service.Store.
func (s *Pets) Save(ctx context.Context, p service.Pet) error { return s.pets.Upsert(ctx, p) }

// List implements service.Store.
func (s *Pets) List(ctx context.Context, q service.Query) (service.Page, error) {
	where := filter(q)
	pets, next, err := s.pets.Query(ctx, datastore.Query{Where: where, OrderBy: order(q.OrderBy), Limit: q.Limit, After: q.After})
	if err != nil {
		return service.Page{}, err
	}
	n, err := s.pets.Count(ctx, where)
	if err != nil {
		return service.Page{}, err
	}
	return service.Page{Pets: pets, Count: n, Next: next}, nil
}

func filter(q service.Query) datastore.Filter {
	var all []datastore.Filter
	if len(q.Kinds) > 0 {
		all = append(all, datastore.In("kind", q.Kinds...))
	}
	if q.Search != "" {
		all = append(all, datastore.Contains("name", q.Search))
	}
	if q.MinAge != nil {
		all = append(all, datastore.Ge("age", *q.MinAge))
	}
	if q.MaxAge != nil {
		all = append(all, datastore.Le("age", *q.MaxAge))
	}
	return datastore.And(all...)
}

func order(fields []string) []datastore.Order {
	out := make([]datastore.Order, len(fields))
	for i, f := range fields {
		name, desc := strings.CutPrefix(f, "-")
		out[i] = datastore.Order{Field: name, Desc: desc}
	}
	return out
}
