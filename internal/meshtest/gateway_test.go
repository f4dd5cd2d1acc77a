package meshtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/events"
)

// shop is a mesh with one instance of shop-svc behind it.
type shop struct {
	*meshtest.Mesh
	token string
	web   *upstream.Server
}

func newShop(t *testing.T, opts ...meshtest.Option) *shop {
	t.Helper()
	m := meshtest.Start(t, opts...)
	s := &shop{Mesh: m, token: m.Register(t, "shop-svc"), web: upstream.Start(t)}
	s.serve(t, s.web.URL)
	return s
}

func (s *shop) serve(t *testing.T, url string) string {
	t.Helper()
	return s.Do(t, "PUT", "/registry-svc/instance", s.token, obj{"url": url}).Must(t, 201).Text("id")
}

// seen sends a request and gives what reached the instance.
func seen(t *testing.T, req *http.Request) upstream.Seen {
	t.Helper()
	a := meshtest.Send(t, req)
	if a.Status != 200 {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	var out upstream.Seen
	if err := json.Unmarshal(a.Body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *shop) request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestForwardingKeepsWhatTheClientSent(t *testing.T) {
	s := newShop(t)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "REPORT"} {
		req := s.request(t, method, "/shop-svc/a%2Fb/%C3%A9?x=1&x=%20+&&y", strings.NewReader("the body"))
		got := seen(t, req)
		if got.Method != method || got.Target != "/shop-svc/a%2Fb/%C3%A9?x=1&x=%20+&&y" || got.Body != "the body" {
			t.Errorf("%s arrived as %s %s with %q", method, got.Method, got.Target, got.Body)
		}
	}
}

func TestIdentityHeadersFromOutsideNeverArrive(t *testing.T) {
	s := newShop(t)
	forged := []string{
		"X-User-ID", "x-user-id", "X_User_ID", "X.User.ID", "X!User~ID", "X-Original-URL", "x_rewrite_url", "X-User-Slug", "X-Org-ID", "X-Roles", "X-Scopes", "X-Real-Ip", "Forwarded",
		"Micro-Id", "Micro-Endpoint", "Micro-Topic",
	}
	req := s.request(t, "GET", "/shop-svc/", nil)
	for _, h := range forged {
		req.Header[h] = []string{"forged", "forged"}
	}
	req.Header.Set("X-Forwarded-For", "203.0.113.9")
	req.Header.Set("X-Custom", "kept")
	got := seen(t, req)
	for name, v := range got.Header {
		if strings.Contains(strings.Join(v, ","), "forged") {
			t.Errorf("%s arrived: %v", name, v)
		}
	}
	if got.Header.Get("X-Forwarded-For") != "127.0.0.1" || got.Header.Get("X-Forwarded-Proto") != "http" || got.Header.Get("X-Custom") != "kept" {
		t.Errorf("headers are %v", got.Header)
	}
}

func TestInstanceLearnsWhoCallsFromAValidTokenAlone(t *testing.T) {
	s := newShop(t)
	joe := s.Register(t, "joe")
	id := s.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	with := func(token string) http.Header {
		req := s.request(t, "GET", "/shop-svc/", nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return seen(t, req).Header
	}
	h := with(joe)
	if h.Get("X-User-Id") != id || h.Get("X-User-Slug") != "joe" || h.Get("X-Roles") != "user-svc:user" || h.Get("Authorization") != "Bearer "+joe {
		t.Errorf("headers are %v", h)
	}
	for name, tok := range map[string]string{"no token": "", "broken token": joe[:len(joe)-6] + "AAAAAA", "no token at all": "x"} {
		if h := with(tok); h.Get("X-User-Id") != "" || h.Get("X-Roles") != "" {
			t.Errorf("%s: headers are %v", name, h)
		}
	}
	s.Do(t, "DELETE", "/user-svc/tokens", joe, obj{}).Must(t, 200)
	meshtest.Soon(t, "a revoked token says no more who calls", func() bool { return with(joe).Get("X-User-Id") == "" })
}

// TestOrganizationOfARequest names organizations in X-Org-ID. No caller acts for one of others.
func TestOrganizationOfARequest(t *testing.T) {
	s := newShop(t)
	found := func(token, slug string) (id, with string) {
		a := s.Do(t, "PUT", "/user-svc/organization", token, obj{"slug": slug, "name": slug, "assignCaller": true}).Must(t, 200)
		return a.Text("organization", "id"), a.Text("token", "token")
	}
	acme, joe := found(s.Register(t, "joe"), "acme")
	second, joe := found(joe, "second")
	other, _ := found(s.Register(t, "ann"), "other")
	for name, row := range map[string]struct {
		token string
		names []string
		want  string // the organization that the instance receives; "403"
	}{
		"the active one":         {joe, nil, second},
		"one of the caller's":    {joe, []string{acme}, acme},
		"the active one, named":  {joe, []string{second}, second},
		"one of others":          {joe, []string{other}, "403"},
		"of nobody":              {joe, []string{"org_nothing"}, "403"},
		"by its slug":            {joe, []string{"acme"}, "403"},
		"nothing":                {joe, []string{""}, "403"},
		"a list":                 {joe, []string{acme + "," + other}, "403"},
		"one, and one of others": {joe, []string{acme, other}, "403"},
		"two":                    {joe, []string{acme, second}, "403"},
		"no token":               {"", []string{acme}, ""},
		"a broken token":         {joe[:len(joe)-6] + "AAAAAA", []string{acme}, ""},
	} {
		req := s.request(t, "GET", "/shop-svc/", nil)
		req.Header["x-org-ID"] = row.names
		req.Header["X_Org_ID"] = []string{other}
		if row.token != "" {
			req.Header.Set("Authorization", "Bearer "+row.token)
		}
		a := meshtest.Send(t, req)
		got := "403"
		if a.Status == 200 {
			ids, _ := a.Field("Header", "X-Org-Id").([]any)
			got = strings.Trim(fmt.Sprint(ids...), " ")
		}
		if got != row.want || a.Status == 403 && a.Text("code") != "NOT_A_MEMBER" || strings.Contains(string(a.Body), "X_Org") {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

// TestDeletedAccountHasNoInstances deletes an account whose instances serve, and would go on receiving its callers' tokens.
func TestDeletedAccountHasNoInstances(t *testing.T) {
	s := newShop(t)
	web := upstream.Start(t)
	owner := s.Register(t, "gone-svc")
	id := s.Do(t, "POST", "/user-svc/self", owner, nil).Must(t, 200).Text("user", "id")
	s.Do(t, "PUT", "/registry-svc/instance", owner, obj{"url": web.URL}).Must(t, 201)
	s.Do(t, "GET", "/gone-svc/x", "", nil).Must(t, 200)
	s.Do(t, "DELETE", "/user-svc/user/"+id, s.Admin(t), nil).Must(t, 200)
	meshtest.Soon(t, "its instance gets no requests", func() bool { return s.Do(t, "GET", "/gone-svc/x", "", nil).Status != 200 })
	s.Do(t, "GET", "/shop-svc/x", "", nil).Must(t, 200)
	if a := s.Do(t, "GET", "/registry-svc/instances?slug=gone-svc", s.Admin(t), nil).Must(t, 200); strings.Contains(string(a.Body), web.URL) {
		t.Errorf("it is still listed: %s", a.Body)
	}
}

// TestInstancesThatAreDownAreAway has the only instance of a slug die, and then leave.
func TestInstancesThatAreDownAreAway(t *testing.T) {
	s := newShop(t)
	s.Do(t, "GET", "/shop-svc/x", "", nil).Must(t, 200)
	s.web.Stop()
	away := func(when string) {
		t.Helper()
		meshtest.Eventually(t, "503 "+when, func() bool {
			a := s.Do(t, "GET", "/shop-svc/x", "", nil)
			return a.Status == 503 && a.Text("code") == "UNAVAILABLE" && a.Header.Get("Retry-After") != "" && s.Do(t, "OPTIONS", "/shop-svc/x", "", nil).Status == 200
		})
	}
	away("while it is down")
	all, _ := s.Do(t, "GET", "/registry-svc/instances?slug=shop-svc", s.token, nil).Must(t, 200).Field("instances").([]any)
	for _, in := range all {
		s.Do(t, "DELETE", "/registry-svc/instance/"+in.(obj)["id"].(string), s.token, nil).Must(t, 204)
	}
	away("when it has left")
	s.Do(t, "GET", "/other-svc/x", "", nil).Must(t, 404)
}

// TestHeadOfAMethod asks for the heads of answers of RPC methods.
func TestHeadOfAMethod(t *testing.T) {
	m := meshtest.Start(t)
	get, head := m.Do(t, "GET", "/user-svc/public-key", "", nil).Must(t, 200), m.Do(t, "HEAD", "/user-svc/public-key", "", nil).Must(t, 200)
	if len(head.Body) > 0 || head.Header.Get("Content-Length") != get.Header.Get("Content-Length") || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
		t.Errorf("%v %s", head.Header, head.Body)
	}
	m.Do(t, "HEAD", "/registry-svc/node/self", "", nil).Must(t, 401)
	m.Do(t, "HEAD", "/user-svc/login", "", nil).Must(t, 405)
}

func TestErrorsHaveOneShape(t *testing.T) {
	s := newShop(t)
	dead := httptest.NewServer(nil)
	dead.Close()
	s.Register(t, "dead-svc")
	s.Do(t, "PUT", "/registry-svc/instance", s.Admin(t), obj{"url": dead.URL, "slug": "dead-svc"}).Must(t, 201)
	rows := []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"no such slug", "GET", "/nothing-svc/x", "", 404, "NO_INSTANCE"},
		{"no slug", "GET", "//", "", 400, "MALFORMED_REQUEST"},
		{"no such path", "GET", "/user-svc/nothing", "", 404, "NOT_FOUND"},
		{"wrong method", "GET", "/user-svc/login", "", 405, "METHOD_NOT_ALLOWED"},
		{"GET of a user is never a deletion", "GET", "/user-svc/user/usr_1", "", 405, "METHOD_NOT_ALLOWED"},
		{"TRACE", "TRACE", "/shop-svc/", "", 405, "METHOD_NOT_ALLOWED"},
		{"not JSON", "POST", "/user-svc/login", "slug=joe", 400, "INVALID_JSON"},
		{"a JSON array", "POST", "/user-svc/login", "[1]", 400, "INVALID_JSON"},
		{"JSON of the wrong type", "POST", "/user-svc/login", `{"slug":7}`, 400, "INVALID_JSON"},
		{"JSON nested 10,000 deep", "POST", "/user-svc/login", `{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}", 400, "INVALID_JSON"},
		{"JSON of very many keys", "POST", "/user-svc/login", "{" + strings.Repeat(`"a":1,`, 200_000) + `"b":1}`, 400, "INVALID_JSON"},
		{"1e400", "POST", "/registry-svc/echo", `{"limit":1e400}`, 400, "INVALID_JSON"},
		{"password of 10 MB", "POST", "/user-svc/login", `{"password":"` + strings.Repeat("x", 10<<20) + `"}`, 413, "BODY_TOO_LARGE"},
		{"a field is missing", "POST", "/user-svc/register", `{}`, 400, "VALIDATION_ERROR"},
		{"nobody is signed in", "POST", "/user-svc/self", "", 401, "UNAUTHENTICATED"},
		{"dot segments", "GET", "/shop-svc/%2e%2e/admin", "", 400, "MALFORMED_REQUEST"},
		{"instance is dead", "POST", "/dead-svc/x", "body", 502, "UPSTREAM_UNREACHABLE"},
		{"debug pages", "GET", "/debug/pprof/", "", 404, "NO_INSTANCE"},
		{"internal endpoint", "POST", "/user-svc/UserService.ListUsers", "{}", 404, "NOT_FOUND"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			req := s.request(t, r.method, r.path, nil)
			if r.body != "" {
				req = s.request(t, r.method, r.path, strings.NewReader(r.body))
			}
			a := meshtest.Send(t, req)
			// The dead instance may be known to be dead by now.
			if a.Status != r.status && (r.name != "instance is dead" || a.Status != 503) {
				t.Fatalf("status %d, want %d: %s", a.Status, r.status, a.Body)
			}
			if a.Text("code") != r.code && a.Status == r.status || a.Text("error") == "" || a.Text("requestId") != a.Header.Get("X-Request-Id") {
				t.Errorf("body is %s, request id %s", a.Body, a.Header.Get("X-Request-Id"))
			}
			if a.Header.Get("Content-Type") != "application/json" || strings.Contains(string(a.Body), "127.0.0.1") {
				t.Errorf("%s: %s", a.Header.Get("Content-Type"), a.Body)
			}
		})
	}
	if n := s.web.Requests(); n != 0 {
		t.Errorf("%d of these reached the instance", n)
	}
}

func TestRequestIDs(t *testing.T) {
	s := newShop(t)
	ask := func(id string) (got, forwarded string) {
		req := s.request(t, "GET", "/shop-svc/", nil)
		if id != "" {
			req.Header.Set("X-Request-Id", id)
		}
		a := meshtest.Send(t, req)
		var u upstream.Seen
		if err := json.Unmarshal(a.Body, &u); err != nil {
			t.Fatal(err)
		}
		if len(u.Header.Get("Traceparent")) != 55 {
			t.Errorf("traceparent is %q", u.Header.Get("Traceparent"))
		}
		return a.Header.Get("X-Request-Id"), u.Header.Get("X-Request-Id")
	}
	if got, fwd := ask("my-id_1.2"); got != "my-id_1.2" || fwd != got {
		t.Errorf("a proper id became %q, forwarded as %q", got, fwd)
	}
	first, fwd := ask("")
	second, _ := ask("")
	if first == "" || first == second || fwd != first {
		t.Errorf("made up %q and %q, forwarded %q", first, second, fwd)
	}
	for _, bad := range []string{`"><script>`, strings.Repeat("x", 200), "a b"} {
		if got, fwd := ask(bad); got == bad || fwd == bad {
			t.Errorf("%q was taken over", bad)
		}
	}
}

func TestCallLoopEndsWith508(t *testing.T) {
	s := newShop(t)
	for hops, want := range map[string]int{"": 200, "3": 200, "4": 508, "99": 508, "-1": 200, "x": 200} {
		req := s.request(t, "GET", "/shop-svc/", nil)
		if hops != "" {
			req.Header.Set("X-Mesh-Hops", hops)
		}
		a := meshtest.Send(t, req)
		if a.Status != want {
			t.Errorf("after %q hops: %d, want %d", hops, a.Status, want)
		}
		next, _ := strconv.Atoi(hops)
		if got, _ := a.Field("Header", "X-Mesh-Hops").([]any); want == 200 && cmp.Diff([]any{strconv.Itoa(max(next, 0) + 1)}, got) != "" {
			t.Errorf("after %q hops the instance is told %v", hops, got)
		}
	}
}

func TestHostRoutes(t *testing.T) {
	s := newShop(t)
	api, root := upstream.Start(t), upstream.Start(t)
	admin := s.Admin(t)
	s.Do(t, "PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{
		{"id": "Shop.Example.com", "target": root.URL}, {"id": "shop.example.com/api", "target": api.URL + "/v2/"},
	}}).Must(t, 200)
	via := func(host, path string) upstream.Seen {
		req := s.request(t, "GET", path, nil)
		req.Host = host
		return seen(t, req)
	}
	rows := []struct{ host, path, want, by string }{
		{"shop.example.com", "/", "/", root.URL},
		{"SHOP.example.com:80", "/x?q=%20", "/x?q=%20", root.URL},
		{"shop.example.com", "/api", "/v2/api", api.URL},
		{"shop.example.com", "/api/pets", "/v2/api/pets", api.URL},
		{"shop.example.com", "/apix", "/apix", root.URL},
	}
	for _, r := range rows {
		got := via(r.host, r.path)
		if got.Target != r.want || "http://"+got.Host != r.by || !strings.EqualFold(got.Header.Get("X-Forwarded-Host"), r.host) {
			t.Errorf("%s%s arrived as %s at %s (for %s)", r.host, r.path, got.Target, got.Host, got.Header.Get("X-Forwarded-Host"))
		}
	}
	s.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 200) // slugs stay reachable under other hosts
}

