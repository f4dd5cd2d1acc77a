package client_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/broker"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"micromesh/pkg/discovery"
	"micromesh/pkg/rpc/client"
)

func TestMain(m *testing.M) {
	// go-micro's server starts these when it is imported, and never ends them. Its NATS transport has no end of a connection.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("go-micro.dev/v5/transport/nats.(*ntportListener).Accept"),
		goleak.IgnoreAnyFunction("go-micro.dev/v5/transport/nats.(*ntportListener).Accept.func1"),
		goleak.IgnoreAnyFunction("go-micro.dev/v5/transport/nats.(*ntportListener).Accept.func3"),
		goleak.IgnoreAnyFunction("go-micro.dev/v5/transport/nats.(*ntportSocket).Recv"),
		goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
		goleak.IgnoreAnyFunction("go-micro.dev/v5/config.(*config).run"),
		goleak.IgnoreAnyFunction("go-micro.dev/v5/config.(*config).run.func2"),
		goleak.IgnoreAnyFunction("go-micro.dev/v5/config/loader/memory.(*memory).Watch.func1"),
	)
}

// mesh is a NATS server with a registry on it.
type mesh struct {
	t   *testing.T
	js  jetstream.JetStream
	reg *discovery.Registry
	url string // of NATS
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	srv, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS didn't start")
	}
	nc, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := discovery.New(js, discovery.Config{}, discovery.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	if err := reg.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &mesh{t: t, js: js, reg: reg, url: srv.ClientURL()}
}

func (m *mesh) client(cfg client.Config) *client.Client {
	m.t.Helper()
	c, err := client.New(m.reg, cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve starts a go-micro server with a handler, and waits until it is known.
func (m *mesh) serve(name, id string, handler any, opts ...grpc.ServerOption) server.Server {
	m.t.Helper()
	s := mgrpc.NewServer(
		server.Name(name), server.Id(id), server.Address("127.0.0.1:0"),
		server.Registry(m.reg), server.RegisterTTL(30*time.Second), server.RegisterInterval(10*time.Second),
		server.Broker(broker.NewMemoryBroker()),
		server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
		mgrpc.MaxMsgSize(client.MaxMessage), mgrpc.Options(opts...),
	)
	if err := s.Handle(s.NewHandler(handler)); err != nil {
		m.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = s.Stop() })
	m.eventually("the server is known", func() bool { return m.knows(name, name+"-"+id) })
	return s
}

// registerDead registers a node where nobody listens.
func (m *mesh) registerDead(name, id string) {
	m.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	m.register(name, id, address)
}

func (m *mesh) knows(service, id string) bool {
	s := m.reg.Lookup(service)
	if s == nil {
		return false
	}
	for _, n := range s.Nodes {
		if n.ID == id {
			return true
		}
	}
	return false
}

func (m *mesh) eventually(what string, cond func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("never: %s", what)
		}
	}
}

// Echo is the handler of most tests.
type Echo struct {
	calls   atomic.Int64
	started chan struct{}          // gets a token when Wait has begun
	ended   chan error             // gets what ended Wait
	seen    chan metadata.Metadata // the metadata of Say, where not nil
	fail    func(context.Context) error
}

// Say answers what it got.
func (e *Echo) Say(ctx context.Context, in, out *wrapperspb.BytesValue) error {
	e.calls.Add(1)
	if e.seen != nil {
		md, _ := metadata.FromContext(ctx)
		e.seen <- md
	}
	if e.fail != nil {
		return e.fail(ctx)
	}
	out.Value = in.GetValue()
	return nil
}

// Wait answers when its caller has gone.
func (e *Echo) Wait(ctx context.Context, _, _ *wrapperspb.BytesValue) error {
	e.calls.Add(1)
	e.started <- struct{}{}
	<-ctx.Done()
	e.ended <- ctx.Err()
	return ctx.Err()
}

// Deadline answers how many milliseconds it has left.
func (e *Echo) Deadline(ctx context.Context, _ *wrapperspb.BytesValue, out *wrapperspb.Int64Value) error {
	if d, ok := ctx.Deadline(); ok {
		out.Value = time.Until(d).Milliseconds()
	}
	return nil
}

// Chat echoes a stream.
func (e *Echo) Chat(_ context.Context, s server.Stream) error {
	e.calls.Add(1)
	for {
		var in wrapperspb.BytesValue
		if err := s.Recv(&in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if string(in.GetValue()) == "fail" {
			return e.fail(s.Context())
		}
		if err := s.Send(&in); err != nil {
			return err
		}
	}
}

func (m *mesh) register(name, id, address string) {
	m.t.Helper()
	err := m.reg.Register(&registry.Service{Name: name, Nodes: []*registry.Node{{Id: id, Address: address}}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.eventually("the node is known", func() bool { return m.knows(name, id) })
}
