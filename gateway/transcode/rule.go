package transcode

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/meshpb"
)

var (
	literalForm = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()+,;=:@-]+$`) // a segment without encoding (RFC 3986, section 3.3)
	paramForm   = regexp.MustCompile(`^\{[A-Za-z_][A-Za-z0-9_]*\}$`)
)

// takes refuses methods whose messages have no JSON object, or are not meant for JSON.
func takes(m protoreflect.MethodDescriptor) error {
	for what, d := range map[string]protoreflect.MessageDescriptor{"request": m.Input(), "answer": m.Output()} {
		if d.FullName() == "google.api.HttpBody" {
			return fmt.Errorf("the %s is google.api.HttpBody, which is not supported: use a message with fields", what)
		}
	}
	switch d := m.Input(); {
	case !strings.HasPrefix(string(d.FullName()), "google.protobuf."), d.Name() == "Struct", d.Name() == "Empty":
		return nil
	default:
		return fmt.Errorf("the request is %s, whose JSON is no object of fields: put it into a message", d.FullName())
	}
}

// bind adds a binding. It refuses all of google.api.http that is not supported.
func (b *Bindings) bind(m protoreflect.MethodDescriptor, r *annotations.HttpRule, access *meshpb.Access, success int) error {
	method, path, err := pattern(r)
	if err != nil {
		return err
	}
	switch {
	case r.Selector != "":
		return fmt.Errorf("selector %q is not supported: the option is the method's own; leave selector out", r.Selector)
	case r.ResponseBody != "":
		return fmt.Errorf("response_body %q is not supported: the answer is the whole message; leave response_body out", r.ResponseBody)
	case r.Body != "" && r.Body != "*":
		return fmt.Errorf("body %q: only \"*\" is supported, which is the whole message", r.Body)
	case r.Body != "" && method == http.MethodGet:
		return errors.New("body can't be with get, whose requests have none: leave it out, or bind with post")
	}
	n := &Binding{
		Endpoint: string(m.Parent().Name()) + "." + string(m.Name()),
		Method:   method, Success: success, HasBody: r.Body == "*", Access: access, Desc: m, query: fieldsOf(m.Input()),
	}
	if err := n.compile(path); err != nil {
		return err
	}
	b.byService[n.Service] = append(b.byService[n.Service], n)
	return nil
}

func pattern(r *annotations.HttpRule) (method, path string, err error) {
	switch p := r.Pattern.(type) {
	case *annotations.HttpRule_Get:
		method, path = http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		method, path = http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		method, path = http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		method, path = http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		method, path = http.MethodPatch, p.Patch
	case *annotations.HttpRule_Custom:
		return "", "", fmt.Errorf("custom method %q is not supported: use get, put, post, delete or patch", p.Custom.GetKind())
	}
	if !strings.HasPrefix(path, "/") {
		return "", "", errors.New("the binding names no method and path: add one such as get: \"/shop-svc/items\"")
	}
	return method, path, nil
}

// compile reads the path of a binding.
func (n *Binding) compile(path string) error {
	for i, s := range strings.Split(path[1:], "/") {
		seg, err := n.segment(s)
		switch {
		case err != nil:
			return fmt.Errorf("path %q: %w", path, err)
		case seg.param == "":
			n.Pattern += "/" + seg.literal
		case i == 0:
			return errors.New("the path's first segment must be the service's slug")
		case slices.ContainsFunc(n.segments, func(one segment) bool { return one.param == seg.param }):
			return fmt.Errorf("path %q: {%s} is there twice", path, seg.param)
		default:
			n.Pattern += "/{" + seg.param + "}"
		}
		n.segments = append(n.segments, seg)
	}
	n.Service = n.segments[0].literal
	return nil
}

// segment reads a segment of a path: plain text, or a field of the request in braces.
func (n *Binding) segment(s string) (segment, error) {
	const right = "a segment must be plain text or a field such as {id}"
	_, verb, closed := strings.Cut(s, "}:")
	switch {
	case literalForm.MatchString(s) && s != "." && s != "..":
		return segment{literal: s}, nil
	case s == "":
		return segment{}, errors.New("it has an empty segment, or a slash at its end: take it away")
	case s == "*" || s == "**":
		return segment{}, fmt.Errorf("%s is not supported: %s", s, right)
	case strings.Contains(s, "=") && strings.HasPrefix(s, "{"):
		return segment{}, errors.New("a pattern behind = is not supported: " + right)
	case closed:
		return segment{}, fmt.Errorf("the verb :%s behind a field is not supported: make it a segment, /%s", verb, verb)
	case strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && strings.Contains(s, "."):
		return segment{}, fmt.Errorf("%s is a field of a field, which is not supported: %s", s, right)
	case !paramForm.MatchString(s):
		return segment{}, fmt.Errorf("%q is not supported: %s", s, right)
	}
	name := s[1 : len(s)-1]
	if n.query != nil {
		if f, ok := n.query.find(name); ok && f.scalar() {
			return segment{param: f.json, field: f}, nil
		}
	}
	return segment{}, fmt.Errorf("the path's {%s} is not a plain field of %s", name, n.Desc.Input().FullName())
}
