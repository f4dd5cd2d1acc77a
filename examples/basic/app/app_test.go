package app_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"micromesh/examples/basic/app"
	"micromesh/internal/meshtest"
)

type obj = map[string]any

// start runs the service behind a mesh, and waits until the gateway leads to it. The returned function stops it.
func start(t *testing.T, m *meshtest.Mesh, dir string) (stop func()) {
	t.Helper()
	cfg, err := app.Parse(func(name string) string {
		return map[string]string{
			"MICRO_SERVER": m.URL, "BASIC_DATABASE_URL": "sqlite:" + filepath.Join(dir, "basic.db"), "BASIC_DATA": dir,
			"BASIC_ORIGINS": "https://shop.example.com",
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, meshtest.Logger(t), cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(20 * time.Second); m.Do(t, "GET", "/basic-svc/hello", "", nil).Status != 200; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("the service ended: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the gateway does not lead to the service")
		}
	}
	return stop
}

// manager gives an account the role, as the service does, and a token that carries it.
func manager(t *testing.T, m *meshtest.Mesh, slug string) string {
	t.Helper()
	token := m.Register(t, slug)
	id := m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200).Text("user", "id")
	m.Do(t, "PUT", "/user-svc/enrolls", m.Admin(t), obj{"enrolls": []obj{{"role": "basic-svc:pet:manager", "userId": id}}}).Must(t, 200)
	return m.Login(t, slug, "password-of-"+slug)
}

