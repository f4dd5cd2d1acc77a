// Package handler is the gateway's HTTP side: it leads each request to an RPC method, an instance, or one of the
// gateway's own pages, and gives every error the one shape that the API promises.
package handler

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/metadata"

	"micromesh/gateway/http1"
	"micromesh/gateway/service"
	"micromesh/gateway/transcode"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/telemetry"
)

// RPC calls a service with a message that is encoded already. pkg/rpc/client does.
type RPC interface {
	Raw(ctx context.Context, service, endpoint, subtype string, body []byte, md metadata.MD) ([]byte, metadata.MD, error)
	RawGuest(ctx context.Context, service, endpoint string, body []byte, md metadata.MD) ([]byte, metadata.MD, error)
}

// Table is where requests lead, and what the gateway waits for until it shows a change.
type Table interface {
	Slug(slug string) *service.Group
	Site(name string) *service.Group // of a guest that serves HTTP and has no methods
	Known(slug string) bool
	Host(host, path string) *service.Group
	KnowsHost(host string) bool
	Target(id string) (string, bool)
	Changed() <-chan struct{}
}

// Config is what a gateway needs; all but the limits and times must be set.
type Config struct {
	Table    Table
	Bindings *atomic.Pointer[transcode.Bindings] // of the moment; each request is led by one set
	RPC      RPC
	Verifier *auth.Verifier
	Permits  auth.Permits
	Forward  *http1.Upstreams
	Local    map[string]http1.Handler // the gateway's own pages, by path
	Routes   *Routes                  // what the operator has configured; nil is nothing
	Logger   *slog.Logger
	Metrics  prometheus.Registerer

	Nodes        Nodes         // what runs, for services without bindings; nil is nothing
	ExposeStock  bool          // services written with plain go-micro may be called by their methods' names
	GuestHeaders []string      // header fields of clients that such services receive beside GuestHeaders
	HostsOnly    bool          // an edge: only host routes are served
	Hosts        bool          // host routes are served
	MaxMessage   int64         // of an RPC call's body, bytes; default 4 MiB
	MaxBody      int64         // of a forwarded request's body, bytes; default 1 GiB
	CallTimeout  time.Duration // of an RPC call; default 10 s
	WaitHeaders  time.Duration // for an instance's answer to begin; default 60 s
	CallerTokens CallerTokens  // which token instances receive
	CORS         []string      // origins whose pages may read every answer

	CORSCredentials bool // those pages may send cookies, and read the answers
}

// Gateway leads requests. It implements http1.Handler.
type Gateway struct {
	cfg     Config
	ids     *requestIDs
	metrics *metrics
	issuer  *issuer
	keep    func(*http1.Exchange) bool // mayGoOn, made once
	guesses guesses

	guestHeaders []string // in lower case
}

var _ http1.Handler = (*Gateway)(nil)

// New makes a gateway.
func New(cfg Config) *Gateway {
	if cfg.MaxMessage == 0 {
		cfg.MaxMessage = 4 << 20
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 1 << 30
	}
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = 10 * time.Second
	}
	if cfg.WaitHeaders == 0 {
		cfg.WaitHeaders = time.Minute
	}
	if cfg.Routes == nil {
		cfg.Routes = NewRoutes()
	}
	g := &Gateway{cfg: cfg, ids: newRequestIDs(), metrics: newMetrics(cfg.Metrics), issuer: newIssuer(cfg.RPC)}
	g.keep = g.mayGoOn
	for _, name := range slices.Concat(GuestHeaders, cfg.GuestHeaders) {
		g.guestHeaders = append(g.guestHeaders, strings.ToLower(name))
	}
	return g
}

// ServeHTTP1 leads the request, and measures.
func (g *Gateway) ServeHTTP1(x *http1.Exchange) {
	began := time.Now()
	g.ids.assign(x)
	way := routeOwn
	if g.cors(x) && isPreflight(x) {
		g.options(x)
	} else {
		way = g.lead(x)
	}
	g.metrics.observe(way, x.Status(), time.Since(began))
}

// lead finds the request's way: configured routes, host routes, the gateway's own pages, then the slug.
func (g *Gateway) lead(x *http1.Exchange) route {
	path := x.Path()
	if g.cfg.HostsOnly {
		return g.edge(x, string(path))
	}
	set := g.cfg.Routes.set()
	if way, taken := g.routed(x, set); taken {
		return way
	}
	if g.cfg.Hosts {
		if group := g.cfg.Table.Host(string(x.Host()), string(path)); group != nil {
			return g.toHost(x, group)
		}
	}
	if h, ok := g.cfg.Local[string(path)]; ok {
		h.ServeHTTP1(x)
		return routeOwn
	}
	slug := firstSegment(path)
	if set.closed.Slugs[string(slug)] != nil {
		g.shut(x, slug)
		return routeNone
	}
	if bindings := g.cfg.Bindings.Load(); bindings.Has(string(slug)) && !g.givesWay(string(slug)) {
		return g.call(x, set, bindings, string(slug))
	}
	if group := g.cfg.Table.Slug(string(slug)); group.Size() > 0 {
		rewrite(x, set.table.Slug(string(slug)))
		g.forward(x, group, nil)
		return routeSlug
	}
	if s := g.exposed(string(slug)); s != nil {
		if site := g.site(x, s); site.Size() > 0 {
			g.forward(x, site, nil)
			return routeSlug
		}
		g.method(x, set, s)
		return routeRPC
	}
	g.nowhere(x, slug)
	return routeNone
}

