package transcode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/errs"
)

// Bounds of a JSON message that no honest caller meets: see [Scan].
const (
	maxDepth  = 64
	maxTokens = 100_000
)

// field of a request message, as a path or a query can name it.
type field struct {
	json string
	kind protoreflect.Kind
	list bool
}

// scalar tells whether one text is one value of the field.
func (f field) scalar() bool { return f.kind != protoreflect.MessageKind && !f.list }

func fieldsOf(d protoreflect.MessageDescriptor) map[string]field {
	out := map[string]field{}
	if d.FullName() == "google.protobuf.Struct" {
		return nil
	}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := field{json: fd.JSONName(), kind: fd.Kind(), list: fd.IsList()}
		if fd.IsMap() {
			f.kind = protoreflect.MessageKind
		}
		out[fd.JSONName()] = f
		out[string(fd.Name())] = f
	}
	return out
}

// Message makes the JSON message of a call from the request's body, path parameters and query. Path parameters win
// over fields of the same name in the body; the query counts where the binding has no body.
//
// Errors: Invalid, with what is wrong and what would be right.
func (n *Binding) Message(body []byte, params []string, query string) ([]byte, error) {
	if n.HasBody {
		var err error
		if body, err = object(body); err != nil {
			return nil, err
		}
		if len(params) == 0 {
			return body, nil
		}
	} else {
		body = []byte("{}")
	}
	msg := map[string]json.RawMessage{}
	if n.HasBody {
		if err := json.Unmarshal(body, &msg); err != nil {
			return nil, errs.New(errs.Invalid, "INVALID_JSON", "the body is not valid JSON: %s", err)
		}
	} else if err := n.fromQuery(query, msg); err != nil {
		return nil, err
	}
	if err := n.fromPath(params, msg); err != nil {
		return nil, err
	}
	return json.Marshal(msg)
}

// Merge makes the JSON message of a call whose parameters come from wherever they are: the body, if there is one; the query, which
// wins over it; and named ones, still percent-encoded, which win over both.
//
// Errors: Invalid, with what is wrong and what would be right; Internal for a name that the message doesn't have.
func (n *Binding) Merge(body []byte, query string, named map[string]string) ([]byte, error) {
	body, err := object(body)
	if err != nil {
		return nil, err
	}
	msg := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &msg); err != nil {
		return nil, errs.New(errs.Invalid, "INVALID_JSON", "the body is not valid JSON: %s", err)
	}
	if err := n.fromQuery(query, msg); err != nil {
		return nil, err
	}
	for name, encoded := range named {
		f, ok := n.named(name)
		if !ok || !f.scalar() {
			return nil, fmt.Errorf("merge message of %s.%s: it has no plain field %s", n.Service, n.Endpoint, name)
		}
		text, err := url.PathUnescape(encoded)
		if err != nil {
			return nil, errs.Field(name, "encoding", "is not valid percent-encoding in the path")
		}
		if msg[f.json], err = f.value(text); err != nil {
			return nil, err
		}
	}
	return json.Marshal(msg)
}

// object checks that a body is one JSON object; an empty body is the empty one.
func object(body []byte) ([]byte, error) {
	trimmed := bytes.Trim(body, " \t\r\n")
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return []byte("{}"), nil
	}
	if trimmed[0] != '{' {
		return nil, errs.New(errs.Invalid, "INVALID_JSON", "the body must be a JSON object, such as {\"slug\":\"…\"}")
	}
	if err := Scan(trimmed); err != nil {
		return nil, err
	}
	return trimmed, nil
}

func (n *Binding) fromPath(params []string, msg map[string]json.RawMessage) error {
	i := 0
	for _, seg := range n.segments {
		if seg.param == "" {
			continue
		}
		text, err := url.PathUnescape(params[i])
		if err != nil {
			return errs.Field(seg.param, "encoding", "is not valid percent-encoding in the path")
		}
		v, err := seg.field.value(text)
		if err != nil {
			return err
		}
		msg[seg.param] = v
		i++
	}
	return nil
}

func (n *Binding) fromQuery(query string, msg map[string]json.RawMessage) error {
	if query == "" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errs.Invalidf("the query is not valid: %s", err)
	}
	for name, list := range values {
		if n.query == nil { // google.protobuf.Struct takes what comes
			v, err := field{json: name, kind: protoreflect.StringKind}.value(list[0])
			if err != nil {
				return err
			}
			msg[name] = v
			continue
		}
		f, ok := n.named(name)
		if !ok {
			continue // as unknown fields of a body
		}
		if name != f.json && values.Has(f.json) { // the field's other name
			return errs.Field(f.json, "conflict", "is in the query by two names: %s and %s", f.json, name)
		}
		v, err := f.values(list)
		if err != nil {
			return err
		}
		msg[f.json] = v
	}
	return nil
}

func (f field) values(list []string) (json.RawMessage, error) {
	if !f.list {
		return f.value(list[len(list)-1])
	}
	out := make([]json.RawMessage, len(list))
	for i, s := range list {
		v, err := f.value(s)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return json.Marshal(out)
}

// value turns text into the JSON value of the field's kind.
func (f field) value(text string) (json.RawMessage, error) {
	switch f.kind { //nolint:exhaustive // the others are texts, or refused by the service
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, errs.Field(f.json, "type", "must be true or false")
		}
		return strconv.AppendBool(nil, b), nil
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errs.Field(f.json, "type", "must be a whole number")
		}
		return strconv.AppendInt(nil, i, 10), nil
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) { // which JSON has not
			return nil, errs.Field(f.json, "type", "must be a number")
		}
		return json.Marshal(x)
	}
	if !utf8.ValidString(text) { // JSON would hold another text in its place
		return nil, errs.Field(f.json, "encoding", "is not UTF-8")
	}
	return json.Marshal(text)
}

// Scan refuses JSON that would cost more to decode than a message is worth: nested deeper than 64, or of more than
// 100,000 values. What is not JSON at all is left to the decoder, which says where.
func Scan(b []byte) error {
	depth, tokens := 0, 0
	inString := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString:
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
		case c == '"':
			inString = true
			tokens++
		case c == '{' || c == '[':
			depth++
			tokens++
		case c == '}' || c == ']':
			depth--
		case c == ',':
			tokens++
		}
		if depth > maxDepth {
			return errs.New(errs.Invalid, "INVALID_JSON", "the body is nested deeper than %d levels", maxDepth)
		}
		if tokens > maxTokens {
			return errs.New(errs.Invalid, "INVALID_JSON", "the body has more than %d values", maxTokens)
		}
	}
	return nil
}