func TestEdgeServesHostRoutesAlone(t *testing.T) {
	s := newShop(t, meshtest.WithEdge())
	s.Do(t, "PUT", "/proxy-svc/routes", s.Admin(t), obj{"routes": []obj{{"id": "shop.example.com/api", "target": s.web.URL}}}).Must(t, 200)
	at := func(base, host, path string) int {
		req, err := http.NewRequestWithContext(t.Context(), "GET", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		return meshtest.Send(t, req).Status
	}
	rows := []struct {
		base, host, path string
		want             int
	}{
		{s.EdgeURL, "shop.example.com", "/api/x", 200},
		{s.EdgeURL, "shop.example.com", "/other", 404},
		{s.EdgeURL, "evil.example.com", "/api/x", 404},
		{s.EdgeURL, "shop.example.com", "/shop-svc/", 404},
		{s.EdgeURL, "localhost", "/user-svc/public-key", 404},
		{s.URL, "localhost", "/shop-svc/", 200},
		{s.URL, "shop.example.com", "/api/x", 404},
	}
	for _, r := range rows {
		if got := at(r.base, r.host, r.path); got != r.want {
			t.Errorf("%s %s%s: %d, want %d", r.base, r.host, r.path, got, r.want)
		}
	}
}

// TestDeadInstanceCostsNoIdempotentRequest has two instances of which one dies, and asks on.
func TestDeadInstanceCostsNoIdempotentRequest(t *testing.T) {
	s := newShop(t)
	other := upstream.Start(t)
	s.serve(t, other.URL)
	for both := map[string]bool{}; len(both) < 2; {
		both[s.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 200).Header.Get("X-Upstream")] = true
	}
	other.Stop()
	for range 200 {
		if by := s.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 200).Header.Get("X-Upstream"); by != s.web.URL {
			t.Fatalf("answered by %s, which is dead", by)
		}
	}
}

