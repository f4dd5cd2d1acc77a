package mesh_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/discovery"
	"micromesh/pkg/kv"
)

func start(t *testing.T, dir string, change func(*mesh.Config)) *mesh.Mesh {
	t.Helper()
	cfg, err := meshtest.Config(dir, meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	change(&cfg)
	m, err := mesh.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

func joinable(c *mesh.Config) { c.NATSListen = "127.0.0.1:0" }

// login connects as a service does, by the URL in the data folder.
func login(t *testing.T, dir string, refused chan<- string) *nats.Conn {
	t.Helper()
	file := filepath.Join(dir, "nats.url")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("nats.url has mode %v, %v; want 0600", fi.Mode(), err)
	}
	nc, err := nats.Connect(strings.TrimSpace(string(b)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if refused != nil && strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			refused <- err.Error()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// A service with the login is found by the mesh, and makes itself out as none of its own services.
func TestAServiceJoinsOverNATS(t *testing.T) {
	dir := t.TempDir()
	m := start(t, dir, joinable)
	js, err := jetstream.New(login(t, dir, nil))
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := discovery.New(js, discovery.Config{Bucket: kv.Nodes})
	if err != nil {
		t.Fatal(err)
	}
	defer nodes.Close()
	node := func(service string) *registry.Service {
		return &registry.Service{Name: service, Nodes: []*registry.Node{{Id: service + "-1", Address: "127.0.0.1:9"}}}
	}
	if err := nodes.Register(node("pets-svc")); err != nil {
		t.Fatal(err)
	}
	meshtest.Soon(t, "the node is seen", func() bool { return m.Host.Nodes.Lookup("pets-svc") != nil })
	if err := nodes.Register(node("user-svc")); err == nil {
		t.Error("the service registers as user-svc")
	}
}

func TestTheServicesLoginWritesNothingOfTheMesh(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, joinable)
	refused := make(chan string, 100)
	nc := login(t, dir, refused)
	for _, subject := range []string{
		"$KV.keys.x", "$KV.signers.user-svc.x", "$KV.permits.x", "$KV.revocations.x", "$KV.routing.x", "$KV.instances.x",
		"$KV." + kv.Nodes + "." + discovery.Key("user-svc", "evil"), "$KV." + kv.Nodes + "." + discovery.Key("gateway-svc", "evil"),
		"events.accounts", "mesh.user-svc.x", "$JS.API.CONSUMER.CREATE.events.user-svc", "$JS.ACK.events.user-svc.1.1.1.1.1", "dead.user-svc", "replay.user-svc", "$JS.API.STREAM.DELETE.KV_keys", "$JS.API.STREAM.UPDATE.KV_keys", "$JS.API.STREAM.PURGE.events",
		"$SYS.REQ.SERVER.PING",
	} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-refused:
		case <-time.After(30 * time.Second):
			t.Errorf("the login may publish to %s", subject)
		}
	}
	for _, subject := range []string{">", "_INBOX_mesh.>", "$JS.>", "mesh.user-svc.>"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		select {
		case <-refused:
		case <-time.After(30 * time.Second):
			t.Errorf("the login may subscribe to %s", subject)
		}
	}
}

func TestThePasswordOutlivesTheMesh(t *testing.T) {
	dir := t.TempDir()
	password := func() string {
		m := start(t, dir, joinable)
		b, err := os.ReadFile(m.NATSFile())
		if err != nil {
			t.Fatal(err)
		}
		m.Stop()
		u, err := url.Parse(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := u.User.Password()
		return p
	}
	if first, then := password(), password(); first == "" || first != then {
		t.Error("the password has changed")
	}
}

func TestATakenPortIsLeftOnlyWhereItMayBe(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m := start(t, t.TempDir(), func(c *mesh.Config) { c.NATSListen, c.NATSOptional = ln.Addr().String(), true })
	if !m.NATSTaken() || m.NATSAddr() != nil {
		t.Errorf("taken is %v, address %v; want a mesh without NATS for others", m.NATSTaken(), m.NATSAddr())
	}
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATSListen = ln.Addr().String()
	if m, err := mesh.Start(t.Context(), cfg); !errors.Is(err, syscall.EADDRINUSE) {
		if err == nil {
			m.Stop()
		}
		t.Errorf("error is %v, want EADDRINUSE", err)
	}
}

func TestNATSIsForLoopbackAlone(t *testing.T) {
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"0.0.0.0:4222", ":4222", "10.1.2.3:4222", "4222", "127.0.0.1", "127.0.0.1:70000"} {
		cfg.NATSListen = wrong
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "MICRO_NATS_LISTEN is") {
			t.Errorf("%s: error is %v, want one that says what would be right", wrong, err)
		}
	}
	for _, right := range []string{"", "127.0.0.1:4222", "[::1]:0", "localhost:4222"} {
		cfg.NATSListen = right
		if err := cfg.Validate(); err != nil && strings.Contains(err.Error(), "NATS_LISTEN") {
			t.Errorf("%s: %v", right, err)
		}
	}
}
