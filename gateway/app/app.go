package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/gateway/handler"
	"micromesh/gateway/http1"
	"micromesh/gateway/routes"
	"micromesh/gateway/schemas"
	"micromesh/gateway/service"
	"micromesh/gateway/store"
	"micromesh/gateway/transcode"
	"micromesh/internal/settled"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
	proxypb "micromesh/proxy/proto"
	registrypb "micromesh/registry/proto"
	userpb "micromesh/user/proto"
)

// Name is the service's slug.
const Name = "gateway-svc"

// App is a gateway.
type App struct {
	cfg       Config
	host      *host.Host
	log       *slog.Logger
	table     *service.Table
	entries   *kv.Map[routing.Entry]
	lists     map[*routing.Slug][]service.Instance // of the entries that the table was updated with last
	sites     map[string][]service.Instance        // of guests, of which the same holds
	schemas   *schemas.Follower
	snapshot  *store.Snapshot // nil keeps none
	described *store.Snapshot // of the schemas; nil keeps none
	servers   []server
	upstream  *http1.Upstreams
	file      *settled.File // routes.yaml; nil if unset
	inForce   *routes.Table // its content
	reload    chan struct{} // asks for a look at it now
	routes    *handler.Routes
	age       prometheus.Collector // nil where another gateway of the process has it
	guests    *guestPort           // nil where guests can't call the mesh
	stockNATS *nats.Conn           // nil where guests on NATS can't be called
	cancel    context.CancelFunc
}

type server struct {
	srv *http1.Server
	ln  net.Listener
}

// New makes a gateway that listens already, but serves only once Run runs. What it knew when it last ran it knows again.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &App{
		cfg: cfg, host: h, log: h.Logger.With("service", Name), cancel: cancel, reload: make(chan struct{}, 1),
		table:   service.NewTable(h.Logger),
		routes:  handler.NewRoutes(),
		entries: kv.Watch(watch, h.JS, kv.Routing, h.Logger, routing.DecodeEntry, kv.SealedBy(h.Seal())),
	}
	if err := errors.Join(a.measure(), a.build(ctx)); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) build(ctx context.Context) error {
	if err := a.openRoutes(); err != nil {
		return err
	}
	bindings, err := transcode.New(builtIn()...)
	if err != nil {
		return fmt.Errorf("compile bindings: %w", err)
	}
	a.schemas, err = schemas.New(schemas.Config{
		Nodes: a.host.Nodes, JS: a.host.JS, Logger: a.log, Metrics: a.host.Metrics, BuiltIn: bindings, Self: Name, Version: host.Version,
		Held: a.held(), Guests: a.cfg.ExposeStock,
	})
	if err != nil {
		return err
	}
	if a.cfg.DataDir != "" {
		a.snapshot = store.NewSnapshot(filepath.Join(a.cfg.DataDir, "snapshot.json"))
		a.described = store.NewSnapshot(filepath.Join(a.cfg.DataDir, "schemas.json"))
		a.restore()
	}
	network, err := a.network()
	if err != nil {
		return err
	}
	guarded := newGuarded(a.table)
	a.host.RPC.ControlGuests(guarded.control(network.Control(netpolicy.Account), "", ""))
	if err := a.openStock(ctx); err != nil {
		return err
	}
	a.table.OnLeft(func(address string) { a.upstream.Forget(address) })
	a.upstream = http1.NewUpstreams(http1.UpstreamsConfig{
		Dial:          dialer(network, guarded),
		HeaderTimeout: a.cfg.HeadersTimeout, TunnelCheck: a.cfg.TunnelCheck,
		Surplus: func(address string) { a.log.Warn("upstream_sent_more_than_its_answer", "address", address) },
	})
	stream := &handler.EventStream{Events: a.host.Events}
	states := &handler.SchemaStates{Status: func() any { return a.schemas.Status() }}
	dead := &handler.DeadLetters{JS: a.host.JS, Log: a.log}
	programs := &handler.Programs{All: a.programs}
	pages := a.pages(stream, states)
	pages.Dead, pages.Programs = dead, programs
	tokens, err := handler.ParseCallerTokens(a.cfg.CallerToken)
	if err != nil {
		return err
	}
	cfg := handler.Config{
		Table: a.table, Bindings: a.schemas.Bindings(), RPC: a.host.RPC, Verifier: a.host.Verifier, Permits: a.host.Auth,
		Nodes: a.host.Nodes, ExposeStock: a.cfg.ExposeStock, GuestHeaders: a.cfg.GuestHeaders,
		Routes: a.routes, Forward: a.upstream, Local: pages.Handlers(), Logger: a.log, Metrics: a.host.Metrics, Hosts: a.cfg.EdgeListen == "",
		MaxMessage: a.cfg.MaxMessage, MaxBody: a.cfg.MaxBody, CallTimeout: a.cfg.CallTimeout,
		WaitHeaders: a.cfg.HeadersTimeout, CORS: a.cfg.CORS, CORSCredentials: a.cfg.CORSCredentials, CallerTokens: tokens,
	}
	main := handler.New(cfg)
	stream.Gateway, states.Gateway, dead.Gateway, programs.Gateway = main, main, main, main
	if err := a.listen(ctx, a.cfg.Listen, main); err != nil {
		return err
	}
	if a.cfg.EdgeListen != "" {
		cfg.HostsOnly = true
		if err := a.listen(ctx, a.cfg.EdgeListen, handler.New(cfg)); err != nil {
			return err
		}
	}
	if a.cfg.GuestsListen == "" {
		return nil
	}
	guests := &handler.Guests{Gateway: main}
	if err := a.listen(ctx, a.cfg.GuestsListen, guests); err != nil {
		return err
	}
	last := &a.servers[len(a.servers)-1]
	a.guests = newGuestPort(last.ln, guests)
	last.ln = a.guests
	return nil
}