func TestRedirectsAndErrorsOfAnInstanceArePassedOn(t *testing.T) {
	s := newShop(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/web-svc/moved":
			http.Redirect(w, r, "https://elsewhere.example.com/x", http.StatusFound)
		case "/web-svc/teapot":
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(srv.Close)
	tok := s.Register(t, "web-svc")
	s.Do(t, "PUT", "/registry-svc/instance", tok, obj{"url": srv.URL}).Must(t, 201)
	if a := s.Do(t, "GET", "/web-svc/moved", "", nil).Must(t, 302); a.Header.Get("Location") != "https://elsewhere.example.com/x" {
		t.Errorf("Location is %q", a.Header.Get("Location"))
	}
	s.Do(t, "GET", "/web-svc/teapot", "", nil).Must(t, 418)
}

func TestOwnPages(t *testing.T) {
	m := meshtest.Start(t)
	m.Do(t, "GET", "/healthz", "", nil).Must(t, 200)
	m.Do(t, "GET", "/readyz", "", nil).Must(t, 200)
	m.Do(t, "POST", "/healthz", "", nil).Must(t, 405)
	if a := m.Do(t, "GET", "/metrics", "", nil).Must(t, 200); !strings.Contains(string(a.Body), `mesh_gateway_seconds_count{class="4xx",route="own"} 1`) {
		t.Errorf("metrics are %.300s", a.Body)
	}
	doc := m.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200)
	if doc.Field("paths", "/user-svc/organization/{organizationId}/user/{userId}", "put", "operationId") != "saveMembership" {
		t.Errorf("the description lacks saveMembership")
	}
	keys := m.Do(t, "GET", "/.well-known/jwks.json", "", nil).Must(t, 200).Field("keys").([]any)
	if len(keys) == 0 {
		t.Error("there are no keys")
	}
	for _, k := range keys {
		for name := range k.(obj) {
			if !slices.Contains([]string{"kty", "use", "alg", "kid", "n", "e"}, name) {
				t.Errorf("a key has the field %s", name)
			}
		}
	}
	a := m.Do(t, "GET", "/.well-known/revocations.json", "", nil).Must(t, 200)
	req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+"/.well-known/revocations.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", a.Header.Get("ETag"))
	meshtest.Send(t, req).Must(t, 304)
}

