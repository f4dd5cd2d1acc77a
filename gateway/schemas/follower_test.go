package schemas_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v5/registry"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/gateway/schemas"
	"micromesh/gateway/transcode"
	"micromesh/pkg/discovery"
	"micromesh/pkg/kv"
	"micromesh/pkg/logtest"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/schema"
	"micromesh/pkg/schema/schematest"
	userpb "micromesh/user/proto"
)

const patience = 30 * time.Second

// world is a follower on real discovery, and what services do.
type world struct {
	t     *testing.T
	srv   *natstest.Server
	js    jetstream.JetStream
	nodes *discovery.Registry
	f     *schemas.Follower
	log   *logtest.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, srv: natstest.Start(t), log: &logtest.Buffer{}}
	_, w.js = w.srv.Connect()
	var err error
	if w.nodes, err = discovery.New(w.js, discovery.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.nodes.Close() })
	w.f = w.follower()
	w.run()
	return w
}

func (w *world) follower() *schemas.Follower {
	w.t.Helper()
	builtIn, err := transcode.New(userpb.File_user_v1_user_proto)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := schemas.New(schemas.Config{
		Nodes: w.nodes, JS: w.js, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Metrics: prometheus.NewRegistry(),
		BuiltIn: builtIn, Self: "gateway-svc", Version: "1",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// run runs the follower until the test ends, or stop is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan struct{})
	f := w.f
	go func() { defer close(done); f.Run(ctx) }()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

// node registers a node of a service that names a hash, and began at some time.
func (w *world) node(slug, id, hash string, since int64) (leave func()) {
	w.t.Helper()
	meta := map[string]string{schema.NodeSince: fmt.Sprint(since)}
	if hash != "" {
		meta[schema.NodeHash] = hash
	}
	s := &registry.Service{Name: slug, Nodes: []*registry.Node{{Id: id, Address: "127.0.0.1:1", Metadata: meta}}}
	if err := w.nodes.Register(s); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := w.nodes.Deregister(s); err != nil {
			w.t.Fatal(err)
		}
	}
}

// put lays bytes under a hash, and gives it.
func (w *world) put(hash string, b []byte) string {
	w.t.Helper()
	bucket, err := kv.Open(w.t.Context(), w.js, kv.Schemas, kv.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := bucket.Put(w.t.Context(), hash, b); err != nil {
		w.t.Fatal(err)
	}
	return hash
}

// source publishes what a source declares.
func (w *world) source(body string) (hash string) {
	w.t.Helper()
	s, err := schema.Pack(schematest.File(w.t, "shop.v1", body))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.put(s.Hash, s.Set)
}

// files publishes descriptors that no compiler would make.
func (w *world) files(files ...*descriptorpb.FileDescriptorProto) (hash string) {
	w.t.Helper()
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.put(schema.Hash(b), b)
}

// methods is a service with a method for each name, at a path of its name.
func methods(slug string, names ...string) string {
	s := "message M { string id = 1; } service Shop {\n"
	for _, n := range names {
		s += fmt.Sprintf("rpc %s(M) returns (M) { option (google.api.http) = {get: \"/%s/%s\"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }\n", n, slug, strings.ToLower(n))
	}
	return s + "}"
}

// eventually waits until something holds.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not in time: %s; status is %+v", what, w.f.Status())
		}
	}
}

func (w *world) leads(path string) bool {
	slug, _, _ := strings.Cut(path[1:], "/")
	b, _, _ := w.f.Bindings().Load().Match(slug, "GET", path)
	return b != nil
}

func (w *world) problem(slug string) string {
	for _, s := range w.f.Status() {
		if s.Slug == slug {
			return s.Problem
		}
	}
	return ""
}

func TestFollowerServesWhatServicesSay(t *testing.T) {
	w := newWorld(t)
	w.eventually("settled", w.f.Settled)
	before := w.f.Pages()
	leave := w.node("shop-svc", "1", w.source(methods("shop-svc", "A")), 1)
	w.eventually("a route", func() bool { return w.leads("/shop-svc/a") })
	w.eventually("described", func() bool { return strings.Contains(string(w.f.Pages().OpenAPI), "/shop-svc/a") })
	if now := w.f.Pages(); now.OpenAPITag == before.OpenAPITag || now.DocsTag == before.DocsTag || !strings.Contains(string(now.Docs), "/shop-svc/a") {
		t.Error("the pages are still those of before")
	}

	// A rolling update: the newer node's schema counts, whatever the older one's is called.
	leaveNew := w.node("shop-svc", "0", w.source(methods("shop-svc", "A", "B")), 2)
	w.eventually("a new route", func() bool { return w.leads("/shop-svc/b") })
	if !w.leads("/shop-svc/a") {
		t.Error("the old route is gone")
	}
	// It is taken back.
	leaveNew()
	w.eventually("the old schema", func() bool { return !w.leads("/shop-svc/b") && w.leads("/shop-svc/a") })

	// All nodes are gone: the routes are those of a service that is away.
	leave()
	w.eventually("shown as away", func() bool { return strings.Contains(string(w.f.Pages().Docs), "not running") })
	if !w.leads("/shop-svc/a") || w.f.Status()[0].Nodes != 0 {
		t.Errorf("status is %+v", w.f.Status())
	}
	// A version that names none leaves them too.
	w.node("shop-svc", "2", "", 3)
	w.eventually("a node", func() bool { return w.f.Status()[0].Nodes == 1 })
	if !w.leads("/shop-svc/a") || !w.leads("/user-svc/public-key") {
		t.Error("routes are gone")
	}
}

