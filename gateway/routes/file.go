package routes

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"micromesh/internal/paths"
)

// gatewaySlug is the mesh's own, whose permissions admins alone hand out.
const gatewaySlug = "gateway-svc"

// versions of the format, as people write its only one.
var versions = []string{"1", "1.0"}

const (
	maxSize   = 1 << 20 // bytes of a file
	maxRoutes = 10_000
	maxTTL    = 24 * time.Hour
)

// Lookup gives the value of a variable of the environment.
type Lookup func(name string) (string, bool)

// Parse reads a file's content; name is how mistakes name it. It tells every mistake at once: each as "file:line: what is wrong; what
// would be right".
func Parse(name string, content []byte, env Lookup) (*Table, error) {
	p := &parser{env: env, table: &Table{}, guards: map[string]*Guard{}}
	if len(content) > maxSize {
		return nil, fmt.Errorf("%s: it has more than %d bytes", name, maxSize)
	}
	doc, err := document(name, content)
	if err != nil {
		return nil, err
	}
	p.file(doc.Content[0])
	if len(p.wrong) == 0 {
		return p.table, nil
	}
	slices.SortStableFunc(p.wrong, func(a, b mistake) int { return a.line - b.line })
	wrong := make([]error, len(p.wrong))
	for i, m := range p.wrong {
		wrong[i] = fmt.Errorf("%s:%d: %s", name, m.line, m.text)
	}
	return nil, errors.Join(wrong...)
}

