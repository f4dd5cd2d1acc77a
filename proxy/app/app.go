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
	"micromesh/proxy/handler"
	proxypb "micromesh/proxy/proto"
	"micromesh/proxy/service"
	"micromesh/proxy/store"
	"micromesh/proxy/subscriber"
)

// Name is the service's slug.
const Name = "proxy-svc"

// App is a proxy.
type App struct {
	host   *host.Host
	log    *slog.Logger
	db     *sqldb.DB
	ln     net.Listener
	server *rpcserver.Server
	relay  *events.Relay
	table  *table
}

// New makes a proxy: its database is up to date when New returns, and its RPC port is open.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	if cfg.DatabaseURL == "" {
		return nil, errNoDatabase
	}
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
	a.table = newTable(a.host.JS, st, a.log)
	if a.ln, err = a.host.Listen(ctx); err != nil {
		return err
	}
	a.server, err = rpcserver.New(rpcserver.Config{
		Name: Name, ID: a.host.ID, Version: host.Version, Listener: a.ln, Registry: a.host.Registry,
		Verifier: a.host.Verifier, Permits: a.host.Auth, Logger: a.log, Metrics: a.host.Metrics,
		Files: []protoreflect.FileDescriptor{proxypb.File_proxy_v1_proxy_proto},
	})
	if err != nil {
		return err
	}
	svc := service.New(st, a.host.Secrets, a.table, time.Now)
	return proxypb.RegisterProxyServiceHandler(a.server, handler.New(svc))
}

// Run serves until ctx ends.
func (a *App) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.server.Run(ctx) })
	g.Go(func() error { a.relay.Run(ctx); return nil })
	g.Go(func() error { a.table.run(ctx); return nil })
	return g.Wait()
}

// Close gives up what New opened, after Run has ended or in its place.
func (a *App) Close() error {
	var wrong []error
	if a.ln != nil {
		if err := a.ln.Close(); !errors.Is(err, net.ErrClosed) { // the server has closed it, where it ran
			wrong = append(wrong, err)
		}
	}
	if a.db != nil {
		wrong = append(wrong, a.db.Close())
	}
	return errors.Join(wrong...)
}
