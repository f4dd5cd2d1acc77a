package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"micromesh/internal/meshtest"
	"micromesh/pkg/porttest"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

type obj = map[string]any

// start runs the service, and a mesh whose gateway leads to it by the example's routes.yaml.
func start(t *testing.T) *meshtest.Mesh {
	t.Helper()
	address := porttest.Free(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, address, "sqlite:"+filepath.Join(t.TempDir(), "widgets.db")) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Setenv("WIDGETS_URL", "http://"+address)
	m := meshtest.Start(t, meshtest.WithRoutes("routes.yaml"))
	meshtest.Eventually(t, "the service is there", func() bool { return m.Do(t, "GET", "/widgets/health", "", nil).Status == 200 })
	return m
}

func TestWidgets(t *testing.T) {
	m := start(t)
	admin, joe, eve := m.Admin(t), m.Register(t, "joe"), m.Register(t, "eve")
	gizmo := obj{"name": "Gizmo", "color": "red", "price": 1999}
	m.Do(t, "PUT", "/widgets/w1", "", gizmo).Must(t, 401)
	m.Do(t, "PUT", "/widgets/w1", joe, gizmo).Must(t, 403)
	m.Do(t, "PUT", "/user-svc/permits", admin, obj{"permits": []obj{{"permission": "gateway-svc:widgets:write", "slugs": []string{"joe", "eve"}}}}).Must(t, 200)
	meshtest.Eventually(t, "the permit has its effect", func() bool { return m.Do(t, "PUT", "/widgets/w1", joe, gizmo).Status == 200 })
	id := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	if a := m.Do(t, "GET", "/widgets/w1", eve, nil).Must(t, 200); a.Text("name") != "Gizmo" || a.Text("ownerId") != id {
		t.Errorf("%s", a.Body)
	}
	m.Do(t, "PUT", "/widgets/w1", eve, gizmo).Must(t, 403) // it is joe's
	m.Do(t, "GET", "/widgets/w1", "", nil).Must(t, 401)
	m.Do(t, "GET", "/Widgets/w1", "", nil).Must(t, 401)
	if a := m.Do(t, "GET", "/widgets?color=red", "", nil).Must(t, 200); len(a.Field("widgets").([]any)) != 1 || a.Header.Get("X-Cache") != "MISS" {
		t.Errorf("%s", a.Body)
	}
	if a := m.Do(t, "GET", "/widgets?color=red", "", nil).Must(t, 200); a.Header.Get("X-Cache") != "HIT" {
		t.Errorf("%v", a.Header)
	}
	m.Do(t, "DELETE", "/widgets/w1", eve, nil).Must(t, 403)
	m.Do(t, "DELETE", "/widgets/w1", joe, nil).Must(t, 204)
	m.Do(t, "GET", "/widgets/w1", joe, nil).Must(t, 404)
	m.Do(t, "POST", "/widgets", joe, gizmo).Must(t, 405)

	for name, row := range map[string]struct {
		in     any
		code   string
		fields int
	}{
		"everything wrong": {obj{"color": "pink", "price": -1}, "VALIDATION_ERROR", 3},
		"an unknown field": {obj{"name": "x", "color": "red", "prize": 1}, "INVALID_JSON", 0},
		"no JSON":          {"{", "INVALID_JSON", 0},
		"two objects":      {`{"name":"x","color":"red"}{}`, "INVALID_JSON", 0},
	} {
		a := m.Do(t, "PUT", "/widgets/w2", joe, row.in).Must(t, 400)
		details, _ := a.Field("details").([]any)
		if a.Text("code") != row.code || len(details) != row.fields {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
	if a := m.Do(t, "GET", "/widgets?limit=x", "", nil).Must(t, 400); a.Text("code") != "VALIDATION_ERROR" {
		t.Errorf("%s", a.Body)
	}
}

// TestTypesAreUpToDate makes the TypeScript types again.
func TestTypesAreUpToDate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "models.ts")
	config, err := os.ReadFile("tygo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "tygo.yaml")
	if err := os.WriteFile(other, bytes.Replace(config, []byte("output_path: types/models.ts"), []byte("output_path: "+file), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "tool", "tygo", "--config", other, "generate").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile("types/models.ts"); err != nil || !bytes.Equal(have, want) {
		t.Errorf("types/models.ts is not what the models say: go generate ./examples/widgets (%v)", err)
	}
}
