package natsconn_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"micromesh/pkg/logtest"
	"micromesh/pkg/natsconn"
)

const patience = 30 * time.Second

// options are those of a server that one login is known to.
func options(password string, port int) *server.Options {
	return &server.Options{Host: "127.0.0.1", Port: port, Username: "shop-svc", Password: password, NoLog: true, NoSigs: true}
}

func start(t *testing.T, password string) *server.Server {
	t.Helper()
	srv, err := server.NewServer(options(password, server.RANDOM_PORT))
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the server was not ready")
	}
	return srv
}

// reload has the server read other secrets.
func reload(t *testing.T, srv *server.Server, password string) {
	t.Helper()
	if err := srv.ReloadOptions(options(password, server.RANDOM_PORT)); err != nil {
		t.Fatal(err)
	}
}

// tried waits until the server has seen so many connections more.
func tried(t *testing.T, srv *server.Server, times uint64) {
	t.Helper()
	total := func() uint64 {
		v, err := srv.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v.TotalConnections
	}
	before := total()
	for deadline := time.Now().Add(patience); total() < before+times; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it was tried %d times", total()-before)
		}
	}
}

// TestRefusedLoginIsTriedUntilItIsKnown has a server learn of a login while a process waits with it, forget it, and learn of it again.
func TestRefusedLoginIsTriedUntilItIsKnown(t *testing.T) {
	srv, said := start(t, "before"), &logtest.Buffer{}
	reconnected := make(chan struct{}, 100)
	connected := make(chan *nats.Conn, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		nc, err := natsconn.Connect(ctx, natsconn.Config{
			URL: srv.ClientURL(), Name: "shop", Logger: slog.New(slog.NewTextHandler(said, nil)),
			Extra: []nats.Option{nats.UserInfo("shop-svc", "now"), nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} })},
		})
		if err != nil {
			t.Errorf("connect: %v", err)
			close(connected)
			return
		}
		connected <- nc
	}()
	tried(t, srv, 5)
	if n := said.Count("nats_awaited"); n != 1 {
		t.Errorf("that the login is refused was logged %d times", n)
	}
	reload(t, srv, "now")
	nc, ok := <-connected
	if !ok {
		return
	}
	defer nc.Close()
	for len(reconnected) > 0 {
		<-reconnected // nats.go tells of the first connection too
	}

	reload(t, srv, "other")
	tried(t, srv, 5)
	reload(t, srv, "now")
	select {
	case <-reconnected:
	case <-ctx.Done():
		t.Error("it never came back")
	}
}
