package routes_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"micromesh/gateway/routes"
)

func env(name string) (string, bool) {
	v, ok := map[string]string{"WIDGETS_URL": "http://10.0.0.1:9001", "EMPTY": ""}[name]
	return v, ok
}

func parse(t *testing.T, content string) *routes.Table {
	t.Helper()
	table, err := routes.Parse("routes.yaml", []byte(content), env)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const full = `
version: 1
public_paths: [/widgets/health, /open/*]
slugs: {legacy-svc: {strip_prefix: /legacy-svc}}
routes:
  - path: /widgets
    method: GET
    proxy_upstream: ${WIDGETS_URL:-http://127.0.0.1:9001}
    cache_ttl: 1m30s
  - path: /widgets/{id}
    method: PUT
    proxy_upstream: widgets-svc
    auth_required: true
    scopes: [write:widgets, other-svc:thing:see]
    also_open: true
  - path: /widgets/*
    proxy_upstream: http://10.0.0.2:80/base/
    auth_required: true
    scopes: ["read:widgets"]
    strip_prefix: /widgets
  - path: /old/{id}
    proxy_upstream: widgets-svc
    rewrite: /widgets/{id}
  - path: /users/{id}/of/{group}
    method: GET
    proxy_upstream: users-svc/UserService.Read
`

func TestParse(t *testing.T) {
	table := parse(t, full)
	got := map[string]*routes.Route{}
	for _, r := range table.Routes() {
		got[r.Method+" "+r.Path] = r
	}
	if len(got) != 5 {
		t.Fatalf("%d routes", len(got))
	}
	if r := got["GET /widgets"]; r.Upstream != (routes.Upstream{Kind: routes.URL, URL: "http://10.0.0.1:9001"}) || r.CacheTTL != 90*time.Second || r.AuthRequired || r.Line != 6 {
		t.Errorf("%+v", r)
	}
	if r := got["PUT /widgets/{id}"]; r.Upstream != (routes.Upstream{Kind: routes.Slug, Service: "widgets-svc"}) || !r.AuthRequired ||
		!reflect.DeepEqual(r.Permissions, []string{"widgets-svc:widgets:write", "other-svc:thing:see"}) {
		t.Errorf("%+v", r)
	}
	if r := got[" /widgets/*"]; r.Upstream.URL != "http://10.0.0.2:80/base" || !reflect.DeepEqual(r.Permissions, []string{"gateway-svc:widgets:read"}) {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"Greeter", "my_service", "My_Service", "go.micro.srv.greeter", "a-b_c.D"} {
		one := parse(t, "version: 1\nroutes: [{path: /x, proxy_upstream: "+name+"/Say.Hello}]").Routes()[0]
		if one.Upstream != (routes.Upstream{Kind: routes.RPC, Service: name, Endpoint: "Say.Hello"}) {
			t.Errorf("%s: %+v", name, one)
		}
	}
	if r := got["GET /users/{id}/of/{group}"]; r.Upstream != (routes.Upstream{Kind: routes.RPC, Service: "users-svc", Endpoint: "UserService.Read"}) ||
		!reflect.DeepEqual(r.Params(), []string{"id", "group"}) {
		t.Errorf("%+v", r)
	}
}

func TestMatch(t *testing.T) {
	table := parse(t, `
version: 1
routes:
  - {path: /a, method: GET, proxy_upstream: one}
  - {path: /a, proxy_upstream: any}
  - {path: "/a/{id}", method: GET, proxy_upstream: param}
  - {path: /a/special, method: GET, proxy_upstream: literal}
  - {path: /a/special, method: DELETE, proxy_upstream: deleted}
  - {path: "/a/{id}/x", method: POST, proxy_upstream: deep}
  - {path: "/b/*", method: GET, proxy_upstream: rest}
  - {path: "/{any}/y", method: GET, proxy_upstream: wide}
`)
	for _, row := range []struct{ request, service, params, allowed string }{
		{"GET /a", "one", "", ""},
		{"HEAD /a", "one", "", ""},
		{"POST /a", "any", "", ""},
		{"GET /a/", "one", "", ""}, // nobody tells them apart for certain
		{"GET /A", "one", "", ""},
		{"GET /%61", "one", "", ""},
		{"GET /a/7", "param", "7", ""},
		{"GET /a/%37", "param", "%37", ""},
		{"GET /a/special", "literal", "", ""},
		{"GET /a/SPECIA%6c", "literal", "", ""},
		{"GET /a/specialx", "param", "specialx", ""},
		{"GET /a/special%", "param", "special%", ""},
		{"PUT /a/special", "", "", "DELETE GET"},
		{"PUT /a/7", "", "", "GET"},
		{"POST /a/7/x", "deep", "7", ""},
		{"POST /a//x", "", "", ""},
		{"GET /b", "rest", "", ""},
		{"GET /b/c/d", "rest", "", ""},
		{"GET /bc", "", "", ""},
		{"GET /z/y", "wide", "z", ""},
		{"GET /user-svc/y", "", "", ""}, // the mesh's own
		{"GET /USER-svc/y", "", "", ""},
		{"GET /", "", "", ""},
	} {
		method, path, _ := strings.Cut(row.request, " ")
		d, err := table.Decide(method, path)
		if err != nil {
			t.Errorf("%s: %v", row.request, err)
		}
		service, params, allowed := "", []string(nil), d.Allowed
		if d.Route != nil {
			service, params = d.Route.Upstream.Service, d.Route.Values(path)
		}
		if service != row.service || strings.Join(params, " ") != row.params || strings.Join(allowed, " ") != row.allowed {
			t.Errorf("%s: %q %q, allowed %q", row.request, service, params, allowed)
		}
	}
}

// TestMistakes has what may be wrong with a file, and what is said of it.
func TestMistakes(t *testing.T) {
	route := func(rest string) string {
		return "version: 1\nroutes:\n  - path: /x\n    proxy_upstream: x-svc\n" + rest
	}
	for content, want := range map[string]string{
		"":                                   "it is empty",
		"a: [":                               "it is not YAML",
		"version: 1\n---\nroutes: []":        "routes.yaml:2: a second YAML document begins behind ---; a file must be one document",
		"version: 1\n---\n":                  "a second YAML document",
		"---\n---\nversion: 1":               "a second YAML document",
		"version: 1\n---\nroutes: [":         "it is not YAML",
		"[]":                                 "routes.yaml:1: the file must be a mapping",
		"version: 2":                         `routes.yaml:1: version is "2"; it must be 1`,
		"version: 1\nroute: []":              `routes.yaml:2: "route" is not a key of the file; there are version, public_paths, routes`,
		"version: 1\nversion: 1":             "", // said by the YAML reader, or by us
		"version: 1\nroutes: {}":             "routes must be a list",
		"version: 1\nroutes: [x]":            "a route must be a mapping",
		"version: 1\nroutes: [{}]":           "path is missing",
		route("    foo: 1"):                  `routes.yaml:5: "foo" is not a key of a route`,
		route("    method: get"):             `method is "get"; it must be one of GET, POST`,
		route("    also_open: true"):         "also_open takes auth_required: true and a slug or a method",
		route("    auth_required: maybe"):    "auth_required is \"maybe\"; it must be true or false",
		route("    auth_required: \"true\""): "must be true or false",
		route("    scopes: [write:x]"):       "routes.yaml:5: scopes take auth_required: true",
		route("    scopes: [write:x]\n    auth_required: false"):                                                       "scopes take auth_required: true",
		route("    auth_required: true\n    scopes: [write]"):                                                          `the scope "write" must be verb:resource`,
		route("    auth_required: true\n    scopes: write:x"):                                                          "scopes must be a list",
		route("    auth_required: true\n    scopes: [1]"):                                                              "it must hold texts",
		route("    cache_ttl: 5"):                                                                                      `cache_ttl is "5"; it must be a duration`,
		"version: 1\nroutes: [{path: /x, method: GET, proxy_upstream: x/X.Get, cache_ttl: 5s}]":                        "cache_ttl takes a URL or a slug as proxy_upstream; answers of methods are not kept",
		"version: 1\nroutes: [{path: /x, auth_required: true, scopes: [write:x], proxy_upstream: My_Svc/X.Get}]":       `the scope "write:x" has no owner, since My_Svc is no slug; it must be a whole permission slug:resource:verb`,
		route("    method: GET\n    cache_ttl: -5s"):                                                                   "it must be a duration",
		route("    method: GET\n    cache_ttl: 48h"):                                                                   "24h0m0s at most",
		route("    cache_ttl: 5s"):                                                                                     "cache_ttl takes method: GET",
		route("    method: POST\n    cache_ttl: 5s"):                                                                   "cache_ttl takes method: GET",
		"version: 1\nroutes: [{path: x, proxy_upstream: y}]":                                                           "it must begin with a slash",
		"version: 1\nroutes: [{path: /x/, proxy_upstream: y}]":                                                         "an empty segment, or a slash at its end",
		"version: 1\nroutes: [{path: /x//y, proxy_upstream: y}]":                                                       "an empty segment",
		"version: 1\nroutes: [{path: /x/../y, proxy_upstream: y}]":                                                     `the segment ".." must be plain text`,
		"version: 1\nroutes: [{path: /x/%61, proxy_upstream: y}]":                                                      "must be plain text",
		"version: 1\nroutes: [{path: '/x?y', proxy_upstream: y}]":                                                      "must be plain text",
		"version: 1\nroutes: [{path: '/*/x', proxy_upstream: y}]":                                                      "must be plain text",
		"version: 1\nroutes: [{path: '/{a}/{a}', proxy_upstream: y}]":                                                  "a name that is there once",
		"version: 1\nroutes: [{path: '/{a-b}', proxy_upstream: y}]":                                                    "must be a parameter such as {id}",
		"version: 1\nroutes: [{path: '/{a', proxy_upstream: y}]":                                                       "must be a parameter such as {id}",
		"version: 1\nroutes: [{path: /user-svc/login, proxy_upstream: y}]":                                             "/user-svc is the mesh's own",
		"version: 1\nroutes: [{path: /HEALTHZ, proxy_upstream: y}]":                                                    "is the mesh's own",
		"version: 1\nroutes: [{path: /x, auth_required: true, also_open: true, proxy_upstream: 'http://x'}]":           "also_open takes auth_required: true and a slug or a method",
		"version: 1\nroutes: [{path: /x}]":                                                                             "proxy_upstream is missing",
		"version: 1\nroutes: [{path: /x, proxy_upstream: ''}]":                                                         "proxy_upstream must be a URL",
		"version: 1\nroutes: [{path: /x, proxy_upstream: $NOWHERE}]":                                                   "the variable NOWHERE is not set",
		"version: 1\nroutes: [{path: /x, proxy_upstream: '${EMPTY}'}]":                                                 "the variable EMPTY is not set",
		"version: 1\nroutes: [{path: /x, proxy_upstream: '$WIDGETS_URL/x'}]":                                           "a variable is the whole of it",
		"version: 1\nroutes: [{path: /x, proxy_upstream: 'ftp://x'}]":                                                  "the scheme ftp can't be forwarded to",
		"version: 1\nroutes: [{path: /x, proxy_upstream: 'http://joe:pass@x'}]":                                        "a URL with a user",
		"version: 1\nroutes: [{path: /x, proxy_upstream: 'http://169.254.169.254/'}]":                                  "metadata service",
		"version: 1\nroutes: [{path: /x, proxy_upstream: 'X Y'}]":                                                      `proxy_upstream is "X Y"; it must be a URL`,
		"version: 1\nroutes: [{path: /x, method: GET, proxy_upstream: y}, {path: /X, method: GET, proxy_upstream: y}]": "the route of line 2 takes the same requests",
		"version: 1\nroutes:\n - {path: '/{a}', proxy_upstream: y}\n - {path: '/{b}', proxy_upstream: y}":              "routes.yaml:4: the route of line 3 takes the same requests",
		"version: 1\npublic_paths: [/x]\nroutes: [{path: /x, auth_required: true, proxy_upstream: y}]":                 "it can't be both",
		"version: 1\npublic_paths: [x]":                                                                                "public_paths is \"x\"; it must begin with a slash",
		"version: 1\npublic_paths: /x":                                                                                 "public_paths must be a list",
	} {
		_, err := routes.Parse("routes.yaml", []byte(content), env)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "routes.yaml") {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pass") {
			t.Errorf("%q: the error tells the password", content)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := routes.Parse("r.yaml", []byte("version: 3\nroutes:\n  - path: x\n    cache_ttl: 1\n  - proxy_upstream: $NO\n    scopes: [a:b]\n"), env)
	if err == nil {
		t.Fatal("no error")
	}
	wants := []string{"r.yaml:1: version", "r.yaml:3: path", "r.yaml:3: proxy_upstream is missing", "r.yaml:4: cache_ttl", "r.yaml:5: path is missing", "r.yaml:5: proxy_upstream: the variable NO", "r.yaml:6: scopes"}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

// Mistakes of the whole file, such as two routes that take the same requests, are among those of single lines.
func TestMistakesAreInTheOrderOfLines(t *testing.T) {
	_, err := routes.Parse("r.yaml", []byte(`version: 1
routes:
  - {path: /z, proxy_upstream: a-svc, auth_required: true}
  - {path: /b, proxy_upstream: a-svc}
  - {path: /b, proxy_upstream: a-svc}
  - {path: /c, proxy_upstream: a-svc, cache_ttl: 1}
  - {path: /a, proxy_upstream: a-svc}
  - {path: /a, proxy_upstream: a-svc}
public_paths: [/z, x]
`), env)
	if err == nil {
		t.Fatal("no error")
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, strings.SplitN(line, ":", 3)[1])
	}
	if got := strings.Join(lines, " "); got != "3 5 6 8 9" && got != "3 5 6 6 8 9" {
		t.Errorf("the lines are %s:\n%v", got, err)
	}
}

// TestSchemaKnowsTheKeys holds the schema against the parser: each key that one knows the other takes.
func TestSchemaKnowsTheKeys(t *testing.T) {
	var schema struct {
		Properties map[string]any
		Defs       struct {
			Route struct{ Properties map[string]any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(routes.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(full), &doc); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for k := range doc {
		if schema.Properties[k] == nil {
			t.Errorf("the schema has no %s", k)
		}
	}
	for _, r := range doc["routes"].([]any) {
		for k := range r.(map[string]any) {
			used[k] = true
			if schema.Defs.Route.Properties[k] == nil {
				t.Errorf("the schema's route has no %s", k)
			}
		}
	}
	if len(used) != len(schema.Defs.Route.Properties) || len(doc) != len(schema.Properties) {
		t.Errorf("the file of this test uses %d and %d keys of %d and %d", len(used), len(doc), len(schema.Defs.Route.Properties), len(schema.Properties))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("version: 1\nroutes: [{path: &a /x, proxy_upstream: *a}]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		table, err := routes.Parse("r.yaml", content, os.LookupEnv)
		if err != nil || len(content) == 0 {
			return
		}
		for _, r := range table.Routes() { // each route takes its own path
			path := strings.NewReplacer("{", "", "}", "", "*", "x").Replace(r.Path)
			if d, err := table.Decide(r.Method, path); err == nil && d.Route == nil && d.Allowed == nil && !bytes.Contains(content, []byte("{")) {
				t.Errorf("%s is not found", r.Path)
			}
		}
	})
}
