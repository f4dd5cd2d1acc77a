package meshtest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/internal/meshtest"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/schema/schematest"
)

// Account is the handler of a service that the gateway was never built with.
type Account struct{}

// AccountMessage is all that it takes and gives.
type AccountMessage struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	By   string `json:"by,omitempty"`
}

func (Account) Create(ctx context.Context, in, out *AccountMessage) error {
	if in.Name == "" {
		return errs.Field("name", "required", "is required")
	}
	*out = AccountMessage{ID: "acc_1", Name: in.Name}
	if c := auth.FromContext(ctx); c != nil {
		out.By = c.Slug
	}
	return nil
}

func (Account) Get(_ context.Context, in, out *AccountMessage) error {
	*out = AccountMessage{ID: in.ID, Name: "Ann"}
	return nil
}

// second gives a handler of the same name with a method more: go-micro calls a handler as its type is called.
func second() any {
	type Account struct{ closingAccount }
	return Account{}
}

type closingAccount struct{ Account }

func (closingAccount) Close(_ context.Context, in, out *AccountMessage) error {
	*out = AccountMessage{ID: in.ID, Name: "closed"}
	return nil
}

const accountProto = `
	message Item { string id = 1; string name = 2; string by = 3; }
	service Account {
		// Create opens an account.
		rpc Create(Item) returns (Item) {
			option (google.api.http) = {post: "/account-svc/accounts" body: "*"};
			option (mesh.v1.access) = {caller: CALLER_SIGNED_IN};
			option (mesh.v1.success) = 201;
		}
		rpc Get(Item) returns (Item) {
			option (google.api.http) = {get: "/account-svc/accounts/{id}"};
			option (mesh.v1.access) = {caller: CALLER_PUBLIC};
		}`

const closeProto = `
		rpc Close(Item) returns (Item) {
			option (google.api.http) = {delete: "/account-svc/accounts/{id}"};
			option (mesh.v1.access) = {permission: "account-svc:account:close"};
		}`

func contract(t *testing.T, body string) protoreflect.FileDescriptor {
	t.Helper()
	return schematest.File(t, "account.v1", body+"}")
}

// TestServiceIsRoutedAtOnce runs a service that the gateway has never been built with, changes it, and stops it.
func TestServiceIsRoutedAtOnce(t *testing.T) {
	m := meshtest.Start(t)
	token := m.Register(t, "joe")
	before := m.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200)
	if a := m.Do(t, "GET", "/account-svc/accounts/1", "", nil); a.Status != 404 || a.Text("code") != "NO_INSTANCE" {
		t.Errorf("before it runs: %d %s", a.Status, a.Body)
	}

	stop := m.Serve(t, "account-svc", contract(t, accountProto), Account{})
	meshtest.Eventually(t, "a route", func() bool { return m.Do(t, "GET", "/account-svc/accounts/1", "", nil).Status == 200 })
	if a := m.Do(t, "GET", "/account-svc/accounts/a%2Fb", "", nil).Must(t, 200); a.Text("id") != "a/b" {
		t.Errorf("a path's parameter arrives as %s", a.Body)
	}
	if a := m.Do(t, "POST", "/account-svc/accounts", token, obj{"name": "Joe's"}).Must(t, 201); a.Text("name") != "Joe's" || a.Text("by") != "joe" {
		t.Errorf("it was created as %s", a.Body)
	}
	for _, r := range []struct {
		name, method, path, token string
		in                        any
		status                    int
		code                      string
	}{
		{"nobody", "POST", "/account-svc/accounts", "", obj{"name": "x"}, 401, "UNAUTHENTICATED"},
		{"the handler's error", "POST", "/account-svc/accounts", token, obj{}, 400, "VALIDATION_ERROR"},
		{"no JSON", "POST", "/account-svc/accounts", token, "[", 400, "INVALID_JSON"},
		{"another method", "PUT", "/account-svc/accounts", token, obj{}, 405, "METHOD_NOT_ALLOWED"},
		{"another path", "GET", "/account-svc/nothing", token, nil, 404, "NOT_FOUND"},
		{"a method that is not there yet", "DELETE", "/account-svc/accounts/1", token, nil, 405, "METHOD_NOT_ALLOWED"},
	} {
		if a := m.Do(t, r.method, r.path, r.token, r.in); a.Status != r.status || a.Text("code") != r.code {
			t.Errorf("%s: %d %s, want %d %s", r.name, a.Status, a.Body, r.status, r.code)
		}
	}
	described(t, m, before.Header.Get("ETag"))

	// A second process with a method more, while the first one still runs.
	stop2 := m.Serve(t, "account-svc", contract(t, accountProto+closeProto), second())
	meshtest.Eventually(t, "a new route", func() bool { return m.Do(t, "DELETE", "/account-svc/accounts/1", token, nil).Status == 403 })
	admin := m.Admin(t)
	for range 20 { // by whichever node is asked first
		if a := m.Do(t, "DELETE", "/account-svc/accounts/1", admin, nil); a.Status != 200 || a.Text("name") != "closed" {
			t.Fatalf("the new method, with an old node beside: %d %s", a.Status, a.Body)
		}
		m.Do(t, "GET", "/account-svc/accounts/1", "", nil).Must(t, 200)
	}

	stop()
	m.Do(t, "DELETE", "/account-svc/accounts/1", admin, nil).Must(t, 200)
	stop2()
	meshtest.Eventually(t, "that it is away", func() bool { return m.Do(t, "GET", "/account-svc/accounts/1", "", nil).Status == 503 })
	if a := m.Do(t, "GET", "/account-svc/accounts/1", "", nil); a.Text("code") != "UNAVAILABLE" || !strings.Contains(a.Text("error"), "account-svc") {
		t.Errorf("while it is away: %d %s", a.Status, a.Body)
	}
}

