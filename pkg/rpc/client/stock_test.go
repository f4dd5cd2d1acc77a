package client_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go-micro.dev/v5/broker"
	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/logger"
	micro "go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/server"
	"google.golang.org/grpc/metadata"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
	"micromesh/pkg/netpolicy/netpolicytest"
	"micromesh/pkg/rpc/client"
)

// Users is a handler as plain go-micro programs have it.
type Users struct {
	calls atomic.Int64
	seen  sync.Map // by the id that was asked for
}

type ReadRequest struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

type ReadResponse struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

func (u *Users) Read(ctx context.Context, in *ReadRequest, out *ReadResponse) error {
	u.calls.Add(1)
	md, _ := micro.FromContext(ctx)
	u.seen.Store(in.ID, md)
	out.ID, out.Name = in.ID, in.Name
	switch in.Name {
	case "missing":
		return merrors.NotFound("users", "there is no user %d", in.ID)
	case "secret":
		return errors.New("pq: password authentication failed for 10.1.2.3")
	case "busy": // for as long as it takes to be told that nobody waits any more
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	case "slow":
		<-ctx.Done()
		return ctx.Err()
	case "large":
		out.Name = strings.Repeat("x", client.MaxMessage)
	}
	return nil
}

// serveStock starts a go-micro server on its default transport, as the registry's bridge brings it in.
func (m *mesh) serveStock(name, id string, handlers ...any) {
	m.t.Helper()
	m.serveStockOn(server.NewRPCServer, name, id, handlers...)
}

// serveStockOn is serveStock on another of go-micro's servers.
func (m *mesh) serveStockOn(newServer func(...server.Option) server.Server, name, id string, handlers ...any) {
	m.t.Helper()
	s := newServer(
		server.Name(name), server.Id(id), server.Address("127.0.0.1:0"),
		server.Registry(m.reg), server.RegisterTTL(30*time.Second), server.RegisterInterval(10*time.Second),
		server.Broker(broker.NewMemoryBroker()), server.Metadata(map[string]string{discovery.Via: discovery.ViaStock}),
		server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
	)
	for _, handler := range handlers {
		if err := s.Handle(s.NewHandler(handler)); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := s.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = s.Stop() })
	m.eventually("the server is known", func() bool { return m.knows(name, name+"-"+id) })
}

func (m *mesh) registerStock(name, id, address string) {
	m.t.Helper()
	m.registerStockAt(name, id, "http", address)
}

func (m *mesh) registerStockAt(name, id, transport, address string) {
	m.t.Helper()
	s := &registry.Service{Name: name, Nodes: []*registry.Node{{Id: id, Address: address, Metadata: map[string]string{"transport": transport, discovery.Via: discovery.ViaStock}}}}
	if err := m.reg.Register(s); err != nil {
		m.t.Fatal(err)
	}
	m.eventually("the node is known", func() bool { return m.knows(name, id) })
}

func read(ctx context.Context, c *client.Client, id int, name string, md metadata.MD) (string, error) {
	b, _, err := c.RawGuest(ctx, "users", "Users.Read", fmt.Appendf(nil, `{"id":%d,"name":%q}`, id, name), md)
	return string(b), err
}

func TestStockServicesAreCalled(t *testing.T) {
	m := newMesh(t)
	u := &Users{}
	m.serveStock("users", "1", u)
	got, err := read(t.Context(), m.client(client.Config{}), 1, "joe", metadata.MD{"authorization": {"Bearer abc"}, "x-request-id": {"r1"}})
	if err != nil || got != `{"id":1,"name":"joe"}` {
		t.Fatalf("answer is %s, %v", got, err)
	}
	md, _ := u.seen.Load(int64(1))
	if md := md.(micro.Metadata); md["Authorization"] != "Bearer abc" || md["X-Request-Id"] != "r1" {
		t.Errorf("metadata is %v", md)
	}
}

