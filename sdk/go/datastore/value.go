package datastore

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"micromesh/pkg/errs"
)

// value is what a field is compared with, as the text that the database is given: of a number its JSON, of a time RFC
// 3339 in UTC without the Z. Nil is missing.
type value *string

// value converts what a caller compares the field with.
//
// Errors: Invalid where it is of another kind, or nil and the field never is.
func (f *field) value(v any) (value, error) {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv = rv.Elem()
	}
	if !rv.IsValid() || rv.Kind() == reflect.Pointer {
		if !f.nullable {
			return nil, errs.Field(f.name, "type", "is never missing: it must be compared with %s", kindNames[f.kind])
		}
		return nil, nil
	}
	s, ok := f.encode(rv)
	if !ok {
		return nil, errs.Field(f.name, "type", "must be compared with %s, not with %s", kindNames[f.kind], rv.Type())
	}
	return &s, f.check(s)
}

// encode gives the text of a value, and false for one of another kind.
func (f *field) encode(v reflect.Value) (string, bool) {
	switch {
	case f.kind == moment && v.Type() == timeType:
		return strings.TrimSuffix(v.Interface().(time.Time).UTC().Format(time.RFC3339Nano), "Z"), true
	case f.kind == text && v.Kind() == reflect.String:
		return v.String(), true
	case f.kind == boolean && v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case f.kind != number:
		return "", false
	case f.goKind == reflect.Float32 && isNumber(v):
		return marshal(float32(toFloat(v))), true
	case f.goKind == reflect.Float64 && isNumber(v):
		return marshal(toFloat(v)), true
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), true
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), true
	case v.CanFloat() && v.Float() == math.Trunc(v.Float()) && !math.IsInf(v.Float(), 0):
		return strconv.FormatFloat(v.Float(), 'f', 0, 64), true // exactly: the shortest text may be another integer
	case v.CanFloat():
		return marshal(v.Float()), true
	}
	return "", false
}

func isNumber(v reflect.Value) bool { return v.CanInt() || v.CanUint() || v.CanFloat() }

func toFloat(v reflect.Value) float64 { return v.Convert(reflect.TypeFor[float64]()).Float() }

// marshal writes a number as documents do: a field's text and what it is compared with must be equal where the numbers
// are. What has no JSON becomes a text that check refuses.
func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "not a number"
	}
	return string(b)
}

// check tells whether a text, which may come from a cursor, is one that the field may have.
func (f *field) check(s string) error {
	ok := utf8.ValidString(s) && !strings.ContainsRune(s, 0)
	switch f.kind {
	case number:
		n, err := strconv.ParseFloat(s, 64)
		ok = err == nil && json.Valid([]byte(s)) && !math.IsNaN(n)
	case boolean:
		ok = s == "true" || s == "false"
	case moment:
		at, err := time.Parse(time.RFC3339Nano, s+"Z")
		ok = err == nil && at.Format(time.RFC3339Nano) == s+"Z"
	case text:
	}
	if !ok {
		return errs.Field(f.name, "value", "must be compared with %s that a document can hold", kindNames[f.kind])
	}
	return nil
}

// of gives the field's value in a document.
func (f *field) of(doc reflect.Value) (value, error) {
	return f.value(doc.FieldByIndex(f.index).Interface())
}

// list is a JSON array of values.
func list(k kind, values []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		if k == text || k == moment {
			v = marshal(v)
		}
		b.WriteString(v)
	}
	b.WriteByte(']')
	return b.String()
}
