// Package app wires the user service, so that `micro up`, its own process and tests run the same thing.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/events"
	"micromesh/pkg/host"
	"micromesh/pkg/rpc/server"
	"micromesh/pkg/sqldb"
	"micromesh/user/handler"
	"micromesh/user/service"
	"micromesh/user/store"
	"micromesh/user/subscriber"

	userpb "micromesh/user/proto"
)

// Name is the service's slug.
const Name = "user-svc"

// housekeeping is how often what has expired is deleted.
const housekeeping = time.Minute

// App is the user service of a process.
type App struct {
	Service *service.Service

	db       *sqldb.DB
	log      *slog.Logger
	listener net.Listener
	server   *server.Server
	relay    *events.Relay
	replica  *replicator
	madeUp   string // the admin's password
}

// New opens the database, brings it up to date, and makes sure that there are an admin and a key that signs. Close the app
// after Run has ended, or instead of it.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log := h.Logger.With("service", Name)
	db, err := sqldb.Open(ctx, sqldb.Config{URL: cfg.DatabaseURL, Logger: log})
	if err != nil {
		return nil, err
	}
	a := &App{db: db, log: log}
	if err := a.open(ctx, h, cfg); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context, h *host.Host, cfg Config) error {
	if err := store.Migrate(ctx, a.db); err != nil {
		return err
	}
	mailer, err := newMailer(cfg, a.log)
	if err != nil {
		return err
	}
	st := store.New(a.db, subscriber.Encode)
	a.replica = newReplicator(h.JS, h.NATS, h.Auth, st, a.log)
	a.Service, err = service.New(cfg.domain(), service.Ports{
		Store: st, Sealer: h.Secrets, Signer: signer{}, Mailer: mailer, Permits: permits{h.Auth}, Replica: a.replica,
	})
	if err != nil {
		return err
	}
	a.replica.source = a.Service
	if err := a.prepare(ctx, cfg); err != nil {
		return err
	}
	schema, err := subscriber.Schema()
	if err != nil {
		return err
	}
	a.relay = events.NewRelay(a.db, h.JS, Name, a.log, schema)
	return a.listen(ctx, h)
}

// prepare makes what there must be from the first start, and lets every process know the keys before the first token.
func (a *App) prepare(ctx context.Context, cfg Config) error {
	admin := service.Admin{Slug: cfg.AdminSlug, Password: cfg.AdminPassword}
	if admin.Password == "" {
		admin.Password = rand.Text()
	}
	created, err := a.Service.Prepare(ctx, admin)
	if err != nil {
		return fmt.Errorf("prepare accounts: %w", err)
	}
	if created && cfg.AdminPassword == "" {
		a.madeUp = admin.Password
	}
	return a.replica.start(ctx)
}

func (a *App) listen(ctx context.Context, h *host.Host) (err error) {
	if a.listener, err = h.Listen(ctx); err != nil {
		return err
	}
	a.server, err = server.New(server.Config{
		Name: Name, ID: h.ID, Version: host.Version, Listener: a.listener, Registry: h.Registry,
		Verifier: h.Verifier, Permits: h.Auth, Logger: a.log, Metrics: h.Metrics,
		Files: []protoreflect.FileDescriptor{userpb.File_user_v1_user_proto},
	})
	if err != nil {
		return err
	}
	return userpb.RegisterUserServiceHandler(a.server, handler.New(a.Service, h.Verifier))
}

// AdminPassword is the password that was made up for the admin, if New created one without a password from the settings.
func (a *App) AdminPassword() string { return a.madeUp }

// Run serves until ctx ends. Calls under way are finished before the rest stops.
func (a *App) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	g.Go(func() error { a.relay.Run(background); return nil })
	g.Go(func() error { a.replica.run(background); return nil })
	g.Go(func() error { a.housekeep(background); return nil })
	err := a.server.Run(ctx)
	stop()
	return errors.Join(err, g.Wait())
}

// Close closes what New opened.
func (a *App) Close() error {
	var err error
	if a.listener != nil {
		if err = a.listener.Close(); errors.Is(err, net.ErrClosed) { // the server has done it
			err = nil
		}
	}
	return errors.Join(err, a.db.Close())
}

// housekeep deletes what has expired, and rotates the key when that is due, until ctx ends.
func (a *App) housekeep(ctx context.Context) {
	t := time.NewTicker(housekeeping)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := a.Service.Housekeep(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("housekeeping_failed", "error", err)
		}
	}
}
