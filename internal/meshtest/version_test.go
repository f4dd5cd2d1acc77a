package meshtest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// TestUnknownFieldsAreIgnoredOrNamed sends fields that the messages don't have, in both versions of the API.
func TestUnknownFieldsAreIgnoredOrNamed(t *testing.T) {
	routes := filepath.Join(t.TempDir(), "routes.yaml")
	err := os.WriteFile(routes, []byte("version: 1\nroutes:\n  - path: /v1/users\n    method: GET\n    proxy_upstream: user-svc/UserService.ListUsers\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	m := meshtest.Start(t, meshtest.WithRoutes(routes))
	admin, joe := m.Admin(t), m.Register(t, "joe")
	for name, r := range map[string]struct {
		method, path, token string
		in                  any
		status              int
		field, message      string
	}{
		"a body":               {"DELETE", "/user-svc/tokens", m.Login(t, "joe", "password-of-joe"), obj{"all": true, "device": "none"}, 200, "all", "is no field of RevokeTokensRequest: did you mean allTokens?"},
		"within a list":        {"PUT", "/user-svc/enrolls", joe, obj{"enrolls": []obj{{"role": "joe:a", "contactId": "a@example.com", "appHst": "x"}}}, 200, "enrolls[0].appHst", "is no field of EnrollInput: did you mean appHost?"},
		"a query":              {"GET", "/registry-svc/instances?deployment=x", joe, nil, 200, "deployment", "is no field of ListInstancesRequest: did you mean deploymentId?"},
		"beside a path":        {"PUT", "/user-svc/user/none", admin, obj{"nam": "x"}, 404, "nam", "is no field of SaveUserRequest: did you mean name?"},
		"a configured route":   {"GET", "/v1/users?limits=1", admin, nil, 200, "limits", "is no field of ListUsersRequest: did you mean limit?"},
		"a message of nothing": {"POST", "/user-svc/permissions", joe, obj{"slug": "x"}, 200, "slug", "is no field of ListPermissionsRequest, which has none"},
		"what the echo takes":  {"POST", "/registry-svc/echo", "", obj{"anything": 1}, 200, "", ""},
		"another call's field": {"POST", "/user-svc/users", admin, obj{"ids": []string{}, "host": []string{"x"}}, 200, "host", "is no field of ListUsersRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			m.Do(t, r.method, r.path, r.token, r.in).Must(t, r.status)
			a := m.Version2().Do(t, r.method, r.path, r.token, r.in)
			if r.field == "" {
				a.Must(t, r.status)
				return
			}
			details, _ := a.Must(t, 400).Field("details").([]any)
			if len(details) != 1 || a.Text("code") != "VALIDATION_ERROR" {
				t.Fatalf("the answer is %s", a.Body)
			}
			d := details[0].(obj)
			message, _ := d["message"].(string)
			if d["field"] != r.field || d["rule"] != "unknown" || !strings.HasPrefix(message, r.message) || !strings.HasPrefix(a.Text("error"), r.field+" "+r.message) {
				t.Errorf("the answer is %s", a.Body)
			}
		})
	}
}

// TestVersionsAreToldApart sends the header in several spellings, and the preflight of a browser.
func TestVersionsAreToldApart(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.CORS = []string{"https://console.example.com"} })
	for version, later := range map[string]bool{"2": true, "1": false, "": false, "3": false, "02": false, "2.0": false, "2, 2": false} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", m.URL+"/user-svc/login", strings.NewReader(`{"slug":"`+meshtest.AdminSlug+`","password":"`+meshtest.AdminPassword+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Mesh-Api-Version", version)
		a := meshtest.Send(t, req).Must(t, 200)
		if has := a.Text("token", "refreshToken") != ""; has != later || a.Text("token", "token") == "" {
			t.Errorf("version %q: the answer has the later fields: %v", version, has)
		}
		if vary := strings.Join(a.Header.Values("Vary"), ", "); !strings.Contains(vary, "Mesh-Api-Version") || !strings.Contains(vary, "Origin") {
			t.Errorf("version %q: the answer varies by %q", version, vary)
		}
	}
	if vary := m.Do(t, "GET", "/user-svc/public-key", "", nil).Must(t, 200).Header.Values("Vary"); strings.Contains(strings.Join(vary, ","), "Mesh") {
		t.Errorf("an answer that is the same in all versions varies by %q", vary)
	}
	req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", m.URL+"/user-svc/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://console.example.com")
	req.Header.Set("Access-Control-Request-Method", "POST")
	req.Header.Set("Access-Control-Request-Headers", "mesh-api-version")
	if a := meshtest.Send(t, req).Must(t, 200); !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Mesh-Api-Version") {
		t.Errorf("a browser may send %q", a.Header.Get("Access-Control-Allow-Headers"))
	}
}
