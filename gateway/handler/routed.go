package handler

import (
	"maps"
	"net/http"
	"strings"
	"sync/atomic"

	"micromesh/gateway/http1"
	"micromesh/gateway/routes"
	"micromesh/gateway/service"
	"micromesh/pkg/auth"
	"micromesh/pkg/ident"
	"micromesh/pkg/meshpb"
)

// Routes are the configured routes of a gateway. They can be replaced while it serves.
type Routes struct {
	current atomic.Pointer[routeSet]
	cache   *cache
}

// routeSet is a table with the groups of its URLs.
type routeSet struct {
	table  *routes.Table
	groups map[string]*service.Group // by URL
	closed routes.Closed
}

// noRoutes is the set of a gateway without configured routes.
var noRoutes = &routeSet{table: &routes.Table{}}

// set returns the set of the moment.
func (r *Routes) set() *routeSet {
	if set := r.current.Load(); set != nil {
		return set
	}
	return noRoutes
}

// NewRoutes makes an empty set.
func NewRoutes() *Routes { return &Routes{cache: newCache(cacheSize)} }

// Replace puts a table in place of the one before, and forgets what was kept of answers. What was learned about instances stays.
// Nothing changes where there is an error.
func (r *Routes) Replace(t *routes.Table) error {
	next := &routeSet{table: t, groups: map[string]*service.Group{}, closed: t.Closed()}
	old := r.current.Load()
	for _, route := range t.Routes() {
		u := route.Upstream.URL
		if u == "" || next.groups[u] != nil {
			continue
		}
		var before *service.Group
		if old != nil {
			before = old.groups[u]
		}
		g, err := service.Single(before, u, u)
		if err != nil {
			return err
		}
		next.groups[u] = g
	}
	r.current.Store(next)
	r.cache.clear()
	return nil
}

// routed routes a request by the configured routes, and reports whether one of them has taken it. A guard of a reading of the path
// applies in any case.
func (g *Gateway) routed(x *http1.Exchange, set *routeSet) (way route, taken bool) {
	if set == noRoutes {
		return routeNone, false
	}
	path := x.Path()
	d, err := set.table.Decide(view(x.Method()), view(path))
	switch {
	case err != nil:
		x.Fail(http.StatusBadRequest, "AMBIGUOUS_PATH", err.Error())
		return routeNone, true
	case d.Allowed != nil && !d.Guarded && g.callsMethod(x):
		return routeNone, false
	case d.Allowed != nil && string(x.Method()) == http.MethodOptions:
		g.options(x)
		return routeNone, true
	case d.Allowed != nil:
		x.Header().Set("Allow", strings.Join(d.Allowed, ", "))
		x.Fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "this path takes "+strings.Join(d.Allowed, ", "))
		return routeNone, true
	}
	if d.Guard != nil {
		if err := g.scoped(x, d.Guard); err != nil && isPreflight(x) {
			g.options(x) // it can't carry a token, and goes no further
			return routeNone, true
		} else if err != nil {
			g.fail(x, err)
			return routeNone, true
		}
	}
	if d.Route == nil {
		return routeNone, false
	}
	if d.Route.Method != "" {
		x.WithholdAll(methodOverrides)
	}
	return g.follow(x, set, d.Route), true
}

// methodOverrides are fields by which some frameworks take a request for one of another method. Where a route names the method, an
// upstream that obeyed them would answer what the route has not allowed.
var methodOverrides = http1.NewHeaderFilter("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")

// caller verifies the token of a request. Where nothing depends on it, it is not asked for: a token that is not good costs a check of
// its signature each time.
func (g *Gateway) caller(x *http1.Exchange) (*auth.Claims, error) {
	return g.cfg.Verifier.Verify(auth.Bearer(string(x.Get("authorization"))))
}

// scoped checks that the caller is signed in, and has the permissions of a guard.
func (g *Gateway) scoped(x *http1.Exchange, guard *routes.Guard) error {
	claims, err := g.caller(x)
	if err != nil {
		return err
	}
	for _, p := range guard.Permissions {
		rule := &meshpb.Access{Rule: &meshpb.Access_Permission{Permission: p}}
		if err := auth.Authorize(rule, claims, g.cfg.Permits); err != nil {
			return err
		}
	}
	return nil
}

// follow answers a request whose route was found and that may take it.
func (g *Gateway) follow(x *http1.Exchange, set *routeSet, r *routes.Route) route {
	group, way := set.groups[r.Upstream.URL], routeHost
	switch r.Upstream.Kind {
	case routes.RPC:
		g.procedure(x, r)
		return routeRPC
	case routes.Slug:
		group, way = g.upstream(r.Upstream.Service), routeSlug
	case routes.URL:
	}
	if group.Size() == 0 {
		g.away(x, r.Upstream.Service)
		return routeNone
	}
	rewrite(x, r.Rewrite)
	if r.CacheTTL == 0 || !keepable(x) {
		g.forward(x, group, nil)
		return way
	}
	claims, _ := g.caller(x) // nil where nobody is signed in
	g.cfg.Routes.cache.answer(x, g.keyOf(x, claims), r.CacheTTL, func(rec http1.Recorder) bool { return g.forward(x, group, rec) })
	return way
}

// rewrite sets the path that the upstream receives, and the prefix that it doesn't.
func rewrite(x *http1.Exchange, w *routes.Rewrite) {
	if w == nil {
		return
	}
	sent := string(x.Path())
	x.Rewrite(w.Path(sent))
	if prefix := w.Prefix(sent); prefix != "" {
		x.UpstreamHeader().Add("X-Forwarded-Prefix", prefix)
	}
}

// upstream returns the group of a slug that a route names, or that of a guest without methods. A name with a schema is never a guest's.
func (g *Gateway) upstream(slug string) *service.Group {
	if group := g.cfg.Table.Slug(slug); group.Size() > 0 || g.cfg.Bindings.Load().Has(ident.Fold(slug)) || g.guest(slug) == nil {
		return group
	}
	return g.cfg.Table.Site(slug)
}

// procedure calls the RPC method of a route: with what body, query and path say, of which the later ones win.
func (g *Gateway) procedure(x *http1.Exchange, r *routes.Route) {
	if err := acceptable(x); err != nil {
		g.fail(x, err)
		return
	}
	b, err := g.bound(r.Upstream.Service, r.Upstream.Endpoint, string(x.Method()), r.Path)
	if err != nil {
		g.fail(x, err)
		return
	}
	token := auth.Bearer(string(x.Get("authorization")))
	if err := g.authorize(b, token); err != nil {
		g.fail(x, err)
		return
	}
	body, err := x.ReadBody(g.cfg.MaxMessage)
	if err != nil {
		x.Refuse(err)
		return
	}
	if version2(x) {
		err = b.UnknownIn(body, string(x.RawQuery()))
	}
	if err != nil {
		g.fail(x, err)
		return
	}
	named := maps.Collect(zip(r.Params(), r.Values(string(x.Path()))))
	if b.Guest {
		g.callGuest(x, b, guestInput{body, string(x.RawQuery()), named}, token)
		return
	}
	msg, err := b.Merge(body, string(x.RawQuery()), named)
	if err != nil {
		g.fail(x, err)
		return
	}
	g.invoke(x, b, msg, token)
}

// zip pairs two lists of one length.
func zip(names, values []string) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for i, n := range names[:min(len(names), len(values))] {
			if !yield(n, values[i]) {
				return
			}
		}
	}
}
