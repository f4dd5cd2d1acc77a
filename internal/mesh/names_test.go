package mesh_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/server"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/auth"
	"micromesh/pkg/logtest"
	"micromesh/pkg/schema/schematest"
)

// named is a mesh whose log is read, with its gateway.
func named(t *testing.T) (*mesh.Mesh, *meshtest.Mesh, *logtest.Buffer) {
	t.Helper()
	log := &logtest.Buffer{}
	m := start(t, t.TempDir(), func(c *mesh.Config) {
		joinable(c)
		c.Gateway.ExposeStock = true
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	return m, &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}, log
}

// guest reports whether discovery has a guest of a name.
func guest(m *mesh.Mesh, name string) bool {
	s := m.Host.Nodes.Lookup(name)
	return s != nil && len(s.Nodes) > 0 && s.Nodes[0].Stock()
}

// TestGuestsTakeNoNameOfOthers starts guests under names of accounts, running or not, under reserved names, and under names that read
// like one of them.
func TestGuestsTakeNoNameOfOthers(t *testing.T) {
	t.Parallel()
	m, web, log := named(t)
	running := web.Register(t, "running-svc")
	web.Do(t, "PUT", "/registry-svc/instance", running, map[string]string{"url": upstream.Start(t).URL}).Must(t, 201)
	joe := web.Register(t, "joe")
	web.Do(t, "PUT", "/user-svc/organization", joe, map[string]string{"slug": "acme", "name": "Acme"}).Must(t, 200)
	web.Register(t, "shop-svc")
	gone := web.Register(t, "gone-svc")
	id := web.Do(t, "POST", "/user-svc/self", gone, nil).Must(t, 200).Text("user", "id")
	web.Do(t, "DELETE", "/user-svc/user/"+id, web.Admin(t), nil).Must(t, 200)
	taken := []string{
		"running-svc", "shop-svc", "joe", "acme", "gone-svc", meshtest.AdminSlug, "Shop-Svc", "shop_svc", "shop.svc", "SHOP_SVC",
		"user-svc", "USER-SVC", "user_svc", "forwarder-svc", "docs", "DOCS", "metrics", "healthz", "readyz", "openapi.json", "OpenAPI.json", "openapi_json",
		"well-known", "config-svc", "Config_Svc", "admin", "api", "console", "favicon.ico",
	}
	web.Do(t, "PUT", "/registry-svc/definition", web.Admin(t), map[string]any{"definition": map[string]any{"id": "defined-svc"}}).Must(t, 201)
	web.Do(t, "PUT", "/user-svc/permits", web.Admin(t), map[string]any{"permits": []map[string]any{{"permission": "permitted-svc:a:b", "slugs": []string{"grantee-svc"}}}}).Must(t, 200)
	taken = append(taken, "defined-svc", "Defined-SVC", "permitted-svc", "permitted_svc")
	for _, name := range taken {
		serve(t, m, name, server.NewRPCServer)
	}
	web.Do(t, "PUT", "/user-svc/permits", joe, map[string]any{"permits": []map[string]any{{"permission": "joe:a:b", "slugs": []string{"greeter"}}}}).Must(t, 200)
	serve(t, m, "greeter", server.NewRPCServer) // it came last, and may: anybody can name it as a receiver
	meshtest.Eventually(t, "a guest with a free name is found", func() bool { return guest(m, "greeter") })
	for _, name := range taken {
		meshtest.Eventually(t, name+" is named in the log", func() bool { return strings.Contains(log.String(), "name="+name+" reason=") })
		if guest(m, name) {
			t.Errorf("%s is a guest", name)
		}
	}
	web.Do(t, "POST", "/shop-svc/Greeter.Hello", joe, `{"name":"joe"}`).Must(t, 404)
	web.Do(t, "POST", "/greeter/Greeter.Hello", joe, `{"name":"joe"}`).Must(t, 200)
}

// create has an admin create an account, and returns its token.
func create(t *testing.T, web *meshtest.Mesh, slug string) string {
	t.Helper()
	web.Do(t, "POST", "/user-svc/user", web.Admin(t), map[string]any{"user": map[string]any{"slug": slug}, "password": "password-of-" + slug}).Must(t, 200)
	return web.Login(t, slug, "password-of-"+slug)
}

// TestAnAccountTakesItsNameFromAGuest makes accounts under the name of a guest that is there: a stranger can't, and an admin can.
func TestAnAccountTakesItsNameFromAGuest(t *testing.T) {
	t.Parallel()
	m, web, log := named(t)
	serve(t, m, "later-svc", server.NewRPCServer)
	meshtest.Eventually(t, "the guest is found", func() bool { return guest(m, "later-svc") })
	web.Do(t, "POST", "/later-svc/Greeter.Hello", "", `{"name":"joe"}`).Must(t, 200)
	joe := web.Register(t, "joe")
	for what, a := range map[string]meshtest.Answer{
		"an account":      web.Do(t, "POST", "/user-svc/register", "", map[string]string{"slug": "later-svc", "password": "password-of-eve"}),
		"an organization": web.Do(t, "PUT", "/user-svc/organization", joe, map[string]string{"slug": "later-svc", "name": "x"}),
	} {
		if a.Status != 409 || a.Text("code") != "SLUG_TAKEN" {
			t.Errorf("%s under its name: %d %s", what, a.Status, a.Body)
		}
	}
	web.Do(t, "POST", "/later-svc/Greeter.Hello", "", `{"name":"joe"}`).Must(t, 200)
	create(t, web, "later-svc")
	began := time.Now()
	meshtest.Soon(t, "the guest is dropped", func() bool { return !guest(m, "later-svc") })
	t.Logf("dropped after %v", time.Since(began))
	if text := log.String(); !strings.Contains(text, "name=later-svc") || !strings.Contains(text, "is an account's") {
		t.Errorf("the log doesn't say why:\n%s", text)
	}
	web.Do(t, "POST", "/later-svc/Greeter.Hello", "", `{"name":"joe"}`).Must(t, 404)
}

// vault describes a method that callers must be signed in for.
const vault = `message M { string name = 1; string text = 2; } service Greeter {
	rpc Hello(M) returns (M) { option (google.api.http) = {post: "/vault-svc/hello" body: "*"}; option (mesh.v1.access) = {caller: CALLER_SIGNED_IN}; }
}`

// TestAServiceThatIsAwayIsNoGuests stops a service that has described its methods, and starts a guest under its name: no token of a
// caller reaches the guest.
func TestAServiceThatIsAwayIsNoGuests(t *testing.T) {
	t.Parallel()
	m, web, _ := named(t)
	joe := web.Register(t, "joe")
	stop := web.Serve(t, "vault-svc", schematest.File(t, "vault.v1", vault), Greeter{})
	meshtest.Eventually(t, "the service is called", func() bool {
		return web.Do(t, "POST", "/vault-svc/hello", joe, `{"name":"joe"}`).Status == 200
	})
	stop()
	serve(t, m, "vault-svc", server.NewRPCServer)
	meshtest.Eventually(t, "the guest is there", func() bool { return guest(m, "vault-svc") })
	for _, path := range []string{"/vault-svc/hello", "/vault-svc/Greeter.Hello", "/vault-svc/Greeter/Hello"} {
		for range 20 {
			if a := web.Do(t, "POST", path, joe, `{"name":"joe"}`); a.Status < 400 || strings.Contains(string(a.Body), joe) {
				t.Fatalf("%s: a guest has answered: %d %s", path, a.Status, a.Body)
			}
		}
	}
	// The account of the slug registers an instance: the schema gives way to it.
	page := upstream.Start(t)
	token := create(t, web, "vault-svc")
	web.Do(t, "PUT", "/registry-svc/instance", token, map[string]string{"url": page.URL}).Must(t, 201)
	meshtest.Soon(t, "the guest is dropped", func() bool { return !guest(m, "vault-svc") })
	meshtest.Soon(t, "the account's instance is served", func() bool { return web.Do(t, "GET", "/vault-svc/page", "", nil).Status == 200 })
	meshtest.Soon(t, "at the paths of the schema too", func() bool { return web.Do(t, "POST", "/vault-svc/hello", joe, `{"name":"joe"}`).Status == 200 })
	// The service is back: its methods are as they were.
	web.Serve(t, "vault-svc", schematest.File(t, "vault.v1", vault), Greeter{})
	meshtest.Soon(t, "guarded again", func() bool { return web.Do(t, "POST", "/vault-svc/hello", "", `{"name":"joe"}`).Status == 401 })
}

// TestAStrangerTakesNoNameOfAService registers the name of a service without an account, while it runs and when it has left. Its own
// process may, and an admin.
func TestAStrangerTakesNoNameOfAService(t *testing.T) {
	t.Parallel()
	m, web, _ := named(t)
	vaults := schematest.File(t, "vault.v1", vault)
	stop := web.Serve(t, "vault-svc", vaults, Greeter{})
	web.ServeAs(t, "claimed-svc", vaults, Greeter{}, map[string]string{auth.AccountClaim: auth.Claim("claimed-svc", "password-of-claimed-svc")})
	for _, slug := range []string{"vault-svc", "claimed-svc"} {
		meshtest.Soon(t, slug+" is found", func() bool { return m.Host.Nodes.Lookup(slug) != nil })
	}
	joe := web.Register(t, "joe")
	refused := func(when, slug string) {
		t.Helper()
		for what, a := range map[string]meshtest.Answer{
			"an account":      web.Do(t, "POST", "/user-svc/register", "", map[string]string{"slug": slug, "password": "password-of-eve"}),
			"an organization": web.Do(t, "PUT", "/user-svc/organization", joe, map[string]string{"slug": slug, "name": "x"}),
		} {
			if a.Status != 409 || a.Text("code") != "SLUG_TAKEN" {
				t.Errorf("%s, %s, %s: %d %s", slug, when, what, a.Status, a.Body)
			}
		}
	}
	refused("it runs", "vault-svc")
	refused("it runs", "claimed-svc")
	web.Register(t, "claimed-svc") // by the password that its node claims
	stop()
	meshtest.Soon(t, "the service is gone", func() bool { return m.Host.Nodes.Lookup("vault-svc") == nil })
	refused("it has left", "vault-svc")
	create(t, web, "vault-svc")
}

// TestNamesStayInUseWhileTheMeshRestarts registers the name of a guest immediately after a restart.
func TestNamesStayInUseWhileTheMeshRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := start(t, dir, joinable)
	serve(t, m, "greeter", server.NewRPCServer)
	meshtest.Soon(t, "the guest is found", func() bool { return guest(m, "greeter") })
	register := func() meshtest.Answer {
		web := &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}
		return web.Do(t, "POST", "/user-svc/register", "", map[string]string{"slug": "greeter", "password": "password-of-eve"})
	}
	register().Must(t, 409)
	m.Stop()
	m = start(t, dir, joinable) // at another address, so that the guest does not come back
	if a := register(); a.Status != 409 || a.Text("code") != "SLUG_TAKEN" {
		t.Errorf("after the restart: %d %s", a.Status, a.Body)
	}
}

