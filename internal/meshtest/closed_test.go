package meshtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/porttest"
)

// TestGuardedSlugHasNoOtherName asks for the resources of a slug that a route guards by every other name that they might have.
func TestGuardedSlugHasNoOtherName(t *testing.T) {
	web, other := upstream.Start(t), upstream.Start(t)
	file := func(more string) string {
		return fmt.Sprintf(`
version: 1
routes:
  - {path: "/widgets/{id}", proxy_upstream: widgets-svc, auth_required: true%s}
  - {path: /widgets, proxy_upstream: widgets-svc}
  - {path: /shop-svc/admin, proxy_upstream: shop-svc, auth_required: true}
`, more)
	}
	m, path := routed(t, file(""))
	widgets, shop, admin := m.Register(t, "widgets-svc"), m.Register(t, "shop-svc"), m.Admin(t)
	m.Do(t, "PUT", "/registry-svc/instance", widgets, obj{"url": web.URL}).Must(t, 201)
	m.Do(t, "PUT", "/registry-svc/instance", shop, obj{"url": other.URL}).Must(t, 201)
	eventually(t, "the instances", func() bool {
		return ask(t, m, "GET", "/widgets", "").Status == 200 && ask(t, m, "GET", "/shop-svc/", "").Status == 200
	})
	m.Do(t, "PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{
		{"id": "same.example.com", "target": web.URL}, {"id": "deep.example.com", "target": web.URL + "/widgets"},
		{"id": "named.example.com", "target": strings.Replace(web.URL, "127.0.0.1", "localhost", 1)}, {"id": "shop.example.com", "target": other.URL},
	}}).Must(t, 200)
	if a := ask(t, m, "GET", "/widgets/1", widgets); a.Status != 200 || a.Text("Target") != "/widgets/1" {
		t.Errorf("by its route: %d %s", a.Status, a.Body)
	}
	if a := ask(t, m, "GET", "/widgets/1", ""); a.Status != 401 {
		t.Errorf("by its route, without a token: %d", a.Status)
	}
	before := web.Requests()
	for _, p := range []string{
		"/widgets-svc/widgets/1", "/widgets-svc/", "/widgets-svc", "/widgets-svc/x", "/WIDGETS-SVC/widgets/1", "/widgets%2Dsvc/widgets/1",
		"/widgets-svc;x/widgets/1", "/widgets-svc%2Fwidgets/1", "/widgets-svc//widgets/1",
	} {
		for _, token := range []string{"", widgets, admin} {
			if a := ask(t, m, "GET", p, token); a.Status != 404 {
				t.Errorf("%s: %d %s", p, a.Status, a.Body)
			}
		}
	}
	host := func(name, path string) meshtest.Answer {
		req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = name
		return meshtest.Send(t, req)
	}
	for _, name := range []string{"same.example.com", "deep.example.com", "named.example.com", "shop.example.com"} {
		if a := host(name, "/1"); a.Status != 404 || a.Text("code") != "NO_ROUTE" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	if n := web.Requests() - before; n > 0 {
		t.Errorf("%d requests got through", n)
	}
	if a := ask(t, m, "OPTIONS", "/widgets-svc/x", ""); a.Status != 200 || len(a.Body) > 0 {
		t.Errorf("OPTIONS: %d %s", a.Status, a.Body)
	}
	for p, want := range map[string]int{"/shop-svc/admin": 401, "/shop-svc/admin%2F": 401, "/shop-svc;x/admin": 401, "/shop-svc/x%2Fy": 200} {
		if a := ask(t, m, "GET", p, ""); a.Status != want || want == 200 && a.Text("Target") != p {
			t.Errorf("below the slug's own path, %s: %d %s", p, a.Status, a.Body)
		}
	}
	write(t, path, file(", also_open: true"))
	eventually(t, "it is open again", func() bool { return ask(t, m, "GET", "/widgets-svc/widgets/1", "").Status == 200 })
	eventually(t, "it is open again by a host", func() bool {
		a := host("deep.example.com", "/1")
		return a.Status == 200 && a.Text("Target") == "/widgets/1"
	})
}

