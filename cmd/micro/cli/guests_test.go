package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go-micro.dev/v5/broker"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/registry"
	natsregistry "go-micro.dev/v5/registry/nats"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// Books is a handler of a program in plain go-micro.
type Books struct{}

type (
	BookFilter struct {
		Author string `json:"author"`
		Year   int    `json:"year"`
	}
	BookBase struct {
		Page int `json:"page"`
	}
	BookRequest struct {
		BookBase
		Filter BookFilter `json:"filter"`
		Tags   []string   `json:"tags"`
		Cover  []byte     `json:"cover"`
	}
	BookResponse struct {
		Titles []string `json:"titles"`
	}
)

func (Books) List(_ context.Context, in *BookRequest, out *BookResponse) error {
	out.Titles = []string{strings.Join(in.Tags, ","), in.Filter.Author}
	return nil
}

func (Books) Follow(context.Context, server.Stream) error { return nil }

// guestMesh is a mesh with guests on both of go-micro's servers, of which one has a name with dots.
func guestMesh(t *testing.T) *meshtest.Mesh {
	t.Helper()
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATSListen, cfg.Gateway.ExposeStock = "127.0.0.1:0", true
	m, err := mesh.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	for name, newServer := range map[string]func(...server.Option) server.Server{"Books": server.NewRPCServer, "go.micro.srv.books": mgrpc.NewServer} {
		s := newServer(
			server.Name(name), server.Id("1"), server.Version("1.2.3"), server.Address("127.0.0.1:0"), server.Broker(broker.NewMemoryBroker()),
			server.Registry(natsregistry.NewNatsRegistry(registry.Addrs("nats://"+m.NATSAddr().String()))),
			server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
		)
		if err := s.Handle(s.NewHandler(Books{})); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Stop() })
	}
	web := &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}
	for _, name := range []string{"Books", "go.micro.srv.books"} {
		meshtest.Eventually(t, name+" is described", func() bool {
			return bytes.Contains(web.Do(t, "GET", "/openapi.json", "", nil).Body, []byte("/"+name+"/Books.List"))
		})
	}
	return web
}

func TestGuestsAreDescribedAndCalled(t *testing.T) {
	t.Parallel()
	web := guestMesh(t)
	var d struct {
		Paths map[string]map[string]map[string]any
	}
	if err := json.Unmarshal(web.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200).Body, &d); err != nil {
		t.Fatal(err)
	}
	l := line{server: web.URL, config: t.TempDir() + "/config.json"}
	for _, name := range []string{"Books", "go.micro.srv.books"} {
		op := d.Paths["/"+name+"/Books.List"]["post"]
		if op == nil || op["x-mesh-guest"] != true || op["x-mesh-version"] != "1.2.3" || op["operationId"] != name+".Books.List" {
			t.Fatalf("%s is described as %v", name, op)
		}
		if d.Paths["/"+name+"/Books.Follow"] != nil {
			t.Errorf("%s: a stream is described", name)
		}
		schema := op["requestBody"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)
		properties := schema["properties"].(map[string]any)
		if got := strings.Join(slices.Sorted(maps.Keys(properties)), " "); got != "cover filter page tags" {
			t.Errorf("%s: the fields are %s", name, got)
		}
		if year := properties["filter"].(map[string]any)["properties"].(map[string]any)["year"].(map[string]any); year["type"] != "integer" {
			t.Errorf("%s: the year is %v", name, year)
		}
		out, exit := l.run("call", name+".Books.List", `{"filter":{"author":"Ann","year":1999},"tags":["x"]}`)
		if exit != 0 || !strings.Contains(out, `"Ann"`) {
			t.Errorf("%s: micro call: %d %s", name, exit, out)
		}
		if out, exit := l.run("call", name+".Books.List", `{"filter":{"year":"x"}}`); exit == 0 || !strings.Contains(out, "filter.year must be a whole number") {
			t.Errorf("%s: micro call with a mistake: %d %s", name, exit, out)
		}
		if out, exit := l.run("call", name+".Books.Nosuch"); exit == 0 || !strings.Contains(out, "has no method") {
			t.Errorf("%s: micro call of a method that is missing: %d %s", name, exit, out)
		}
	}
	page := string(web.Do(t, "GET", "/docs", "", nil).Must(t, 200).Body)
	for _, want := range []string{`<h2>Books <span class="tag">guest</span> <small>1.2.3</small></h2>`, "/go.micro.srv.books/Books.List", "<code>filter.year</code>", "written in plain go-micro"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestTheWideListShowsKindAndVersion(t *testing.T) {
	t.Parallel()
	web := guestMesh(t)
	l := line{server: web.URL, config: t.TempDir() + "/config.json"}
	if out, exit := l.run("login", meshtest.AdminSlug); exit != 0 {
		t.Fatalf("login: %d %s", exit, out)
	}
	plain, _ := l.run("instance", "ls")
	if head, _, _ := strings.Cut(plain, "\n"); strings.Join(regexp.MustCompile(`  +`).Split(head, -1), "|") != "ID|URL|STATUS|OWNER SLUG|LAST HEARTBEAT" || strings.Contains(plain, "1.2.3") {
		t.Errorf("the list is\n%s", plain)
	}
	wide, exit := l.run("instance", "ls", "-o", "wide")
	for _, want := range []string{`LAST HEARTBEAT +KIND +VERSION`, `Books-1 .* guest +1\.2\.3`, `go\.micro\.srv\.books-1 .* guest +1\.2\.3`, `user-svc.* rpc +`} {
		if !regexp.MustCompile(want).MatchString(wide) || exit != 0 {
			t.Errorf("the wide list lacks %s:\n%s", want, wide)
		}
	}
	if out, exit := l.run("instance", "ls", "-o", "tall"); exit == 0 || !strings.Contains(out, "must be wide") {
		t.Errorf("another list: %d %s", exit, out)
	}
}
