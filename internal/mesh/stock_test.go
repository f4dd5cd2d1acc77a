package mesh_test

import (
	"context"
	"io"
	"testing"

	"go-micro.dev/v5/broker"
	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	natsregistry "go-micro.dev/v5/registry/nats"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// Greeter is a handler of a plain go-micro program.
type Greeter struct{}

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Text  string `json:"text"`
	Token string `json:"token"`
}

func (Greeter) Hello(ctx context.Context, in *HelloRequest, out *HelloResponse) error {
	if in.Name == "" {
		return merrors.BadRequest("greeter", "say a name")
	}
	out.Text = "hello " + in.Name
	out.Token, _ = metadata.Get(ctx, "authorization") // HTTP spells it otherwise than gRPC does
	return nil
}

// serve runs a service that finds others as a guest does, on go-micro's default server or its gRPC one.
func serve(t *testing.T, m *mesh.Mesh, name string, newServer func(...server.Option) server.Server) {
	t.Helper()
	s := newServer(
		server.Name(name), server.Id("1"), server.Address("127.0.0.1:0"), server.Broker(broker.NewMemoryBroker()),
		server.Registry(natsregistry.NewNatsRegistry(registry.Addrs("nats://"+m.NATSAddr().String()))),
		server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
	)
	if err := s.Handle(s.NewHandler(Greeter{})); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
}

func TestGuestsAreCalledByTheirMethodsNames(t *testing.T) {
	m := start(t, t.TempDir(), func(c *mesh.Config) { joinable(c); c.Gateway.ExposeStock = true })
	serve(t, m, "greeter", server.NewRPCServer)
	serve(t, m, "greeter-grpc", mgrpc.NewServer)
	serve(t, m, "user-svc", server.NewRPCServer)
	web := &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}
	for _, name := range []string{"greeter", "greeter-grpc"} {
		meshtest.Soon(t, name+" is found", func() bool { return m.Host.Nodes.Lookup(name) != nil })
		for _, path := range []string{"/Greeter.Hello", "/Greeter/Hello"} {
			a := web.Do(t, "POST", "/"+name+path, "abc", `{"name":"joe"}`).Must(t, 200)
			if a.Text("text") != "hello joe" || a.Text("token") != "Bearer abc" {
				t.Errorf("%s%s: answer is %s", name, path, a.Body)
			}
		}
		if a := web.Do(t, "POST", "/"+name+"/Greeter.Hello", "", `{}`).Must(t, 400); a.Text("error") != "say a name" {
			t.Errorf("%s: error is %s", name, a.Body)
		}
		web.Do(t, "POST", "/"+name+"/Greeter.Bye", "", `{}`).Must(t, 404)
	}
	for _, n := range m.Host.Nodes.Lookup("user-svc").Nodes {
		if n.Stock() {
			t.Error("a guest passes as user-svc")
		}
	}
}

func TestGuestsAreNotExposedUnlessAskedFor(t *testing.T) {
	m := start(t, t.TempDir(), joinable)
	serve(t, m, "greeter", server.NewRPCServer)
	meshtest.Soon(t, "it is found", func() bool { return m.Host.Nodes.Lookup("greeter") != nil })
	web := &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}
	web.Do(t, "POST", "/greeter/Greeter.Hello", "", `{"name":"joe"}`).Must(t, 404)
}
