package service

import (
	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

var (
	errSlugTaken    = errs.New(errs.Conflict, "SLUG_TAKEN", "the slug is taken: choose another one")
	errSlugReserved = errs.New(errs.Conflict, "SLUG_TAKEN", "the slug is reserved for the mesh: choose another one")
)

// checkNewSlug checks the slug of a new account or organization. Errors: Invalid for any other text, Conflict for a reserved slug.
func checkNewSlug(s string) error {
	if ident.IsReserved(s) {
		return errSlugReserved
	}
	return checkSlug(s)
}

// checkSlug checks the form of a slug. Errors: Invalid.
func checkSlug(s string) error {
	if err := ident.Slug(s); err != nil {
		return errs.Field("slug", "slug", "%s", err)
	}
	return nil
}
