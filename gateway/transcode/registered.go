package transcode

import (
	"strings"

	"go-micro.dev/v5/registry"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Registered is Untyped for a method of which go-micro has registered the request: parameters that it names have its fields' types,
// all others are texts.
func Registered(service, endpoint, method, pattern string, request *registry.Value) *Binding {
	b := Untyped(service, endpoint, method, pattern)
	if request == nil {
		return b
	}
	b.query, b.open = make(map[string]field, len(request.Values)), true
	for _, v := range request.Values {
		if v == nil {
			continue
		}
		element, list := strings.CutPrefix(v.Type, "[]")
		if element == "uint8" || element == "byte" { // bytes are base64 in JSON
			list = false
		}
		f := field{json: v.Name, kind: kindOf(element), list: list}
		if len(v.Values) > 0 {
			f.kind = protoreflect.MessageKind
		}
		b.query[v.Name] = f
	}
	return b
}

// kindOf gives the kind of a Go type by its name. Types that a program has named itself don't tell theirs: they are texts.
func kindOf(name string) protoreflect.Kind {
	switch name {
	case "bool":
		return protoreflect.BoolKind
	case "int", "int8", "int16", "int32", "int64":
		return protoreflect.Int64Kind
	case "uint", "uint16", "uint32", "uint64":
		return protoreflect.Uint64Kind
	case "float32", "float64":
		return protoreflect.DoubleKind
	default:
		return protoreflect.StringKind
	}
}

// named gives the field that a parameter names. What is not known is a text where the schema may not be complete.
func (n *Binding) named(name string) (field, bool) {
	if f, ok := n.query[name]; ok {
		return f, true
	}
	return field{json: name, kind: protoreflect.StringKind}, n.query == nil || n.open
}
