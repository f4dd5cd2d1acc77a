package routes_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"micromesh/gateway/routes"
	"micromesh/internal/paths"
	"micromesh/internal/paths/pathstest"
)

const guarded = `
version: 1
public_paths: [/pub/health, "/pub/open/*"]
routes:
  - {path: /admin/users, method: GET, proxy_upstream: app-svc, auth_required: true}
  - {path: "/users/{id}", proxy_upstream: app-svc}
  - {path: "/users/{id}/secret", proxy_upstream: app-svc, auth_required: true, scopes: [read:secret]}
  - {path: "/users/{id}/keys", proxy_upstream: app-svc, auth_required: true, scopes: [read:keys]}
  - {path: "/users/{id}/{any}/x", proxy_upstream: app-svc, auth_required: true, scopes: ["app-svc:secret:read"]}
  - {path: "/pub/*", proxy_upstream: app-svc, auth_required: true}
  - {path: "/w/{id}", proxy_upstream: app-svc, auth_required: true}
  - {path: /w/open, proxy_upstream: app-svc}
  - {path: "/sub/*", proxy_upstream: app-svc, auth_required: true}
  - {path: /sub/open, proxy_upstream: app-svc}
  - {path: /only/get, method: GET, proxy_upstream: app-svc, auth_required: true}
  - {path: "/plus/c++", proxy_upstream: app-svc, auth_required: true}
  - {path: "/open/*", proxy_upstream: app-svc}
  - {path: "/open/{a}/closed", proxy_upstream: app-svc, auth_required: true}
`

