package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/events"
	"micromesh/pkg/host"
	rpcserver "micromesh/pkg/rpc/server"
	"micromesh/pkg/sqldb"
	"micromesh/registry/handler"
	"micromesh/registry/health"
	registrypb "micromesh/registry/proto"
	"micromesh/registry/service"
	"micromesh/registry/store"
	"micromesh/registry/subscriber"
)

// Name is the service's slug.
const Name = "registry-svc"

// App is a registry.
type App struct {
	host    *host.Host
	log     *slog.Logger
	db      *sqldb.DB
	ln      net.Listener
	server  *rpcserver.Server
	relay   *events.Relay
	checker *health.Checker
	board   *board
	node    *node
	svc     *service.Service
}

// New makes a registry: its database is up to date when New returns, its instances are known, and its RPC port is open.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	if cfg.DatabaseURL == "" {
		return nil, errNoDatabase
	}
	cfg.complete()
	a := &App{host: h, log: h.Logger.With("service", Name)}
	if err := a.open(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", Name, err), a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context, cfg Config) (err error) {
	if a.db, err = sqldb.Open(ctx, sqldb.Config{URL: cfg.DatabaseURL, Logger: a.log}); err != nil {
		return err
	}
	st, err := store.New(ctx, a.db, subscriber.Encode)
	if err != nil {
		return err
	}
	schema, err := subscriber.Schema()
	if err != nil {
		return err
	}
	a.relay = events.NewRelay(a.db, a.host.JS, Name, a.log, schema)
	a.checker = health.New(cfg.CheckTimeout)
	a.board = newBoard(a.host.JS, a.log)
	a.svc, err = service.New(ctx, service.Config{
		Lease: cfg.Lease, CheckInterval: cfg.CheckInterval, MaxInstances: maxInstances,
		Reserved: reserved(cfg.Reserved, a.host.NATS, cfg.DatabaseURL), Logger: a.log, Now: time.Now,
	}, st, a.checker, a.board, rpcNodes{a.host.Nodes})
	if err != nil {
		return err
	}
	a.node = newNode(cfg, a.svc, a.log)
	if a.ln, err = a.host.Listen(ctx); err != nil {
		return err
	}
	a.server, err = rpcserver.New(rpcserver.Config{
		Name: Name, ID: a.host.ID, Version: host.Version, Listener: a.ln, Registry: a.host.Registry,
		Verifier: a.host.Verifier, Permits: a.host.Auth, Logger: a.log, Metrics: a.host.Metrics,
		Files: []protoreflect.FileDescriptor{registrypb.File_registry_v1_registry_proto},
	})
	if err != nil {
		return err
	}
	return registrypb.RegisterRegistryServiceHandler(a.server, handler.New(a.svc, a.node))
}

// Run serves until ctx ends. What is known in memory alone is stored last.
func (a *App) Run(ctx context.Context) error {
	flush, stopFlush := context.WithCancel(context.WithoutCancel(ctx))
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		a.svc.RunFlush(flush)
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.server.Run(ctx) })
	g.Go(func() error { a.relay.Run(ctx); return nil })
	g.Go(func() error { a.svc.RunChecks(ctx); return nil })
	g.Go(func() error { a.board.run(ctx, a.svc); return nil })
	g.Go(func() error { a.node.run(ctx); return nil })
	err := g.Wait()
	stopFlush()
	<-flushed
	return err
}

// Close gives up what New opened, after Run has ended or in its place.
func (a *App) Close() error {
	var wrong []error
	if a.ln != nil {
		if err := a.ln.Close(); !errors.Is(err, net.ErrClosed) { // the server has closed it, where it ran
			wrong = append(wrong, err)
		}
	}
	if a.checker != nil {
		a.checker.Close()
	}
	if a.db != nil {
		wrong = append(wrong, a.db.Close())
	}
	return errors.Join(wrong...)
}