// shut answers a request of a slug that is closed, since routes.yaml guards it under other paths.
func (g *Gateway) shut(x *http1.Exchange, slug []byte) {
	if string(x.Method()) == http.MethodOptions {
		g.options(x)
		return
	}
	x.Fail(http.StatusNotFound, "NOT_FOUND", string(slug)+" is not reachable under this path")
}

// toHost forwards to the target of a host route.
func (g *Gateway) toHost(x *http1.Exchange, group *service.Group) route {
	if group.Closed(g.cfg.HostsOnly) {
		x.Fail(http.StatusNotFound, "NO_ROUTE", "the route of this host is closed, since routes.yaml guards its target")
		return routeNone
	}
	g.forward(x, group, nil)
	return routeHost
}

// nowhere answers a request that has no way.
func (g *Gateway) nowhere(x *http1.Exchange, slug []byte) {
	if string(x.Method()) == http.MethodOptions {
		g.options(x)
		return
	}
	if len(slug) == 0 {
		x.Fail(http.StatusNotFound, "NOT_FOUND", "name a service in the path: /{slug}/…")
		return
	}
	g.away(x, string(slug))
}

// away answers a request for a slug without a live instance: 503 if the slug ever had one, since a client may try again (RFC 9110, 15.6.4).
func (g *Gateway) away(x *http1.Exchange, slug string) {
	if !g.cfg.Table.Known(slug) {
		x.Fail(http.StatusNotFound, "NO_INSTANCE", "no service has the slug "+quote([]byte(slug))+g.absent(slug))
		return
	}
	if string(x.Method()) == http.MethodOptions {
		g.options(x)
		return
	}
	x.Header().Set("Retry-After", "1")
	x.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "no instance of "+quote([]byte(slug))+" is live: try again in a moment")
}

// edge serves host routes alone.
func (g *Gateway) edge(x *http1.Exchange, path string) route {
	host := string(x.Host())
	if group := g.cfg.Table.Host(host, path); group != nil {
		return g.toHost(x, group)
	}
	if g.cfg.Table.KnowsHost(host) {
		x.Fail(http.StatusNotFound, "NO_ROUTE", "no route of this host fits the path")
	} else {
		x.Fail(http.StatusNotFound, "UNKNOWN_HOST", "no route is configured for this host")
	}
	return routeNone
}

// firstSegment is the path's first segment, as it was sent.
func firstSegment(path []byte) []byte {
	if len(path) == 0 || path[0] != '/' {
		return nil
	}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			return path[1:i]
		}
	}
	return path[1:]
}

// quote makes a piece of a request fit for a message.
func quote(b []byte) string {
	const longest = 63
	if len(b) > longest {
		return `"` + string(b[:longest]) + `…"`
	}
	return `"` + string(b) + `"`
}

// ErrorBody renders errors that http1 and this package make: the shape of errs.Body.
func ErrorBody(x *http1.Exchange, status int, code, message string) (contentType string, body []byte) {
	e := errs.New(errs.KindOf(status), code, "%s", message)
	return jsonType, errs.Body(e, requestID(x))
}

// fail answers with an error of the domain or of a service.
func (g *Gateway) fail(x *http1.Exchange, err error) {
	e := errs.From(err)
	h := x.Header()
	if e.Kind == errs.Unauthenticated {
		h.Set("WWW-Authenticate", challenge(e))
	}
	switch {
	case e.RetryAfter > 0:
		h.Set("Retry-After", retryAfter(e.RetryAfter))
	case e.Status() == http.StatusServiceUnavailable: // a client may try again (RFC 9110, 15.6.4)
		h.Set("Retry-After", "1")
	}
	if level := severity(e); level > slog.LevelInfo {
		ctx := telemetry.Extract(x.Context(), traceparent(x))
		g.cfg.Logger.Log(ctx, level, "request_failed", "error", err, "request_id", requestID(x), "path", string(x.Path()))
	}
	x.Respond(e.Status(), jsonType, errs.Body(e, requestID(x)))
}

// severity is the level at which an error is logged. Faults of a service keep their details in the log.
func severity(e *errs.Error) slog.Level {
	switch {
	case e.Kind == errs.Internal:
		return slog.LevelError
	case e.Status() >= http.StatusInternalServerError && e.Unwrap() != nil:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// challenge is the WWW-Authenticate header of a 401 (RFC 6750, section 3).
func challenge(e *errs.Error) string {
	if strings.Contains(e.Code, "TOKEN") {
		return `Bearer realm="micromesh", error="invalid_token"`
	}
	return `Bearer realm="micromesh"`
}
