package datastore

import (
	"strings"
	"unicode/utf8"

	"micromesh/pkg/errs"
)

// maxFilters bounds the parts of a filter, which may come from a client.
const maxFilters = 200

// everything is the condition that all documents meet.
const everything = "TRUE"

// statement is a part of an SQL text with its arguments, in the making.
type statement struct {
	shape   *shape
	dialect dialect
	args    []any
	filters int
}

// where gives the condition of a filter.
//
// Errors: Invalid for a field that does not exist, a value of another kind than its field, too many parts.
func (s *statement) where(f Filter) (string, error) {
	if s.filters++; s.filters > maxFilters {
		return "", errs.Invalidf("the filter has more than %d parts", maxFilters)
	}
	switch f.op {
	case opAnd:
		return s.and(f.of)
	case opOr:
		return s.or(f.of)
	default:
		return s.condition(f)
	}
}

// condition gives the condition of a filter on one field.
func (s *statement) condition(f Filter) (string, error) {
	fld, err := s.shape.field(f.field)
	if err != nil {
		return "", err
	}
	switch f.op {
	case opIn:
		return s.in(fld, f.in)
	case opPrefix, opContains:
		return s.part(fld, f)
	default:
		return s.compare(fld, f)
	}
}

// and joins what is not met anyway.
func (s *statement) and(filters []Filter) (string, error) {
	var parts []string
	for _, f := range filters {
		part, err := s.where(f)
		if err != nil {
			return "", err
		}
		if part != everything {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return everything, nil
	}
	return "(" + strings.Join(parts, " AND ") + ")", nil
}

func (s *statement) or(filters []Filter) (string, error) {
	before := len(s.args)
	parts := []string{"FALSE"}
	all := false
	for _, f := range filters {
		part, err := s.where(f)
		if err != nil {
			return "", err
		}
		all = all || part == everything
		parts = append(parts, part)
	}
	if all {
		s.args = s.args[:before]
		return everything, nil
	}
	return "(" + strings.Join(parts, " OR ") + ")", nil
}

func (s *statement) compare(f *field, filter Filter) (string, error) {
	v, err := f.value(filter.value)
	if err != nil {
		return "", err
	}
	e := expr(s.dialect, f)
	switch {
	case v == nil && filter.op == opEq:
		return e + " IS NULL", nil
	case v == nil && filter.op == opNe:
		return e + " IS NOT NULL", nil
	case v == nil:
		return "", errs.Field(f.name, "type", "must be compared with %s: nothing is less or greater than nil", kindNames[f.kind])
	}
	operator := comparisons[filter.op]
	if filter.op == opNe && f.nullable {
		operator = "IS DISTINCT FROM"
	}
	s.args = append(s.args, *v)
	return e + " " + operator + " " + s.dialect.param(f.kind), nil
}

func (s *statement) in(f *field, values []any) (string, error) {
	e := expr(s.dialect, f)
	var texts []string
	missing := ""
	for _, one := range values {
		v, err := f.value(one)
		switch {
		case err != nil:
			return "", err
		case v == nil:
			missing = " OR " + e + " IS NULL"
		default:
			texts = append(texts, *v)
		}
	}
	s.args = append(s.args, list(f.kind, texts))
	return "(" + e + " IN (" + s.dialect.elements(f.kind) + ")" + missing + ")", nil
}

// part gives the condition of a text that is a part of another.
func (s *statement) part(f *field, filter Filter) (string, error) {
	if f.kind != text {
		return "", errs.Field(f.name, "type", "is %s; only a text has parts", kindNames[f.kind])
	}
	v, err := f.value(filter.value)
	if err != nil {
		return "", err
	}
	e := expr(s.dialect, f)
	if filter.op == opPrefix {
		return s.prefix(e, *v), nil
	}
	s.args = append(s.args, *v)
	return s.dialect.position(e) + " > 0", nil
}

// prefix is a range, so that an index on the field serves it.
func (s *statement) prefix(e, prefix string) string {
	s.args = append(s.args, prefix)
	condition := e + " >= " + s.dialect.param(text)
	if end, ok := behind(prefix); ok {
		s.args = append(s.args, end)
		condition += " AND " + e + " < " + s.dialect.param(text)
	}
	return "(" + condition + ")"
}

// behind gives the least text that sorts behind all that begin with a prefix, and false where there is none.
func behind(prefix string) (string, bool) {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch r {
		case utf8.MaxRune: // nothing is behind it: the one before counts
			continue
		case 0xD7FF: // the surrogates are no characters
			return prefix + "\uE000", true
		}
		return prefix + string(r+1), true
	}
	return "", false
}

// key is a field that a query sorts by.
type key struct {
	field *field
	expr  string
	desc  bool
}

// keys gives what a query sorts by. The last is the id, by which no two documents are equal.
func (s *statement) keys(order []Order) ([]key, error) {
	var keys []key
	desc := false
	for _, o := range order {
		f, err := s.shape.field(o.Field)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{f, expr(s.dialect, f), o.Desc})
		desc = o.Desc
	}
	return append(keys, key{idField, "id", desc}), nil
}

// idField stands for the column of ids, whether or not the documents have a field for it.
var idField = &field{name: "id", kind: text, isID: true}

func (s *statement) orderBy(keys []key) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = k.expr
		if k.desc {
			parts[i] += " DESC"
		}
		if k.field.nullable {
			parts[i] += s.dialect.nulls(k.desc)
		}
	}
	return " ORDER BY " + strings.Join(parts, ", ")
}

// after gives the condition of what lies behind a place in the order: equal in the first keys, and behind in the next.
func (s *statement) after(keys []key, place []value) string {
	var cases []string
	for i := range keys {
		before := len(s.args)
		var parts []string
		for j := range i {
			parts = append(parts, s.same(keys[j], place[j]))
		}
		if last := s.behind(keys[i], place[i]); last != "" {
			cases = append(cases, "("+strings.Join(append(parts, last), " AND ")+")")
		} else {
			s.args = s.args[:before]
		}
	}
	return "(" + strings.Join(cases, " OR ") + ")"
}

func (s *statement) same(k key, v value) string {
	if v == nil {
		return k.expr + " IS NULL"
	}
	s.args = append(s.args, *v)
	return k.expr + " = " + s.dialect.param(k.field.kind)
}

// behind gives the condition of what sorts behind a value; empty where nothing does. What is missing sorts first, or
// last in a descending order.
func (s *statement) behind(k key, v value) string {
	switch {
	case v == nil && k.desc:
		return ""
	case v == nil:
		return k.expr + " IS NOT NULL"
	}
	s.args = append(s.args, *v)
	if !k.desc {
		return k.expr + " > " + s.dialect.param(k.field.kind)
	}
	less := k.expr + " < " + s.dialect.param(k.field.kind)
	if k.field.nullable {
		return "(" + less + " OR " + k.expr + " IS NULL)"
	}
	return less
}