// TestGuardedURLHasNoOtherHost asks for the resources of a URL that a route guards by host routes.
func TestGuardedURLHasNoOtherHost(t *testing.T) {
	web := upstream.Start(t)
	file := fmt.Sprintf("%s/routes.yaml", t.TempDir())
	write(t, file, fmt.Sprintf("version: 1\nroutes:\n  - {path: \"/admin/*\", proxy_upstream: %q, auth_required: true}\n", web.URL))
	m := meshtest.Start(t, meshtest.WithEdge(), meshtest.WithRoutes(file))
	m.Do(t, "PUT", "/proxy-svc/routes", m.Admin(t), obj{"routes": []obj{{"id": "same.example.com", "target": web.URL}, {"id": "deep.example.com", "target": web.URL + "/admin"}}}).Must(t, 200)
	for host, path := range map[string]string{"same.example.com": "/admin/x", "deep.example.com": "/x"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", m.EdgeURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		a := meshtest.Send(t, req)
		if a.Status != 404 || a.Text("code") != "NO_ROUTE" || !strings.Contains(a.Text("error"), "closed, since routes.yaml guards its target") {
			t.Errorf("%s: %d %s", host, a.Status, a.Body)
		}
		if strings.Contains(string(a.Body), "127.0.0.1") {
			t.Errorf("%s: the answer names an address: %s", host, a.Body)
		}
	}
	if n := web.Requests(); n > 0 {
		t.Errorf("%d requests got through", n)
	}
}

// TestGuardedMethodHasNoOtherName calls a method that a route guards by its binding, and as programs in plain go-micro do.
func TestGuardedMethodHasNoOtherName(t *testing.T) {
	file := fmt.Sprintf("%s/routes.yaml", t.TempDir())
	routes := func(more string) {
		write(t, file, fmt.Sprintf(`
version: 1
routes:
  - {path: "/look/{id}", method: GET, proxy_upstream: account-svc/Account.Get, auth_required: true%[1]s}
  - {path: /people, method: GET, proxy_upstream: user-svc/UserService.GetPublicKey, auth_required: true%[1]s}
`, more))
	}
	routes("")
	guests := porttest.Free(t)
	m := meshtest.Start(t, meshtest.WithRoutes(file), func(c *mesh.Config) { c.Gateway.GuestsListen = guests })
	joe := m.Register(t, "joe")
	m.Serve(t, "account-svc", contract(t, accountProto), Account{})
	// The gateway must know its methods before its instance: it takes no schema for a slug that an instance holds.
	eventually(t, "the service", func() bool {
		return ask(t, m, "GET", "/look/7", joe).Status == 200 && m.Do(t, "POST", "/account-svc/accounts", joe, obj{"name": "x"}).Status == 201
	})
	web := upstream.Start(t)
	m.Do(t, "POST", "/user-svc/user", m.Admin(t), obj{"user": obj{"slug": "account-svc"}, "password": "password-of-account-svc"}).Must(t, 200)
	m.Do(t, "PUT", "/registry-svc/instance", m.Login(t, "account-svc", "password-of-account-svc"), obj{"url": web.URL}).Must(t, 201)
	eventually(t, "its instance", func() bool { return ask(t, m, "GET", "/account-svc/page", "").Status == 200 })
	guest := func(service, endpoint string) (failed bool) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+guests+"/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range map[string]string{"Content-Type": "application/json", "Micro-Service": service, "Micro-Endpoint": endpoint, "Authorization": "Bearer " + joe} {
			req.Header.Set(name, v)
		}
		return meshtest.Send(t, req).Header.Get("Micro-Error") != ""
	}
	if a := ask(t, m, "GET", "/look/7", ""); a.Status != 401 {
		t.Errorf("without a token: %d", a.Status)
	}
	for _, p := range []string{"/account-svc/accounts/7", "/account-svc/accounts/a%2Fb", "/account-svc/accounts/7/", "/account-svc/Accounts/7"} {
		if a := ask(t, m, "GET", p, joe); a.Status != 404 || strings.Contains(string(a.Body), "Ann") {
			t.Errorf("%s: %d %s", p, a.Status, a.Body)
		}
	}
	if !guest("account-svc", "Account.Get") || guest("user-svc", "UserService.GetPublicKey") {
		t.Error("a guest can call what is closed, or can't call what is open")
	}
	m.Do(t, "POST", "/account-svc/accounts", joe, obj{"name": "x"}).Must(t, 201)
	m.Do(t, "GET", "/user-svc/public-key", "", nil).Must(t, 200) // the mesh's own methods are never closed
	routes(", also_open: true")
	eventually(t, "it is open again", func() bool { return ask(t, m, "GET", "/account-svc/accounts/7", "").Status == 200 })
	if guest("account-svc", "Account.Get") {
		t.Error("also_open: a guest can't call it")
	}
}

