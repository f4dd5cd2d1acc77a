// Package server is the RPC server that every service of the mesh runs on: go-micro's gRPC server, with what the mesh
// adds to it in one place.
//
// From a service's descriptors it knows who may call each method and what its input must look like, and checks both
// before the handler runs. It publishes them, so that gateways route the methods' HTTP bindings. It decodes and encodes
// messages itself, because go-micro's JSON has other names and leaves out fields; it turns errors into their wire form,
// recovers panics, and counts.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v5/broker"
	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/auth"
	_ "micromesh/pkg/rpc/securetls" // go-micro's TLS is not verified without it
	"micromesh/pkg/schema"
)

// Config is what a server needs. All but the times must be set.
type Config struct {
	Name     string // the service's slug, such as "user-svc"
	ID       string // of this process, unique among the service's
	Version  string
	Listener net.Listener
	Registry registry.Registry
	Verifier *auth.Verifier
	Permits  auth.Permits
	Logger   *slog.Logger
	Metrics  prometheus.Registerer

	// Files describe the services that will be registered; each method needs an access rule.
	Files []protoreflect.FileDescriptor

	// JetStream is where the schema of Files is published while the server runs, by which gateways route its HTTP bindings;
	// nil publishes none.
	JetStream jetstream.JetStream

	// Advertise is the address, "host:port", that the registry is told; default the listener's.
	Advertise string
	// Credentials of the port; nil speaks plain text.
	Credentials credentials.TransportCredentials

	RegisterTTL      time.Duration     // how long the registry keeps the node; default 15 s
	RegisterInterval time.Duration     // how often the node registers again; default a third of the TTL
	Linger           time.Duration     // how long Run goes on serving after it has left the registry, for callers who don't know yet; default 0
	StopTimeout      time.Duration     // how long Stop waits for running calls; default 10 s
	Metadata         map[string]string // of the node
}

const maxMessage = 16 << 20 // bytes, both ways

// Server is a go-micro server: pass it to the generated Register…Handler functions.
type Server struct {
	server.Server
	methods methods
	cfg     Config
	leaving *leaving
	schema  *schema.Publisher // nil publishes none
}

// leaving is a registry that takes no more registrations once the server leaves: go-micro's server would register again.
type leaving struct {
	registry.Registry
	left atomic.Bool
}

// Register implements registry.Registry.
func (l *leaving) Register(s *registry.Service, opts ...registry.RegisterOption) error {
	if l.left.Load() {
		return nil
	}
	return l.Registry.Register(s, opts...)
}

// New makes a server that listens already but does not serve before Start.
func New(cfg Config) (*Server, error) {
	if cfg.RegisterTTL == 0 {
		cfg.RegisterTTL = 15 * time.Second
	}
	if cfg.RegisterInterval == 0 {
		cfg.RegisterInterval = cfg.RegisterTTL / 3
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 10 * time.Second
	}
	methods, err := compile(cfg.Files)
	if err != nil {
		return nil, fmt.Errorf("compile rules of %s: %w", cfg.Name, err)
	}
	if cfg.Advertise == "" {
		cfg.Advertise = cfg.Listener.Addr().String()
	}
	s := &Server{methods: methods, cfg: cfg, leaving: &leaving{Registry: cfg.Registry}}
	meta := map[string]string{}
	for k, v := range cfg.Metadata {
		meta[k] = v
	}
	if s.schema, err = describe(cfg, meta); err != nil {
		return nil, err
	}
	c := &calls{methods: methods, verifier: cfg.Verifier, permits: cfg.Permits, log: cfg.Logger, metrics: newMetrics(cfg.Metrics, cfg.Name)}
	s.Server = mgrpc.NewServer(
		server.Name(cfg.Name),
		server.Id(cfg.ID),
		server.Version(cfg.Version),
		server.Address(cfg.Listener.Addr().String()),
		server.Advertise(cfg.Advertise),
		server.Registry(s.leaving),
		server.RegisterTTL(cfg.RegisterTTL),
		server.RegisterInterval(cfg.RegisterInterval),
		server.Broker(broker.NewMemoryBroker()), // never used: events go through pkg/events
		server.WithLogger(newLogger(cfg.Logger)),
		server.Metadata(meta),
		server.WrapHandler(c.wrap),
		mgrpc.Listener(cfg.Listener),
		mgrpc.MaxMsgSize(maxMessage),
		mgrpc.GracefulStopTimeout(cfg.StopTimeout),
		// go-micro encodes every request once more for a field that nothing reads: a codec that answers nothing saves that.
		mgrpc.Codec("application/grpc", unused{}),
		mgrpc.Codec("application/grpc+proto", unused{}),
		mgrpc.Codec("application/grpc+json", unused{}),
		mgrpc.Options(options(cfg)...),
	)
	return s, nil
}

func options(cfg Config) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.StreamInterceptor(intercept),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.NumStreamWorkers(0),
	}
	if cfg.Credentials != nil {
		opts = append(opts, grpc.Creds(cfg.Credentials))
	}
	return opts
}

// Run starts the server, and stops it gracefully when ctx ends: it leaves the registry first, goes on serving for a moment
// where Linger says so, and then lets running calls finish.
func (s *Server) Run(ctx context.Context) error {
	defer s.publish(ctx)()
	if err := s.Start(); err != nil {
		return fmt.Errorf("start server %s: %w", s.cfg.Name, err)
	}
	<-ctx.Done()
	s.linger()
	if err := s.Stop(); err != nil {
		return fmt.Errorf("stop server %s: %w", s.cfg.Name, err)
	}
	return nil
}

// linger leaves the registry and waits until callers have heard of it.
func (s *Server) linger() {
	d, ok := s.Server.(interface{ Deregister() error })
	if s.cfg.Linger <= 0 || !ok {
		return
	}
	s.leaving.left.Store(true)
	if err := d.Deregister(); err != nil {
		s.cfg.Logger.Warn("still_registered", "error", err) // until the lease ends
		return
	}
	time.Sleep(s.cfg.Linger)
}