// TestNobodyStopsAGuest takes the name of a guest that runs, for an organization that is renamed and as the receiver of a permit.
func TestNobodyStopsAGuest(t *testing.T) {
	t.Parallel()
	m, web, _ := named(t)
	for _, name := range []string{"greeter", "first-svc", "second-svc"} {
		serve(t, m, name, server.NewRPCServer)
		meshtest.Soon(t, name+" is found", func() bool { return guest(m, name) })
	}
	eve := web.Register(t, "eve")
	id := web.Do(t, "PUT", "/user-svc/organization", eve, map[string]string{"slug": "own", "name": "Own"}).Must(t, 200).Text("organization", "id")
	web.Do(t, "PUT", "/user-svc/organization", eve, map[string]string{"id": id, "slug": "greeter", "name": "Own"}).Must(t, 409)
	web.Do(t, "PUT", "/user-svc/permits", eve, map[string]any{"permits": []map[string]any{{"permission": "eve:a:b", "slugs": []string{"greeter"}}}}).Must(t, 200)
	for _, slug := range []string{"first-svc", "second-svc"} { // the names of all guests are looked at again whenever one of them is taken
		create(t, web, slug)
		meshtest.Soon(t, slug+" is dropped", func() bool { return !guest(m, slug) })
	}
	if !guest(m, "greeter") {
		t.Error("the guest was dropped")
	}
	web.Do(t, "POST", "/greeter/Greeter.Hello", "", `{"name":"joe"}`).Must(t, 200)
}

// TestASchemaTakesNoSlugOfAnInstance publishes a schema under the slug of an account that has an instance.
func TestASchemaTakesNoSlugOfAnInstance(t *testing.T) {
	t.Parallel()
	m, web, log := named(t)
	page := upstream.Start(t)
	token := web.Register(t, "vault-svc")
	web.Do(t, "PUT", "/registry-svc/instance", token, map[string]string{"url": page.URL}).Must(t, 201)
	served := func() bool {
		return web.Do(t, "POST", "/vault-svc/hello", token, `{"name":"joe"}`).Text("Target") == "/vault-svc/hello"
	}
	meshtest.Soon(t, "the instance is served", served)
	web.Serve(t, "vault-svc", schematest.File(t, "vault.v1", vault), Greeter{})
	meshtest.Eventually(t, "the schema is refused", func() bool {
		return strings.Contains(log.String(), "msg=schema_refused") && m.Host.Nodes.Lookup("vault-svc") != nil
	})
	if !served() {
		t.Error("the schema has taken the paths")
	}
}
