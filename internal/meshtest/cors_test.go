package meshtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

const page = "https://app.example.com"

// TestPagesOfOtherOriginsReadEveryAnswer calls every kind of route from a page of a configured origin and from others, with and without a
// preflight.
func TestPagesOfOtherOriginsReadEveryAnswer(t *testing.T) {
	web := upstream.Start(t)
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://other.example.com")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Vary", "Accept-Language")
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(own.Close)
	file := filepath.Join(t.TempDir(), "routes.yaml")
	write(t, file, fmt.Sprintf(`
routes:
  - {path: "/open/*", proxy_upstream: %[1]q}
  - {path: "/guarded/*", proxy_upstream: %[1]q, auth_required: true}
  - {path: "/one", method: GET, proxy_upstream: %[1]q, auth_required: true}
  - {path: "/kept", method: GET, proxy_upstream: %[1]q, cache_ttl: 1m}
  - {path: "/gone", proxy_upstream: "http://127.0.0.1:1"}
  - {path: "/own/*", proxy_upstream: %[2]q}
`, web.URL, own.URL))
	m := meshtest.Start(t, meshtest.WithRoutes(file), func(c *mesh.Config) {
		c.Gateway.CORS, c.Gateway.HeadersTimeout = []string{"https://console.example.com", page}, time.Second
	})
	m.Do(t, "PUT", "/registry-svc/instance", m.Register(t, "shop-svc"), obj{"url": web.URL}).Must(t, 201)
	m.Do(t, "PUT", "/proxy-svc/routes", m.Admin(t), obj{"routes": []obj{{"id": "shop.example.com", "target": web.URL}}}).Must(t, 200)
	meshtest.Eventually(t, "the instance is reachable", func() bool { return ask(t, m, "GET", "/shop-svc/x", "").Status == 200 })
	for request, status := range map[string]int{
		"GET /open/x": 200, "GET /guarded/x": 401, "GET /one": 401, "DELETE /one": 405, "GET /kept": 200, "GET /gone": 502, "GET /own/x": 418,
		"GET /shop-svc/x": 200, "GET /nobody-svc/x": 404, "POST /user-svc/self": 401, "GET /user-svc/users": 405, "GET /user-svc/public-key": 200,
		"GET /openapi.json": 200, "GET /gateway-svc/events": 401, "PURGE /shop-svc/x": 200,
	} {
		t.Run(request, func(t *testing.T) {
			method, path, _ := strings.Cut(request, " ")
			for range 2 { // the second answer may come from the cache
				a := ask(t, m, method, path, "", "Origin: "+page).Must(t, status)
				vary := strings.Join(a.Header.Values("Vary"), ",")
				if got := a.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != page || !strings.Contains(vary, "Origin") {
					t.Errorf("the answer may be read by %q, and varies by %q", got, vary)
				}
			}
			a := ask(t, m, "OPTIONS", path, "", "Origin: "+page, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: x-tenant, authorization").Must(t, 200)
			allowed := a.Header.Get("Access-Control-Allow-Headers")
			if a.Header.Get("Access-Control-Allow-Origin") != page || !strings.Contains(allowed, "x-tenant") || !strings.Contains(allowed, "Authorization") ||
				!strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), method) || len(a.Body) > 0 {
				t.Errorf("the preflight is answered with %v", a.Header)
			}
			for _, origin := range []string{"https://evil.example.com", "http://app.example.com", "null", page + ":8443"} {
				for _, method := range []string{method, "OPTIONS"} {
					a := ask(t, m, method, path, "", "Origin: "+origin, "Access-Control-Request-Method: GET")
					if got := a.Header.Get("Access-Control-Allow-Origin"); got == origin || got == page || got == "*" {
						t.Errorf("%s by a page of %s: it may be read by %q", method, origin, got)
					}
				}
			}
		})
	}
	if a := ask(t, m, "GET", "/own/x", "", "Origin: https://other.example.com"); a.Header.Get("Access-Control-Allow-Origin") != "https://other.example.com" ||
		!strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Accept-Language") {
		t.Errorf("what the upstream allows comes as %v", a.Header)
	}
	before := web.Requests()
	a := ask(t, m, "OPTIONS", "/guarded/x", "", "Origin: https://evil.example.com", "Access-Control-Request-Method: GET").Must(t, 200)
	if a.Header.Get("Access-Control-Allow-Origin") != "" || web.Requests() != before {
		t.Errorf("a preflight of a guarded path got through: %v", a.Header)
	}
	ask(t, m, "OPTIONS", "/guarded/x", "", "Origin: https://evil.example.com").Must(t, 401) // no preflight
}

// TestPagesMaySendCookies sets the one setting that allows it.
func TestPagesMaySendCookies(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.CORS, c.Gateway.CORSCredentials = []string{page}, true })
	for origin, want := range map[string]string{page: "true", "https://evil.example.com": ""} {
		for _, method := range []string{"OPTIONS", "GET"} {
			a := ask(t, m, method, "/user-svc/public-key", "", "Origin: "+origin, "Access-Control-Request-Method: GET")
			if got := a.Header.Get("Access-Control-Allow-Credentials"); got != want {
				t.Errorf("%s from %s: credentials are %q", method, origin, got)
			}
		}
	}
}