// described looks at the documents that cover the service.
func described(t *testing.T, m *meshtest.Mesh, oldTag string) {
	t.Helper()
	doc := m.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200)
	tag := doc.Header.Get("ETag")
	if tag == "" || tag == oldTag {
		t.Errorf("the tag is %q, and was %q", tag, oldTag)
	}
	if doc.Field("paths", "/account-svc/accounts", "post") == nil || doc.Field("paths", "/user-svc/login", "post") == nil {
		t.Error("the document doesn't cover both services")
	}
	page := m.Do(t, "GET", "/docs", "", nil).Must(t, 200)
	if !strings.Contains(string(page.Body), "Create opens an account.") || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("the page is %s %.300s", page.Header.Get("Content-Type"), page.Body)
	}
	if p := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; style-src 'sha256-") {
		t.Errorf("the page's policy is %q", p)
	}
	for path, tag := range map[string]string{"/openapi.json": tag, "/docs": "W/" + page.Header.Get("ETag")} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", `"other", `+tag)
		if a := meshtest.Send(t, req); a.Status != 304 || len(a.Body) != 0 {
			t.Errorf("%s again: %d, %d bytes", path, a.Status, len(a.Body))
		}
	}
	states := m.Do(t, "GET", "/gateway-svc/schemas", m.Admin(t), nil).Must(t, 200)
	if !strings.Contains(string(states.Body), `"slug":"account-svc","nodes":1`) {
		t.Errorf("states are %s", states.Body)
	}
	m.Do(t, "GET", "/gateway-svc/schemas", m.Login(t, "joe", "password-of-joe"), nil).Must(t, 403)
	m.Do(t, "GET", "/gateway-svc/schemas", "", nil).Must(t, 401)
}

// TestGatewayThatRestartsKnowsServicesThatAreAway starts a mesh again in the folder of the one before.
func TestGatewayThatRestartsKnowsServicesThatAreAway(t *testing.T) {
	dir := t.TempDir()
	m := meshtest.Start(t, meshtest.InDir(dir))
	stop := m.Serve(t, "account-svc", contract(t, accountProto), Account{})
	meshtest.Eventually(t, "a route", func() bool { return m.Do(t, "GET", "/account-svc/accounts/1", "", nil).Status == 200 })
	stop()
	m.Stop()

	m = meshtest.Start(t, meshtest.InDir(dir))
	if a := m.Do(t, "GET", "/account-svc/accounts/1", "", nil); a.Status != 503 || a.Text("code") != "UNAVAILABLE" {
		t.Errorf("before the service is back: %d %s", a.Status, a.Body)
	}
	m.Serve(t, "account-svc", contract(t, accountProto), Account{})
	meshtest.Eventually(t, "it serves", func() bool { return m.Do(t, "GET", "/account-svc/accounts/1", "", nil).Status == 200 })
}
