package transcode

import (
	"slices"
	"strings"

	"go-micro.dev/v5/registry"
)

// Registered is Untyped for a method of which go-micro has registered the request: parameters that it names have its fields' types,
// all others are texts.
func Registered(service, endpoint, method, pattern string, request *registry.Value) *Binding {
	b := Untyped(service, endpoint, method, pattern)
	if request != nil {
		b.query, b.open = registeredFields{request}, true
	}
	return b
}

// registeredFields are those of a Go type. They are found as encoding/json finds them: in any letter case, and within embedded structs.
type registeredFields struct{ v *registry.Value }

var _ fields = registeredFields{}

func (r registeredFields) find(name string) (field, bool) {
	if v := r.named(name, 0); v != nil {
		return registeredField(v), true
	}
	return field{}, false
}

// named returns the field of a name, or nil. The exact name goes first.
func (r registeredFields) named(name string, depth int) (found *registry.Value) {
	for _, v := range r.v.Values {
		switch {
		case v == nil:
		case v.Name == name:
			return v
		case found == nil && strings.EqualFold(v.Name, name):
			found = v
		}
	}
	if found != nil || depth == maxDepth {
		return found
	}
	for _, v := range r.v.Values {
		if v == nil || v.Name != v.Type || len(v.Values) == 0 { // it may be embedded: go-micro doesn't tell
			continue
		}
		if found = (registeredFields{v}).named(name, depth+1); found != nil {
			return found
		}
	}
	return nil
}

func (r registeredFields) names() (out []string) {
	for _, v := range r.v.Values {
		if v != nil {
			out = append(out, v.Name)
		}
	}
	return out
}

func (r registeredFields) title() string { return r.v.Type }

func registeredField(v *registry.Value) field {
	element, list := strings.CutPrefix(v.Type, "[]")
	f := field{json: v.Name, list: list}
	switch element {
	case "bool":
		f.form = formBool
	case "int", "int64":
		f.form, f.bits = formInt, 64
	case "int8", "int16", "int32":
		f.form, f.bits = formInt, 8*sizeOf(element)
	case "uint", "uint64", "uintptr":
		f.form, f.bits = formUint, 64
	case "uint8", "uint16", "uint32":
		f.form, f.bits = formUint, 8*sizeOf(element)
	case "float32":
		f.form, f.bits = formFloat, 32
	case "float64":
		f.form, f.bits = formFloat, 64
	}
	switch {
	case list && element == "uint8": // bytes are base64 in JSON
		f.list, f.form = false, formBytes
	case element == "Duration" && len(v.Values) == 0:
		f.form = formNanoseconds
	case len(v.Values) > 0:
		f.registered(v)
	}
	return f
}

// registered sets the form of a struct. Those of google.protobuf have special forms.
func (f *field) registered(v *registry.Value) {
	has := func(names ...string) bool {
		return slices.EqualFunc(v.Values, names, func(v *registry.Value, name string) bool { return v != nil && v.Name == name })
	}
	switch {
	case strings.HasSuffix(v.Type, "Value") && has("value"):
		inner := registeredField(v.Values[0])
		inner.json, inner.list = f.json, f.list
		*f = inner
	case v.Type == "Timestamp" && has("seconds", "nanos"), v.Type == "Duration" && has("seconds", "nanos"), v.Type == "FieldMask" && has("paths"):
		f.form = formText
	default:
		f.form, f.of = formMessage, registeredFields{v}
	}
}

// sizeOf is the bytes of a Go number of 8, 16 or 32 bits, by its name.
func sizeOf(name string) int {
	switch {
	case strings.HasSuffix(name, "8"):
		return 1
	case strings.HasSuffix(name, "16"):
		return 2
	}
	return 4
}
