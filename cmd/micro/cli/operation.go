package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/errs"
)

// description is what is read of the gateway's OpenAPI document.
type description struct {
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]*shape }
}

// operation is a method of a service at one HTTP method and path.
type operation struct {
	OperationID string
	Endpoint    string `json:"x-mesh-method"` // "UserService.Login"
	Parameters  []parameter
	RequestBody struct {
		Content map[string]struct{ Schema *shape }
	}

	slug, method, path string
}

type parameter struct {
	Name, In string
	Required bool
	Schema   *shape
}

// describe reads what the gateway serves, by slug; operations of a slug are sorted by their paths.
func (a *api) describe(ctx context.Context) (*description, map[string][]*operation, error) {
	var doc description
	if err := a.send(ctx, http.MethodGet, "/openapi.json", "", nil, &doc); err != nil {
		return nil, nil, err
	}
	bySlug := map[string][]*operation{}
	for path, methods := range doc.Paths {
		slug, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		for method, o := range methods {
			if o == nil {
				continue
			}
			o.slug, o.method, o.path = slug, strings.ToUpper(method), path
			bySlug[slug] = append(bySlug[slug], o)
		}
	}
	for _, list := range bySlug {
		slices.SortFunc(list, func(x, y *operation) int { return strings.Compare(x.path+" "+x.method, y.path+" "+y.method) })
	}
	return &doc, bySlug, nil
}

// name is the method's own name, as the command line takes it.
func (o *operation) name() string { return o.OperationID[strings.LastIndexByte(o.OperationID, '.')+1:] }

// service is the method's service within the slug; empty where the gateway doesn't tell.
func (o *operation) service() string { s, _, _ := strings.Cut(o.Endpoint, "."); return s }

// is tells whether a name is the method's.
func (o *operation) is(service, method string) bool {
	own := o.name()
	if _, m, ok := strings.Cut(o.Endpoint, "."); ok {
		own = m
	}
	return strings.EqualFold(own, method) && (service == "" || strings.EqualFold(o.service(), service))
}

// operation finds a method by its name in the gateway's OpenAPI document, checks the JSON against what it takes, and puts
// path parameters from the JSON into the path.
func (a *api) operation(ctx context.Context, name, body string) (method, path, rest string, err error) {
	service, op, ok := strings.Cut(name, ".")
	if !ok {
		return "", "", "", usagef("%q is neither an HTTP method with a path nor SERVICE.METHOD", name)
	}
	fields, err := object(body)
	if err != nil {
		return "", "", "", err
	}
	doc, bySlug, err := a.describe(ctx)
	if err != nil {
		return "", "", "", err
	}
	for slug := range bySlug { // which may have dots
		if rest, found := strings.CutPrefix(name, slug+"."); found && len(slug) > len(service) {
			service, op = slug, rest
		}
	}
	slug, err := pickSlug(bySlug, service)
	if err != nil {
		return "", "", "", err
	}
	o, err := pickOperation(bySlug[slug], slug, op, fields)
	if err != nil {
		return "", "", "", err
	}
	o.flatten(fields)
	if err := doc.check(o, fields); err != nil {
		return "", "", "", err
	}
	path, rest, err = o.fill(fields)
	return o.method, path, rest, err
}

// pickSlug finds the service: by its slug, by the slug without "-svc", or by the name that it has in its .proto, with or
// without "Service".
func pickSlug(bySlug map[string][]*operation, name string) (string, error) {
	if len(bySlug[name]) > 0 {
		return name, nil
	}
	var fit []string
	for slug, list := range bySlug {
		if strings.EqualFold(slug, name) || strings.EqualFold(slug, name+"-svc") || slices.ContainsFunc(list, func(o *operation) bool {
			return strings.EqualFold(o.service(), name) || strings.EqualFold(o.service(), name+"Service")
		}) {
			fit = append(fit, slug)
		}
	}
	slices.Sort(fit)
	switch len(fit) {
	case 0:
		return "", errs.NotFoundf("the mesh describes no service %q: see its /docs, or name an HTTP method and a path", name)
	case 1:
		return fit[0], nil
	}
	return "", usagef("%q may be %s: name one of them", name, strings.Join(fit, " or "))
}