// document reads the one YAML document of a file.
func document(name string, content []byte) (*yaml.Node, error) {
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(content))
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: it is empty; a file without routes is `routes: []`", name)
	}
	if err == nil {
		err = dec.Decode(&second)
	}
	switch {
	case errors.Is(err, io.EOF):
		return &doc, nil
	case err != nil:
		return nil, fmt.Errorf("%s: it is not YAML: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return nil, fmt.Errorf("%s:%d: a second YAML document begins behind ---; a file must be one document", name, second.Line)
}

// mistake is something wrong at a line.
type mistake struct {
	line int
	text string
}

// parser reads a file, and collects what is wrong with it.
type parser struct {
	env   Lookup
	table *Table
	wrong []mistake

	public []paths.Pattern
	guards map[string]*Guard // by their permissions
}

func (p *parser) mistake(n *yaml.Node, format string, args ...any) {
	p.wrong = append(p.wrong, mistake{n.Line, fmt.Sprintf(format, args...)})
}

func (p *parser) file(n *yaml.Node) {
	f := p.fields(n, "the file", "version", "public_paths", "routes", "slugs")
	if f == nil {
		return
	}
	if v := f["version"]; v != nil && (v.Kind != yaml.ScalarNode || !slices.Contains(versions, v.Value)) {
		p.mistake(v, "version is %q; it must be %s, or left out", v.Value, strings.Join(versions, " or "))
	}
	for _, v := range p.texts(f["public_paths"], "public_paths") {
		if pat, ok := p.pattern(v, "public_paths"); ok {
			p.table.public.Add(pat, struct{}{})
			p.public = append(p.public, pat)
		}
	}
	p.slugs(f["slugs"])
	routes := f["routes"]
	switch {
	case routes == nil || routes.Tag == "!!null":
	case routes.Kind != yaml.SequenceNode:
		p.mistake(routes, "routes must be a list")
	case len(routes.Content) > maxRoutes:
		p.mistake(routes, "there are %d routes; %d are the most", len(routes.Content), maxRoutes)
	default:
		for _, r := range routes.Content {
			p.route(resolve(r))
		}
	}
	p.order()
}

// order sorts the routes, and finds those that take the same requests.
func (p *parser) order() {
	t := p.table
	slices.SortStableFunc(t.routes, func(a, b *Route) int {
		return cmp.Or(strings.Compare(shape(a.pattern), shape(b.pattern)), strings.Compare(b.Method, a.Method)) // any method is last
	})
	for _, r := range t.routes {
		t.tree.Add(r.pattern, r)
	}
	seen := map[string]*Route{}
	for _, r := range t.routes {
		key := r.Method + shape(r.pattern)
		if first := seen[key]; first != nil {
			p.wrong = append(p.wrong, mistake{r.Line, fmt.Sprintf("the route of line %d takes the same requests; give them different methods or paths", first.Line)})
		}
		seen[key] = r
	}
	for _, r := range t.routes {
		for _, pub := range p.public {
			if r.AuthRequired && shape(pub) == shape(r.pattern) {
				p.wrong = append(p.wrong, mistake{r.Line, r.Path + " requires a sign-in, and is in public_paths; it can't be both"})
			}
		}
	}
}

// fields reads a mapping whose keys must be among those that are known.
func (p *parser) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		p.mistake(n, "%s must be a mapping with the keys %s", what, strings.Join(known, ", "))
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		switch {
		case !slices.Contains(known, key.Value):
			p.mistake(key, "%q is not a key of %s; there are %s", key.Value, what, strings.Join(known, ", "))
		case out[key.Value] != nil:
			p.mistake(key, "%s is there twice", key.Value)
		default:
			out[key.Value] = value
		}
	}
	return out
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (p *parser) route(n *yaml.Node) {
	f := p.fields(n, "a route", "path", "method", "proxy_upstream", "auth_required", "scopes", "cache_ttl", "also_open", "strip_prefix", "rewrite")
	if f == nil {
		return
	}
	before := len(p.wrong)
	r := &Route{Line: n.Line, Method: p.method(f["method"])}
	if v := f["path"]; v == nil {
		p.mistake(n, "path is missing; it must be a path such as /widgets/{id}")
	} else if pat, ok := p.pattern(v, "path"); ok {
		r.Path, r.pattern = v.Value, pat
	}
	if v := f["proxy_upstream"]; v == nil {
		p.mistake(n, "proxy_upstream is missing; it must be %s", upstreams)
	} else {
		r.Upstream = p.upstream(v)
	}
	r.AuthRequired = p.truth(f["auth_required"], "auth_required")
	for _, v := range p.texts(f["scopes"], "scopes") {
		if s := p.scope(v, r.Upstream); s != "" {
			r.Permissions = append(r.Permissions, s)
		}
	}
	if len(r.Permissions) > 0 && !r.AuthRequired {
		p.mistake(f["scopes"], "scopes take auth_required: true; without it everybody would be let in")
	}
	if v := f["cache_ttl"]; v != nil {
		if r.CacheTTL = p.ttl(v, r.Method); r.Upstream.Kind == RPC {
			p.mistake(v, "cache_ttl takes a URL or a slug as proxy_upstream; answers of methods are not kept")
		}
	}
	if r.Path != "" {
		r.Rewrite = p.rewrite(f, r.pattern)
	}
	if r.Rewrite != nil && r.Upstream.Kind == RPC {
		p.mistake(n, "a method as proxy_upstream has no path; leave out strip_prefix and rewrite")
	}
	r.AlsoOpen = p.truth(f["also_open"], "also_open")
	if r.AlsoOpen && (!r.AuthRequired || r.Upstream.Kind == URL) {
		p.mistake(f["also_open"], "also_open takes auth_required: true and a slug or a method as proxy_upstream; no other route closes anything")
	}
	if r.AuthRequired {
		r.guard = p.guard(r.Permissions)
		p.table.guarded = true
	}
	if len(p.wrong) == before {
		p.table.routes = append(p.table.routes, r)
	}
}

// guard returns the guard with these permissions, which is one for all routes that have the same.
func (p *parser) guard(permissions []string) *Guard {
	sorted := slices.Compact(slices.Sorted(slices.Values(permissions)))
	key := strings.Join(sorted, "\n")
	if p.guards[key] == nil {
		p.guards[key] = &Guard{Permissions: permissions}
	}
	return p.guards[key]
}

var allMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}

func (p *parser) method(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(allMethods, n.Value) {
		p.mistake(n, "method is %q; it must be one of %s, or left out for any", n.Value, strings.Join(allMethods, ", "))
	}
	return n.Value
}