func TestForeignOriginsGetNothing(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.CORS = []string{"https://app.example.com"} })
	for origin, want := range map[string]string{"https://app.example.com": "https://app.example.com", "https://evil.example.com": "", "null": "", "https://app.example.com.evil.com": ""} {
		for _, method := range []string{"OPTIONS", "POST"} {
			req, err := http.NewRequestWithContext(t.Context(), method, m.URL+"/user-svc/login", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", origin)
			a := meshtest.Send(t, req)
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != want || a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s from %s: allowed origin %q, want %q", method, origin, got, want)
			}
		}
	}
}

func TestDataOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	m := meshtest.Start(t, meshtest.InDir(dir))
	tok := m.Register(t, "shop-svc")
	web := upstream.Start(t)
	m.Do(t, "PUT", "/registry-svc/instance", tok, obj{"url": web.URL}).Must(t, 201)
	before := m.Do(t, "POST", "/user-svc/self", tok, nil).Must(t, 200)
	m.Stop()
	m = meshtest.Start(t, meshtest.InDir(dir))
	m.Do(t, "GET", "/shop-svc/x", "", nil).Must(t, 200)
	after := m.Do(t, "POST", "/user-svc/self", tok, nil).Must(t, 200)
	var a, b any
	if json.Unmarshal(before.Body, &a) != nil || json.Unmarshal(after.Body, &b) != nil {
		t.Fatal("self is no JSON")
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

// TestTraceGoesFromTheGatewayThroughRPCToEvents follows one request by its trace.
func TestTraceGoesFromTheGatewayThroughRPCToEvents(t *testing.T) {
	m := meshtest.Start(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	req, err := http.NewRequestWithContext(t.Context(), "POST", m.URL+"/user-svc/register", strings.NewReader(`{"slug":"joe","password":"password-of-joe"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	meshtest.Send(t, req).Must(t, 200)
	var got events.Record
	found := errors.New("found")
	err = events.Tail(t.Context(), m.Host.Events, events.TailOptions{Since: time.Hour}, func(r events.Record) error {
		if r.Type == "micromesh.accounts.ACCOUNT_REGISTERED" && strings.Contains(string(r.Data), `"joe"`) {
			got = r
			return found
		}
		return nil
	})
	if !errors.Is(err, found) || !strings.Contains(got.Trace, trace) {
		t.Errorf("%v: the event's trace is %q, want %s", err, got.Trace, trace)
	}
}