// pickOperation finds the method of a service. Where it has several paths the one counts that takes the most of the fields.
func pickOperation(list []*operation, slug, name string, fields map[string]any) (*operation, error) {
	service, method := "", name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		service, method = name[:i], name[i+1:]
	}
	var fit []*operation
	var known []string
	for _, o := range list {
		known = append(known, o.name())
		if o.is(service, method) {
			fit = append(fit, o)
		}
	}
	if len(fit) == 0 {
		slices.Sort(known)
		return nil, errs.NotFoundf("%s has no method %q; it has %s", slug, name, strings.Join(slices.Compact(known), ", "))
	}
	best := fit[0]
	for _, o := range fit[1:] {
		if o.Endpoint != best.Endpoint {
			return nil, usagef("%s.%s may be %s.%s or %s.%s: name one of them", slug, name, slug, best.Endpoint, slug, o.Endpoint)
		}
		if o.takes(fields) > best.takes(fields) {
			best = o
		}
	}
	return best, nil
}

// takes counts the fields that go into the path; -1 where one of them is missing.
func (o *operation) takes(fields map[string]any) (n int) {
	for _, p := range o.Parameters {
		if p.In != "path" {
			continue
		}
		if _, ok := fields[p.Name]; !ok {
			return -1
		}
		n++
	}
	return n
}

// object reads a JSON object, with its numbers as they are written; nothing is an empty one.
func object(body string) (map[string]any, error) {
	fields := map[string]any{}
	if strings.TrimSpace(body) == "" {
		return fields, nil
	}
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	err := dec.Decode(&fields)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return nil, usagef("the body must be a JSON object: %s", err)
	}
	if fields == nil { // null
		fields = map[string]any{}
	}
	return fields, nil
}

// flatten turns objects into the parameters that an operation without a body has for the fields within: "filter.owner".
func (o *operation) flatten(fields map[string]any) {
	if o.RequestBody.Content != nil {
		return
	}
	for again := true; again; {
		again = false
		for _, name := range sortedKeys(fields) {
			within, ok := fields[name].(map[string]any)
			if !ok || !slices.ContainsFunc(o.Parameters, func(p parameter) bool { return strings.HasPrefix(p.Name, camel(name)+".") }) {
				continue
			}
			delete(fields, name)
			for k, v := range within {
				fields[name+"."+k] = v
			}
			again = true
		}
	}
}

// fill puts the fields that a path names into it, and all others into the body, or into the query of what has none.
func (o *operation) fill(fields map[string]any) (path, body string, err error) {
	segments := strings.Split(o.path, "/")
	for i, s := range segments {
		if !strings.HasPrefix(s, "{") {
			continue
		}
		name := strings.Trim(s, "{}")
		v, ok := fields[name]
		if !ok {
			return "", "", usagef("the method takes %s: give it as '{%q: …}'", name, name)
		}
		segments[i] = url.PathEscape(fmt.Sprint(v))
		delete(fields, name)
	}
	path = strings.Join(segments, "/")
	if o.RequestBody.Content == nil {
		q := url.Values{}
		for k, v := range fields {
			if v == nil {
				continue
			}
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			for _, one := range list {
				q.Add(k, fmt.Sprint(one))
			}
		}
		if len(q) > 0 {
			path += "?" + q.Encode()
		}
		return path, "", nil
	}
	var rest bytes.Buffer
	enc := json.NewEncoder(&rest)
	enc.SetEscapeHTML(false)
	err = enc.Encode(fields)
	return path, strings.TrimSpace(rest.String()), err
}

// completeCall suggests HTTP methods and the methods of the services that run, where the first argument is to come. What
// can't be asked is not suggested.
func (c *commands) completeCall(ctx context.Context, cmd *cli.Command) {
	if cmd.NArg() > 0 {
		return
	}
	cli.DefaultCompleteWithFlags(ctx, cmd)
	api, err := c.api(cmd)
	if err != nil {
		return
	}
	api.client.Timeout = completionTimeout
	_, bySlug, err := api.describe(ctx)
	if err != nil {
		return
	}
	for _, slug := range sortedKeys(bySlug) {
		var names []string
		for _, o := range bySlug[slug] {
			names = append(names, slug+"."+o.name())
		}
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			fmt.Fprintln(cmd.Root().Writer, printable(n))
		}
	}
}