// held reports whether a slug has instances. Where processes have certificates it is nil: there only a service itself can publish its
// schema, by its login on NATS.
func (a *App) held() func(slug string) bool {
	if a.host.Identity() != nil {
		return nil
	}
	return func(slug string) bool { return a.table.Slug(slug).Size() > 0 }
}

func (a *App) pages(stream, states http1.Handler) handler.Pages {
	return handler.Pages{
		OpenAPI: func() handler.Document {
			p := a.schemas.Pages()
			return handler.Document{Body: p.OpenAPI, Tag: p.OpenAPITag}
		},
		Docs:   func() handler.Document { p := a.schemas.Pages(); return handler.Document{Body: p.Docs, Tag: p.DocsTag} },
		Policy: transcode.DocsPolicy(),
		Keys:   a.host.Auth.Keys, Revoked: a.host.Auth.Revocations, Ready: func() error { return a.Ready(context.Background()) },
		Metrics: a.host.Metrics, Events: stream, Schemas: states,
	}
}

// builtIn are the services whose bindings every gateway has.
func builtIn() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{userpb.File_user_v1_user_proto, registrypb.File_registry_v1_registry_proto, proxypb.File_proxy_v1_proxy_proto}
}

func (a *App) listen(ctx context.Context, address string, h http1.Handler) error {
	proxies, err := a.cfg.proxies()
	if err != nil {
		return err
	}
	srv, err := http1.NewServer(http1.Config{
		Logger: a.log, Handler: h, ErrorBody: handler.ErrorBody, TrustedProxies: proxies, MaxBodyBytes: a.cfg.MaxBody,
	})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	a.host.Listens(ln.Addr())
	a.servers = append(a.servers, server{srv, ln})
	return nil
}

func (c *Config) proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	var wrong []error
	for _, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_TRUSTED_PROXIES holds %q; it must be a CIDR, such as 10.0.0.0/8", s))
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(wrong...)
}

// Addr is where the gateway listens.
func (a *App) Addr() net.Addr { return a.servers[0].ln.Addr() }

// EdgeAddr is where host routes are served, or nil where they have no address of their own.
func (a *App) EdgeAddr() net.Addr {
	if a.cfg.EdgeListen == "" {
		return nil
	}
	return a.servers[1].ln.Addr()
}

