package meshtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// write writes a routes.yaml, at once as `mv` does.
func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// routed starts a mesh with configured routes.
func routed(t *testing.T, content string) (m *meshtest.Mesh, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "routes.yaml")
	write(t, file, content)
	return meshtest.Start(t, meshtest.WithRoutes(file)), file
}

// ask sends a request with headers, "Name: value" each.
func ask(t *testing.T, m *meshtest.Mesh, method, path, token string, headers ...string) meshtest.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, m.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	return meshtest.Send(t, req)
}

func TestConfiguredRoutes(t *testing.T) {
	web := upstream.Start(t)
	m, _ := routed(t, fmt.Sprintf(`
version: 1
public_paths: [/widgets/health]
routes:
  - {path: /widgets, method: GET, proxy_upstream: %[1]q}
  - {path: "/widgets/{id}", method: PUT, proxy_upstream: %[1]q, auth_required: true, scopes: [write:widgets]}
  - {path: "/widgets/{id}", method: GET, proxy_upstream: %[1]q, auth_required: true}
  - {path: "/shop/*", proxy_upstream: shop-svc, auth_required: true, scopes: [read:pets]}
  - {path: /base, method: GET, proxy_upstream: %[2]q}
`, web.URL, web.URL+"/deep/er"))
	joe := m.Register(t, "joe")
	shop := m.Register(t, "shop-svc")
	admin := m.Admin(t)
	if a := m.Do(t, "PUT", "/registry-svc/instance", shop, obj{"url": web.URL}); a.Status != 201 {
		t.Fatal(a.Status, string(a.Body))
	}

	t.Run("open to everybody, path and query byte for byte", func(t *testing.T) {
		a := ask(t, m, "GET", "/widgets?a=%20b&a=c", "", "X-User-ID: evil", "X-Roles: user-svc:admin")
		if a.Status != 200 || a.Text("Target") != "/widgets?a=%20b&a=c" || a.Field("Header", "X-User-Id") != nil || a.Field("Header", "X-Roles") != nil {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		if a := ask(t, m, "GET", "/base?x", ""); a.Text("Target") != "/deep/er/base?x" {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	})
	t.Run("who calls is told from the token", func(t *testing.T) {
		a := ask(t, m, "GET", "/widgets/7", joe, "X-User-ID: evil")
		ids, _ := a.Field("Header", "X-User-Id").([]any)
		if a.Status != 200 || len(ids) != 1 || ids[0] == "evil" || a.Field("Header", "X-Org-Id") != nil {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	})
	t.Run("a route of one method is not another's by an override", func(t *testing.T) {
		for _, name := range []string{"X-HTTP-Method-Override", "x-http-method", "X_Method_Override"} {
			a := ask(t, m, "GET", "/widgets", "", name+": DELETE", "X-Other: kept")
			if all := strings.ToLower(string(a.Body)); a.Status != 200 || strings.Contains(all, "override") || strings.Contains(all, "http-method") || !strings.Contains(all, "kept") {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
		}
	})
	t.Run("a guard has no way round it", func(t *testing.T) {
		before := web.Requests()
		for _, request := range []string{
			"GET /widgets/7", "HEAD /widgets/7", "GET /Widgets/7", "GET /%77idgets/7", "GET /WIDGETS/7/", "PUT /widgets/7", "GET /shop", "POST /shop/x/y", "DELETE /%53hop/x",
		} {
			method, path, _ := strings.Cut(request, " ")
			for _, token := range []string{"", "forged", joe[:len(joe)-4] + "AAAA"} {
				if a := ask(t, m, method, path, token); a.Status != 401 || method == "HEAD" && len(a.Body) > 0 {
					t.Errorf("%s with %.10q: %d %s", request, token, a.Status, a.Body)
				}
			}
		}
		if a := ask(t, m, "OPTIONS", "/widgets/7", ""); a.Status != 200 || len(a.Body) > 0 {
			t.Errorf("OPTIONS: %d %s", a.Status, a.Body)
		}
		if a := ask(t, m, "DELETE", "/widgets/7", joe); a.Status != 405 || a.Header.Get("Allow") != "GET, PUT" {
			t.Errorf("another method: %d %s", a.Status, a.Header.Get("Allow"))
		}
		if a := ask(t, m, "POST", "/widgets/7", joe, "X-HTTP-Method-Override: PUT"); a.Status != 405 {
			t.Errorf("an override of the method: %d", a.Status)
		}
		if n := web.Requests() - before; n > 0 {
			t.Errorf("%d requests got through", n)
		}
	})
	t.Run("scopes are handed out by who owns them", func(t *testing.T) {
		call := func(method, path string) int { return ask(t, m, method, path, joe).Status }
		if s := call("PUT", "/widgets/7"); s != 403 {
			t.Errorf("without the scope: %d", s)
		}
		write := m.Register(t, "write") // whose slug begins the scope, and owns nothing of it
		for token, p := range map[string]string{write: "write:widgets", joe: "gateway-svc:widgets:write"} {
			m.Do(t, "PUT", "/user-svc/permits", token, obj{"permits": []obj{{"permission": p, "slugs": []string{"joe"}}}})
		}
		if s := call("PUT", "/widgets/7"); s != 403 {
			t.Errorf("with a permit of somebody who may not: %d", s)
		}
		permit := func(token, permission string) {
			if a := m.Do(t, "PUT", "/user-svc/permits", token, obj{"permits": []obj{{"permission": permission, "slugs": []string{"joe"}}}}); a.Status != 200 {
				t.Fatal(a.Status, string(a.Body))
			}
		}
		permit(admin, "gateway-svc:widgets:write")
		permit(shop, "shop-svc:pets:read")
		eventually(t, "both permits", func() bool { return call("PUT", "/widgets/7") == 200 && call("GET", "/shop/x") == 200 })
	})
}

func TestRoutesToMethods(t *testing.T) {
	m, _ := routed(t, `
version: 1
routes:
  - {path: "/may/{permission}", method: GET, proxy_upstream: user-svc/UserService.HasPermission}
  - {path: /people, method: GET, proxy_upstream: user-svc/UserService.ListUsers}
  - {path: /people, method: POST, proxy_upstream: user-svc/UserService.ListUsers}
  - {path: "/wrong/{nothing}", method: GET, proxy_upstream: user-svc/UserService.ReadSelf}
  - {path: /nowhere, method: GET, proxy_upstream: nowhere-svc/Service.Method}
`)
	admin, joe := m.Admin(t), m.Register(t, "joe")
	if a := ask(t, m, "GET", "/may/a:b:c", joe); a.Status != 200 || a.Field("authorized") != false {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := ask(t, m, "GET", "/people?limit=1&search=joe", admin); a.Status != 200 || !strings.Contains(string(a.Body), `"slug":"joe"`) {
		t.Errorf("by the query: %d %s", a.Status, a.Body)
	}
	if a := m.Do(t, "POST", "/people?search=joe", admin, obj{"limit": 1, "search": "nobody"}); a.Status != 200 || !strings.Contains(string(a.Body), `"slug":"joe"`) {
		t.Errorf("by body and query: %d %s", a.Status, a.Body)
	}
	for path, want := range map[string]int{"/people?limit=x": 400, "/wrong/7": 500, "/nowhere": 503} {
		if a := ask(t, m, "GET", path, admin); a.Status != want {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	for token, want := range map[string]int{joe: 403, "": 401} { // who may call is the method's business as ever
		if a := ask(t, m, "GET", "/people", token); a.Status != want {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
}

// kept is a service that counts, and answers as its query says: a header each, and perhaps a status.
func kept(t *testing.T) (url string, count *atomic.Int64) {
	t.Helper()
	count = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := count.Add(1)
		status := 200
		for name, v := range r.URL.Query() {
			switch name {
			case "status":
				_, _ = fmt.Sscan(v[0], &status)
			case "cut":
				w.Header().Set("Content-Length", "1000")
			default:
				w.Header().Set(name, v[0])
			}
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "answer %d to %s", n, r.Header.Get("X-User-Id"))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, count
}

func TestAnswersThatAreKept(t *testing.T) {
	url, count := kept(t)
	m, file := routed(t, fmt.Sprintf(`
version: 1
routes:
  - {path: /news, method: GET, proxy_upstream: %[1]q, cache_ttl: 10m}
  - {path: /me, method: GET, proxy_upstream: %[1]q, auth_required: true, cache_ttl: 10m}
`, url))
	joe, eve := m.Register(t, "joe"), m.Register(t, "eve")
	asked := func(f func()) int64 {
		before := count.Load()
		f()
		return count.Load() - before
	}
	t.Run("once for all who ask at once", func(t *testing.T) {
		n := asked(func() {
			got := statuses(1000, func(int) int { return ask(t, m, "GET", "/news?at=once", "").Status })
			if got[200] != 1000 {
				t.Errorf("%v", got)
			}
		})
		if n != 1 {
			t.Errorf("the service was asked %d times", n)
		}
	})
	t.Run("each caller has answers of their own", func(t *testing.T) {
		bodies := map[string]bool{}
		n := asked(func() {
			for range 3 {
				for _, token := range []string{joe, eve} {
					bodies[string(ask(t, m, "GET", "/me", token).Body)] = true
				}
				if a := ask(t, m, "GET", "/me", ""); a.Status != 401 {
					t.Errorf("nobody got %d %s", a.Status, a.Body)
				}
			}
		})
		if n != 2 || len(bodies) != 2 {
			t.Errorf("asked %d times, for %v", n, bodies)
		}
		if n := asked(func() { ask(t, m, "GET", "/news", joe); ask(t, m, "GET", "/news", eve); ask(t, m, "GET", "/news", "") }); n != 3 {
			t.Errorf("without a guard: asked %d times", n)
		}
	})
	t.Run("only while the caller has the same rights", func(t *testing.T) {
		may := func(slugs ...string) {
			m.Do(t, "PUT", "/user-svc/permits", joe, obj{"permits": []obj{{"id": "prm_1", "permission": "joe:news:read", "slugs": slugs}}}).Must(t, 200)
		}
		may("eve", "ann")
		meshtest.Soon(t, "kept", func() bool { return ask(t, m, "GET", "/me?rights", eve).Header.Get("X-Cache") == "HIT" })
		may("ann")
		meshtest.Soon(t, "asked again", func() bool { return ask(t, m, "GET", "/me?rights", eve).Header.Get("X-Cache") == "MISS" })
	})
	t.Run("what is kept says so", func(t *testing.T) {
		first := ask(t, m, "GET", "/news?Content-Type=text/x&X-Own=1", "")
		a := ask(t, m, "GET", "/news?Content-Type=text/x&X-Own=1", "")
		if a.Header.Get("X-Cache") != "HIT" || first.Header.Get("X-Cache") != "MISS" || a.Header.Get("Age") == "" ||
			a.Header.Get("Content-Type") != "text/x" || a.Header.Get("X-Own") != "1" || string(a.Body) != string(first.Body) {
			t.Errorf("%v %s", a.Header, a.Body)
		}
	})
	for name, query := range map[string]string{
		"Set-Cookie": "Set-Cookie=a=b", "private": "Cache-Control=private", "no-store": "Cache-Control=max-age=60,no-store",
		"stale at once": "Cache-Control=max-age=0", "Vary: *": "Vary=*", "Vary by what is not in the key": "Vary=X-Other", "5xx": "status=500", "4xx": "status=404", "cut off": "cut=1",
	} {
		t.Run("not kept: "+name, func(t *testing.T) {
			n := asked(func() {
				for range 2 {
					req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+"/news?"+query, nil)
					if err != nil {
						t.Fatal(err)
					}
					rsp, err := http.DefaultTransport.RoundTrip(req)
					if err != nil {
						continue // of an answer that was cut off
					}
					_ = rsp.Body.Close()
				}
			})
			if n < 2 {
				t.Errorf("asked %d times", n)
			}
		})
	}
	for name, request := range map[string][]string{
		"a part": {"GET", "Range: bytes=0-1"}, "a condition": {"GET", "If-None-Match: x"}, "a cookie": {"GET", "Cookie: a=b"}, "no-cache": {"GET", "Cache-Control: no-cache"}, "HEAD": {"HEAD", "Accept: */*"},
	} {
		t.Run("not answered by it: "+name, func(t *testing.T) {
			if n := asked(func() {
				for range 2 {
					ask(t, m, request[0], "/news?for=all", "", request[1])
				}
			}); n != 2 {
				t.Errorf("asked %d times", n)
			}
		})
	}
	t.Run("other credentials are other callers", func(t *testing.T) {
		for _, headers := range [][]string{{"X-Api-Key: alice"}, {"X-Api-Key: bob"}, {"X_Api_Key: alice"}, {"X-Auth-Token: alice"}, {}, {"X-Api-Key: alice", "X-Evil: 1"}} {
			if n := asked(func() { ask(t, m, "GET", "/news?for=alice", "", headers...) }); n != 1 {
				t.Errorf("%v: asked %d times", headers, n)
			}
		}
		if n := asked(func() { ask(t, m, "GET", "/news?for=alice", "", "X-Api-Key: alice", "User-Agent: another") }); n != 0 {
			t.Errorf("the same again: asked %d times", n)
		}
	})
	t.Run("a path below is another one", func(t *testing.T) {
		if a := ask(t, m, "GET", "/me/x.css", joe); a.Status != 404 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	})
	t.Run("a new file forgets it", func(t *testing.T) {
		ask(t, m, "GET", "/news?old", "")
		write(t, file, fmt.Sprintf("version: 1\nroutes: [{path: /news, method: GET, proxy_upstream: %q, cache_ttl: 1m}]", url))
		eventually(t, "the new file", func() bool { return ask(t, m, "GET", "/me", joe).Status == 404 })
		if n := asked(func() { ask(t, m, "GET", "/news?old", "") }); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestRoutesAreReadAgain(t *testing.T) {
	web := upstream.Start(t)
	route := func(path string) string {
		return fmt.Sprintf("version: 1\nroutes:\n  - {path: %s, method: GET, proxy_upstream: %q}\n", path, web.URL)
	}
	m, file := routed(t, route("/one"))
	leads := func(path string) func() bool {
		return func() bool { return ask(t, m, "GET", path, "").Status == 200 }
	}
	if !leads("/one")() || leads("/two")() {
		t.Error("it begins with something else")
	}
	write(t, file, route("/two"))
	eventually(t, "the new file", leads("/two"))
	if leads("/one")() {
		t.Error("the old route is still there")
	}
	write(t, file, strings.Replace(route("/three"), "GET", "get", 1))
	refused := func(value string) func() bool {
		return func() bool {
			return strings.Contains(string(ask(t, m, "GET", "/metrics", "").Body), "mesh_gateway_routes_refused "+value+"\n")
		}
	}
	eventually(t, "the bad file is refused", refused("1"))
	if !leads("/two")() || leads("/three")() {
		t.Error("a bad file is in force")
	}
	write(t, file, route("/four"))
	eventually(t, "a good file after a bad one", leads("/four"))
	eventually(t, "no file is refused any more", refused("0"))
}

// A file with mistakes stops the start, scopes without a sign-in among them.
func TestBadRoutesStopTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	write(t, file, "version: 1\nroutes:\n  - {path: /x, proxy_upstream: x, scopes: [write:x]}\n  - {path: y, proxy_upstream: x, more: 1}\n")
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Gateway.Routes = file
	if mm, err := mesh.Start(t.Context(), cfg); err == nil {
		mm.Stop()
		t.Fatal("it started")
	} else if got := err.Error(); !strings.Contains(got, file+":3: scopes take auth_required: true") || !strings.Contains(got, file+":4: path") || !strings.Contains(got, `"more" is not a key`) {
		t.Errorf("%v", err)
	}
}

// TestSpellingsShareNoCachedAnswer asks for one resource in several spellings, and for a guarded one.
func TestSpellingsShareNoCachedAnswer(t *testing.T) {
	url, count := kept(t)
	m, _ := routed(t, fmt.Sprintf(`
version: 1
routes:
  - {path: "/*", method: GET, proxy_upstream: %[1]q, cache_ttl: 10m}
  - {path: /me/secret, method: GET, proxy_upstream: %[1]q, auth_required: true, cache_ttl: 10m}
`, url))
	joe := m.Register(t, "joe")
	bodies := map[string]string{}
	for _, path := range []string{"/news/a", "/news%2Fa", "/news%2fa", "/news/%61", "/news/a/", "/news//a", "/News/a", "/news/a;x", "/news;x/a", "/news%252Fa"} {
		first := ask(t, m, "GET", path, "")
		again := ask(t, m, "GET", path, "")
		if first.Header.Get("X-Cache") != "MISS" || again.Header.Get("X-Cache") != "HIT" || string(first.Body) != string(again.Body) {
			t.Errorf("%s: %s %v, again %s %v", path, first.Body, first.Header, again.Body, again.Header)
		}
		if other := bodies[string(first.Body)]; other != "" {
			t.Errorf("%s is answered as %s", path, other)
		}
		bodies[string(first.Body)] = path
	}
	ask(t, m, "GET", "/me/secret", joe).Must(t, 200)
	before := count.Load()
	for _, path := range []string{"/me/secret", "/me%2Fsecret", "/me/%73ecret", "/ME/secret", "/me//secret", "/me/secret/", "/me;x/secret"} {
		for range 2 {
			if a := ask(t, m, "GET", path, ""); a.Status != 401 || a.Header.Get("X-Cache") != "" {
				t.Errorf("%s without a token: %d %s", path, a.Status, a.Body)
			}
		}
		ask(t, m, "GET", path, joe).Must(t, 200)
	}
	if n := count.Load() - before; n != 6 { // the first one was kept
		t.Errorf("the service was asked %d times", n)
	}
}

// TestPathsAreRewritten sends requests through routes and slugs whose upstream receives another path.
func TestPathsAreRewritten(t *testing.T) {
	web := upstream.Start(t)
	m, file := routed(t, fmt.Sprintf(`
routes:
  - {path: "/api/v1/*", proxy_upstream: widgets-svc, strip_prefix: /api/v1}
  - {path: "/old/{id}", method: GET, proxy_upstream: %q, rewrite: "/new/{id}", cache_ttl: 1m}
  - {path: "/in/*", proxy_upstream: %q, strip_prefix: /in, auth_required: true}
slugs:
  widgets-svc: {strip_prefix: /widgets-svc}
  moved-svc: {rewrite: "/v2/*"}
`, web.URL, web.URL+"/base"))
	for _, slug := range []string{"widgets-svc", "moved-svc", "other-svc"} {
		m.Do(t, "PUT", "/registry-svc/instance", m.Register(t, slug), obj{"url": strings.Replace(upstream.Start(t).URL, "localhost", "127.0.0.1", 1)}).Must(t, 201)
	}
	joe := m.Register(t, "joe")
	for sent, want := range map[string]string{
		"/api/v1/widgets":             "/widgets",
		"/api/v1/widgets/a%2Fb?x=%20": "/widgets/a%2Fb?x=%20",
		"/api/v1?a=/b":                "/?a=/b",
		"/old/a%20b?":                 "/new/a%20b?",
		"/in/7":                       "/base/7",
		"/widgets-svc/widgets/1":      "/widgets/1",
		"/widgets-svc":                "/",
		"/moved-svc/a?b":              "/v2/a?b",
		"/other-svc/a?b":              "/other-svc/a?b",
	} {
		meshtest.Eventually(t, sent+" is reachable", func() bool { return ask(t, m, "GET", sent, joe).Status == 200 })
		a := ask(t, m, "GET", sent, joe, "X-Forwarded-Prefix: /evil").Must(t, 200)
		if a.Text("Target") != want {
			t.Errorf("%s is received as %s", sent, a.Text("Target"))
		}
		prefix := map[string]string{"/api": "[/api/v1]", "/in/": "[/in]", "/wid": "[/widgets-svc]"}[sent[:4]]
		if got := a.Field("Header", "X-Forwarded-Prefix"); (prefix == "") != (got == nil) || got != nil && fmt.Sprint(got) != prefix {
			t.Errorf("%s: the upstream is told the prefix %v", sent, got)
		}
	}
	ask(t, m, "GET", "/in/7", "").Must(t, 401)
	write(t, file, "routes: []")
	meshtest.Eventually(t, "the slug's paths come as they are sent", func() bool {
		return ask(t, m, "GET", "/widgets-svc/widgets/1", "").Text("Target") == "/widgets-svc/widgets/1"
	})
}
