package shop_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/logtest"
)

const patience = 30 * time.Second

var programs = []string{"users", "products", "orders"}

func TestMain(m *testing.M) { cluster.Main(m) }

// shop is a mesh, with the three programs beside it.
type shop struct {
	*meshtest.Mesh
	t     *testing.T
	bin   string
	env   func(program string) map[string]string
	guest map[string]string // what any guest gets, where the mesh is processes
	run   map[string]*exec.Cmd
}

// build makes the programs.
func build(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./users", "./products", "./orders")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return bin
}

// routesFile is the shop's routes, and one that guards a method. Its path is good in other folders too.
func routesFile(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "routes.yaml")
	guarded := "  - {path: \"/stock/{id}\", method: PUT, proxy_upstream: products/Products.Take, auth_required: true}\n"
	if err := os.WriteFile(file, append(content, guarded...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// inOneProcess is a shop beside `micro up`, as its README says.
func inOneProcess(t *testing.T) *shop {
	t.Helper()
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATSListen, cfg.Gateway.ExposeStock, cfg.Gateway.Routes = "127.0.0.1:0", true, routesFile(t)
	m, err := mesh.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	bin := build(t)
	return open(t, &shop{Mesh: &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}, bin: bin, env: func(program string) map[string]string {
		return map[string]string{
			"MICRO_REGISTRY": "nats", "MICRO_REGISTRY_ADDRESS": m.NATSAddr().String(), "MICRO_SERVER_ADDRESS": "127.0.0.1:0", "MICRO_BROKER_ADDRESS": "127.0.0.1:0",
			"DATABASE_URL": filepath.Join(bin, program+".db"),
		}
	}})
}

// open starts the programs, and waits until the gateway leads to them.
func open(t *testing.T, s *shop) *shop {
	t.Helper()
	s.t, s.run = t, map[string]*exec.Cmd{}
	for _, p := range programs {
		s.start(p)
	}
	for _, p := range programs {
		s.eventually(p+" is found", func() bool { return s.answers(p) })
	}
	return s
}

// answers tells whether the gateway leads to a program.
func (s *shop) answers(program string) bool {
	return s.Do(s.t, "POST", "/"+program+"/Health/Check", "", `{}`).Status == http.StatusOK
}

// start starts a program.
func (s *shop) start(name string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, name))
	cmd.Env = os.Environ()
	for k, v := range s.env(name) {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out := &logtest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.run[name] = cmd
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s: %s", name, out)
		}
	})
}

func (s *shop) eventually(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (s *shop) must(method, path string, in any, status int, holds string) meshtest.Answer {
	s.t.Helper()
	a := s.Do(s.t, method, path, "", in)
	if a.Status != status || !strings.Contains(string(a.Body), holds) {
		s.t.Fatalf("%s %s: %d %s, want %d and %q", method, path, a.Status, a.Body, status, holds)
	}
	return a
}

func TestShop(t *testing.T) {
	s := inOneProcess(t)
	s.all(t)
	s.restart()
}

// all is what customers do.
func (s *shop) all(t *testing.T) {
	t.Helper()
	t.Run("routes", func(t *testing.T) { s.t = t; s.routes() })
	t.Run("names", func(t *testing.T) { s.t = t; s.names() })
	t.Run("instances", func(t *testing.T) { s.t = t; s.instances() })
	s.t = t
}

// routes calls the shop as its customers do: with parameters in queries and paths.
func (s *shop) routes() {
	s.must("POST", "/users", `{"name":"Joe","email":"joe@example.com"}`, 200, `"id":1`)
	s.must("POST", "/users", `{"name":"Joe","email":"joe@example.com"}`, 409, "is the email of another user")
	s.must("GET", "/users?id=1", nil, 200, `"name":"Joe"`)
	s.must("GET", "/users/1", nil, 200, `"name":"Joe"`)
	s.must("GET", "/users/2", nil, 404, "there is no user 2")
	s.must("GET", "/users?id=one", nil, 400, "must be a whole number")
	s.must("GET", "/users", nil, 400, "id is required")
	s.must("POST", "/products", `{"name":"Cup","price":750,"stock":3}`, 200, `"id":1`)
	s.must("POST", "/products", `{"name":"Plate","price":900}`, 200, `"id":2`)
	s.must("GET", "/products?available=true", nil, 200, `{"products":[{"id":1,"name":"Cup","price":750,"stock":3}]}`)
	s.must("POST", "/orders", `{"user_id":1,"product_id":1,"quantity":2}`, 200, `"total":1500`)
	s.must("GET", "/orders/1", nil, 200, `"quantity":2`)
	s.must("GET", "/users/1/orders", nil, 200, `"orders":[{"id":1,`)
	s.must("POST", "/orders", `{"user_id":1,"product_id":1,"quantity":2}`, 409, "there are only 1 of Cup")
	s.must("POST", "/orders", `{"user_id":9,"product_id":1,"quantity":1}`, 404, "there is no user 9")
}

// names calls methods by their names. Paths that routes describe belong to these.
func (s *shop) names() {
	s.must("POST", "/products/Products/Read", `{"id":1}`, 200, `"name":"Cup"`)
	s.must("POST", "/products/Products/Drop", `{}`, 404, "it has Health.Check, Products.Create, Products.List, Products.Read, Products.Take")
	s.must("POST", "/products/Products/Read", `[1]`, 400, "must be a JSON object")
	for _, name := range []string{"Products/Take", "Products.Take", "Products%2FTake", "Products/Take/", "/Products/Take", "products.take", "Products%2eTake"} { // which a route guards
		if a := s.Do(s.t, "POST", "/products/"+name, "", `{"id":1,"quantity":1}`); a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
			s.t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	s.must("POST", "/products/Products/Take", `{"id":1,"quantity":1}`, 404, `"NO_METHOD"`)
	s.must("PUT", "/stock/1", `{"quantity":1}`, 401, "")
	if a := s.must("GET", "/products/Products/Read", nil, 405, "are called with POST"); a.Header.Get("Allow") != http.MethodPost {
		s.t.Errorf("Allow is %q", a.Header.Get("Allow"))
	}
	if a := s.must("POST", "/users/Users/Read", `{"id":7}`, 404, `"NOT_FOUND"`); a.Header.Get("Micro-Error") != "" || a.Header.Get("Micro-Service") != "" {
		s.t.Errorf("headers of the service have come through: %v", a.Header)
	}
}

func (s *shop) instances() {
	a := s.Do(s.t, "GET", "/registry-svc/instances", s.Admin(s.t), nil).Must(s.t, 200)
	for _, p := range programs {
		if !strings.Contains(string(a.Body), fmt.Sprintf("%q", p)) {
			s.t.Errorf("%s is no instance: %s", p, a.Body)
		}
	}
}

// restart kills a program and starts it again: nothing is lost, and it is reachable as it was.
func (s *shop) restart() {
	_ = s.run["users"].Process.Kill()
	_ = s.run["users"].Wait()
	a := s.Do(s.t, "GET", "/users?id=1", "", nil)
	if a.Status != http.StatusServiceUnavailable && a.Status != http.StatusNotFound {
		s.t.Errorf("without users the answer is %d %s", a.Status, a.Body)
	}
	s.start("users")
	s.eventually("users answers again", func() bool { return s.Do(s.t, "GET", "/users?id=1", "", nil).Status == http.StatusOK })
	s.must("GET", "/users/1", nil, 200, `"name":"Joe"`)
}
