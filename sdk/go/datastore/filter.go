package datastore

// Filter says which documents are wanted. The zero Filter wants all of them.
type Filter struct {
	op    op
	of    []Filter // of opAnd and opOr
	field string
	value any   // of those with one
	in    []any // of opIn
}

// op is what a filter does. The zero op with no parts wants everything.
type op uint8

const (
	opAnd op = iota
	opOr
	opEq
	opNe
	opLt
	opLe
	opGt
	opGe
	opIn
	opPrefix
	opContains
)

// comparisons are the ops whose SQL is an operator.
var comparisons = map[op]string{opEq: "=", opNe: "<>", opLt: "<", opLe: "<=", opGt: ">", opGe: ">="}

// And wants what all of the filters want: everything, if there are none.
func And(filters ...Filter) Filter { return Filter{op: opAnd, of: filters} }

// Or wants what any of the filters wants: nothing, if there are none.
func Or(filters ...Filter) Filter { return Filter{op: opOr, of: filters} }

// Eq wants documents whose field equals the value; nil asks for a pointer that is nil.
func Eq(field string, value any) Filter { return Filter{op: opEq, field: field, value: value} }

// Ne wants documents whose field does not equal the value; nil asks for a pointer that is not nil.
func Ne(field string, value any) Filter { return Filter{op: opNe, field: field, value: value} }

// Lt wants documents whose field is less than the value.
func Lt(field string, value any) Filter { return Filter{op: opLt, field: field, value: value} }

// Le wants documents whose field is less than the value or equal.
func Le(field string, value any) Filter { return Filter{op: opLe, field: field, value: value} }

// Gt wants documents whose field is greater than the value.
func Gt(field string, value any) Filter { return Filter{op: opGt, field: field, value: value} }

// Ge wants documents whose field is greater than the value or equal.
func Ge(field string, value any) Filter { return Filter{op: opGe, field: field, value: value} }

// In wants documents whose field equals one of the values; there may be thousands.
func In[V any](field string, values ...V) Filter {
	in := make([]any, len(values))
	for i, v := range values {
		in[i] = v
	}
	return Filter{op: opIn, field: field, in: in}
}

// Prefix wants documents whose text field begins with the prefix. An index on the field serves it.
func Prefix(field, prefix string) Filter { return Filter{op: opPrefix, field: field, value: prefix} }

// Contains wants documents whose text field contains the part.
func Contains(field, part string) Filter { return Filter{op: opContains, field: field, value: part} }

// Order is a field to sort by.
type Order struct {
	Field string
	Desc  bool
}

// Asc sorts by a field, the least first.
func Asc(field string) Order { return Order{Field: field} }

// Desc sorts by a field, the greatest first.
func Desc(field string) Order { return Order{Field: field, Desc: true} }

// Limits of a [Query].
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Query asks for a page of documents.
type Query struct {
	Where Filter
	// OrderBy sorts by the first field, those that are equal by the second, and so on; in the end by id, in the
	// direction of the last.
	OrderBy []Order
	// Limit bounds the page; 0 is DefaultLimit.
	Limit int
	// After is the cursor that came with the page before; empty for the first page. The order must be the same. Pages
	// neither repeat nor leave out a document, except one whose place in the order changes meanwhile.
	After string
}
