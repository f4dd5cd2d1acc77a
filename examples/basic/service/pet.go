// Package service is the domain: what pets are, and the rules for them.
package service

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"micromesh/pkg/errs"
)

// Slug is the service's name in the mesh.
const Slug = "basic-svc"

// RoleManager is the role of those who may save pets. The service owns it, and so may give it to others.
const RoleManager = Slug + ":pet:manager"

// Bounds of a pet.
const (
	maxName = 60  // characters
	maxAge  = 500 // years: there are tortoises
)

// Pet is one of the pets.
type Pet struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Age     int    `json:"age"`               // years
	SavedBy string `json:"savedBy,omitempty"` // the slug of who saved it last
}

// Query asks for pets.
type Query struct {
	Kinds   []string `json:"kinds"`  // any of them; none is all
	Search  string   `json:"search"` // a part of the name
	MinAge  *int     `json:"minAge"`
	MaxAge  *int     `json:"maxAge"`
	OrderBy []string `json:"orderBy"` // fields; "-age" is descending
	Limit   int      `json:"limit"`
	After   string   `json:"after"` // "next" of the page before
}

// Page is a part of an answer.
type Page struct {
	Pets  []Pet  `json:"pets"`
	Count int    `json:"count"`          // of all pages
	Next  string `json:"next,omitempty"` // empty where this is the last
}

// Sortable are the fields that pets may be sorted by.
var Sortable = []string{"id", "name", "kind", "age"}

// Store keeps pets.
type Store interface {
	// Save stores a pet, in place of the one with its id.
	Save(ctx context.Context, p Pet) error
	// List gives a page of pets. Errors: Invalid for a cursor that is none, or a limit out of range.
	List(ctx context.Context, q Query) (Page, error)
}

// Pets are the rules for pets.
type Pets struct{ store Store }

// New makes the domain on a store.
func New(s Store) *Pets { return &Pets{s} }

// Save checks a pet and stores it.
//
// Errors: Invalid, with a detail for each field that is wrong; those of the store.
func (p *Pets) Save(ctx context.Context, caller string, pet Pet) (Pet, error) {
	wrong := errs.Invalidf("the pet is not valid")
	for _, t := range []struct{ field, value string }{{"id", pet.ID}, {"name", pet.Name}, {"kind", pet.Kind}} {
		if n := utf8.RuneCountInString(t.value); n == 0 || n > maxName {
			wrong = wrong.With(errs.Field(t.field, "length", "must have 1 to %d characters", maxName).Details...)
		}
	}
	if pet.Age < 0 || pet.Age > maxAge {
		wrong = wrong.With(errs.Field("age", "range", "must be between 0 and %d", maxAge).Details...)
	}
	if len(wrong.Details) > 0 {
		return Pet{}, wrong
	}
	pet.SavedBy = caller
	return pet, p.store.Save(ctx, pet)
}

// List gives a page of pets. Errors: Invalid; those of the store.
func (p *Pets) List(ctx context.Context, q Query) (Page, error) {
	for _, o := range q.OrderBy {
		if !slices.Contains(Sortable, strings.TrimPrefix(o, "-")) {
			return Page{}, errs.Field("orderBy", "oneof", "must be of %s, with a minus in front for the greatest first", strings.Join(Sortable, ", "))
		}
	}
	return p.store.List(ctx, q)
}
