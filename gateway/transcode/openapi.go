package transcode

import (
	"encoding/json"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/meshpb"
)

// object of a JSON document.
type doc = map[string]any

// OpenAPI describes the bindings as an OpenAPI 3.1 document.
func (b *Bindings) OpenAPI(version string) ([]byte, error) {
	s := schemas{}
	paths := doc{}
	for _, n := range b.All() {
		ops, ok := paths[n.Pattern].(doc)
		if !ok {
			ops = doc{}
			paths[n.Pattern] = ops
		}
		ops[strings.ToLower(n.Method)] = s.operation(n)
	}
	s["Error"] = errorSchema()
	return json.MarshalIndent(doc{
		"openapi": "3.1.0",
		"info":    doc{"title": "Micromesh", "version": version, "description": "The HTTP API of the mesh, as its gateway serves it."},
		"paths":   paths,
		"components": doc{
			"schemas":         s,
			"securitySchemes": doc{"bearer": doc{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
		},
	}, "", " ")
}

// schemas are the components, by message name.
type schemas doc

func (s schemas) operation(n *Binding) doc {
	op := doc{
		"operationId": lowerFirst(string(n.Desc.Name())),
		"summary":     comment(n.Desc),
		"tags":        []string{n.Service},
		"responses":   s.responses(n),
	}
	if n.Access.GetCaller() != meshpb.Caller_CALLER_PUBLIC {
		op["security"] = []doc{{"bearer": []string{}}}
	}
	if p := s.parameters(n); len(p) > 0 {
		op["parameters"] = p
	}
	if n.HasBody {
		op["requestBody"] = doc{"content": jsonOf(s.ref(n.Desc.Input()))}
	}
	return op
}

func (s schemas) responses(n *Binding) doc {
	ok := doc{"description": "Success"}
	if n.Success != 204 {
		ok["content"] = jsonOf(s.ref(n.Desc.Output()))
	}
	failed := doc{"description": "An error", "content": jsonOf(doc{"$ref": "#/components/schemas/Error"})}
	return doc{strconv.Itoa(n.Success): ok, "default": failed}
}

func (s schemas) parameters(n *Binding) (out []doc) {
	inPath := map[string]bool{}
	for _, seg := range n.segments {
		if seg.param == "" {
			continue
		}
		inPath[seg.param] = true
		out = append(out, doc{"name": seg.param, "in": "path", "required": true, "schema": s.kind(n.Desc.Input().Fields().ByJSONName(seg.param))})
	}
	if n.HasBody || n.query == nil {
		return out
	}
	fields := n.Desc.Input().Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); !inPath[fd.JSONName()] {
			out = append(out, doc{"name": fd.JSONName(), "in": "query", "schema": s.field(fd)})
		}
	}
	return out
}

// ref gives a reference to a message's schema, which it adds where it is missing.
func (s schemas) ref(d protoreflect.MessageDescriptor) doc {
	switch d.FullName() {
	case "google.protobuf.Struct":
		return doc{"type": "object", "additionalProperties": true}
	case "google.protobuf.Value":
		return doc{}
	}
	name := string(d.Name())
	if _, ok := s[name]; !ok {
		s[name] = doc{} // before its fields: types may refer to each other
		s[name] = s.message(d)
	}
	return doc{"$ref": "#/components/schemas/" + name}
}

func (s schemas) message(d protoreflect.MessageDescriptor) doc {
	props := doc{}
	var required []string
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		p := s.field(fd)
		if c := comment(fd); c != "" {
			p["description"] = c
		}
		props[fd.JSONName()] = p
		if rulesOf(fd).GetRequired() {
			required = append(required, fd.JSONName())
		}
	}
	out := doc{"type": "object", "properties": props}
	if len(required) > 0 {
		out["required"] = required
	}
	if c := comment(d); c != "" {
		out["description"] = c
	}
	return out
}

func (s schemas) field(fd protoreflect.FieldDescriptor) doc {
	switch {
	case fd.IsMap():
		return doc{"type": "object", "additionalProperties": s.kind(fd.MapValue())}
	case fd.IsList():
		return doc{"type": "array", "items": s.kind(fd)}
	}
	return s.kind(fd)
}

func (s schemas) kind(fd protoreflect.FieldDescriptor) doc {
	switch fd.Kind() { //nolint:exhaustive // other kinds are not used in messages of the API
	case protoreflect.BoolKind:
		return doc{"type": "boolean"}
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return doc{"type": "integer"}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return doc{"type": "number"}
	case protoreflect.MessageKind:
		return s.ref(fd.Message())
	}
	out := doc{"type": "string"}
	r := rulesOf(fd)
	if len(r.GetOneOf()) > 0 {
		out["enum"] = r.GetOneOf()
	}
	if r.GetMaxBytes() > 0 {
		out["maxLength"] = r.GetMaxBytes()
	}
	return out
}

func rulesOf(fd protoreflect.FieldDescriptor) *meshpb.Rules {
	r, _ := proto.GetExtension(fd.Options(), meshpb.E_Rules).(*meshpb.Rules)
	return r
}

func errorSchema() doc {
	text := doc{"type": "string"}
	return doc{
		"type":     "object",
		"required": []string{"error", "code"},
		"properties": doc{
			"error": text, "code": text, "requestId": text,
			"details": doc{"type": "array", "items": doc{"type": "object", "properties": doc{"field": text, "rule": text, "message": text}}},
		},
	}
}

func jsonOf(schema doc) doc { return doc{"application/json": doc{"schema": schema}} }

// comment is a descriptor's leading comment on one line. Descriptors that are linked in carry none.
func comment(d protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
