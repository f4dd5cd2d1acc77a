package transcode

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"go-micro.dev/v5/registry"
)

// Guest is a service in plain go-micro whose methods can be called by their names, as it registered them.
type Guest struct {
	Name, Version string
	Endpoints     []*registry.Endpoint
}

// Bounds of a description, since guests describe themselves.
const (
	mostGuestMethods = 1000   // of one guest
	mostGuestFields  = 20_000 // of all guests; further ones are left out
)

var (
	pathForm   = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`) // of a guest's name
	methodForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$`)
)

// Unary reports whether an endpoint of go-micro has one request and one answer. Streams don't, nor do subscribers, which go-micro lists too.
func Unary(e *registry.Endpoint) bool {
	return e.Metadata["stream"] != "true" && e.Metadata["subscriber"] != "true" && e.Metadata["topic"] == ""
}

// path is that of a guest's method.
func (g Guest) path(e *registry.Endpoint) string { return "/" + g.Name + "/" + e.Name }

// methods are the endpoints that can be called by their names, each once, sorted.
func (g Guest) methods() []*registry.Endpoint {
	if !pathForm.MatchString(g.Name) || g.Name == "." || g.Name == ".." {
		return nil
	}
	list := slices.DeleteFunc(slices.Clone(g.Endpoints), func(e *registry.Endpoint) bool { return e == nil || !Unary(e) || !methodForm.MatchString(e.Name) })
	slices.SortStableFunc(list, func(x, y *registry.Endpoint) int { return cmp.Compare(x.Name, y.Name) })
	list = slices.CompactFunc(list, func(x, y *registry.Endpoint) bool { return x.Name == y.Name })
	return list[:min(len(list), mostGuestMethods)]
}

// guestSchemas describes the types that guests have registered. go-micro registers three levels of them.
type guestSchemas struct{ left int }

// operation describes a method. It is marked as a guest's.
func (s *guestSchemas) operation(g Guest, e *registry.Endpoint) doc {
	op := doc{
		"operationId": g.Name + "." + e.Name, "tags": []string{g.Name},
		"requestBody":  doc{"content": jsonOf(s.object(e.Request))},
		"responses":    doc{"200": doc{"description": "Success", "content": jsonOf(s.object(e.Response))}, "default": failedResponse()},
		"x-mesh-guest": true, "x-mesh-method": e.Name, "x-mesh-access": "anyone",
		"summary": e.Name + " of a service in plain go-micro",
	}
	if g.Version != "" {
		op["x-mesh-version"] = g.Version
	}
	return op
}

// object describes a message. Fields that go-micro doesn't register may be there too.
func (s *guestSchemas) object(v *registry.Value) doc {
	properties := doc{}
	for _, f := range s.fields(v) {
		properties[f.Name] = s.value(f)
	}
	return doc{"type": "object", "properties": properties, "additionalProperties": true}
}

// fields are those of a struct, with those of structs that are embedded in it.
func (s *guestSchemas) fields(v *registry.Value) (out []*registry.Value) {
	if v == nil {
		return nil
	}
	for _, f := range v.Values {
		switch {
		case f == nil || s.left <= 0:
		case f.Name == f.Type && len(f.Values) > 0:
			out = append(out, s.fields(f)...)
		case f.Name == f.Type: // go-micro's gRPC server registers a field without a tag by its type
		default:
			s.left--
			out = append(out, f)
		}
	}
	return out
}

func (s *guestSchemas) value(v *registry.Value) doc {
	f := registeredField(v)
	var out doc
	switch f.form { //nolint:exhaustive // other types may have any form
	case formBool:
		out = doc{"type": "boolean"}
	case formInt, formUint:
		out = doc{"type": "integer"}
	case formFloat:
		out = doc{"type": "number"}
	case formBytes:
		out = doc{"type": "string", "format": "byte", "contentEncoding": "base64"}
	case formMessage:
		out = s.object(v)
	default:
		if out = (doc{}); strings.TrimPrefix(v.Type, "[]") == "string" {
			out["type"] = "string"
		}
	}
	if f.list {
		return doc{"type": "array", "items": out}
	}
	return out
}

// describeGuests adds guests to the paths of a description.
func describeGuests(paths doc, guests []Guest) {
	s := guestSchemas{left: mostGuestFields}
	for _, g := range guests {
		for _, e := range g.methods() {
			paths[g.path(e)] = doc{"post": s.operation(g, e)}
		}
	}
}

// docsOfGuests describes guests for people.
func docsOfGuests(guests []Guest) (out []*docsService) {
	s := guestSchemas{left: mostGuestFields}
	for _, g := range guests {
		one := &docsService{Slug: g.Name, Guest: true, Version: g.Version}
		for _, e := range g.methods() {
			one.Methods = append(one.Methods, docsMethod{
				ID: g.Name + "/POST" + g.path(e), HTTP: "POST", Path: g.path(e), Name: e.Name, Caller: "anyone", Public: true, Status: 200,
				Fields: s.docs("", "body", e.Request), Answer: docsRef{Name: "the fields below"}, Returns: s.docs("", "", e.Response),
			})
		}
		if len(one.Methods) > 0 {
			out = append(out, one)
		}
	}
	return out
}

// docs lists the fields of a message, those within named with dots.
func (s *guestSchemas) docs(before, in string, v *registry.Value) (out []docsField) {
	for _, f := range s.fields(v) {
		if registeredField(f).form == formMessage {
			out = append(out, s.docs(before+f.Name+".", in, f)...)
			continue
		}
		out = append(out, docsField{Name: before + f.Name, In: in, Type: docsRef{Name: cmp.Or(f.Type, "any type")}})
	}
	return out
}