func pet(id, name, kind string, age int) obj {
	return obj{"pet": obj{"id": id, "name": name, "kind": kind, "age": age}}
}

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/basic-svc/hello" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	if err := app.Healthcheck(t.Context(), app.Config{SelfURL: srv.URL}); err != nil {
		t.Errorf("one that answers: %v", err)
	}
	status = http.StatusServiceUnavailable
	for name, url := range map[string]string{"one that is not well": srv.URL, "none": "http://127.0.0.1:1", "an unknown one": ""} {
		if err := app.Healthcheck(t.Context(), app.Config{SelfURL: url}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHello(t *testing.T) {
	m := meshtest.Start(t)
	start(t, m, t.TempDir())
	if got := m.Do(t, "GET", "/basic-svc/hello", "", nil).Must(t, 200).Text("message"); got != "hello, world" {
		t.Errorf("stranger is told %q", got)
	}
	if got := m.Do(t, "GET", "/basic-svc/hello", m.Register(t, "joe"), nil).Must(t, 200).Text("message"); got != "hello, joe" {
		t.Errorf("joe is told %q", got)
	}
	m.Do(t, "GET", "/basic-svc/hello", "no.token.atall", nil).Must(t, 401)
	m.Do(t, "GET", "/basic-svc/nothing", "", nil).Must(t, 404)
	if a := m.Do(t, "DELETE", "/basic-svc/hello", "", nil).Must(t, 405); a.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("allowed is %q", a.Header.Get("Allow"))
	}
}

func TestPetsAreSavedByManagersAlone(t *testing.T) {
	m := meshtest.Start(t)
	start(t, m, t.TempDir())
	rex := pet("rex", "Rex", "dog", 3)
	m.Do(t, "PUT", "/basic-svc/pet", "", rex).Must(t, 401)
	before := m.Register(t, "ann")
	if a := m.Do(t, "PUT", "/basic-svc/pet", before, rex).Must(t, 403); !strings.Contains(a.Text("error"), "basic-svc:pet:manager") {
		t.Errorf("answer is %s", a.Body)
	}
	token := manager(t, m, "joe")
	got := m.Do(t, "PUT", "/basic-svc/pet", token, rex).Must(t, 200).Field("pet")
	if diff := cmp.Diff(obj{"id": "rex", "name": "Rex", "kind": "dog", "age": 3.0, "savedBy": "joe"}, got); diff != "" {
		t.Errorf("pet (-want +got):\n%s", diff)
	}
	m.Do(t, "PUT", "/basic-svc/pet", token, pet("rex", "Rex", "dog", 4)).Must(t, 200)
	if got := names(t, m, obj{"minAge": 4}); cmp.Diff([]string{"Rex"}, got) != "" {
		t.Errorf("pets of 4 years are %v", got)
	}
}

// names gives the names of the pets on a page.
func names(t *testing.T, m *meshtest.Mesh, query obj) []string {
	t.Helper()
	out := []string{}
	for _, p := range m.Do(t, "POST", "/basic-svc/pets", "", query).Must(t, 200).Field("pets").([]any) {
		out = append(out, p.(obj)["name"].(string))
	}
	return out
}

func TestListsFilterSortAndPage(t *testing.T) {
	m := meshtest.Start(t)
	start(t, m, t.TempDir())
	token := manager(t, m, "joe")
	for _, p := range []obj{pet("1", "Rex", "dog", 3), pet("2", "Tom", "cat", 7), pet("3", "Kit", "cat", 1), pet("4", "Max", "dog", 7), pet("5", "Polly", "bird", 30)} {
		m.Do(t, "PUT", "/basic-svc/pet", token, p).Must(t, 200)
	}
	for name, c := range map[string]struct {
		query obj
		want  []string
	}{
		"all, by id":         {obj{}, []string{"Rex", "Tom", "Kit", "Max", "Polly"}},
		"kinds":              {obj{"kinds": []string{"cat", "bird"}}, []string{"Tom", "Kit", "Polly"}},
		"ages":               {obj{"minAge": 3, "maxAge": 7}, []string{"Rex", "Tom", "Max"}},
		"search":             {obj{"search": "o"}, []string{"Tom", "Polly"}},
		"two fields":         {obj{"orderBy": []string{"-age", "name"}}, []string{"Polly", "Max", "Tom", "Rex", "Kit"}},
		"filter and order":   {obj{"kinds": []string{"dog"}, "orderBy": []string{"-name"}}, []string{"Rex", "Max"}},
		"nothing is like it": {obj{"search": "%"}, []string{}},
	} {
		if diff := cmp.Diff(c.want, names(t, m, c.query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var got []string
	query := obj{"orderBy": []string{"kind", "-age"}, "limit": 2}
	for range 3 {
		got = append(got, names(t, m, query)...)
		page := m.Do(t, "POST", "/basic-svc/pets", "", query).Must(t, 200)
		if page.Field("count") != 5.0 {
			t.Errorf("count is %v", page.Field("count"))
		}
		query["after"] = page.Text("next")
	}
	if diff := cmp.Diff([]string{"Polly", "Tom", "Kit", "Max", "Rex"}, got); diff != "" || query["after"] != "" {
		t.Errorf("next is %q, pages (-want +got):\n%s", query["after"], diff)
	}
}

func TestRestartKeepsPetsAndAccount(t *testing.T) {
	m := meshtest.Start(t)
	dir := t.TempDir()
	stop := start(t, m, dir)
	id := owner(t, m)
	m.Do(t, "PUT", "/basic-svc/pet", manager(t, m, "joe"), pet("rex", "Rex", "dog", 3)).Must(t, 200)
	stop()
	m.Do(t, "GET", "/basic-svc/hello", "", nil).Must(t, 503) // it left
	start(t, m, dir)
	if got := names(t, m, obj{}); cmp.Diff([]string{"Rex"}, got) != "" {
		t.Errorf("pets are %v", got)
	}
	if again := owner(t, m); again != id {
		t.Errorf("the account is %s, was %s", again, id)
	}
}

// owner gives the id of the service's account.
func owner(t *testing.T, m *meshtest.Mesh) string {
	t.Helper()
	users := m.Do(t, "POST", "/user-svc/users", m.Admin(t), obj{"search": "basic-svc"}).Must(t, 200).Field("users").([]any)
	if len(users) != 1 {
		t.Fatalf("accounts are %v", users)
	}
	return users[0].(obj)["id"].(string)
}

// TestDefinitionIsTaken saves the definition as the command line does.
func TestDefinitionIsTaken(t *testing.T) {
	m := meshtest.Start(t)
	text, err := os.ReadFile(filepath.Join("..", "basic.mu"))
	if err != nil {
		t.Fatal(err)
	}
	var definition obj
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	m.Do(t, "PUT", "/registry-svc/definition", m.Admin(t), obj{"definition": definition}).Must(t, 201)
	got := string(m.Do(t, "GET", "/registry-svc/definitions", m.Admin(t), nil).Must(t, 200).Body)
	for _, want := range []string{"micromesh/basic", "BASIC_DATABASE_URL", "/basic-svc/openapi.yaml"} {
		if !strings.Contains(got, want) {
			t.Errorf("definitions have no %s: %s", want, got)
		}
	}
}

// TestPagesOfOtherOriginsMayCallWhereListed through the gateway, which leaves CORS to the services.
func TestPagesOfOtherOriginsMayCallWhereListed(t *testing.T) {
	m := meshtest.Start(t)
	start(t, m, t.TempDir())
	for origin, want := range map[string]string{"https://shop.example.com": "https://shop.example.com", "https://evil.example.com": ""} {
		req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", m.URL+"/basic-svc/pet", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "PUT")
		a := meshtest.Send(t, req).Must(t, 204)
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s may call: %q", origin, got)
		}
	}
}

func TestWrongInputIsExplained(t *testing.T) {
	m := meshtest.Start(t)
	start(t, m, t.TempDir())
	token := manager(t, m, "joe")
	for name, c := range map[string]struct {
		method, path string
		body         any
		code, says   string
	}{
		"no JSON":       {"PUT", "/basic-svc/pet", `{"pet":`, "INVALID_JSON", "body"},
		"empty pet":     {"PUT", "/basic-svc/pet", obj{}, "VALIDATION_ERROR", `"field":"kind"`},
		"negative age":  {"PUT", "/basic-svc/pet", pet("x", "X", "dog", -1), "VALIDATION_ERROR", "between 0 and 500"},
		"U+0000":        {"PUT", "/basic-svc/pet", pet("x", "X\x00", "dog", 1), "VALIDATION_ERROR", "U+0000"},
		"unknown order": {"POST", "/basic-svc/pets", obj{"orderBy": []string{"savedBy"}}, "VALIDATION_ERROR", "id, name, kind, age"},
		"limit":         {"POST", "/basic-svc/pets", obj{"limit": 100_000}, "VALIDATION_ERROR", "between 1 and 1000"},
		"cursor":        {"POST", "/basic-svc/pets", obj{"after": "xyz"}, "VALIDATION_ERROR", "after"},
		"type":          {"POST", "/basic-svc/pets", obj{"limit": "ten"}, "INVALID_JSON", `"field":"limit"`},
		"more than one": {"POST", "/basic-svc/pets", `{} }`, "INVALID_JSON", "more than one"},
	} {
		a := m.Do(t, c.method, c.path, token, c.body)
		if a.Status != 400 || a.Text("code") != c.code || !strings.Contains(string(a.Body), c.says) || a.Text("requestId") == "" {
			t.Errorf("%s: %d %s, want 400 with %s and %q", name, a.Status, a.Body, c.code, c.says)
		}
	}
}

func TestWrongSettingsAreToldAtOnce(t *testing.T) {
	_, err := app.Parse(func(name string) string {
		return map[string]string{
			"MICRO_SERVER": "localhost", "OB_SELF_URL": ":8080", "BASIC_DATABASE_URL": "mysql://root:geheim@x", "BASIC_DATA": "/no/such/folder", "BASIC_ORIGINS": "*, nonsense",
		}[name]
	})
	if err == nil {
		t.Fatal("wrong settings were taken")
	}
	for _, want := range []string{"MICRO_SERVER", "MICRO_SELF_URL", "BASIC_DATABASE_URL", "BASIC_DATA", "BASIC_ORIGINS"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "geheim") {
		t.Errorf("error tells the password: %v", err)
	}
	if cfg, err := app.Parse(func(string) string { return "" }); err != nil || cfg.DatabaseURL != "sqlite:basic.db" {
		t.Errorf("defaults are %+v, %v", cfg, err)
	}
}
