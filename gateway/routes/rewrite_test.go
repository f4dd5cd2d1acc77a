package routes_test

import (
	"strings"
	"testing"

	"micromesh/gateway/routes"
)

// TestRewrite forwards paths under other paths than were sent.
func TestRewrite(t *testing.T) {
	table := parse(t, `
routes:
  - {path: "/api/v1/*", proxy_upstream: http://10.0.0.1:1, strip_prefix: /api/v1}
  - {path: "/api/v1/one/{id}", proxy_upstream: http://10.0.0.1:1, strip_prefix: /api/v1/one}
  - {path: "/t/{tenant}/*", proxy_upstream: http://10.0.0.1:1, strip_prefix: "/t/{tenant}"}
  - {path: "/old/{a}/{b}", proxy_upstream: http://10.0.0.1:1, rewrite: "/new/{b}/of/{a}"}
  - {path: "/docs-of/{name}/*", proxy_upstream: http://10.0.0.1:1, rewrite: "/docs/{name}/v2/*"}
  - {path: "/home", proxy_upstream: http://10.0.0.1:1, rewrite: /}
  - {path: "/fixed/*", proxy_upstream: http://10.0.0.1:1, rewrite: /healthz}
slugs:
  widgets-svc: {strip_prefix: /widgets-svc}
  old-svc: {rewrite: "/api/*"}
`)
	for sent, want := range map[string]string{
		"/api/v1/widgets":              "/widgets",
		"/api/v1/widgets/":             "/widgets/",
		"/api/v1":                      "/",
		"/api/v1/":                     "/",
		"/API/v1/Widgets":              "/Widgets",
		"/%61pi/v1/a%2Fb;x=1/%20":      "/a%2Fb;x=1/%20",
		"/api/v1//evil.example.com/x":  "/evil.example.com/x",
		"/api/v1/one/7":                "/7",
		"/t/a%2Fb/x":                   "/x",
		"/old/1/a%20b":                 "/new/a%20b/of/1",
		"/old/1/2/":                    "/new/2/of/1/",
		"/docs-of/pets/a/b":            "/docs/pets/v2/a/b",
		"/docs-of/pets":                "/docs/pets/v2",
		"/home":                        "/",
		"/fixed/a/b":                   "/healthz",
		"/api/v1/x/{id}/*/$1/%7Bid%7D": "/x/{id}/*/$1/%7Bid%7D",
	} {
		d, err := table.Decide("GET", sent)
		if err != nil || d.Route == nil {
			t.Errorf("%s: %+v, %v", sent, d, err)
			continue
		}
		if got := d.Route.Rewrite.Path(sent); got != want {
			t.Errorf("%s is received as %s, not %s", sent, got, want)
		}
	}
	for sent, want := range map[string]string{"/t/a%2Fb/x": "/t/a%2Fb", "/API/v1/x": "/API/v1", "/api/v1": "/api/v1", "/old/1/2": "", "/home": ""} {
		d, err := table.Decide("GET", sent)
		if err != nil || d.Route == nil || d.Route.Rewrite.Prefix(sent) != want {
			t.Errorf("%s has the prefix %q removed, %v", sent, d.Route.Rewrite.Prefix(sent), err)
		}
	}
	for sent, want := range map[string]string{"/widgets-svc/widgets/1": "/widgets/1", "/widgets-svc": "/", "/old-svc/x": "/api/x", "/old-svc": "/api"} {
		slug, _, _ := strings.Cut(sent[1:], "/")
		if got := table.Slug(slug).Path(sent); got != want {
			t.Errorf("%s is received as %s, not %s", sent, got, want)
		}
	}
	if table.Slug("other-svc") != nil {
		t.Error("the paths of another slug are rewritten")
	}
}

// TestVersionMayBeLeftOut reads files as people write them.
func TestVersionMayBeLeftOut(t *testing.T) {
	for _, version := range []string{"", "version: 1\n", "version: \"1\"\n", "version: \"1.0\"\n", "version: 1.0\n"} {
		if n := len(parse(t, version+"routes:\n  - {path: /a, proxy_upstream: a-svc}\n").Routes()); n != 1 {
			t.Errorf("%q: %d routes", version, n)
		}
	}
}

// TestWrongRewritesAreRefused reads rewrites that can't work.
func TestWrongRewritesAreRefused(t *testing.T) {
	for line, wrong := range map[string]string{
		`routes: [{path: /a/b, proxy_upstream: a-svc, strip_prefix: /b}]`:           `strip_prefix is "/b"; it must be the first segments of the path, such as "/a"`,
		`routes: [{path: /a, proxy_upstream: a-svc, strip_prefix: /a/b}]`:           `such as "/a"`,
		`routes: [{path: /a, proxy_upstream: a-svc, strip_prefix: /}]`:              `such as "/a"`,
		`routes: [{path: "/a/*", proxy_upstream: a-svc, strip_prefix: "/a/*"}]`:     `it must be the first segments`,
		`routes: [{path: "/{x}/b", proxy_upstream: a-svc, strip_prefix: "/{y}"}]`:   `it must be the first segments`,
		`routes: [{path: /a, proxy_upstream: a-svc, strip_prefix: a}]`:              `it must begin with a slash`,
		`routes: [{path: /a, proxy_upstream: a-svc, strip_prefix: /a, rewrite: /}]`: `rewrite and strip_prefix can't be both`,
		`routes: [{path: "/a/{id}", proxy_upstream: a-svc, rewrite: "/b/{name}"}]`:  `the path has no {name} to put in; it is /a/{id}`,
		`routes: [{path: /a, proxy_upstream: a-svc, rewrite: "/b/*"}]`:              `the path has no * to put in`,
		`routes: [{path: /a, proxy_upstream: a-svc, rewrite: "/a b"}]`:              `must be plain text`,
		`routes: [{path: /a, proxy_upstream: a-svc, rewrite: "/a/../b"}]`:           `must be plain text`,
		`routes: [{path: /a, proxy_upstream: a-svc/A.B, rewrite: /b}]`:              `a method as proxy_upstream has no path`,
		`slugs: {a-svc: {}}`:                    `a-svc has neither strip_prefix nor rewrite`,
		`slugs: {a-svc: {strip_prefix: /b}}`:    `such as "/a-svc"`,
		`slugs: {user-svc: {rewrite: /b}}`:      `user-svc is the mesh's own`,
		`slugs: {A_b: {rewrite: /b}}`:           `"A_b" is no slug`,
		`slugs: [a-svc]`:                        `slugs must be a mapping`,
		`slugs: {a-svc: {stripprefix: /a-svc}}`: `"stripprefix" is not a key of a slug`,
		`version: "2"`:                          `version is "2"; it must be 1 or 1.0, or left out`,
		`{a-svc: {strip_prefix: /a-svc}}`:       `"a-svc" is not a key of the file`,
	} {
		_, err := routes.Parse("routes.yaml", []byte(line), env)
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
