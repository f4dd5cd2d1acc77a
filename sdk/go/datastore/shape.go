package datastore

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// kind is how the values of a field compare.
type kind uint8

const (
	text kind = iota
	number
	boolean
	moment // a time
)

var kindNames = map[kind]string{text: "a text", number: "a number", boolean: "true or false", moment: "a time"}

// field is a member of a document that queries can name.
type field struct {
	name     string   // with dots
	path     []string // in the JSON
	index    []int    // in the Go type
	kind     kind
	goKind   reflect.Kind // of a number
	nullable bool         // a pointer
	isID     bool         // has a column of its own
}

// shape is what is known of a document's Go type.
type shape struct {
	fields map[string]*field
	times  []*field
}

// names are what may stand in an SQL text between quotes, and between dots.
var names = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

var (
	timeType      = reflect.TypeFor[time.Time]()
	numberType    = reflect.TypeFor[json.Number]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// describe finds the fields of a struct, by the rules of encoding/json.
func describe(t reflect.Type) (*shape, error) {
	if t.Kind() != reflect.Struct || marshals(t) {
		return nil, fmt.Errorf("%s is no document: it must be a struct that does not marshal itself", t)
	}
	s := &shape{fields: map[string]*field{}}
	s.add(t, nil, nil)
	for _, name := range slices.Sorted(maps.Keys(s.fields)) {
		if f := s.fields[name]; f.kind == moment {
			s.times = append(s.times, f)
		}
	}
	return s, nil
}

// add adds the fields of a struct that lies at path.
func (s *shape) add(t reflect.Type, path []string, index []int) {
	for _, m := range visible(members(t, nil, 0)) {
		f := &field{path: append(slices.Clone(path), m.name), index: append(slices.Clone(index), m.index...)}
		f.name = strings.Join(f.path, ".")
		if m.quoted || !names.MatchString(m.name) {
			continue
		}
		if f.classify(m.typ) {
			s.fields[f.name] = f
		} else if m.typ.Kind() == reflect.Struct && !marshals(m.typ) {
			s.add(m.typ, f.path, f.index)
		}
	}
}

// classify tells whether values of a type can be compared, and notes how.
func (f *field) classify(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		f.nullable = true
		t = t.Elem()
	}
	f.goKind = t.Kind()
	switch {
	case t == timeType:
		f.kind = moment
		return true
	case t == numberType || marshals(t):
		return false
	}
	switch t.Kind() {
	case reflect.String:
		f.kind = text
	case reflect.Bool:
		f.kind = boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Float32, reflect.Float64:
		f.kind = number
	default:
		return false
	}
	return true
}

// marshals tells whether a type makes its JSON itself.
func marshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(marshaler) || p.Implements(textMarshaler)
}

// member is a field of a struct or of one that is embedded in it.
type member struct {
	name   string // in the JSON
	tagged bool
	quoted bool // with the option "string"
	index  []int
	depth  int
	typ    reflect.Type
}

// members lists the fields of a struct with those of embedded structs, which depth tells apart.
func members(t reflect.Type, index []int, depth int) []member {
	var out []member
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" || (!f.IsExported() && !f.Anonymous) {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		at := append(slices.Clone(index), i)
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && f.Type != timeType {
			out = append(out, members(f.Type, at, depth+1)...)
			continue
		}
		if !f.IsExported() {
			continue
		}
		m := member{name: name, tagged: name != "", index: at, depth: depth, typ: f.Type}
		m.quoted = slices.Contains(strings.Split(options, ","), "string")
		if name == "" {
			m.name = f.Name
		}
		out = append(out, m)
	}
	return out
}

// visible keeps for each name the member that encoding/json would take: the least deep one; of several, the only one
// with a tag; else none.
func visible(all []member) []member {
	byName := map[string][]member{}
	for _, m := range all {
		rivals := byName[m.name]
		if len(rivals) > 0 && m.depth < rivals[0].depth {
			rivals = nil
		}
		if len(rivals) == 0 || m.depth == rivals[0].depth {
			byName[m.name] = append(rivals, m)
		}
	}
	var out []member
	for _, rivals := range byName {
		if len(rivals) > 1 {
			rivals = slices.DeleteFunc(rivals, func(m member) bool { return !m.tagged })
		}
		if len(rivals) == 1 {
			out = append(out, rivals[0])
		}
	}
	return out
}

// field gives the field of a name. Errors: Invalid, which names those that there are.
func (s *shape) field(name string) (*field, error) {
	if f, ok := s.fields[name]; ok {
		return f, nil
	}
	return nil, errs.Field(name, "field", "is not a field that can be asked for; there are %s",
		strings.Join(slices.Sorted(maps.Keys(s.fields)), ", "))
}

// utc sets the times of a document that may be changed to UTC, so that their texts sort as they do. What their pointers
// point to is left as it is: it is the caller's.
func (s *shape) utc(doc reflect.Value) {
	for _, f := range s.times {
		v := doc.FieldByIndex(f.index)
		if !f.nullable {
			v.Set(reflect.ValueOf(v.Interface().(time.Time).UTC()))
		} else if p := v.Interface().(*time.Time); p != nil {
			at := p.UTC()
			v.Set(reflect.ValueOf(&at))
		}
	}
}
