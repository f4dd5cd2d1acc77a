package app

import (
	"context"
	"errors"
	"time"

	"micromesh/pkg/backend"
	"micromesh/pkg/host"
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
	*backend.Backend
	table *table
}

// New makes a proxy: its database is up to date when New returns, and its RPC port is open. Close it after Run has ended,
// or instead of it.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	b, err := backend.Open(ctx, h, Name, cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	a := &App{Backend: b}
	if err := a.open(ctx, h); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context, h *host.Host) error {
	st, err := store.New(ctx, a.DB, subscriber.Encode)
	if err != nil {
		return err
	}
	if err := a.Bind(ctx, sealed(st)); err != nil {
		return err
	}
	schema, err := subscriber.Schema()
	if err != nil {
		return err
	}
	a.Publish(schema)
	a.table = newTable(h.JS, st, h.Keeper(Name), a.Log)
	if err := a.Listen(ctx, proxypb.File_proxy_v1_proxy_proto); err != nil {
		return err
	}
	svc := service.New(st, h.Secrets, a.table, time.Now)
	return proxypb.RegisterProxyServiceHandler(a.Server, handler.New(svc))
}

// sealed are certificates with their keys.
func sealed(st *store.Store) backend.Sealed {
	return backend.Sealed{
		Each: func(ctx context.Context) (values []backend.SealedValue, err error) {
			certs, err := st.Certs(ctx, nil)
			for _, c := range certs {
				values = append(values, backend.SealedValue{Sealed: c.Sealed, Context: service.CertContext(c.ID)})
			}
			return values, err
		},
		Tables: []string{"certs"}, Loss: "the certificates of hosts: save them again",
	}
}

// Run serves until ctx ends.
func (a *App) Run(ctx context.Context) error { return a.Backend.Run(ctx, a.table.run, a.table.guard) }
