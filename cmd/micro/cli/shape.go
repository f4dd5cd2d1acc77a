package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"micromesh/pkg/errs"
	"micromesh/pkg/nearest"
)

// shape is a schema of the OpenAPI document, as far as the gateway makes use of JSON Schema.
type shape struct {
	Ref        string `json:"$ref"`
	Type       any    // a text or a list of texts
	Format     string
	Enum       []string
	Properties map[string]*shape
	Required   []string
	Items      *shape
	Additional json.RawMessage `json:"additionalProperties"` // true, or the values' schema
}

const mostWrong = 20 // of one input: more tell nobody more

// checker collects what is wrong with an input.
type checker struct {
	doc   *description
	wrong []errs.Detail
}

// check tells everything that is wrong with the fields before they are sent, as far as the document tells what they must
// be: the service checks again. Fields that go by the name that they have in the .proto are renamed to that of JSON.
func (d *description) check(o *operation, fields map[string]any) error {
	c := &checker{doc: d}
	c.fields("", o.input(d), fields)
	if len(c.wrong) == 0 {
		return nil
	}
	texts := make([]string, len(c.wrong))
	for i, w := range c.wrong {
		texts[i] = w.Field + " " + w.Message
	}
	return errs.New(errs.Invalid, "", "%s.%s: %s", o.slug, o.name(), strings.Join(texts, "; ")).With(c.wrong...)
}

// input is the shape of the fields that an operation takes; nil takes what comes.
func (o *operation) input(d *description) *shape {
	body := d.resolve(o.RequestBody.Content["application/json"].Schema)
	if body == nil && len(o.Parameters) == 0 {
		return nil
	}
	in := &shape{Properties: map[string]*shape{}}
	if body != nil {
		if body.Properties == nil {
			return nil
		}
		in.Additional = body.Additional
		for name, p := range body.Properties {
			in.Properties[name] = p
		}
		in.Required = slices.Clone(body.Required)
	}
	for _, p := range o.Parameters {
		in.Properties[p.Name] = p.Schema
		if p.Required && !slices.Contains(in.Required, p.Name) {
			in.Required = append(in.Required, p.Name)
		}
	}
	return in
}

// resolve follows a reference.
func (d *description) resolve(s *shape) *shape {
	for range 10 { // a document that refers to itself is of no gateway
		if s == nil || s.Ref == "" {
			return s
		}
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return nil
}

func (c *checker) add(field, format string, args ...any) {
	if len(c.wrong) < mostWrong {
		c.wrong = append(c.wrong, errs.Detail{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// fields checks an object.
func (c *checker) fields(path string, s *shape, fields map[string]any) {
	if s == nil {
		return
	}
	for _, name := range sortedKeys(fields) {
		p, ok := s.Properties[name]
		if other := camel(name); !ok && s.Properties[other] != nil { // in the .proto
			if _, both := fields[other]; both {
				c.add(path+other, "is given by two names: %s and %s", other, name)
				continue
			}
			fields[other] = fields[name]
			delete(fields, name)
			name, p, ok = other, s.Properties[other], true
		}
		switch {
		case ok:
			c.value(path+name, p, fields[name])
		case len(s.Additional) > 0 && string(s.Additional) != "false":
			c.value(path+name, s.values(), fields[name])
		case s.Properties != nil:
			c.add(path+name, "is no field%s", s.instead(name))
		}
	}
	for _, name := range s.Required {
		if v := fields[name]; v == nil || v == "" {
			c.add(path+name, "is required")
		}
	}
}

// values is the shape of fields that the schema doesn't name.
func (s *shape) values() *shape {
	var v shape
	if json.Unmarshal(s.Additional, &v) != nil { // true
		return nil
	}
	return &v
}

// instead says what else an unknown field may have been meant to be.
func (s *shape) instead(name string) string {
	known := sortedKeys(s.Properties)
	if len(known) == 0 {
		return ": there are none"
	}
	best := nearest.Name(name, known)
	if best == "" {
		return ": there are " + strings.Join(known, ", ")
	}
	return ": did you mean " + best + "?"
}

// value checks one value. Protobuf's JSON takes numbers as texts too, and null for nothing.
func (c *checker) value(path string, s *shape, v any) {
	if s = c.doc.resolve(s); s == nil || v == nil {
		return
	}
	types := s.types()
	if len(types) == 0 {
		return
	}
	if !slices.ContainsFunc(types, func(t string) bool { return has(t, v) }) {
		c.add(path, "must be %s, not %s", article[types[0]], article[kindOf(v)])
		return
	}
	switch v := v.(type) {
	case map[string]any:
		c.fields(path+".", s, v)
	case []any:
		for i, one := range v {
			c.value(fmt.Sprintf("%s[%d]", path, i), s.Items, one)
		}
	case string:
		if len(s.Enum) > 0 && v != "" && !slices.Contains(s.Enum, v) {
			c.add(path, "must be one of %s", strings.Join(s.Enum, ", "))
		}
	}
}

func (s *shape) types() (out []string) {
	if s.Format == "int64" {
		return []string{"integer"} // which may be written as a text
	}
	switch t := s.Type.(type) {
	case string:
		return []string{t}
	case []any:
		for _, one := range t {
			if text, ok := one.(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}

var article = map[string]string{
	"string": "a text", "number": "a number", "integer": "a whole number", "boolean": "true or false", "array": "a list", "object": "an object", "null": "null",
}

// has tells whether a value is of a type.
func has(t string, v any) bool {
	switch v := v.(type) {
	case string:
		return t == "string" || (t == "number" || t == "integer") && numeric(v, t == "integer")
	case json.Number:
		return t == "number" || t == "integer" && numeric(v.String(), true)
	case bool:
		return t == "boolean"
	case []any:
		return t == "array"
	case map[string]any:
		return t == "object"
	}
	return true
}

// kindOf is the type that a value has.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case json.Number:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	}
	return "object"
}

func numeric(s string, whole bool) bool {
	f, err := strconv.ParseFloat(s, 64)
	return err == nil && (!whole || f == math.Trunc(f))
}

// camel is the name in JSON of a field as a .proto calls it.
func camel(s string) string {
	parts := strings.Split(s, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
