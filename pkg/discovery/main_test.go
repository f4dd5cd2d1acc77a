package discovery_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"
	"go.uber.org/goleak"

	"micromesh/pkg/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// natsServer is a NATS server that can be stopped, and started again at the same port.
type natsServer struct {
	t    *testing.T
	opts server.Options
	srv  *server.Server
}

func startNATS(t *testing.T) *natsServer {
	t.Helper()
	n := &natsServer{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
	}}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) start() {
	n.t.Helper()
	opts := n.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		n.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		n.t.Fatal("NATS didn't start")
	}
	n.srv, n.opts.Port = srv, opts.Port
}

func (n *natsServer) stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}

// wipe gives the next start an empty store.
func (n *natsServer) wipe() { n.opts.StoreDir = filepath.Join(n.t.TempDir(), "fresh") }

func (n *natsServer) connect() jetstream.JetStream {
	n.t.Helper()
	nc, err := nats.Connect(n.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		n.t.Fatal(err)
	}
	return js
}

// registry gives a registry with a connection of its own, as another process would have it.
func (n *natsServer) registry(cfg discovery.Config, opts ...discovery.Option) *discovery.Registry {
	n.t.Helper()
	opts = append([]discovery.Option{discovery.WithLogger(slog.New(slog.NewTextHandler(n.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))}, opts...)
	r, err := discovery.New(n.connect(), cfg, opts...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = r.Close() })
	if err := r.Ready(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	return r
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func count(r *discovery.Registry, service string) int {
	s := r.Lookup(service)
	if s == nil {
		return 0
	}
	return len(s.Nodes)
}

func service(name, node, address string) *registry.Service {
	return &registry.Service{
		Name: name, Version: "1.0.0", Metadata: map[string]string{"team": "a"},
		Endpoints: []*registry.Endpoint{{
			Name: "Pets.Save", Metadata: map[string]string{"stream": "false"},
			Request: &registry.Value{Name: "Pet", Type: "Pet", Values: []*registry.Value{{Name: "name", Type: "string"}}},
		}},
		Nodes: []*registry.Node{{Id: node, Address: address, Metadata: map[string]string{"zone": "x"}}},
	}
}

func mustRegister(t *testing.T, r *discovery.Registry, s *registry.Service, ttl time.Duration) {
	t.Helper()
	if err := r.Register(s, registry.RegisterTTL(ttl)); err != nil {
		t.Fatal(err)
	}
}
