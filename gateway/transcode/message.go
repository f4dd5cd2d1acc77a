package transcode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"

	"micromesh/pkg/errs"
)

// Bounds of a JSON message that no honest caller meets: see [Scan].
const (
	maxDepth  = 64
	maxTokens = 100_000
)

// Message makes the JSON message of a call from the request's body, path parameters and query. Path parameters win
// over fields of the same name in the body; the query counts where the binding has no body.
//
// Errors: Invalid, with what is wrong and what would be right.
func (n *Binding) Message(body []byte, params []string, query string) ([]byte, error) {
	t := tree{}
	if n.HasBody {
		var err error
		if body, err = n.Body(body); err != nil || len(params) == 0 {
			return body, err
		}
		if t, err = open(body, n.query); err != nil {
			return nil, err
		}
	} else if err := n.fromQuery(query, t); err != nil {
		return nil, err
	}
	if err := n.fromPath(params, t); err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

// Merge makes the JSON message of a call whose parameters come from wherever they are: the body, if there is one; the query, which
// wins over it; and named ones, still percent-encoded, which win over both.
//
// Errors: Invalid, with what is wrong and what would be right; Internal for a name that the message doesn't have.
func (n *Binding) Merge(body []byte, query string, named map[string]string) ([]byte, error) {
	body, err := n.Body(body)
	if err != nil {
		return nil, err
	}
	t, err := open(body, n.query)
	if err != nil {
		return nil, err
	}
	if err := n.fromQuery(query, t); err != nil {
		return nil, err
	}
	for name, encoded := range named {
		path, known, err := n.parameter(name)
		if err != nil || !known || !path[len(path)-1].scalar() {
			return nil, fmt.Errorf("merge message of %s.%s: it has no plain field %s", n.Service, n.Endpoint, name)
		}
		text, err := url.PathUnescape(encoded)
		if err != nil {
			return nil, errs.Field(name, "encoding", "is not valid percent-encoding in the path")
		}
		v, err := n.guessed(path, []string{text}).value(name, text)
		if err != nil {
			return nil, err
		}
		if err := t.set(name, path, v); err != nil {
			return nil, err
		}
	}
	n.sent, err = json.Marshal(t)
	return n.sent, err
}

// Body returns the message of a call whose body is all of it: one JSON object. An empty body is the empty one.
//
// Errors: Invalid for other JSON, members of one name, and values that an enumeration doesn't have.
func (n *Binding) Body(body []byte) ([]byte, error) {
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
	c := checker{walker: walker{b: trimmed}}
	c.message(n)
	return trimmed, c.err()
}

func (n *Binding) fromPath(params []string, t tree) error {
	i := 0
	for _, seg := range n.segments {
		if seg.param == "" {
			continue
		}
		text, err := url.PathUnescape(params[i])
		if err != nil {
			return errs.Field(seg.param, "encoding", "is not valid percent-encoding in the path")
		}
		v, err := seg.field.value(seg.param, text)
		if err != nil {
			return err
		}
		t[seg.param] = v
		i++
	}
	return nil
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
