package app

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"micromesh/pkg/backend"
	"micromesh/pkg/host"
	"micromesh/registry/handler"
	"micromesh/registry/health"
	registrypb "micromesh/registry/proto"
	"micromesh/registry/service"
	"micromesh/registry/stock"
	"micromesh/registry/store"
	"micromesh/registry/subscriber"
)

// Name is the service's slug.
const Name = "registry-svc"

// App is a registry.
type App struct {
	*backend.Backend
	network network
	checker *health.Checker
	board   *board
	node    *node
	peers   *peers
	svc     *service.Service

	owners    owners
	stock     *stock.Bridge // nil where there is none
	stockNATS *nats.Conn
}

// New makes a registry: its database is up to date when New returns, its instances are known, and its RPC port is open.
// Close it after Run has ended, or instead of it.
func New(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	cfg.complete()
	b, err := backend.Open(ctx, h, Name, cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	network, err := newNetwork(cfg, h)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	a := &App{Backend: b, owners: owners{h.JS, h.Seal()}, network: network, checker: health.New(cfg.CheckTimeout, network.Policy)}
	if err := a.open(ctx, h, cfg); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context, h *host.Host, cfg Config) error {
	st, err := store.New(ctx, a.DB, subscriber.Encode)
	if err != nil {
		return err
	}
	if err := a.Bind(ctx, backend.Sealed{Loss: "nothing"}); err != nil {
		return err
	}
	schema, err := subscriber.Schema()
	if err != nil {
		return err
	}
	a.Publish(schema)
	a.board = newBoard(h.JS, h.Keeper(Name), a.Log)
	a.peers = newPeers(h.Nodes, h.NATS, h.ID, a.Log)
	a.svc, err = service.New(ctx, service.Config{
		Lease: cfg.Lease, CheckInterval: cfg.CheckInterval, MaxInstances: maxInstances,
		Logger: a.Log, Now: time.Now,
		Key: func(slug, url string) []byte {
			return h.Secrets.MAC([]byte(slug+"\n"+url), "proof of an instance's address")
		},
	}, st, a.checker, a.board, rpcNodes{h.Nodes}, a.peers, a.network)
	if err != nil {
		return err
	}
	if a.stock, a.stockNATS, err = openStock(ctx, cfg.StockNATS, h, a); err != nil {
		return err
	}
	a.node = newNode(cfg, a.svc, a.Log)
	if err := a.Measure(newMetrics(a.svc)); err != nil {
		return err
	}
	if err := a.Listen(ctx, registrypb.File_registry_v1_registry_proto); err != nil {
		return err
	}
	return registrypb.RegisterRegistryServiceHandler(a.Server, handler.New(a.svc, a.node, h.Auth))
}

// Run serves until ctx ends. What is known in memory alone is stored last.
func (a *App) Run(ctx context.Context) error {
	board := func(ctx context.Context) { a.board.run(ctx, a.svc) }
	peers := func(ctx context.Context) { a.peers.run(ctx, a.svc) }
	deleted := func(ctx context.Context) { a.owners.followDeleted(ctx, a.svc.Orphaned) }
	parts := []func(context.Context){a.svc.RunFlush, a.svc.RunChecks, a.svc.RunOrphans, board, a.board.guard, peers, a.node.run, deleted}
	if a.stock != nil {
		parts = append(parts, a.stock.Run, func(ctx context.Context) { a.owners.follow(ctx, a.stock.Recheck) })
	}
	return a.Backend.Run(ctx, parts...)
}

// Close gives up what New opened.
func (a *App) Close() error {
	a.checker.Close()
	if a.stockNATS != nil {
		a.stockNATS.Close()
	}
	return a.Backend.Close()
}
