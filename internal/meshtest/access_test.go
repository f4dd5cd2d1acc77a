package meshtest_test

import (
	"regexp"
	"strings"
	"testing"

	"micromesh/internal/meshtest"
)

// Who may make a call, as the contract's tables say it.
const (
	anyone   = "anyone"
	signedIn = "signed in" // whose things are whose, other tests ask
	admins   = "admins"
)

var contractCalls = []struct{ method, path, who string }{
	{"PUT", "/user-svc/app", admins},
	{"POST", "/user-svc/app", anyone},
	{"POST", "/user-svc/apps", signedIn},
	{"DELETE", "/user-svc/app/{id}", admins},
	{"POST", "/user-svc/change-password", signedIn},
	{"DELETE", "/user-svc/enrolls", signedIn},
	{"DELETE", "/user-svc/permits", signedIn},
	{"DELETE", "/user-svc/organization/{organizationId}", signedIn},
	{"POST", "/user-svc/token/issue", signedIn},
	{"POST", "/user-svc/sessions", signedIn},
	{"DELETE", "/user-svc/session/{id}", signedIn},
	{"POST", "/user-svc/keys/rotate", admins},
	{"DELETE", "/proxy-svc/certs", admins},
	{"PUT", "/user-svc/enrolls", signedIn},
	{"POST", "/user-svc/enrolls", signedIn},
	{"POST", "/user-svc/login", anyone},
	{"PUT", "/user-svc/organization", signedIn},
	{"PUT", "/user-svc/organization/{organizationId}/user/{userId}", signedIn},
	{"DELETE", "/user-svc/organization/{organizationId}/user/{userId}", signedIn},
	{"POST", "/user-svc/organizations", signedIn},
	{"POST", "/user-svc/otp/send", anyone},
	{"POST", "/user-svc/permissions", signedIn},
	{"PUT", "/user-svc/permits", signedIn},
	{"POST", "/user-svc/permits", signedIn},
	{"GET", "/user-svc/public-key", anyone},
	{"POST", "/user-svc/register", anyone},
	{"PUT", "/user-svc/self", signedIn},
	{"POST", "/user-svc/self", signedIn},
	{"POST", "/user-svc/self/has/{permission}", signedIn},
	{"PUT", "/user-svc/token/exchange", signedIn},
	{"POST", "/user-svc/user", admins},
	{"PUT", "/user-svc/user/{userId}", admins},
	{"DELETE", "/user-svc/user/{userId}", admins},
	{"POST", "/user-svc/users", admins},
	{"POST", "/user-svc/{userId}/reset-password", admins},
	{"PUT", "/registry-svc/definition", signedIn},
	{"DELETE", "/registry-svc/definition/{id}", signedIn},
	{"GET", "/registry-svc/definitions", signedIn},
	{"GET", "/registry-svc/echo", anyone},
	{"PUT", "/registry-svc/echo", anyone},
	{"POST", "/registry-svc/echo", anyone},
	{"PUT", "/registry-svc/instance", signedIn},
	{"DELETE", "/registry-svc/instance/{id}", signedIn},
	{"GET", "/registry-svc/instances", signedIn},
	{"GET", "/registry-svc/node/self", admins},
	{"DELETE", "/registry-svc/node/{url}", admins},
	{"POST", "/registry-svc/nodes", admins},
	{"PUT", "/proxy-svc/certs", admins},
	{"POST", "/proxy-svc/certs", admins},
	{"PUT", "/proxy-svc/routes", admins},
	{"POST", "/proxy-svc/routes", admins},
	{"DELETE", "/proxy-svc/routes", admins},
	{"GET", "/gateway-svc/events", admins},
	{"POST", "/user-svc/refresh-token", signedIn}, // this one and the next end the token that they are made with
	{"DELETE", "/user-svc/tokens", signedIn},
}

// TestWhoMayMakeEachCall makes every call without a token, and with that of an account that is nothing special. Bodies are
// empty: a caller is judged before what they say.
func TestWhoMayMakeEachCall(t *testing.T) {
	m := meshtest.Start(t)
	token := m.Register(t, "joe")
	parameter := regexp.MustCompile(`\{[a-zA-Z]+\}`)
	named := map[string]bool{}
	for _, c := range contractCalls {
		name := c.method + " " + c.path
		named[name] = true
		path := parameter.ReplaceAllString(c.path, "x")
		stranger := m.Do(t, c.method, path, "", nil)
		if c.who == anyone {
			if stranger.Status == 401 || stranger.Status == 403 {
				t.Errorf("%s refuses a stranger: %d %s", name, stranger.Status, stranger.Body)
			}
			continue
		}
		if stranger.Status != 401 || stranger.Text("code") != "UNAUTHENTICATED" {
			t.Errorf("%s by a stranger: %d %s", name, stranger.Status, stranger.Body)
		}
		joe := m.Do(t, c.method, path, token, nil)
		if joe.Status == 401 || (c.who == admins && joe.Status != 403) {
			t.Errorf("%s by an account that is no admin: %d %s", name, joe.Status, joe.Body)
		}
		if next := joe.Text("token", "token"); next != "" {
			token = next
		}
	}
	for path, methods := range m.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200).Field("paths").(obj) {
		for method := range methods.(obj) {
			if name := strings.ToUpper(method) + " " + path; !named[name] {
				t.Errorf("nothing says who may make %s", name)
			}
		}
	}
}
