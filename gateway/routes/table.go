package routes

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"micromesh/internal/paths"
)

// Kind of an upstream.
type Kind uint8

// The kinds of upstreams.
const (
	URL  Kind = iota // an HTTP server; requests are forwarded as they came
	Slug             // one of a slug's instances
	RPC              // a method of a service
)

// Upstream is what answers a route's requests.
type Upstream struct {
	Kind     Kind
	URL      string // of URL: http or https, perhaps with a path that is put in front
	Service  string // of Slug and RPC
	Endpoint string // of RPC: "UserService.Read"
}

// Owner is the slug whose account hands out the scopes of the upstream's routes.
func (u Upstream) Owner() string { return cmp.Or(u.Service, gatewaySlug) }

// Route is one of a table.
type Route struct {
	Path         string
	Method       string // "" is any
	Upstream     Upstream
	AuthRequired bool
	Permissions  []string // all of which a caller must have
	AlsoOpen     bool     // the upstream's other names stay open
	CacheTTL     time.Duration
	Rewrite      *Rewrite // nil if the upstream receives the path as it was sent
	Line         int      // of the file

	pattern paths.Pattern
	guard   *Guard // nil where no sign-in is required
}

// Params are the names of the path's parameters, in their order.
func (r *Route) Params() []string { return r.pattern.Params() }

// Values are the parameters' values in a path as it was sent, still encoded. The path must be one that Decide has found the route for.
func (r *Route) Values(path string) []string { return r.pattern.Values(path) }

// takes reports whether the route takes a method. HEAD is routed as GET is. Letter case doesn't matter, since some frameworks fold it.
func (r *Route) takes(method string) bool {
	return r.Method == "" || strings.EqualFold(r.Method, method) || r.Method == http.MethodGet && strings.EqualFold(method, http.MethodHead)
}

// Table is the content of a file. It doesn't change.
type Table struct {
	routes  []*Route // the most exact first
	tree    paths.Tree[*Route]
	public  paths.Tree[struct{}]
	guarded bool // by any route
	slugs   map[string]*Rewrite
}

// Slug returns how paths below /{slug} are rewritten; nil if they are not.
func (t *Table) Slug(slug string) *Rewrite { return t.slugs[slug] }

// Routes returns all routes, the most exact first.
func (t *Table) Routes() []*Route { return t.routes }

// shape is a pattern with all parameters alike: two routes of one shape take the same requests. It sorts literals before
// parameters, and those before the rest.
func shape(p paths.Pattern) string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.Rest:
			b.WriteString("/\xff")
		case s.Param != "":
			b.WriteString("/\xfe")
		default:
			b.WriteString("/" + paths.Fold(s.Literal))
		}
	}
	return b.String()
}
