package handler

import (
	"net/http"
	"slices"
	"strings"

	"micromesh/gateway/http1"
	"micromesh/gateway/service"
	"micromesh/gateway/transcode"
	"micromesh/pkg/auth"
	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Nodes is what discovery knows of a service, nil where no node runs. A *discovery.Registry is it.
type Nodes interface {
	Lookup(service string) *discovery.Service
	// Refused returns the reason why a program that was found under a name can't join, or nothing.
	Refused(name string) string
	// Synced reports whether all nodes were seen once.
	Synced() bool
}

// mostNamed bounds how many endpoints an error names.
const mostNamed = 20

// exposed returns a service that was written with plain go-micro and may be called by its methods' names; nil for any other.
func (g *Gateway) exposed(slug string) *discovery.Service {
	if !g.cfg.ExposeStock || g.cfg.Bindings.Load().Has(ident.Fold(slug)) { // a name that reads like that of a service with a schema is no guest's
		return nil
	}
	return g.guest(slug)
}

// absent returns the reason why there is no service of a name although a program in plain go-micro has it, or nothing.
func (g *Gateway) absent(name string) string {
	if g.cfg.Nodes == nil {
		return ""
	}
	if why := g.cfg.Nodes.Refused(name); why != "" {
		return "; a program in plain go-micro has this name and can't join: " + why
	}
	if !g.cfg.ExposeStock && g.guest(name) != nil {
		return "; a program in plain go-micro has this name, and such programs are reachable once MICRO_EXPOSE_STOCK=true is set for the gateway"
	}
	return ""
}

// guest returns a service that was written with plain go-micro; nil for any other.
func (g *Gateway) guest(name string) *discovery.Service {
	if g.cfg.Nodes == nil {
		return nil
	}
	s := g.cfg.Nodes.Lookup(name)
	if s == nil || !slices.ContainsFunc(s.Nodes, (*discovery.Node).Stock) {
		return nil
	}
	return s
}

// site returns the group that a request for a guest is forwarded to, or nil if it is for one of the guest's methods.
func (g *Gateway) site(x *http1.Exchange, s *discovery.Service) *service.Group {
	if string(x.Method()) == http.MethodPost && s.Endpoint(methodIn(x.Path(), s.Name)) != nil {
		return nil
	}
	return g.cfg.Table.Site(s.Name)
}

// method leads POST /{service}/{Handler.Method} and POST /{service}/{Handler}/{Method} to a method that the service has registered.
func (g *Gateway) method(x *http1.Exchange, set *routeSet, s *discovery.Service) {
	switch string(x.Method()) {
	case http.MethodPost:
	case http.MethodOptions:
		g.options(x)
		return
	default:
		x.Header().Set("Allow", http.MethodPost)
		x.Fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "methods of "+s.Name+" are called with POST")
		return
	}
	name := methodIn(x.Path(), s.Name)
	if set.closed.Method(s.Name, name) {
		g.fail(x, closedMethod(s.Name, name))
		return
	}
	if err := callable(s, name); err != nil {
		g.fail(x, err)
		return
	}
	if err := acceptable(x); err != nil {
		g.fail(x, err)
		return
	}
	body, err := x.ReadBody(g.cfg.MaxMessage)
	if err != nil {
		x.Refuse(err)
		return
	}
	b := transcode.Registered(s.Name, name, http.MethodPost, "/"+s.Name+"/"+name, s.Endpoint(name).Request)
	g.callGuest(x, b, guestInput{body, string(x.RawQuery()), nil}, auth.Bearer(string(x.Get("authorization"))))
}

// methodIn is the name of the method in a path below a service's name: /{service}/{Handler.Method} or /{service}/{Handler}/{Method}.
func methodIn(path []byte, service string) string {
	name := strings.TrimPrefix(string(path), "/"+service)
	return strings.Replace(strings.TrimPrefix(name, "/"), "/", ".", 1)
}

// callsMethod reports whether a request calls a guest's method by its name, or asks whether a page may.
func (g *Gateway) callsMethod(x *http1.Exchange) bool {
	if m := string(x.Method()); m != http.MethodPost && m != http.MethodOptions {
		return false
	}
	s := g.exposed(string(firstSegment(x.Path())))
	return s != nil && callable(s, methodIn(x.Path(), s.Name)) == nil
}

// closedMethod is the answer to a call of a method that routes.yaml guards under other paths.
func closedMethod(service, endpoint string) error {
	return errs.New(errs.NotFound, "NO_METHOD", "%s of %s is not reachable under this name", endpoint, service)
}

// callable refuses what a service has not registered, and what no request with one answer can call.
func callable(s *discovery.Service, name string) error {
	e := s.Endpoint(name)
	if e == nil {
		return errs.New(errs.NotFound, "NO_METHOD", "%s has no method %s: it has %s", s.Name, quote([]byte(name)), methods(s))
	}
	if !transcode.Unary(e) {
		return errs.New(errs.NotFound, "NO_METHOD", "%s of %s is no method with one request and one answer", name, s.Name)
	}
	return nil
}

// methods names those of a service.
func methods(s *discovery.Service) string {
	var names []string
	for _, n := range s.Nodes {
		for _, e := range n.Endpoints() {
			if transcode.Unary(e) && !n.Web() {
				names = append(names, e.Name)
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return "none"
	}
	if len(names) > mostNamed {
		names = append(names[:mostNamed], "…")
	}
	return strings.Join(names, ", ")
}

// givesWay reports whether the schema of a slug gives way to instances: no node of the service runs, and the slug's own account has
// registered instances.
func (g *Gateway) givesWay(slug string) bool {
	if ident.Own(slug) || g.cfg.Nodes == nil || !g.cfg.Nodes.Synced() || g.cfg.Table.Slug(slug).Size() == 0 {
		return false
	}
	s := g.cfg.Nodes.Lookup(slug)
	return s == nil || !slices.ContainsFunc(s.Nodes, func(n *discovery.Node) bool { return !n.Stock() })
}

// bound returns the binding of a route to a method: that of its schema; else of what a running node says of its request; else of nothing.
//
// Errors: NotFound for a method of a guest that can't be called.
func (g *Gateway) bound(service, endpoint, method, pattern string) (*transcode.Binding, error) {
	if b := g.cfg.Bindings.Load().Endpoint(service, endpoint); b != nil {
		return b, nil
	}
	var s *discovery.Service
	if g.cfg.Nodes != nil {
		s = g.cfg.Nodes.Lookup(service)
	}
	if s != nil {
		if e := s.Endpoint(endpoint); e != nil && !transcode.Unary(e) || e == nil && g.guest(service) != nil {
			return nil, callable(s, endpoint)
		}
	}
	b := transcode.Untyped(service, endpoint, method, pattern)
	switch {
	case g.cfg.Bindings.Load().Has(service): // a name with a schema is never a guest's
		b.Guest = false
	case s != nil && s.Endpoint(endpoint) != nil:
		b = transcode.Registered(service, endpoint, method, pattern, s.Endpoint(endpoint).Request)
	}
	return b, nil
}
