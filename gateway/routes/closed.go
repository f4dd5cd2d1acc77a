package routes

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"micromesh/internal/paths"
)

// Closed are the names that guarded routes close: names by which their upstreams could be reached without the guard. Routes of the
// same file stay open: their author knows them.
type Closed struct {
	Slugs   map[string]*Route // first segments of paths; the route is the first one that closes it
	Methods map[string]*Route // RPC methods as slug/Service.Method: their bindings, and calls by their names
	// Instances are the slugs, and URLs the URLs, whose addresses host routes don't forward to. A host route to the address of a URL is
	// closed where routes.yaml doesn't apply, or where it puts another path in front.
	Instances []string
	URLs      []string
}

// Method reports whether an RPC method is closed, itself or with its slug.
func (c *Closed) Method(service, endpoint string) bool {
	return c.Slugs[service] != nil || len(c.Methods) > 0 && c.Methods[service+"/"+endpoint] != nil
}

// Closed returns the names that the table closes.
//
// A guarded route to a slug closes /{slug}/…, unless all such routes lie below /{slug} themselves: then no path leads past them. A
// guarded route to a method closes that method. Slugs of the mesh itself are never closed: their methods have access rules that hold
// under every name.
func (t *Table) Closed() Closed {
	c := Closed{Slugs: map[string]*Route{}, Methods: map[string]*Route{}}
	for _, r := range t.byLine() {
		if r.guard == nil || r.AlsoOpen || slices.Contains(own, r.Upstream.Service) {
			continue
		}
		switch u := r.Upstream; u.Kind {
		case URL:
			c.URLs = append(c.URLs, u.URL)
		case Slug:
			c.Instances = append(c.Instances, u.Service)
			if c.Slugs[u.Service] == nil && !r.below(u.Service) {
				c.Slugs[u.Service] = r
			}
		case RPC:
			if name := u.Service + "/" + u.Endpoint; c.Methods[name] == nil {
				c.Methods[name] = r
			}
		}
	}
	return c
}

// byLine returns the routes in the order of the file.
func (t *Table) byLine() []*Route {
	return slices.SortedFunc(slices.Values(t.routes), func(a, b *Route) int { return a.Line - b.Line })
}

// below reports whether the route's path begins with a slug.
func (r *Route) below(slug string) bool { return len(r.pattern) > 0 && r.pattern[0].Literal == slug }

// Note is a remark on a route that an operator should know. It is not a mistake.
type Note struct {
	Line    int
	Text    string
	Warning bool // something stays open that a reader of the file may take for guarded
}

// Notes returns the names that are closed, and the ways that stay open, by their lines.
func (t *Table) Notes() (notes []Note) {
	c := t.Closed()
	for slug, r := range c.Slugs {
		notes = append(notes, Note{r.Line, fmt.Sprintf("/%s/… and host routes to %s are closed, since this route guards it; also_open: true keeps them open", slug, slug), false})
	}
	for name, r := range c.Methods {
		notes = append(notes, Note{r.Line, name + " is closed under its other names, since this route guards it; also_open: true keeps them open", false})
	}
	urls := map[string]bool{}
	for _, r := range t.byLine() {
		if r.guard == nil {
			continue
		}
		if url := r.Upstream.URL; url != "" && !urls[url] {
			urls[url] = true
			notes = append(notes, Note{r.Line, "host routes and instances at this upstream's address are closed if they put another path in front, and all host routes on MICRO_EDGE_LISTEN, since this route guards it", false})
		}
		notes = append(notes, t.remarks(r)...)
	}
	slices.SortFunc(notes, func(a, b Note) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Text, b.Text)
	})
	return notes
}

// remarks returns warnings about a guarded route.
func (t *Table) remarks(r *Route) (notes []Note) {
	warn := func(format string, args ...any) {
		notes = append(notes, Note{r.Line, fmt.Sprintf(format, args...), true})
	}
	u := r.Upstream
	name := strings.TrimSuffix(u.Service+"/"+u.Endpoint, "/")
	switch {
	case r.AlsoOpen && u.Kind == Slug:
		warn("also_open: %s can be reached without this guard under /%s/… and by host routes", name, u.Service)
	case r.AlsoOpen:
		warn("also_open: %s can be called without this guard under its other names", name)
	case u.Kind != URL && slices.Contains(own, u.Service):
		warn("%s can be called without this guard under its own path, which is never closed; its own access rule holds there", name)
	}
	if u.Kind == RPC {
		for _, o := range t.routes {
			if o.guard == nil && o.Upstream == u {
				warn("the route of line %d calls %s without a guard", o.Line, name)
			}
		}
	}
	if open, methods := t.unguarded(r); open != nil {
		warn("this guard holds for %s; the route of line %d takes %s without a guard", r.Method, open.Line, strings.Join(methods, ", "))
	}
	return notes
}

// unguarded returns the methods of a guarded route's path that a wider route takes without a guard.
func (t *Table) unguarded(r *Route) (open *Route, methods []string) {
	if r.Method == "" {
		return nil, nil
	}
	for _, m := range allMethods {
		d, err := t.Decide(m, sample(r.pattern))
		if err == nil && m != http.MethodOptions && d.Route != nil && d.Guard == nil && shape(d.Route.pattern) != shape(r.pattern) && (open == nil || open == d.Route) {
			open, methods = d.Route, append(methods, m)
		}
	}
	return open, methods
}

// sample returns a path that a pattern matches.
func sample(p paths.Pattern) string {
	var b strings.Builder
	for _, s := range p {
		if s.Literal == "" {
			s.Literal = "x"
		}
		b.WriteString("/" + s.Literal)
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}
