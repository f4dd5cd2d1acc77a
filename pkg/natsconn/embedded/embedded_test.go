package embedded_test

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/natsconn/embedded"
)

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func start(t *testing.T, dir string, opts ...embedded.Option) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(dir, logger(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// subscribe waits until the server knows the subscription.
func subscribe(t *testing.T, nc *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	return sub
}

func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushTimeout(30 * time.Second); err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	if err := nc.Publish(subject, []byte("x")); err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
}

// until gives the subjects that a subscription has heard before one of them.
func until(t *testing.T, sub *nats.Subscription, last string) (heard []string) {
	t.Helper()
	for {
		m, err := sub.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == last {
			return heard
		}
		heard = append(heard, m.Subject)
	}
}

// Guests are on the same server and in another world.
func TestGuestsSeeNothingOfTheMesh(t *testing.T) {
	srv := start(t, t.TempDir(), embedded.WithListener(t.Context(), "127.0.0.1:0"))
	mesh := connect(t, nats.DefaultURL, srv.Option())
	guest := connect(t, "nats://"+srv.Addr().String())
	js, err := jetstream.New(mesh)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "keys"})
	if err != nil {
		t.Fatal(err)
	}
	ear := subscribe(t, guest, ">")
	reader := subscribe(t, guest, "$KV.>")
	heard := subscribe(t, mesh, ">")

	guests := []string{"$KV.keys.a", "$JS.API.STREAM.DELETE.KV_keys", "events.guest", "mesh.user-svc.guest", "end.guest"}
	for _, s := range guests {
		publish(t, guest, s)
	}
	if _, err := bucket.Put(t.Context(), "b", []byte("1")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"events.accounts", "mesh.user-svc.x", "end.mesh"} {
		publish(t, mesh, s)
	}
	publish(t, guest, "end.guest")

	for _, s := range until(t, heard, "end.mesh") {
		if slices.Contains(guests, s) {
			t.Errorf("what a guest published to %s has reached the mesh", s)
		}
	}
	for _, s := range until(t, ear, "end.guest") {
		if !slices.Contains(guests, s) {
			t.Errorf("a guest has heard %s", s)
		}
	}
	if n, _, _ := reader.Pending(); n > 1 {
		t.Errorf("a guest has heard %d messages of buckets, want its own alone", n)
	}
	if keys, err := bucket.Keys(t.Context()); err != nil || len(keys) != 1 || keys[0] != "b" {
		t.Errorf("the bucket holds %v, %v; want only what the mesh put", keys, err)
	}
	gjs, err := jetstream.New(guest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gjs.KeyValue(t.Context(), "keys"); err == nil {
		t.Error("a guest opens a bucket")
	}
}

func TestAWrongPasswordIsNoGuest(t *testing.T) {
	srv := start(t, t.TempDir(), embedded.WithListener(t.Context(), "127.0.0.1:0"))
	for _, login := range []string{"mesh", "guest", "service"} {
		nc, err := nats.Connect("nats://"+srv.Addr().String(), nats.UserInfo(login, "guessed"))
		if err == nil {
			nc.Close()
			t.Errorf("%s gets in with a wrong password", login)
		}
	}
}

// A folder of before there were accounts has its streams in the global one.
func TestStreamsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		srv := start(t, dir)
		if srv.Addr() != nil {
			t.Fatalf("the server listens on %v without having been asked", srv.Addr())
		}
		js, err := jetstream.New(connect(t, nats.DefaultURL, srv.Option()))
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if _, err := js.KeyValue(t.Context(), "kept"); err != nil {
				t.Fatal(err)
			}
			break
		}
		if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "kept"}); err != nil {
			t.Fatal(err)
		}
		srv.Stop()
	}
}

func TestATakenPortIsTold(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := embedded.Start(t.TempDir(), logger(t), embedded.WithListener(t.Context(), ln.Addr().String())); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("error is %v, want EADDRINUSE", err)
	}
}
