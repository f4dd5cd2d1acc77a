package transcode

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"micromesh/pkg/errs"
)

// tree is a JSON object that is being made. Its values are json.RawMessage, or a tree where something within was set.
type tree map[string]any

// open returns a tree of a JSON object, whose members have their names in JSON.
func open(object []byte, of fields) (tree, error) {
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(object, &raw); err != nil {
		return nil, errs.New(errs.Invalid, "INVALID_JSON", "the body is not valid JSON: %s", err)
	}
	t := make(tree, len(raw))
	for name, v := range raw {
		t[canonical(name, of)] = v
	}
	return t, nil
}

// canonical is a field's name in JSON. Names that are not known stay.
func canonical(name string, of fields) string {
	if of != nil {
		if f, ok := of.find(name); ok {
			return f.json
		}
	}
	return name
}

// set sets a value within. Name is that of the parameter in errors.
func (t tree) set(name string, path []field, v json.RawMessage) error {
	for _, f := range path[:len(path)-1] {
		next, ok := t[f.json].(tree)
		if !ok {
			raw, _ := t[f.json].(json.RawMessage)
			if trimmed := strings.TrimSpace(string(raw)); trimmed == "" || trimmed == "null" {
				raw = json.RawMessage("{}")
			}
			var err error
			if next, err = open(raw, f.of); err != nil {
				return errs.Field(name, "type", "is within %s, which the body has as another type than an object", f.json)
			}
			t[f.json] = next
		}
		t = next
	}
	t[path[len(path)-1].json] = v
	return nil
}

// fromQuery sets the fields that a query names.
//
// Errors: Invalid, naming the parameter, for each that names a field which it can't set.
func (n *Binding) fromQuery(query string, t tree) error {
	if query == "" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errs.Invalidf("the query is not valid: %s", err)
	}
	seen, chosen := map[string]string{}, map[string]string{} // parameters by the fields, and fields by the oneofs, that they set
	for _, name := range slices.Sorted(maps.Keys(values)) {
		path, known, err := n.parameter(name)
		if err != nil {
			return err
		}
		if !known {
			continue // as unknown fields of a body
		}
		full := dotted(path)
		if other, taken := seen[full]; taken {
			return errs.Field(full, "conflict", "is in the query by two names: %s and %s", other, name)
		}
		seen[full] = name
		if err := choose(chosen, path); err != nil {
			return err
		}
		v, err := n.guessed(path, values[name]).values(name, values[name])
		if err != nil {
			return err
		}
		if err := t.set(name, path, v); err != nil {
			return err
		}
	}
	return nil
}

// choose notes the members of oneofs that a field is in.
//
// Errors: Invalid if another member of one is set.
func choose(chosen map[string]string, path []field) error {
	for i, f := range path {
		if f.oneof == "" {
			continue
		}
		full, of := dotted(path[:i+1]), dotted(path[:i])+"."+f.oneof
		if other, taken := chosen[of]; taken && other != full {
			return errs.Field(full, "oneof", "is in the query beside %s: only one of the two can be set", other)
		}
		chosen[of] = full
	}
	return nil
}

// dotted is the name of a field within others.
func dotted(path []field) string {
	names := make([]string, len(path))
	for i, f := range path {
		names[i] = f.json
	}
	return strings.Join(names, ".")
}

// parameter returns the field that a parameter names, behind the messages that it is in. It reports whether there is one. An
// unknown field is a text where the message may have any.
//
// Errors: Invalid if no text sets the field.
func (n *Binding) parameter(name string) (path []field, known bool, err error) {
	if n.query != nil {
		if path, err = lookUp(n.query, name); err != nil {
			return nil, true, err
		}
		if path != nil {
			return path, true, nil
		}
		if !n.open {
			return nil, false, nil
		}
	}
	return []field{{json: name}}, true, nil
}

// lookUp follows the dots of a parameter's name. It returns nil if a message has no such field.
//
// Errors: Invalid if no text sets the field, or if a field before a dot is no message.
func lookUp(of fields, name string) (path []field, err error) {
	for rest := name; ; {
		f, ok := of.find(rest)
		if ok {
			path = append(path, f)
			return path, settable(f, name)
		}
		head, tail, dot := strings.Cut(rest, ".")
		if base, _, bracket := strings.Cut(head, "["); bracket {
			if f, ok = of.find(base); ok {
				return nil, bracketed(f, name)
			}
		}
		if !dot {
			return nil, nil
		}
		if f, ok = of.find(head); !ok || len(path) == maxDepth {
			return nil, nil
		}
		if f.form != formMessage || f.list || f.of == nil {
			return nil, within(f, name)
		}
		path, of, rest = append(path, f), f.of, tail
	}
}

// settable returns the error of a parameter that names a field which no text sets.
func settable(f field, name string) error {
	switch {
	case f.mapped():
		return nil
	case f.form == formMap:
		return errs.Field(name, "query", "is a map, which no query can hold")
	case f.form == formFree:
		return errs.Field(name, "query", "is any JSON, which no query can hold")
	case f.list:
		return errs.Field(name, "query", "is a list of messages, which no query can hold")
	}
	for _, one := range f.of.names() {
		if inner, ok := f.of.find(one); ok && inner.mapped() {
			return errs.Field(name, "query", "is a message: name the fields within, such as %s.%s", name, one)
		}
	}
	return errs.Field(name, "query", "is a message without fields that a query can hold")
}

// within returns the error of a parameter that leads into a field that has no fields.
func within(f field, name string) error {
	if err := settable(f, f.json); err != nil {
		return errs.Field(name, "query", "can't be set: %s", err)
	}
	return errs.Field(name, "query", "names a field of %s, which is no message", f.json)
}

// bracketed returns the error of a parameter with brackets, which mean nothing here.
func bracketed(f field, name string) error {
	if f.list && f.mapped() {
		return errs.Field(name, "query", "has brackets: repeat %s=… for each value", f.json)
	}
	if err := settable(f, f.json); err != nil {
		return errs.Field(name, "query", "can't be set: %s", err)
	}
	return errs.Field(name, "query", "has brackets, which no query can have: name %s alone", f.json)
}