// TestLiesAreRefused has a service that is served, whose newer node lies.
func TestLiesAreRefused(t *testing.T) {
	file := func(name string, imports ...string) *descriptorpb.FileDescriptorProto {
		return &descriptorpb.FileDescriptorProto{Name: proto.String(name), Syntax: proto.String("proto3"), Dependency: imports}
	}
	const public = "option (mesh.v1.access) = {caller: CALLER_PUBLIC};"
	one := func(options string) string {
		return "message M {} service Shop { rpc Evil(M) returns (M) { " + options + " } }"
	}
	rows := []struct {
		name string
		lie  func(w *world) (hash string)
		want string
	}{
		{"another content", func(w *world) string { return w.put(strings.Repeat("0", 32), []byte("x")) }, "not what its hash says"},
		{"a good schema under another's hash", func(w *world) string {
			s, err := schema.Pack(schematest.File(w.t, "shop.v1", methods("shop-svc", "Evil")))
			if err != nil {
				w.t.Fatal(err)
			}
			return w.put(strings.Repeat("1", 32), s.Set)
		}, "not what its hash says"},
		{"too large", func(w *world) string { b := make([]byte, schema.MaxSize+1); return w.put(schema.Hash(b), b) }, "1048577 bytes"},
		{"no hash", func(*world) string { return "../../etc/passwd" }, "names no hash"},
		{"a hash with wildcards", func(*world) string { return ">" }, "names no hash"},
		{"no schema", func(*world) string { return strings.Repeat("2", 32) }, "not in its bucket"},
		{"nothing", func(w *world) string { return w.put(schema.Hash([]byte{}), []byte{}) }, "there are no files"},
		{"nonsense", func(w *world) string { b := []byte("nonsense"); return w.put(schema.Hash(b), b) }, "no set of descriptors"},
		{"cyclic imports", func(w *world) string { return w.files(file("a", "b"), file("b", "a")) }, "cycle"},
		{"another's path", func(w *world) string { return w.source(methods("other-svc", "Evil")) }, "must begin with /shop-svc"},
		{"a path of the mesh", func(w *world) string { return w.source(methods("user-svc", "Evil")) }, "must begin with /shop-svc"},
		{"another's permission", func(w *world) string {
			return w.source(one(`option (google.api.http) = {get: "/shop-svc/evil"}; option (mesh.v1.access) = {permission: "user-svc:user:edit"};`))
		}, "must begin with shop-svc:"},
		{"clashing routes", func(w *world) string { return w.source(methods("shop-svc", "Evil", "EVIL")) }, "shop/v1.proto:7: shop.v1.Shop.EVIL: GET /shop-svc/evil is bound to shop.v1.Shop.Evil already"},
		{"no binding", func(w *world) string { return w.source(one(public)) }, "shop/v1.proto:5: shop.v1.Shop.Evil: add `option (google.api.http)`"},
		{"no access rule", func(w *world) string { return w.source(one(`option (google.api.http) = {get: "/shop-svc/evil"};`)) }, "shop/v1.proto:5: shop.v1.Shop.Evil: add `option (mesh.v1.access)`"},
	}
	w := newWorld(t)
	w.node("shop-svc", "good", w.source(methods("shop-svc", "A")), 1)
	w.node("kind-svc", "good", w.source(methods("kind-svc", "A")), 1)
	w.eventually("routes", func() bool { return w.leads("/shop-svc/a") && w.leads("/kind-svc/a") })
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w.t = t
			leave := w.node("shop-svc", "liar", r.lie(w), 2)
			w.eventually("refused: "+r.want, func() bool { return strings.Contains(w.problem("shop-svc"), r.want) })
			for path, want := range map[string]bool{"/shop-svc/a": true, "/kind-svc/a": true, "/user-svc/public-key": true, "/shop-svc/evil": false, "/user-svc/evil": false, "/other-svc/evil": false} {
				if w.leads(path) != want {
					t.Errorf("that there is %s: %v, want %v", path, !want, want)
				}
			}
			leave()
			w.eventually("forgiven", func() bool { return w.problem("shop-svc") == "" })
		})
	}
}

