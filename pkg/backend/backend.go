// Package backend is what the services behind the gateway are made of: a database with an outbox, a relay that publishes
// what is in it, an RPC server. A service opens one in its app, adds its own parts, and runs.
package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/auth"
	"micromesh/pkg/discovery"
	"micromesh/pkg/events"
	"micromesh/pkg/host"
	"micromesh/pkg/rpc/server"
	"micromesh/pkg/sqldb"
)

// Backend is a service's backend. Close it after Run has ended, or instead of it.
type Backend struct {
	Log    *slog.Logger   // with the service's name
	DB     *sqldb.DB      // its schema is the service's business; nil where it keeps nothing
	Server *server.Server // for the generated Register…Handler functions; nil before Listen

	name  string
	claim string
	host  *host.Host
	relay *events.Relay
	ln    net.Listener

	measured []prometheus.Collector
}

// Open opens the database of the service with a slug.
//
// Errors: Unavailable; others are one line for the operator.
func Open(ctx context.Context, h *host.Host, name, databaseURL string) (*Backend, error) {
	log := h.Logger.With("service", name)
	db, err := sqldb.Open(ctx, sqldb.Config{URL: databaseURL, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	b := &Backend{Log: log, DB: db, name: name, host: h}
	if err := b.Measure(newPool(name, db)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return b, nil
}

// Publish makes Run relay the outbox, which the database must have, with the schemas of its events.
func (b *Backend) Publish(schemas ...events.Schema) {
	b.relay = events.NewRelay(b.DB, b.host.JS, b.host.Signer(b.name), b.Log, schemas...)
}

// Claim sets the claim that the service's nodes carry ([auth.Claim]): only the holder of the claimed password can register the slug. Call it
// before Listen.
func (b *Backend) Claim(claim string) { b.claim = claim }

// Listen opens the RPC port and makes the server of the services that files describe. It serves once Run runs.
func (b *Backend) Listen(ctx context.Context, files ...protoreflect.FileDescriptor) (err error) {
	if b.ln, err = b.host.Listen(ctx); err != nil {
		return err
	}
	h := b.host
	h.Listens(b.ln.Addr())
	metadata := map[string]string{host.Addresses: strings.Join(h.Own(), ",")}
	if b.claim != "" {
		metadata[auth.AccountClaim] = b.claim
	}
	b.Server, err = server.New(server.Config{
		Name: b.name, ID: h.ID, Version: host.Version, Listener: b.ln, Registry: h.Registry,
		Verifier: h.Verifier, Permits: h.Auth, Logger: b.Log, Metrics: h.Metrics, Files: files, JetStream: h.JS,
		Advertise: h.Advertise(b.ln), Credentials: h.Credentials(), Linger: h.Linger(),
		Metadata: metadata,
	})
	return err
}

// Run serves until ctx ends or the server fails. Calls under way are finished first; only then the relay and the
// service's own parts, which run until their context ends, are told to end, and awaited.
func (b *Backend) Run(ctx context.Context, parts ...func(context.Context)) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	if b.relay != nil {
		if err := b.Measure(newOutbox(b.name, b.relay)); err != nil {
			return err
		}
		parts = append(parts, b.relay.Run)
	}
	for _, run := range parts {
		g.Go(func() error { run(background); return nil })
	}
	err := b.Server.Run(ctx)
	stop()
	return errors.Join(err, g.Wait())
}

// Ready tells why the service can't do its work right now, or nil.
func (b *Backend) Ready(ctx context.Context) error {
	if b.DB != nil && b.DB.Ping(ctx) != nil {
		return errors.New("the database doesn't answer")
	}
	if !b.host.NATS.IsConnected() {
		return errors.New("there is no connection to NATS")
	}
	if !b.host.Auth.Ready() {
		return errors.New("the keys that sign tokens are not known yet")
	}
	if !b.listed() {
		return errors.New("the RPC server is not in discovery yet")
	}
	return nil
}

// Measure adds metrics to those of the process, until Close. They are left to one backend where two of a service run in one
// process.
func (b *Backend) Measure(c prometheus.Collector) error {
	err := b.host.Metrics.Register(c)
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	if err == nil {
		b.measured = append(b.measured, c)
	}
	return err
}

// Mine tells whether, of all processes of the service, this one is to do a piece of work that one of them must do.
func (b *Backend) Mine(piece string) bool { return b.host.Nodes.Mine(b.name, b.node(), piece) }

// node is this process's id in discovery.
func (b *Backend) node() string { return b.name + "-" + b.host.ID }

// listed tells whether others find this process.
func (b *Backend) listed() bool {
	s := b.host.Nodes.Lookup(b.name)
	return s != nil && slices.ContainsFunc(s.Nodes, func(n *discovery.Node) bool { return n.ID == b.node() })
}

// Close gives up the port and the database.
func (b *Backend) Close() error {
	for _, c := range b.measured {
		b.host.Metrics.Unregister(c)
	}
	var err error
	if b.ln != nil {
		if err = b.ln.Close(); errors.Is(err, net.ErrClosed) { // the server has closed it, where it ran
			err = nil
		}
	}
	if b.DB != nil {
		err = errors.Join(err, b.DB.Close())
	}
	return err
}
