package stock_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/registry"
	natsregistry "go-micro.dev/v5/registry/nats"

	"micromesh/pkg/discovery"
	"micromesh/pkg/logtest"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/registry/stock"
)

// directory keeps what a bridge puts into it.
type directory struct {
	mu    sync.Mutex
	nodes map[string]*registry.Service
	puts  int

	refused map[string]string
}

func (d *directory) Register(s *registry.Service, _ ...registry.RegisterOption) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes[discovery.Key(s.Name, s.Nodes[0].Id)] = s
	d.puts++
	return nil
}

func (d *directory) Deregister(s *registry.Service, _ ...registry.DeregisterOption) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.nodes, discovery.Key(s.Name, s.Nodes[0].Id))
	return nil
}

func (d *directory) node(service, id string) *registry.Service {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.nodes[discovery.Key(service, id)]
}

type bridge struct {
	*directory
	logs  *logtest.Buffer
	srv   *natstest.Server
	mu    sync.Mutex
	names map[string]bool

	owned sync.Map // names of accounts

	offered []*registry.Service
	asked   atomic.Int64 // how often the bridge has looked at names
}

func start(t *testing.T) *bridge {
	t.Helper()
	b := &bridge{directory: &directory{nodes: map[string]*registry.Service{}, refused: map[string]string{}}, logs: &logtest.Buffer{}, srv: natstest.Start(t), names: map[string]bool{"user-svc": true}}
	log := slog.New(slog.NewTextHandler(b.logs, nil))
	nc, err := natsconn.Connect(t.Context(), natsconn.Config{URL: b.srv.URL(), Name: "bridge", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	taken := func() map[string]bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked.Add(1)
		return maps.Clone(b.names)
	}
	refused := func(hostPort string) string {
		if hostPort == "127.0.0.1:8080" {
			return "its address is one of the mesh itself"
		}
		return ""
	}
	br := stock.New(stock.Config{
		NATS: nc, Nodes: b.directory, Taken: taken, Address: refused, Owner: b.owner, Logins: true, Logger: log,
		Refusals: b.directory,
		Offers:   func() []*registry.Service { b.mu.Lock(); defer b.mu.Unlock(); return b.offered },
		Interval: 200 * time.Millisecond, Patience: 100 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { br.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	return b
}

// offer sets what the bridge offers.
func (b *bridge) offer(s ...*registry.Service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offered = s
}

func (b *bridge) owner(_ context.Context, name string) stock.Owner {
	if _, ok := b.owned.Load(name); ok {
		return stock.Account
	}
	return stock.Nobody
}

// registry is go-micro's own, as a plain program has it.
func (b *bridge) registry(t *testing.T) (registry.Registry, func()) {
	t.Helper()
	opts := nats.GetDefaultOptions()
	opts.MaxReconnect, opts.ReconnectWait = -1, 50*time.Millisecond
	var dialed sync.Map
	opts.CustomDialer = dialer{&dialed}
	r := natsregistry.NewNatsRegistry(registry.Addrs(b.srv.URL()), natsregistry.NatsOptions(opts))
	kill := func() { // as kill -9 does
		dialed.Store("dead", true)
		dialed.Range(func(k, _ any) bool {
			if c, ok := k.(net.Conn); ok {
				_ = c.Close()
			}
			return true
		})
	}
	t.Cleanup(kill)
	return r, kill
}

type dialer struct{ conns *sync.Map }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	if _, dead := d.conns.Load("dead"); dead {
		return nil, net.ErrClosed
	}
	c, err := net.Dial(network, address)
	if err == nil {
		d.conns.Store(c, true)
	}
	return c, err
}

func service(name, id, address string) *registry.Service {
	return &registry.Service{
		Name: name, Version: "1", Nodes: []*registry.Node{{Id: id, Address: address, Metadata: map[string]string{"transport": "http", "protocol": "mucp"}}},
		Endpoints: []*registry.Endpoint{{Name: "Users.Read", Request: &registry.Value{Name: "ReadRequest", Values: []*registry.Value{{Name: "id", Type: "int64"}}}}},
	}
}

func register(t *testing.T, r registry.Registry, s *registry.Service) {
	t.Helper()
	if err := r.Register(s); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestServicesComeAndGo(t *testing.T) {
	b := start(t)
	r, _ := b.registry(t)
	users := service("users", "users-1", "127.0.0.1:9001")
	register(t, r, users)
	eventually(t, "users came in", func() bool { return b.node("users", "users-1") != nil })
	got := b.node("users", "users-1")
	if md := got.Nodes[0].Metadata; md["transport"] != "http" || md["protocol"] != "mucp" || md[discovery.Via] != discovery.ViaStock {
		t.Errorf("metadata is %v", md)
	}
	if len(got.Endpoints) != 1 || got.Endpoints[0].Request.Values[0].Type != "int64" {
		t.Errorf("endpoints are %+v", got.Endpoints)
	}
	if err := r.Deregister(users); err != nil {
		t.Fatal(err)
	}
	eventually(t, "users left", func() bool { return b.node("users", "users-1") == nil })
}

// A service that ran before the bridge says nothing by itself; it is written once however often it answers.
func TestWhoRunsAlreadyIsAsked(t *testing.T) {
	b := start(t)
	other, _ := b.registry(t)
	r, _ := b.registry(t)
	if _, err := other.ListServices(); err != nil {
		t.Fatal(err)
	}
	register(t, r, service("users", "users-1", "127.0.0.1:9001"))
	eventually(t, "users came in", func() bool { return b.node("users", "users-1") != nil })
	register(t, other, service("other", "other-1", "127.0.0.1:9002"))
	eventually(t, "the other came in", func() bool { return b.node("other", "other-1") != nil })
	b.directory.mu.Lock()
	defer b.directory.mu.Unlock()
	if b.puts > 4 { // each may be heard as "create" and as an answer, of which the second changes nothing
		t.Errorf("the nodes were written %d times", b.puts)
	}
}

func TestWhoIsKilledIsDropped(t *testing.T) {
	b := start(t)
	r, kill := b.registry(t)
	register(t, r, service("users", "users-1", "127.0.0.1:9001"))
	eventually(t, "users came in", func() bool { return b.node("users", "users-1") != nil })
	kill()
	eventually(t, "users was dropped", func() bool { return b.node("users", "users-1") == nil })
}

func TestAnOutageLosesNobody(t *testing.T) {
	b := start(t)
	r, _ := b.registry(t)
	register(t, r, service("users", "users-1", "127.0.0.1:9001"))
	eventually(t, "users came in", func() bool { return b.node("users", "users-1") != nil })
	b.srv.Stop()
	eventually(t, "the bridge has noticed", func() bool { return b.logs.Count("nats_disconnected") > 0 })
	// As long as it takes to miss every question of a server that is there.
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if b.node("users", "users-1") == nil {
			t.Fatal("users was dropped while nobody could be asked")
		}
	}
	b.srv.Start()
	late, _ := b.registry(t)
	register(t, late, service("late", "late-1", "127.0.0.1:9003"))
	eventually(t, "the bridge works again", func() bool { return b.node("late", "late-1") != nil })
}

func TestNobodyPassesAsTheMesh(t *testing.T) {
	b := start(t)
	r, _ := b.registry(t)
	for _, s := range []*registry.Service{
		service("user-svc", "evil-1", "127.0.0.1:9001"),
		service("a/b", "evil-2", "127.0.0.1:9001"),
		service("loop", "evil-3", "127.0.0.1:8080"),
		service("nowhere", "evil-4", "0.0.0.0:9001"),
		service("noport", "evil-5", "127.0.0.1"),
	} {
		register(t, r, s)
	}
	register(t, r, service("good", "good-1", "127.0.0.1:9001"))
	eventually(t, "the good one came in", func() bool { return b.node("good", "good-1") != nil })
	eventually(t, "five were refused", func() bool { return b.logs.Count("stock_service_refused") == 5 })
	asked := b.logs.Count("stock_service_refused")
	b.mu.Lock()
	b.names["good"] = true // an account has registered an instance
	b.mu.Unlock()
	eventually(t, "the slug's owner has it", func() bool { return b.node("good", "good-1") == nil })
	b.directory.mu.Lock()
	if n := len(b.nodes); n != 0 {
		t.Errorf("%d came in", n)
	}
	b.directory.mu.Unlock()
	if n := b.logs.Count("stock_service_refused"); n != asked+1 {
		t.Errorf("refusals were logged %d times, want each once", n)
	}
}

// What others publish, by mistake or not, ends nothing.
func TestNonsenseIsLeftOut(t *testing.T) {
	b := start(t)
	nc, err := nats.Connect(b.srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, s := range []string{"", "{", "null", "[]", `{"Action":"create"}`, `{"Action":"create","Service":{"name":"x","nodes":[null]}}`, strings.Repeat("x", 300<<10)} {
		if err := nc.Publish("micro.nats.watch", []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := b.registry(t)
	register(t, r, service("users", "users-1", "127.0.0.1:9001"))
	eventually(t, "users came in", func() bool { return b.node("users", "users-1") != nil })
}

// Two registries tell services what the mesh has, and neither takes what the other says for a service that wants to come in.
func TestServicesFindWhatTheMeshOffers(t *testing.T) {
	srv := natstest.Start(t)
	logged := &logtest.Buffer{}
	log := slog.New(slog.NewTextHandler(logged, nil))
	dir := &directory{nodes: map[string]*registry.Service{}}
	for range 2 {
		nc, err := natsconn.Connect(t.Context(), natsconn.Config{URL: srv.URL(), Name: "bridge", Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		offers := func() []*registry.Service {
			return []*registry.Service{stock.Offer("user-svc", "1", map[string]string{"gateway-1": "127.0.0.1:8090"}), stock.Offer("proxy-svc", "1", map[string]string{"gateway-1": "127.0.0.1:8090"})}
		}
		taken := func() map[string]bool { return map[string]bool{"user-svc": true} }
		b := stock.New(stock.Config{NATS: nc, Nodes: dir, Taken: taken, Address: func(string) string { return "" }, Logger: log, Offers: offers, Interval: 100 * time.Millisecond, Patience: 50 * time.Millisecond})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { b.Run(ctx); close(ended) }()
		t.Cleanup(func() { stop(); <-ended })
	}
	r, _ := (&bridge{srv: srv}).registry(t)
	eventually(t, "user-svc is found", func() bool {
		found, err := r.GetService("user-svc")
		if err != nil {
			t.Fatal(err)
		}
		return len(found) == 1 && found[0].Name == "user-svc" && found[0].Nodes[0].Address == "127.0.0.1:8090" && found[0].Nodes[0].Metadata["protocol"] == "mucp"
	})
	if found, err := r.GetService("other-svc"); err != nil || len(found) != 0 {
		t.Errorf("what nobody has is found: %v, %v", found, err)
	}
	// Before any service is there: go-micro's own registry panics at some of these.
	for _, question := range []string{"", "{", "null", `{"Action":"get"}`, `{"Action":"drop"}`} {
		nc, err := nats.Connect(srv.URL())
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("micro.nats.query", "nobody", []byte(question)); err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	register(t, r, service("good", "good-1", "127.0.0.1:9001"))
	eventually(t, "a service came in, after several questions of both", func() bool { return dir.node("good", "good-1") != nil })
	register(t, r, service("late", "late-1", "127.0.0.1:9002"))
	eventually(t, "another came in", func() bool { return dir.node("late", "late-1") != nil })
	if n := logged.Count("stock_service_refused"); n != 0 {
		t.Errorf("%d offers were taken for services that want to come in", n)
	}
	dir.mu.Lock()
	defer dir.mu.Unlock()
	if len(dir.nodes) != 2 {
		t.Errorf("%d nodes came in", len(dir.nodes))
	}
}

// TestAProgramWithItsAccountsLoginHasItsName takes whoever may answer on the subject of an account's login for the account. Here everybody
// may: internal/provision allows it to that login alone.
func TestAProgramWithItsAccountsLoginHasItsName(t *testing.T) {
	b := start(t)
	b.owned.Store("shop-svc", true)
	r, kill := b.registry(t)
	register(t, r, service("shop-svc", "shop-1", "127.0.0.1:9001"))
	eventually(t, "it is brought in", func() bool { return b.node("shop-svc", "shop-1") != nil })
	if !strings.Contains(b.logs.String(), "is an account's") {
		t.Error("the log doesn't say that the name is an account's")
	}
	nc, err := nats.Connect(b.srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	gone, err := json.Marshal(&registry.Result{Action: "delete", Service: service("shop-svc", "shop-1", "127.0.0.1:9001")})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("micro.nats.watch", gone); err != nil { // anybody may say so
		t.Fatal(err)
	}
	other, _ := b.registry(t)
	register(t, other, service("greeter", "1", "127.0.0.1:9002")) // comes after it
	eventually(t, "the later guest is brought in", func() bool { return b.node("greeter", "1") != nil })
	if b.node("shop-svc", "shop-1") == nil {
		t.Error("a stranger has taken it out")
	}
	kill()
	eventually(t, "it is dropped when it has gone", func() bool { return b.node("shop-svc", "shop-1") == nil })
}