func TestSlugsOfTheMeshAreItsOwn(t *testing.T) {
	w := newWorld(t)
	w.node("user-svc", "liar", w.source(methods("user-svc", "Evil")), 1)
	w.node("gateway-svc", "liar", w.source(methods("gateway-svc", "Evil")), 1)
	w.node("No Slug", "liar", w.source(methods("no-slug", "Evil")), 1)
	w.eventually("refused", func() bool {
		return strings.Contains(w.problem("gateway-svc"), "slug of the mesh") && strings.Contains(w.problem("No Slug"), "is no slug")
	})
	if w.leads("/user-svc/evil") || w.leads("/gateway-svc/evil") || !w.leads("/user-svc/public-key") {
		t.Error("a service has taken a slug of the mesh")
	}
	if n := len(w.f.Status()); n != 2 { // what the mesh's own publish is not looked at
		t.Errorf("status is %+v", w.f.Status())
	}
}

// TestRefusalsAreLoggedOnce registers a liar again and again, while others come and go.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	w := newWorld(t)
	lie := w.put(strings.Repeat("0", 32), []byte("x"))
	w.node("shop-svc", "liar", lie, 1)
	w.eventually("refused", func() bool { return w.problem("shop-svc") != "" })
	hash := w.source(methods("kind-svc", "A"))
	for i := range 5 {
		leave := w.node("kind-svc", fmt.Sprint(i), hash, int64(i))
		w.eventually("another's node", func() bool { return len(w.f.Status()) == 2 && w.f.Status()[0].Nodes == 1 })
		leave()
		w.eventually("it is gone", func() bool { return w.f.Status()[0].Nodes == 0 })
	}
	if n := w.log.Count("schema_refused"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}

// TestLateSchemaIsServed names a schema before it is there, and one that somebody has overwritten meanwhile.
func TestLateSchemaIsServed(t *testing.T) {
	w := newWorld(t)
	s, err := schema.Pack(schematest.File(t, "shop.v1", methods("shop-svc", "A")))
	if err != nil {
		t.Fatal(err)
	}
	w.put(s.Hash, []byte("overwritten"))
	w.node("shop-svc", "1", s.Hash, 1)
	w.eventually("refused", func() bool { return w.problem("shop-svc") != "" })
	w.put(s.Hash, s.Set)
	w.eventually("a route", func() bool { return w.leads("/shop-svc/a") })
	w.eventually("no problem", func() bool { return w.problem("shop-svc") == "" })
}

// TestSchemasOutliveNATSAndTheGateway takes all away that a follower could learn from.
func TestSchemasOutliveNATSAndTheGateway(t *testing.T) {
	w := newWorld(t)
	w.node("shop-svc", "1", w.source(methods("shop-svc", "A")), 1)
	w.eventually("a route", func() bool { return w.leads("/shop-svc/a") })
	saved := maps.Clone(w.f.Save())
	w.srv.Stop()
	if !w.leads("/shop-svc/a") {
		t.Error("the route is gone with NATS")
	}
	w.f = w.follower()
	saved["evil-svc"] = schemas.Saved{Hash: saved["shop-svc"].Hash, Set: saved["shop-svc"].Set, Seen: time.Now()}
	saved["torn-svc"] = schemas.Saved{Hash: saved["shop-svc"].Hash, Set: []byte("torn"), Seen: time.Now()}
	err := w.f.Restore(saved)
	if err == nil || !strings.Contains(err.Error(), "evil-svc: ") || !strings.Contains(err.Error(), "torn-svc: ") {
		t.Errorf("what can't be is left out with %v", err)
	}
	if !w.leads("/shop-svc/a") || !strings.Contains(string(w.f.Pages().OpenAPI), "/shop-svc/a") {
		t.Error("what was saved is not served")
	}
	if w.leads("/evil-svc/a") || w.leads("/torn-svc/a") {
		t.Error("what can't be is served")
	}
}

func TestServicesThatAreGoneForLongAreForgotten(t *testing.T) {
	w := newWorld(t)
	s, err := schema.Pack(schematest.File(t, "shop.v1", methods("shop-svc", "A")))
	if err != nil {
		t.Fatal(err)
	}
	f := w.follower()
	if err := f.Restore(map[string]schemas.Saved{"shop-svc": {Hash: s.Hash, Set: s.Set, Seen: time.Now().Add(-25 * time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	w.f = f
	if !w.leads("/shop-svc/a") {
		t.Fatal("what was saved is not served")
	}
	w.run()
	w.eventually("forgotten", func() bool { return !w.leads("/shop-svc/a") && len(f.Save()) == 0 })
}