// GuestsAddr returns the address where services in plain go-micro call those of the mesh, or nil where they can't.
func (a *App) GuestsAddr() net.Addr {
	if a.cfg.GuestsListen == "" {
		return nil
	}
	return a.servers[len(a.servers)-1].ln.Addr()
}

// guestsAddr is where services in plain go-micro call those of the mesh, as they reach it; empty where they can't.
func (a *App) guestsAddr() string {
	at := a.GuestsAddr()
	if at == nil {
		return ""
	}
	return cmp.Or(a.cfg.GuestsAdvertise, host.Reachable(at)[0])
}

// Ready tells why the gateway can't lead requests yet, or nil.
func (a *App) Ready(context.Context) error {
	switch {
	case !a.host.Auth.Ready():
		return errors.New("the keys that sign tokens are not known yet")
	case !a.entries.Synced() && len(a.entries.Load()) == 0:
		return errors.New("the routing table is not known yet")
	case a.host.NATS.IsConnected() && !a.host.Nodes.Synced():
		return errors.New("the services are not known yet")
	case a.host.NATS.IsConnected() && !a.schemas.Settled():
		return errors.New("the schemas of services are not known yet")
	}
	return nil
}

// Run serves until ctx ends; then it stops taking connections and lets requests under way finish for a while.
func (a *App) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { a.follow(ctx); return nil })
	g.Go(func() error { a.announce(ctx); return nil })
	if a.file != nil {
		g.Go(func() error { a.watchRoutes(ctx); return nil })
	}
	g.Go(func() error { a.schemas.Run(ctx); return nil })
	if a.snapshot != nil {
		g.Go(func() error { a.keep(ctx); return nil })
		g.Go(func() error { a.keepSchemas(ctx); return nil })
	}
	if a.guests != nil {
		g.Go(func() error { a.guests.run(ctx, a.cfg.DrainTimeout); return nil })
	}
	for _, s := range a.servers {
		g.Go(func() error {
			if err := s.srv.Serve(s.ln); !errors.Is(err, http1.ErrServerClosed) {
				return err
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.DrainTimeout)
			defer cancel()
			if err := s.srv.Shutdown(drain); err != nil {
				a.log.Warn("requests_cut_off", "error", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Close gives up what New opened, after Run has ended or in its place.
func (a *App) Close() error {
	a.cancel()
	a.entries.Wait()
	if a.age != nil {
		a.host.Metrics.Unregister(a.age)
	}
	for _, s := range a.servers {
		_ = s.ln.Close() // closed already where Run has run
	}
	if a.upstream != nil {
		a.upstream.Close()
	}
	if a.stockNATS != nil {
		a.stockNATS.Close()
	}
	if a.file != nil {
		return a.file.Close()
	}
	return nil
}

// follow keeps the table as the watched bucket says.
func (a *App) follow(ctx context.Context) {
	moved := make(chan struct{}, 1)
	defer a.host.Nodes.OnChange(func(string) {
		select {
		case moved <- struct{}{}:
		default: // an update is due already
		}
	})()
	pace := kv.Pace{Gap: 5 * time.Millisecond}
	for {
		pace.Wait(ctx)
		changed := a.entries.Changed()
		a.update(a.entries.Load())
		pace.Done()
		select {
		case <-changed:
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

func (a *App) update(entries map[string]routing.Entry) {
	slugs := make(map[string][]service.Instance, len(entries))
	lists := make(map[*routing.Slug][]service.Instance, len(entries))
	var hosts []service.HostRoute
	for _, e := range entries {
		if e.Host != nil {
			hosts = append(hosts, service.HostRoute{ID: e.Host.ID, Target: e.Host.Target})
			continue
		}
		list, same := a.lists[e.Slug] // entries are replaced when they change
		if !same {
			list = make([]service.Instance, len(e.Slug.Instances))
			for i, t := range e.Slug.Instances {
				list[i] = service.Instance{ID: t.ID, URL: t.URL, Live: t.Status.Live()}
			}
		}
		slugs[e.Slug.Slug], lists[e.Slug] = list, list
	}
	a.lists = lists
	a.addSites(slugs)
	a.table.Update(slugs, hosts)
}