// go-micro's own client loses requests here: a server that has just answered takes the next one on the connection for a part of the last.
func TestNoRequestOfAConnectionIsLostOrMixedUp(t *testing.T) {
	m := newMesh(t)
	u := &Users{}
	m.serveStock("users", "1", u)
	c := m.client(client.Config{Timeout: 30 * time.Second})
	const callers, calls = 8, 200
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range calls {
				id := i*calls + j
				got, err := read(t.Context(), c, id, "x", metadata.MD{"authorization": {fmt.Sprint("Bearer ", id)}})
				if want := fmt.Sprintf(`{"id":%d,"name":"x"}`, id); err != nil || got != want {
					t.Errorf("call %d: %s, %v", id, got, err)
					return
				}
				md, _ := u.seen.Load(int64(id))
				if got := md.(micro.Metadata)["Authorization"]; got != fmt.Sprint("Bearer ", id) {
					t.Errorf("call %d came with the token of another: %s", id, got)
				}
			}
		})
	}
	wg.Wait()
	if n := u.calls.Load(); n != callers*calls && !t.Failed() {
		t.Errorf("the handler ran %d times for %d calls", n, callers*calls)
	}
}

// A connection that has carried many requests is closed, which ends none of them.
func TestNoRequestIsCutOffByTheEndOfItsConnection(t *testing.T) {
	m := newMesh(t)
	m.serveStock("users", "1", &Users{})
	c := m.client(client.Config{Timeout: 30 * time.Second})
	for i := range 1100 {
		if _, err := read(t.Context(), c, i, "busy", nil); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

func TestErrorsOfStockServices(t *testing.T) {
	m := newMesh(t)
	m.serveStock("users", "1", &Users{})
	c := m.client(client.Config{})
	for _, tt := range []struct {
		name string
		kind errs.Kind
		text string
	}{
		{"missing", errs.NotFound, "there is no user 7"},
		{"secret", errs.Internal, "something went wrong on our side"},
		{"large", errs.Unavailable, "larger than"},
	} {
		_, err := read(t.Context(), c, 7, tt.name, nil)
		e := errs.From(err)
		if e == nil || e.Kind != tt.kind || !strings.Contains(e.Message, tt.text) {
			t.Errorf("%s: error is %v, want %v: %s", tt.name, err, tt.kind, tt.text)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := read(ctx, c, 7, "slow", nil); !errs.Is(err, errs.Timeout) {
		t.Errorf("error is %v, want that it took too long", err)
	}
}

func TestADeadStockNodeIsPassedOver(t *testing.T) {
	m := newMesh(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.registerStock("users", "dead", ln.Addr().String())
	_ = ln.Close()
	c := m.client(client.Config{})
	if _, err := read(t.Context(), c, 1, "joe", nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("error is %v, want Unavailable", err)
	}
	m.serveStock("users", "1", &Users{})
	for i := range 50 {
		if _, err := read(t.Context(), c, i, "joe", nil); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

// What may have been sent is never sent again: another node would do it twice.
func TestWhatMayHaveBeenSentIsNotSentAgain(t *testing.T) {
	m := newMesh(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var taken atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 1)
			_, _ = conn.Read(buf)
			taken.Add(1)
			_ = conn.Close()
		}
	}()
	m.registerStock("users", "a", ln.Addr().String())
	m.registerStock("users", "b", ln.Addr().String())
	if _, err := read(t.Context(), m.client(client.Config{}), 1, "joe", nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("error is %v, want Unavailable", err)
	}
	if n := taken.Load(); n != 1 {
		t.Errorf("the request was sent %d times", n)
	}
}

// A server that is none of go-micro's default transport says nothing that callers could take for an answer.
func TestAnotherProtocolIsNoAnswer(t *testing.T) {
	m := newMesh(t)
	m.serve("users", "1", &Echo{}) // gRPC
	for _, n := range m.reg.Lookup("users").Nodes {
		m.registerStock("liar", "1", n.Address)
	}
	b, _, err := m.client(client.Config{}).RawGuest(t.Context(), "liar", "Users.Read", []byte("{}"), nil)
	if err == nil || json.Valid(b) && len(b) > 0 {
		t.Errorf("answer is %q, %v", b, err)
	}
}

// TestConnectionsToStockServicesAreTheirCallers has a stock service that reads no bodies: what follows a head is the next request.
func TestConnectionsToStockServicesAreTheirCallers(t *testing.T) {
	m := newMesh(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var conns atomic.Int64
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			n := conns.Add(1)
			serving.Go(func() {
				defer conn.Close()
				for r := textproto.NewReader(bufio.NewReader(conn)); ; {
					line, err := r.ReadLine()
					if err == nil {
						_, err = r.ReadMIMEHeader()
					}
					if err != nil {
						return
					}
					_, target, _ := strings.Cut(line, " ")
					body := fmt.Sprintf(`{"conn":%d,"target":%q}`, n, target)
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				}
			})
		}
	})
	m.registerStock("users", "users-1", ln.Addr().String())
	c := m.client(client.Config{})
	t.Cleanup(func() {
		_ = c.Close() // ends its connections
		_ = ln.Close()
		serving.Wait()
	})
	for i, row := range []struct {
		caller, body string
		conn         int
	}{
		{"ann", "", 1},
		{"ann", "", 1},
		{"bob", "", 2},
		{"", "", 3},
		{"", "", 4},
		{"ann", "GET /stolen HTTP/1.1\r\nX: ", 1},
		{"bob", "", 2},
		{"cal", "", 5},
	} {
		ctx := client.WithCaller(t.Context(), func() string { return row.caller })
		b, _, err := c.RawGuest(ctx, "users", "Users.Read", []byte(row.body), nil)
		want := fmt.Sprintf(`{"conn":%d,"target":"/ HTTP/1.1"}`, row.conn)
		if err != nil || string(b) != want {
			t.Errorf("call %d of %q: %s, %v, want %s", i, row.caller, b, err, want)
		}
	}
}

// TestStockServicesAreDialledByRules refuses each address, and checks that services in plain go-micro get no connection while the mesh's
// own do.
func TestStockServicesAreDialledByRules(t *testing.T) {
	if !netpolicytest.Alone(t) {
		return
	}
	m := newMesh(t)
	m.serve("own", "1", &Echo{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var taken atomic.Int64
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-accepting })
	for _, transport := range []string{"http", "grpc"} {
		s := &registry.Service{Name: "guest-" + transport, Nodes: []*registry.Node{{
			Id: "1", Address: ln.Addr().String(), Metadata: map[string]string{"transport": transport, discovery.Via: discovery.ViaStock},
		}}}
		if err := m.reg.Register(s); err != nil {
			t.Fatal(err)
		}
		m.eventually("the node is known", func() bool { return m.knows("guest-"+transport, "1") })
	}
	c := m.client(client.Config{})
	refused := errors.New("refused by the test")
	var asked atomic.Int64
	c.ControlGuests(func(context.Context, string, string, syscall.RawConn) error { asked.Add(1); return refused })
	for _, transport := range []string{"http", "grpc"} {
		before := asked.Load()
		_, _, err := c.RawGuest(t.Context(), "guest-"+transport, "Users.Read", []byte("{}"), nil)
		if !errs.Is(err, errs.Unavailable) || asked.Load() == before {
			t.Errorf("%s: %v, and the rules were asked %d times", transport, err, asked.Load()-before)
		}
	}
	if n := taken.Load(); n != 0 {
		t.Errorf("the services got %d connections", n)
	}
	before := asked.Load()
	if _, _, err := c.Raw(t.Context(), "own", "Echo.Nothing", "json", []byte("{}"), nil); errs.Is(err, errs.Unavailable) || asked.Load() != before {
		t.Errorf("a service of the mesh: %v", err)
	}
	// Without rules, the metadata service is refused all the same.
	m.registerStock("far", "1", "169.254.169.254:80")
	_, _, err = m.client(client.Config{}).RawGuest(t.Context(), "far", "Users.Read", []byte("{}"), nil)
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(fmt.Sprint(errors.Unwrap(err)), "metadata service") {
		t.Errorf("the metadata service: %v, because of %v", err, errors.Unwrap(err))
	}
}
