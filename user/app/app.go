// Package app wires the user service, so that `micro up`, its own process and tests run the same thing.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"micromesh/pkg/backend"
	"micromesh/pkg/host"
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

	*backend.Backend
	replica  *replicator
	programs *programs
	madeUp   string // the admin's password
}

// New opens the database, brings it up to date, and makes sure that there are an admin and a key that signs. Close the app
// after Run has ended, or instead of it.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Test && !h.Loopback() {
		return nil, errors.New("MICRO_TEST is set, and the service can be called from other machines; unset it, or set MICRO_SERVER_ADDRESS to 127.0.0.1:0")
	}
	b, err := backend.Open(ctx, h, Name, cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	a := &App{Backend: b}
	if err := a.open(ctx, h, cfg); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context, h *host.Host, cfg Config) error {
	if err := store.Migrate(ctx, a.DB); err != nil {
		return err
	}
	if err := a.Bind(ctx, sealed(store.New(a.DB, subscriber.Encode))); err != nil {
		return err
	}
	mailer, err := newMailer(cfg, a.Log)
	if err != nil {
		return err
	}
	st := store.New(a.DB, subscriber.Encode)
	keeper := h.Keeper(Name)
	a.replica = newReplicator(h.JS, h.NATS, h.Auth, st, keeper, a.Log)
	a.replica.slugs = newSlugs(h.JS, h.NATS, st, keeper, a.Log)
	if a.programs, err = newPrograms(ctx, h.Nodes, st, a.Log); err != nil {
		return err
	}
	a.Service, err = service.New(cfg.domain(), service.Ports{
		Store: st, Sealer: h.Secrets, Signer: signer{}, Mailer: mailer, Permits: permits{h.Auth}, Replica: a.replica, Programs: a.programs,
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
	a.Publish(schema)
	if err := a.Listen(ctx, userpb.File_user_v1_user_proto); err != nil {
		return err
	}
	return userpb.RegisterUserServiceHandler(a.Server, handler.New(a.Service, h.Verifier))
}

// sealed are the private halves of the keys that sign tokens.
func sealed(st *store.Store) backend.Sealed {
	return backend.Sealed{
		Each: func(ctx context.Context) (values []backend.SealedValue, err error) {
			keys, err := st.Keys(ctx)
			for _, k := range keys {
				values = append(values, backend.SealedValue{Sealed: k.Sealed, Context: k.ID})
			}
			return values, err
		},
		Tables: []string{"signing_keys"}, Loss: "all sessions: everybody has to sign in again",
	}
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

// AdminPassword is the password that was made up for the admin, if New created one without a password from the settings.
func (a *App) AdminPassword() string { return a.madeUp }

// Run serves until ctx ends.
func (a *App) Run(ctx context.Context) error {
	return a.Backend.Run(ctx, append(a.replica.guards(), a.replica.run, a.replica.slugs.run, a.programs.run, a.housekeep)...)
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
		if !a.Mine("housekeeping") {
			continue
		}
		if err := a.Service.Housekeep(ctx); err != nil && ctx.Err() == nil {
			a.Log.Warn("housekeeping_failed", "error", err)
		}
	}
}
