package devrun_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"micromesh/internal/devrun"
	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/scaffold"
)

// kinds are what `micro new` can write, by name.
func kinds(t *testing.T) map[string]func(*scaffold.Spec) {
	t.Helper()
	entity, err := scaffold.ParseEntity("Widget", []string{"name:string", "price:int32"})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func(*scaffold.Spec){
		"plain":      func(*scaffold.Spec) {},
		"stateless":  func(s *scaffold.Spec) { s.NoDB = true },
		"told":       func(s *scaffold.Spec) { s.Events = true },
		"shop":       func(s *scaffold.Spec) { s.Entity, s.Events = entity, true },
		"web-go":     func(s *scaffold.Spec) { s.HTTP = scaffold.Go },
		"web-python": func(s *scaffold.Spec) { s.HTTP = scaffold.Python },
		"web-node":   func(s *scaffold.Spec) { s.HTTP = scaffold.Node },
	}
}

// Each kind of service that `micro new` writes is run by `micro run` beside a mesh, with what `micro up` leaves in its data folder,
// and answers behind the gateway.
func TestEveryKindAnswersBehindTheGateway(t *testing.T) {
	dir := t.TempDir()
	var modules []string
	for name, change := range kinds(t) {
		n, err := scaffold.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		s := scaffold.Spec{Name: n, Dir: dir}
		change(&s)
		if _, err := scaffold.New(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if s.HTTP == "" || s.HTTP == scaffold.Go {
			modules = append(modules, "./"+name)
		}
	}
	workspace(t, dir, modules)

	m, data := startMesh(t)
	admin := m.Admin(t)
	for name := range kinds(t) {
		behind(t, filepath.Join(dir, name), m, data)
	}
	for name, change := range kinds(t) {
		var s scaffold.Spec
		if change(&s); s.Entity != nil {
			continue
		}
		until(t, name+" never greets", &said{}, func() bool {
			a := m.Do(t, "GET", "/"+name+"-svc/hello", admin, nil)
			return a.Status == http.StatusOK && strings.Contains(string(a.Body), `"hello, `+meshtest.AdminSlug+`"`)
		})
	}
	crud(t, m, admin)
	for name := range kinds(t) { // which is how nobody else can have the slug
		until(t, name+" has no account", &said{}, func() bool {
			return m.Do(t, "POST", "/user-svc/register", "", map[string]any{"slug": name + "-svc", "password": "password-of-another"}).Status == http.StatusConflict
		})
	}
}

// crud does with a service that keeps widgets what its users do.
func crud(t *testing.T, m *meshtest.Mesh, admin string) {
	t.Helper()
	widget := map[string]any{"widget": map[string]any{"name": "anvil", "price": 30}}
	until(t, "shop is never there", &said{}, func() bool { return m.Do(t, "GET", "/shop-svc/widgets", admin, nil).Status == http.StatusOK })
	joe := m.Register(t, "joe")
	m.Do(t, "POST", "/shop-svc/widget", "", widget).Must(t, http.StatusUnauthorized)
	m.Do(t, "POST", "/shop-svc/widget", joe, widget).Must(t, http.StatusForbidden)
	m.Do(t, "PUT", "/user-svc/permits", admin, map[string]any{"permits": []any{map[string]any{"permission": "shop-svc:widget:edit", "slugs": []string{"joe"}}}}).Must(t, http.StatusOK)
	until(t, "the permit never holds", &said{}, func() bool { return m.Do(t, "POST", "/shop-svc/widget", joe, widget).Status == http.StatusCreated })
	m.Do(t, "POST", "/shop-svc/widget", joe, map[string]any{"widget": map[string]any{"price": 1}}).Must(t, http.StatusBadRequest)
	list := m.Do(t, "GET", "/shop-svc/widgets", joe, nil).Must(t, http.StatusOK)
	if all, _ := list.Field("widgets").([]any); len(all) != 1 {
		t.Errorf("widgets are %s", list.Body)
	}
	if page := m.Do(t, "GET", "/docs", "", nil).Must(t, http.StatusOK).Body; !strings.Contains(string(page), "CreateWidget adds a widget, under an id of its own.") {
		t.Error("the page doesn't show what the .proto says")
	}
}

// workspace builds modules on this one in the place of their copies of it: it is built already.
func workspace(t *testing.T, dir string, modules []string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "go.work")
	t.Setenv("GOWORK", file)
	t.Setenv("GOFLAGS", "")
	for _, argv := range [][]string{append([]string{"work", "init"}, modules...), {"work", "edit", "-replace=micromesh=" + root}} {
		cmd := exec.CommandContext(t.Context(), "go", argv...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
}

// startMesh is what `micro up` runs, with the folder of its data.
func startMesh(t *testing.T) (m *meshtest.Mesh, data string) {
	t.Helper()
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATSListen = "127.0.0.1:0"
	up, err := mesh.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	return &meshtest.Mesh{URL: "http://" + up.Addr().String()}, cfg.Dir
}

// behind runs a service until the test ends.
func behind(t *testing.T, dir string, m *meshtest.Mesh, data string) {
	t.Helper()
	p, err := devrun.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	environ := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		environ[name] = value
	}
	env, err := p.Environ(environ, []string{data}, m.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	s := &said{}
	go func() {
		done <- devrun.Run(ctx, devrun.Config{Dir: dir, Environ: env, Stdout: t.Output(), Stderr: t.Output(), Tell: s.tell})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if t.Failed() {
			t.Logf("%s: %s", dir, s.text())
		}
	})
}