// TestBindingsGuardTheInstanceBesideThem sends paths of bindings in other spellings, which go to an instance of the same slug.
func TestBindingsGuardTheInstanceBesideThem(t *testing.T) {
	web := upstream.Start(t)
	m := meshtest.Start(t)
	owner, joe := m.Register(t, "account-svc"), m.Register(t, "joe")
	m.Serve(t, "account-svc", contract(t, accountProto+closeProto), second())
	eventually(t, "the service", func() bool { return ask(t, m, "POST", "/account-svc/accounts", "").Status == 401 })
	m.Do(t, "PUT", "/registry-svc/instance", owner, obj{"url": web.URL}).Must(t, 201)
	eventually(t, "the service and its instance", func() bool {
		return ask(t, m, "POST", "/account-svc/accounts", "").Status == 401 && ask(t, m, "GET", "/account-svc/page", "").Status == 200
	})
	for _, p := range []string{"/account-svc/account%73", "/account-svc/Accounts", "/account-svc/accounts/", "/account-svc//accounts", "/account-svc/accounts;x", "/account-svc/accounts%2F", "/account-svc/accounts%3Fx"} {
		before := web.Requests()
		if a := ask(t, m, "POST", p, ""); a.Status != 401 {
			t.Errorf("POST %s without a token: %d %s", p, a.Status, a.Body)
		}
		if a := ask(t, m, "PUT", p, joe); a.Status != 405 {
			t.Errorf("PUT %s: %d %s", p, a.Status, a.Body)
		}
		if n := web.Requests() - before; n > 0 {
			t.Errorf("%s: %d requests got through", p, n)
		}
		if a := ask(t, m, "POST", p, joe); a.Status != 200 || a.Text("Target") != p {
			t.Errorf("POST %s with a token: %d %s", p, a.Status, a.Body)
		}
	}
	for request, want := range map[string]int{
		"DELETE /account-svc/Accounts/7": 403, "DELETE /account-svc/accounts%2F7": 403, "GET /account-svc/Accounts/7": 200, "GET /account-svc/page;x//y%2Fz": 200, "GET /account-svc/accounts/..%20/x": 400,
	} {
		method, p, _ := strings.Cut(request, " ")
		if a := ask(t, m, method, p, joe); a.Status != want || want == 200 && a.Text("Target") != p {
			t.Errorf("%s: %d %s, want %d", request, a.Status, a.Body, want)
		}
	}
}

// TestGuardedInstanceHasNoOtherSlug has another account register the address of instances that routes guard, in other spellings.
func TestGuardedInstanceHasNoOtherSlug(t *testing.T) {
	web, admins := upstream.Start(t), upstream.Start(t)
	file := func(more string) string {
		return fmt.Sprintf(`
version: 1
routes:
  - {path: "/widgets/*", proxy_upstream: widgets-svc, auth_required: true%[2]s}
  - {path: "/deep/*", proxy_upstream: %[1]q, auth_required: true}
`, admins.URL+"/base", more)
	}
	m, path := routed(t, file(""))
	eve := m.Register(t, "eve")
	m.Do(t, "PUT", "/registry-svc/instance", m.Register(t, "widgets-svc"), obj{"url": web.URL}).Must(t, 201)
	eventually(t, "the instance", func() bool { return ask(t, m, "GET", "/widgets/1", eve).Status == 200 })
	named := func(url, host string) string { return strings.Replace(url, "127.0.0.1", host, 1) }
	taken := []string{web.URL, web.URL + "/", named(web.URL, "localhost"), named(web.URL, "LOCALHOST"), named(web.URL, "[::1]"), strings.Replace(web.URL, "http:", "https:", 1)}
	for _, url := range taken {
		if a := m.Do(t, "PUT", "/registry-svc/instance", eve, obj{"url": url}); a.Status != 409 && a.Status != 400 {
			t.Errorf("%s: %d %s", url, a.Status, a.Body)
		}
	}
	led := []string{web.URL + "/widgets", web.URL + "/%77idgets", named(web.URL, "127.0.0.2"), named(web.URL, "localhost") + "/;x", admins.URL + "/base/deep", named(admins.URL, "localhost")}
	n := web.Requests() + admins.Requests()
	for _, url := range led {
		id := m.Do(t, "PUT", "/registry-svc/instance", eve, obj{"url": url}).Must(t, 201).Text("id")
		for _, p := range []string{"/eve/1", "/eve/widgets/1", "/eve"} {
			if a := ask(t, m, "GET", p, ""); a.Status != 404 && a.Status != 503 {
				t.Errorf("%s, %s: %d %s", url, p, a.Status, a.Body)
			}
		}
		m.Do(t, "DELETE", "/registry-svc/instance/"+id, eve, nil).Must(t, 204)
	}
	if got := web.Requests() + admins.Requests(); got != n {
		t.Errorf("%d requests got through", got-n)
	}
	m.Do(t, "PUT", "/registry-svc/instance", eve, obj{"url": web.URL + "/widgets"}).Must(t, 201)
	write(t, path, file(", also_open: true"))
	eventually(t, "it is open again", func() bool { return ask(t, m, "GET", "/eve/1", "").Status == 200 })
}
