package transcode

import (
	"encoding/json"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/auth"
	"micromesh/pkg/meshpb"
	"micromesh/pkg/schema/source"
)

// object of a JSON document.
type doc = map[string]any

// OpenAPI describes the bindings, and the methods of guests, as an OpenAPI 3.1 document.
func (b *Bindings) OpenAPI(version string, guests ...Guest) ([]byte, error) {
	s := schemas{components: doc{"Error": errorSchema()}}
	paths, ids := doc{}, map[string]int{}
	for _, n := range b.All() {
		s.names = n.names
		ops, ok := paths[n.Pattern].(doc)
		if !ok {
			ops = doc{}
			paths[n.Pattern] = ops
		}
		op := s.operation(n)
		if id := n.names.operation(n.Desc); n.names != nil {
			if ids[id]++; ids[id] > 1 { // another binding of the method
				op["operationId"] = id + strconv.Itoa(ids[id])
			}
		}
		ops[strings.ToLower(n.Method)] = op
	}
	describeGuests(paths, guests)
	return json.MarshalIndent(doc{
		"openapi": "3.1.0",
		"info":    doc{"title": "Micromesh", "version": version, "description": "The HTTP API of the mesh, as its gateway serves it."},
		"paths":   paths,

		"x-mesh-permissions": builtIns(),
		"components": doc{
			"schemas":         s.components,
			"securitySchemes": doc{"bearer": doc{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
		},
	}, "", " ")
}

// builtIns lists the permissions of the mesh's own services.
func builtIns() []doc {
	var out []doc
	for _, b := range auth.BuiltIns() {
		out = append(out, doc{"permission": b.Permission, "everyone": b.Everyone, "allows": b.Allows})
	}
	return out
}

// schemas are the components, and the names that the messages of the service have that is described.
type schemas struct {
	components doc
	names      *names
}

func (s schemas) operation(n *Binding) doc {
	op := doc{
		"operationId":   n.names.operation(n.Desc),
		"summary":       comment(n.Desc),
		"tags":          []string{n.Service},
		"responses":     s.responses(n),
		"x-mesh-method": n.Endpoint,
		"x-mesh-access": n.Caller(),
	}
	if p := n.Access.GetOthers(); p != "" {
		op["x-mesh-access-others"] = "permission " + p
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
	return doc{strconv.Itoa(n.Success): ok, "default": failedResponse()}
}

func failedResponse() doc {
	return doc{"description": "An error", "content": jsonOf(doc{"$ref": "#/components/schemas/Error"})}
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
	for _, p := range queryOf(n.Desc.Input()) {
		if !inPath[p.name] {
			out = append(out, doc{"name": p.name, "in": "query", "schema": s.field(p.fd)})
		}
	}
	return out
}

// ref gives a reference to a message's schema, which it adds where it is missing.
func (s schemas) ref(d protoreflect.MessageDescriptor) doc {
	if known, ok := wellKnown(d); ok {
		return known
	}
	name := s.names.message(d)
	if _, ok := s.components[name]; !ok {
		s.components[name] = doc{} // before its fields: types may refer to each other
		s.components[name] = s.message(d)
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
		if v := since(fd); v > 1 {
			p["x-mesh-since"] = v
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
	switch fd.Kind() { //nolint:exhaustive // the others are texts
	case protoreflect.BoolKind:
		return doc{"type": "boolean"}
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Sint32Kind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return doc{"type": "integer"}
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return int64Schema()
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return doc{"type": "number"}
	case protoreflect.BytesKind:
		return doc{"type": "string", "format": "byte", "contentEncoding": "base64"}
	case protoreflect.EnumKind:
		return enum(fd.Enum())
	case protoreflect.MessageKind, protoreflect.GroupKind:
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

// enum is the names of an enumeration's values.
func enum(d protoreflect.EnumDescriptor) doc {
	if d.FullName() == "google.protobuf.NullValue" {
		return doc{"type": "null"}
	}
	values := make([]string, d.Values().Len())
	for i := range values {
		values[i] = string(d.Values().Get(i).Name())
	}
	return doc{"type": "string", "enum": values}
}

// int64Schema is that of a number that JSON's readers may not hold: it is taken as a number or as a text, and answered as a
// text, as protobuf's JSON is.
func int64Schema() doc {
	return doc{"type": []string{"integer", "string"}, "format": "int64", "pattern": "^-?[0-9]+$"}
}

// wellKnown is the schema of a message that has a form of its own in JSON (https://protobuf.dev/programming-guides/json).
func wellKnown(d protoreflect.MessageDescriptor) (doc, bool) {
	name, ok := strings.CutPrefix(string(d.FullName()), "google.protobuf.")
	if !ok {
		return nil, false
	}
	switch name {
	case "Struct":
		return doc{"type": "object", "additionalProperties": true}, true
	case "Any":
		return doc{"type": "object", "properties": doc{"@type": doc{"type": "string"}}, "additionalProperties": true}, true
	case "Empty":
		return doc{"type": "object"}, true
	case "Value":
		return doc{}, true
	case "ListValue":
		return doc{"type": "array", "items": doc{}}, true
	case "Timestamp":
		return doc{"type": "string", "format": "date-time"}, true
	case "Duration", "FieldMask", "StringValue", "BytesValue":
		return doc{"type": "string"}, true
	case "BoolValue":
		return doc{"type": "boolean"}, true
	case "Int32Value", "UInt32Value":
		return doc{"type": "integer"}, true
	case "Int64Value", "UInt64Value":
		return int64Schema(), true
	case "FloatValue", "DoubleValue":
		return doc{"type": "number"}, true
	}
	return nil, false
}

// Caller says who may call the method: "anyone", "signed in", "role user-svc:admin" or "permission shop-svc:item:edit".
func (n *Binding) Caller() string {
	switch {
	case n.Access.GetRole() != "":
		return "role " + n.Access.GetRole()
	case n.Access.GetPermission() != "":
		return "permission " + n.Access.GetPermission()
	case n.Access.GetCaller() == meshpb.Caller_CALLER_PUBLIC:
		return "anyone"
	}
	return "signed in"
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

// comment is a descriptor's leading comment on one line.
func comment(d protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(source.Location(d).LeadingComments), " ")
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
