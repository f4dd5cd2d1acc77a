package client_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"

	"micromesh/pkg/errs"
	"micromesh/pkg/rpc/client"
)

// Orders is a handler that counts its calls, and answers after a time, or fails immediately.
type Orders struct {
	calls atomic.Int64
	takes time.Duration
	fails bool
}

func (o *Orders) Read(_ context.Context, _ *ReadRequest, out *ReadResponse) error {
	o.calls.Add(1)
	if o.fails {
		return merrors.InternalServerError("orders", "the database is away")
	}
	<-time.After(o.takes)
	out.Name = "read"
	return nil
}

// Later is a handler that an older version of a program lacks.
type Later struct{}

func (Later) Read(_ context.Context, _ *ReadRequest, out *ReadResponse) error {
	out.Name = "later"
	return nil
}

// In a rolling deploy some nodes lack a method. It is called on the other nodes, on every transport.
func TestANodeThatHasTheMethodIsCalled(t *testing.T) {
	for _, row := range []struct {
		name       string
		older, now func(...server.Option) server.Server
	}{
		{"http", server.NewRPCServer, server.NewRPCServer},
		{"grpc", mgrpc.NewServer, mgrpc.NewServer},
		{"older http", server.NewRPCServer, mgrpc.NewServer},
		{"older grpc", mgrpc.NewServer, server.NewRPCServer},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMesh(t)
			for _, id := range []string{"1", "2", "3"} {
				m.serveStockOn(row.older, "users", id, &Users{})
			}
			m.serveStockOn(row.now, "users", "4", &Users{}, Later{})
			c := m.client(client.Config{})
			for i := range 30 {
				b, _, err := c.RawGuest(t.Context(), "users", "Later.Read", []byte(`{}`), nil)
				if err != nil || string(b) != `{"id":0,"name":"later"}` && string(b) != `{"name":"later"}` {
					t.Fatalf("call %d: %s, %v", i, b, err)
				}
			}
			if _, err := read(t.Context(), c, 1, "joe", nil); err != nil {
				t.Errorf("a method that all have: %v", err)
			}
			if _, _, err := c.RawGuest(t.Context(), "users", "Never.Read", []byte(`{}`), nil); err == nil {
				t.Error("a method that none has was called")
			}
		})
	}
}

// A node that registers again, under the same id and at the same address, with a method that it lacked, is called.
func TestAMethodThatIsRegisteredLaterIsCalled(t *testing.T) {
	m := newMesh(t)
	m.serveStock("users", "1", &Users{})
	m.serveStock("users", "2", &Users{}, Later{})
	c := m.client(client.Config{})
	if _, _, err := c.RawGuest(t.Context(), "users", "Later.Read", []byte(`{}`), nil); err != nil {
		t.Fatal(err)
	}
	all, err := m.reg.GetService("users")
	if err != nil {
		t.Fatal(err)
	}
	var old, now = all[0], all[0]
	for _, n := range m.reg.Lookup("users").Nodes {
		one := *all[0]
		one.Endpoints, one.Nodes = n.Endpoints(), nil
		for _, s := range all {
			for _, node := range s.Nodes {
				if node.Id == n.ID {
					one.Nodes = append(one.Nodes, node)
				}
			}
		}
		if n.Endpoint("Later.Read") == nil {
			old = &one
		} else {
			now = &one
		}
	}
	old.Endpoints, now.Endpoints = now.Endpoints, old.Endpoints // as if the methods had moved from one to the other
	if err := m.reg.Register(old); err != nil {
		t.Fatal(err)
	}
	if err := m.reg.Register(now); err != nil {
		t.Fatal(err)
	}
	m.eventually("the nodes are known", func() bool {
		for _, n := range m.reg.Lookup("users").Nodes {
			if (n.Endpoint("Later.Read") != nil) != (n.ID == "users-1") {
				return false
			}
		}
		return true
	})
	if _, _, err := c.RawGuest(t.Context(), "users", "Later.Read", []byte(`{}`), nil); !errs.Is(err, errs.Internal) && !errs.Is(err, errs.NotFound) {
		t.Errorf("error is %v, want that of the node that says to have the method and lacks it", err)
	}
}

// Errors come faster than answers. They don't attract calls.
func TestANodeThatFailsFastAttractsNoCalls(t *testing.T) {
	m := newMesh(t)
	good, bad := &Orders{takes: 5 * time.Millisecond}, &Orders{fails: true}
	m.serveStock("orders", "1", good)
	m.serveStock("orders", "2", bad)
	c := m.client(client.Config{})
	const calls = 200
	for range calls {
		_, _, _ = c.RawGuest(t.Context(), "orders", "Orders.Read", []byte(`{}`), nil)
	}
	if n := bad.calls.Load(); n > calls*2/3 {
		t.Errorf("%d of %d calls went to the node that fails", n, calls)
	}
	if n := good.calls.Load(); n < calls/3 {
		t.Errorf("%d of %d calls went to the node that answers", n, calls)
	}
}

// Nodes of one name share its calls, on every transport.
func TestNodesOfBothKindsShareCalls(t *testing.T) {
	m := newMesh(t)
	kinds := map[string]*Orders{}
	for id, kind := range map[string]func(...server.Option) server.Server{"http": server.NewRPCServer, "grpc": mgrpc.NewServer} {
		kinds[id] = &Orders{takes: time.Millisecond}
		m.serveStockOn(kind, "orders", id, kinds[id])
	}
	c := m.client(client.Config{})
	const callers, calls = 8, 50
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range calls {
				if _, _, err := c.RawGuest(t.Context(), "orders", "Orders.Read", []byte(`{}`), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id, o := range kinds {
		if n := o.calls.Load(); n < callers*calls/10 {
			t.Errorf("%s: %d of %d calls", id, n, callers*calls)
		}
	}
}