// TestGuardsCoverEveryReading asks for guarded paths in other spellings. The guard is "open", "signed in" or a permission, or an error.
func TestGuardsCoverEveryReading(t *testing.T) {
	table := parse(t, guarded)
	for request, want := range map[string]string{
		"GET /admin/users": "signed in", "HEAD /admin/users": "signed in", "get /admin/users": "signed in", "Head /admin/users": "signed in",
		"GET /admin%2Fusers": "signed in", "GET /ADMIN%2fUSERS": "signed in", "GET /admin%252Fusers": "signed in", "GET /admin%2Fusers%2F": "signed in",
		"GET /admin;x/users": "signed in", "GET /admin//users": "signed in", "GET /admin/;/users": "signed in", "GET /admin/users;x=y": "signed in",
		"GET /admin/users/": "signed in", "GET /admin%3b/users": "signed in", "GET /admin%5Cusers": "signed in", "GET /admin%EF%BC%8Fusers": "signed in",
		"GET /admin/users%3Fa": "signed in", "GET /admin/users%20": "signed in", "GET /%EF%BC%A1dmin/users": "signed in", "GET /admin/u%C5%BFers": "signed in",
		"DELETE /admin/users": "405 GET", "DELETE /admin%2Fusers": "405 GET", "DELETE /Admin;x//users": "405 GET", "GET /admin": "open", "GET /admin/users/x": "open",
		"GET /users/5": "open", "GET /users/5%2Fname": "open", "GET /users/5/secret": "app-svc:secret:read", "GET /users/5%2Fsecret": "app-svc:secret:read",
		"PUT /USERS/5%2fSecret": "app-svc:secret:read", "GET /users/5;a/secret": "app-svc:secret:read", "GET /users/5%252Fsecret": "app-svc:secret:read",
		"GET /users/5%2Fsecret%2Fx":      "app-svc:secret:read", // by two routes that require the same
		"GET /users/5;/secret%3b%2Fkeys": "app-svc:secret:read", "GET /users/5/keys%3B/..": "dot segment", "GET /users/%2e%2e/admin": "dot segment",
		"GET /users/..%20/admin/users": "dot segment", "GET /users/5/keys%3Bx": "app-svc:keys:read", "GET /users/5%2Fkeys;/secret": "ambiguous",
		"GET /pub/health": "open", "GET /pub/HEALTH": "signed in", "GET /pub/he%61lth": "signed in", "GET /pub/health/": "signed in", "GET /pub/health;x": "signed in",
		"GET /pub//health": "signed in", "GET /pub%2Fhealth": "signed in", "GET /pub/open/a%2Fb": "open", "GET /pub/open/a;b//c": "open", "GET /pub/open%2Fa": "signed in",
		"GET /w/open": "open", "GET /w/OPEN": "signed in", "GET /w/%6fpen": "signed in", "GET /W/open": "open", // a server that minds case has no /W
		"GET /sub/open": "open", "GET /sub/open/": "signed in", "GET /sub/open;x": "signed in", "GET /sub%2Fopen": "open",
		"POST /only/get": "405 GET", "GET /plus/c%20%20": "signed in", "GET /plus/c%2b+": "signed in",
		"GET /open/a": "open", "GET /open/a%2Fclosed": "signed in", "GET /open/a%20b": "open", "GET /": "open", "OPTIONS *": "open",
	} {
		method, path, _ := strings.Cut(request, " ")
		d, err := table.Decide(method, path)
		got := "open"
		switch {
		case errors.Is(err, routes.ErrAmbiguous):
			got = "ambiguous"
		case errors.Is(err, paths.ErrDotSegment):
			got = "dot segment"
		case err != nil:
			got = err.Error()
		case d.Allowed != nil:
			got = "405 " + strings.Join(d.Allowed, " ")
		case d.Guard != nil && len(d.Guard.Permissions) > 0:
			got = strings.Join(d.Guard.Permissions, " ")
		case d.Guard != nil:
			got = "signed in"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

// TestSpellingsNeverOpenAGuardedPath decides about 20,000 spellings of guarded paths: if any of a path's readings alone is guarded, so
// is the path.
func TestSpellingsNeverOpenAGuardedPath(t *testing.T) {
	table := parse(t, guarded)
	g := pathstest.New(3, "/admin/users", "/users/5/secret", "/pub/health", "/w/open", "/sub/open", "/open/a/closed")
	closed := 0
	for range 20_000 {
		path, _ := g.Next()
		d, err := table.Decide("GET", path)
		if err != nil || d.Guard != nil || d.Allowed != nil {
			closed++
			continue
		}
		readings, err := paths.Read(nil, path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, r := range readings {
			if alone, err := table.Decide("GET", r); err != nil || alone.Guard != nil || alone.Allowed != nil {
				t.Fatalf("%s is open; its reading %s is not (%+v, %v)", path, r, alone, err)
			}
		}
	}
	if closed < 10_000 {
		t.Errorf("only %d spellings of guarded paths are guarded", closed)
	}
}

// TestPathsWithoutGuardsHaveNoReadings takes spellings that guards would refuse.
func TestPathsWithoutGuardsHaveNoReadings(t *testing.T) {
	table := parse(t, "version: 1\nroutes: [{path: '/a/*', proxy_upstream: x}]")
	for _, path := range []string{"/a/" + strings.Repeat("%2F;%20", 500), "/a/b%2525252525252F", "/a;b//c%ff"} {
		if d, err := table.Decide("GET", path); err != nil || d.Guard != nil {
			t.Errorf("%.50s: %+v %v", path, d, err)
		}
	}
}

func TestClosedNames(t *testing.T) {
	table := parse(t, `
version: 1
routes:
  - {path: "/widgets/{id}", proxy_upstream: widgets-svc, auth_required: true}
  - {path: /widgets, proxy_upstream: widgets-svc}
  - {path: /app-svc/admin, proxy_upstream: app-svc, auth_required: true}
  - {path: "/hello/{name}", method: GET, proxy_upstream: greeter/Greeter.Hello, auth_required: true}
  - {path: "/hi/{name}", proxy_upstream: greeter/Greeter.Hello}
  - {path: /bye, proxy_upstream: greeter/Greeter.Bye}
  - {path: /more, proxy_upstream: more-svc, auth_required: true, also_open: true}
  - {path: /people, proxy_upstream: user-svc/UserService.ListUsers, auth_required: true}
  - {path: /raw, method: GET, proxy_upstream: "http://10.0.0.1:1/x", auth_required: true}
  - {path: "/*", proxy_upstream: "http://10.0.0.2:1"}
  - {path: /raw/more, proxy_upstream: "http://10.0.0.1:1/x", auth_required: true}
`)
	c := table.Closed()
	if len(c.Slugs) != 1 || c.Slugs["widgets-svc"] == nil || len(c.Methods) != 1 || !slices.Equal(c.Instances, []string{"widgets-svc", "app-svc"}) || !slices.Equal(c.URLs, []string{"http://10.0.0.1:1/x", "http://10.0.0.1:1/x"}) {
		t.Errorf("%+v", c)
	}
	for method, want := range map[string]bool{"greeter Greeter.Hello": true, "greeter Greeter.Bye": false, "widgets-svc Any.Method": true, "user-svc UserService.ListUsers": false} {
		service, endpoint, _ := strings.Cut(method, " ")
		if got := c.Method(service, endpoint); got != want {
			t.Errorf("%s is closed: %t", method, got)
		}
	}
	var notes []string
	for _, n := range table.Notes() {
		notes = append(notes, fmt.Sprintf("%d %t %s", n.Line, n.Warning, n.Text))
	}
	for i, want := range []string{
		"4 false /widgets-svc/… and host routes to widgets-svc are closed",
		"7 false greeter/Greeter.Hello is closed under its other names",
		"7 true the route of line 8 calls greeter/Greeter.Hello without a guard",
		"7 true this guard holds for GET; the route of line 13 takes POST, PUT, PATCH, DELETE without a guard",
		"10 true also_open: more-svc can be reached without this guard under /more-svc/…",
		"11 true user-svc/UserService.ListUsers can be called without this guard under its own path",
		"12 false host routes and instances at this upstream's address are closed if they put another path in front",
		"12 true this guard holds for GET; the route of line 13 takes",
	} {
		if i >= len(notes) || !strings.HasPrefix(notes[i], want) {
			t.Errorf("note %d lacks %q: %q", i, want, notes)
		}
	}
	if n := strings.Count(strings.Join(notes, "\n"), "this upstream's address"); n != 1 {
		t.Errorf("%d notes on one URL: %q", n, notes)
	}
}

func BenchmarkDecide(b *testing.B) {
	content := "version: 1\nroutes:\n"
	for i := range 100 {
		content += fmt.Sprintf("  - {path: \"/r%d/{id}\", method: GET, proxy_upstream: x-svc, auth_required: true}\n", i)
	}
	table, err := routes.Parse("routes.yaml", []byte(content), env)
	if err != nil {
		b.Fatal(err)
	}
	for name, path := range map[string]string{"route": "/r50/1234", "none": "/shop-svc/products/1234", "case": "/R50/1234", "encoded": "/r50/a%2Fb%20c"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := table.Decide("GET", path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestRemovedGuards compares a file with its successors.
func TestRemovedGuards(t *testing.T) {
	file := func(routes ...string) string { return "version: 1\nroutes:\n  - " + strings.Join(routes, "\n  - ") }
	before := `{path: "/w/{id}", method: GET, proxy_upstream: w-svc, auth_required: true, scopes: [read:w]}`
	other := `{path: /other, proxy_upstream: "http://10.0.0.1:1"}`
	for name, row := range map[string]struct{ next, want string }{
		"the same":            {file(before, other), ""},
		"in another order":    {file(other, before), ""},
		"more is required":    {file(strings.Replace(before, "read:w", "read:w, write:w", 1)), ""},
		"for all methods":     {file(strings.Replace(before, "method: GET, ", "", 1)), ""},
		"other methods alone": {file(strings.Replace(before, "GET", "PUT", 1)), ""}, // GET is 405
		"by a wider guard":    {file(`{path: "/*", proxy_upstream: w-svc, auth_required: true, scopes: [read:w]}`), ""},
		"no scopes":           {file(strings.Replace(before, ", scopes: [read:w]", "", 1)), "/w/{id} GET w-svc:w:read → sign-in"},
		"other scopes":        {file(strings.Replace(before, "read:w", "write:w", 1)), "/w/{id} GET w-svc:w:read → w-svc:w:write"},
		"no guard":            {file(`{path: "/w/{id}", proxy_upstream: w-svc}`), "/w-svc/…  closed → open, /w/{id} GET w-svc:w:read → open"},
		"no route":            {file(other), "/w-svc/…  closed → open, /w/{id} GET w-svc:w:read → open"},
		"an open route":       {file(before, `{path: /w/x, proxy_upstream: w-svc}`), "/w/{id} GET w-svc:w:read → open"},
		"public":              {"public_paths: [\"/w/*\"]\n" + file(before), "/w/{id} GET w-svc:w:read → open"},
		"also_open":           {file(strings.Replace(before, "]}", "], also_open: true}", 1)), "/w-svc/…  closed → open"},
	} {
		var got []string
		for _, r := range parse(t, file(before, other)).RemovedBy(parse(t, row.next)) {
			if r.Line != 3 {
				t.Errorf("%s: line %d", name, r.Line)
			}
			got = append(got, fmt.Sprintf("%s %s %s → %s", r.Path, r.Method, r.Before, r.Now))
		}
		if s := strings.Join(got, ", "); s != row.want {
			t.Errorf("%s: %q, want %q", name, s, row.want)
		}
	}
}
