package server

import (
	"errors"
	"strings"

	"micromesh/pkg/ident"
	"micromesh/pkg/meshpb"
)

// ruleOf returns the name of a format as the details of an error have it: "slug" of FORMAT_SLUG.
func ruleOf(f meshpb.Format) string {
	return strings.ToLower(strings.TrimPrefix(f.String(), "FORMAT_"))
}

// formats are the grammars that need no more than the string itself. The others are checked where they are used.
var formats = map[meshpb.Format]func(string) error{
	meshpb.Format_FORMAT_TEXT:            ident.Text,
	meshpb.Format_FORMAT_SLUG:            slug,
	meshpb.Format_FORMAT_ROLE:            ident.Role,
	meshpb.Format_FORMAT_PERMISSION:      ident.Permission,
	meshpb.Format_FORMAT_ID:              ident.ID,
	meshpb.Format_FORMAT_ORGANIZATION_ID: ident.OrganizationID,
	meshpb.Format_FORMAT_HANDLE:          visible,
	meshpb.Format_FORMAT_CONTACT_ID:      canonical(ident.ContactID),
	meshpb.Format_FORMAT_PLATFORM:        ident.Platform,
	meshpb.Format_FORMAT_HOST:            canonical(ident.Host),
	meshpb.Format_FORMAT_HOST_OR_ANY:     hostOrAny,
	meshpb.Format_FORMAT_URL:             visible,
	meshpb.Format_FORMAT_PATH:            visible,
	meshpb.Format_FORMAT_ROUTE:           visible,
	meshpb.Format_FORMAT_TIME:            ident.Time,
	meshpb.Format_FORMAT_HOST_PATTERN:    hostPattern,
}

func checkFormat(f meshpb.Format, s string) error {
	if check, ok := formats[f]; ok {
		return check(s)
	}
	return nil
}

// canonical turns a function that returns a canonical form into a check.
func canonical(form func(string) (string, error)) func(string) error {
	return func(s string) error {
		_, err := form(s)
		return err
	}
}

// slug accepts the names that are kept for the mesh as well: the service says that those are taken.
func slug(s string) error {
	if ident.IsReserved(s) {
		return nil
	}
	return ident.Slug(s)
}

func hostOrAny(s string) error {
	if s == "*" {
		return nil
	}
	_, err := ident.Host(s)
	return err
}

func hostPattern(s string) error {
	_, err := ident.Host(strings.TrimPrefix(s, "*."))
	return err
}

// visible checks text whose exact grammar depends on other fields.
func visible(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("must not have control characters")
	}
	return nil
}