func (p *parser) truth(n *yaml.Node, name string) bool {
	if n == nil {
		return false
	}
	var b bool
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&b) != nil {
		p.mistake(n, "%s is %q; it must be true or false", name, n.Value)
	}
	return b
}

// texts reads a list of texts.
func (p *parser) texts(n *yaml.Node, name string) []*yaml.Node {
	if n == nil || n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		p.mistake(n, "%s must be a list", name)
		return nil
	}
	var out []*yaml.Node
	for _, v := range n.Content {
		if v = resolve(v); v.Kind != yaml.ScalarNode || v.Tag != "!!str" {
			p.mistake(v, "%s holds %q; it must hold texts", name, v.Value)
			continue
		}
		out = append(out, v)
	}
	return out
}

func (p *parser) ttl(n *yaml.Node, method string) time.Duration {
	d, err := time.ParseDuration(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode || err != nil || d <= 0 || d > maxTTL:
		p.mistake(n, "cache_ttl is %q; it must be a duration such as 30s or 5m, and %v at most", n.Value, maxTTL)
	case method != http.MethodGet:
		p.mistake(n, "cache_ttl takes method: GET; answers to other methods are not kept")
	}
	return d
}

var (
	scopeForm = regexp.MustCompile(`^[a-z0-9_-]+(:[a-z0-9_-]+){1,2}$`)
	paramForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	wordForm  = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()+,;=:@-]+$`) // what a segment may hold without encoding (RFC 3986, section 3.3)
)

// scope turns a scope into the permission that it stands for.
func (p *parser) scope(n *yaml.Node, u Upstream) string {
	if !scopeForm.MatchString(n.Value) {
		p.mistake(n, "the scope %q must be verb:resource, such as write:widgets, or a permission slug:resource:verb", n.Value)
		return ""
	}
	parts := strings.Split(n.Value, ":")
	if len(parts) == 3 {
		return n.Value
	}
	if !ownerForm.MatchString(u.Owner()) {
		p.mistake(n, "the scope %q has no owner, since %s is no slug; it must be a whole permission slug:resource:verb", n.Value, u.Owner())
		return ""
	}
	return u.Owner() + ":" + parts[1] + ":" + parts[0]
}

// pattern reads the pattern of paths of the gateway.
func (p *parser) pattern(n *yaml.Node, what string) (paths.Pattern, bool) {
	out, ok := p.segments(n, what)
	if ok && isOwn(n.Value) {
		p.mistake(n, "%s %q: /%s is the mesh's own; take another path", what, n.Value, out[0].Literal)
		return nil, false
	}
	return out, ok
}

// segments reads the pattern of a path of any server.
func (p *parser) segments(n *yaml.Node, what string) (paths.Pattern, bool) {
	path := n.Value
	if n.Kind != yaml.ScalarNode || !strings.HasPrefix(path, "/") {
		p.mistake(n, "%s is %q; it must begin with a slash, such as /widgets/{id}", what, path)
		return nil, false
	}
	if path == "/" {
		return nil, true
	}
	var out paths.Pattern
	parts := strings.Split(path[1:], "/")
	for i, s := range parts {
		name, isParam := strings.CutPrefix(s, "{")
		name, closed := strings.CutSuffix(name, "}")
		switch {
		case s == "":
			p.mistake(n, "%s %q has an empty segment, or a slash at its end; take it away", what, path)
			return nil, false
		case s == "*" && i == len(parts)-1:
			out = append(out, paths.Segment{Rest: true})
		case isParam && closed && paramForm.MatchString(name) && !slices.Contains(out.Params(), name):
			out = append(out, paths.Segment{Param: name})
		case isParam:
			p.mistake(n, "%s %q: %s must be a parameter such as {id}, with a name that is there once", what, path, s)
			return nil, false
		case !wordForm.MatchString(s) || s == "." || s == "..":
			p.mistake(n, "%s %q: the segment %q must be plain text, a {parameter}, or * at the end", what, path, s)
			return nil, false
		default:
			out = append(out, paths.Segment{Literal: s})
		}
	}
	return out, true
}
