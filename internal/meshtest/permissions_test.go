package meshtest_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"micromesh/internal/meshtest"
	"micromesh/pkg/auth"
)

// permitted is a call by an account that is no admin, for something of others.
type permitted struct {
	permission   string
	method, path string
	in           any
	refused      int    // the status without the permission
	shows        string // what the answer has with the permission alone; then refused is the status of both
}

// permittedCalls returns a call for each permission, for things that the mesh has.
func permittedCalls(t *testing.T, m *meshtest.Mesh) []permitted {
	admin := m.Admin(t)
	owner := m.Register(t, "owner")
	id := func(slug string) string {
		return m.Do(t, "POST", "/user-svc/self", m.Register(t, slug), nil).Must(t, 200).Text("user", "id")
	}
	ann, bob, cat, dan := id("ann"), id("bob"), id("cat"), id("dan")
	m.Login(t, "dan", "password-of-dan")
	bobs := m.Do(t, "POST", "/user-svc/sessions", m.Login(t, "bob", "password-of-bob"), obj{}).Must(t, 200)
	session := first(t, bobs, "sessions").(obj)["id"].(string)
	m.Do(t, "PUT", "/user-svc/enrolls", owner, obj{"enrolls": []obj{{"id": "enr_1", "role": "owner:clerk", "userId": ann}}}).Must(t, 200)
	m.Do(t, "PUT", "/user-svc/permits", owner, obj{"permits": []obj{{"id": "prm_1", "permission": "owner:pet:edit", "slugs": []string{"ann"}}}}).Must(t, 200)
	for _, org := range []string{"org_1", "org_2"} {
		slug := strings.ReplaceAll(org, "_", "-")
		owner = m.Do(t, "PUT", "/user-svc/organization", owner, obj{"id": org, "slug": slug, "name": slug}).Must(t, 200).Text("token", "token")
	}
	m.Do(t, "PUT", "/user-svc/organization/org_1/user/"+bob, owner, obj{}).Must(t, 200)
	app := m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "one.example.com"}).Must(t, 200).Text("app", "id")
	gone := m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "two.example.com"}).Must(t, 200).Text("app", "id")
	inst := m.Do(t, "PUT", "/registry-svc/instance", owner, obj{"url": "http://127.0.0.1:1"}).Must(t, 201).Text("id")
	m.Do(t, "PUT", "/registry-svc/definition", owner, obj{"definition": obj{"id": "owner"}}).Must(t, 201)
	node := first(t, m.Do(t, "POST", "/registry-svc/nodes", admin, obj{}).Must(t, 200), "nodes").(obj)["url"].(string)
	return []permitted{
		{permission: "user-svc:app:create", method: "POST", path: "/user-svc/app", in: obj{"host": "three.example.com"}, refused: 404},
		{permission: "user-svc:app:edit", method: "PUT", path: "/user-svc/app", in: obj{"id": app, "newHost": "four.example.com"}, refused: 403},
		{permission: "user-svc:app:view", method: "POST", path: "/user-svc/apps", in: obj{}, refused: 403},
		{permission: "user-svc:app:delete", method: "DELETE", path: "/user-svc/app/" + gone, refused: 403},
		{permission: "user-svc:enroll:edit", method: "PUT", path: "/user-svc/enrolls", in: obj{"enrolls": []obj{{"role": "owner:x", "userId": bob}}}, refused: 403},
		{permission: "user-svc:enroll:view", method: "POST", path: "/user-svc/enrolls", in: obj{}, refused: 200, shows: "owner:clerk"},
		{permission: "user-svc:enroll:delete", method: "DELETE", path: "/user-svc/enrolls", in: obj{"ids": []string{"enr_1"}}, refused: 404},
		{permission: "user-svc:key:rotate", method: "POST", path: "/user-svc/keys/rotate", in: obj{}, refused: 403},
		{permission: "user-svc:membership:edit", method: "PUT", path: "/user-svc/organization/org_1/user/" + cat, in: obj{}, refused: 403},
		{permission: "user-svc:membership:delete", method: "DELETE", path: "/user-svc/organization/org_1/user/" + bob, in: obj{}, refused: 403},
		{permission: "user-svc:organization:edit", method: "PUT", path: "/user-svc/organization", in: obj{"id": "org_1", "slug": "org-1", "name": "x"}, refused: 403},
		{permission: "user-svc:organization:view", method: "POST", path: "/user-svc/organizations", in: obj{}, refused: 200, shows: "org_1"},
		{permission: "user-svc:organization:delete", method: "DELETE", path: "/user-svc/organization/org_2", refused: 403},
		{permission: "user-svc:permit:edit", method: "PUT", path: "/user-svc/permits", in: obj{"permits": []obj{{"permission": "owner:a:b", "slugs": []string{"bob"}}}}, refused: 403},
		{permission: "user-svc:permit:view", method: "POST", path: "/user-svc/permits", in: obj{}, refused: 200, shows: "owner:pet:edit"},
		{permission: "user-svc:permit:delete", method: "DELETE", path: "/user-svc/permits", in: obj{"ids": []string{"prm_1"}}, refused: 404},
		{permission: "user-svc:session:view", method: "POST", path: "/user-svc/sessions", in: obj{"userId": bob}, refused: 403},
		{permission: "user-svc:session:delete", method: "DELETE", path: "/user-svc/session/" + session, refused: 404},
		{permission: "user-svc:session:delete", method: "DELETE", path: "/user-svc/tokens", in: obj{"userId": dan, "allTokens": true}, refused: 403},
		{permission: "user-svc:user:create", method: "POST", path: "/user-svc/user", in: obj{"user": obj{"slug": "made"}, "password": "password-of-made"}, refused: 403},
		{permission: "user-svc:user:edit", method: "PUT", path: "/user-svc/user/" + cat, in: obj{"name": "Cat"}, refused: 403},
		{permission: "user-svc:user:view", method: "POST", path: "/user-svc/users", in: obj{}, refused: 403},
		{permission: "user-svc:user:reset-password", method: "POST", path: "/user-svc/" + cat + "/reset-password", in: obj{"newPassword": "another password"}, refused: 403},
		{permission: "user-svc:user:delete", method: "DELETE", path: "/user-svc/user/" + cat, refused: 403},
		{permission: "registry-svc:instance:edit", method: "PUT", path: "/registry-svc/instance", in: obj{"url": "http://127.0.0.1:2", "slug": "owner"}, refused: 403},
		{permission: "registry-svc:instance:view", method: "GET", path: "/registry-svc/instances", refused: 200, shows: inst},
		{permission: "registry-svc:instance:delete", method: "DELETE", path: "/registry-svc/instance/" + inst, refused: 403},
		{permission: "registry-svc:definition:edit", method: "PUT", path: "/registry-svc/definition", in: obj{"definition": obj{"id": "owner"}}, refused: 403},
		{permission: "registry-svc:definition:delete", method: "DELETE", path: "/registry-svc/definition/owner", refused: 403},
		{permission: "registry-svc:node:view", method: "POST", path: "/registry-svc/nodes", in: obj{}, refused: 403},
		{permission: "registry-svc:node:view", method: "GET", path: "/registry-svc/node/self", refused: 403},
		{permission: "registry-svc:node:delete", method: "DELETE", path: "/registry-svc/node/" + url.PathEscape(node), refused: 403},
		{permission: "proxy-svc:cert:edit", method: "PUT", path: "/proxy-svc/certs", in: obj{"certs": []obj{{"id": "a.example.com", "cert": meshtest.HostPEM(t, "a.example.com")}}}, refused: 403},
		{permission: "proxy-svc:cert:view", method: "POST", path: "/proxy-svc/certs", in: obj{}, refused: 403},
		{permission: "proxy-svc:cert:delete", method: "DELETE", path: "/proxy-svc/certs", in: obj{"ids": []string{"a.example.com"}}, refused: 403},
		{permission: "proxy-svc:route:edit", method: "PUT", path: "/proxy-svc/routes", in: obj{"routes": []obj{{"id": "a.example.com", "target": "http://127.0.0.1:1"}}}, refused: 403},
		{permission: "proxy-svc:route:view", method: "POST", path: "/proxy-svc/routes", in: obj{}, refused: 403},
		{permission: "proxy-svc:route:delete", method: "DELETE", path: "/proxy-svc/routes", in: obj{"ids": []string{"a.example.com"}}, refused: 403},
		{permission: "gateway-svc:guest:view", method: "GET", path: "/gateway-svc/guests", refused: 403},
		{permission: "gateway-svc:schema:view", method: "GET", path: "/gateway-svc/schemas", refused: 403},
		{permission: "gateway-svc:event:view", method: "HEAD", path: "/gateway-svc/events", refused: 403},
		{permission: "gateway-svc:dead-letter:view", method: "GET", path: "/gateway-svc/dead", refused: 403},
		{permission: "gateway-svc:dead-letter:edit", method: "POST", path: "/gateway-svc/replay?consumer=none", refused: 403},
	}
}

// has waits until the call that asks for a permission answers what is wanted.
func has(t *testing.T, m *meshtest.Mesh, token, permission string, wanted bool) {
	t.Helper()
	meshtest.Eventually(t, fmt.Sprintf("%s is %v", permission, wanted), func() bool {
		return m.Do(t, "POST", "/user-svc/self/has/"+permission, token, nil).Must(t, 200).Field("authorized") == wanted
	})
}

// TestPermitsOpenEveryBuiltInCall makes each call of the mesh's own services without its permission and with it. The answer of has agrees
// with the call both times, and again after the permit was deleted.
func TestPermitsOpenEveryBuiltInCall(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	tried := map[string]bool{}
	for i, c := range permittedCalls(t, m) {
		tried[c.permission] = true
		slug := fmt.Sprintf("caller-%d", i)
		token := m.Register(t, slug)
		has(t, m, token, c.permission, false)
		before := m.Do(t, c.method, c.path, token, c.in)
		if before.Status != c.refused || c.shows != "" && strings.Contains(string(before.Body), c.shows) {
			t.Errorf("%s %s without %s: %d %s", c.method, c.path, c.permission, before.Status, before.Body)
		}
		m.Do(t, "PUT", "/user-svc/permits", admin, obj{"permits": []obj{{"id": "p" + slug, "permission": c.permission, "slugs": []string{slug}}}}).Must(t, 200)
		has(t, m, token, c.permission, true)
		var after meshtest.Answer
		meshtest.Eventually(t, c.permission+" counts", func() bool { // in each process, at its time
			after = m.Do(t, c.method, c.path, token, c.in)
			return after.Status != c.refused || c.shows != ""
		})
		if after.Status >= 300 || !strings.Contains(string(after.Body), c.shows) {
			t.Errorf("%s %s with %s: %d %s", c.method, c.path, c.permission, after.Status, after.Body)
		}
		m.Do(t, "DELETE", "/user-svc/permits", admin, obj{"ids": []string{"p" + slug}}).Must(t, 200)
		has(t, m, token, c.permission, false)
	}
	for _, b := range auth.BuiltIns() {
		if !tried[b.Permission] && !b.Everyone {
			t.Errorf("no call was tried with %s", b.Permission)
		}
	}
}

// TestEveryBuiltInCallTakesAPermission reads /openapi.json: each operation that isn't open to anyone names permissions that are listed.
func TestEveryBuiltInCallTakesAPermission(t *testing.T) {
	m := meshtest.Start(t)
	joe := m.Register(t, "joe")
	doc := m.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200)
	listed := map[string]bool{}
	for _, p := range doc.Field("x-mesh-permissions").([]any) {
		name, everyone := p.(obj)["permission"].(string), p.(obj)["everyone"].(bool)
		listed[name] = true
		has(t, m, joe, name, everyone)
		has(t, m, m.Admin(t), name, true)
	}
	for path, methods := range doc.Field("paths").(obj) {
		for method, op := range methods.(obj) {
			access, _ := op.(obj)["x-mesh-access"].(string)
			others, _ := op.(obj)["x-mesh-access-others"].(string)
			permission, ok := strings.CutPrefix(access, "permission ")
			if access == "anyone" && others == "" {
				continue
			}
			if !ok {
				permission = strings.TrimPrefix(others, "permission ")
			}
			if !listed[permission] {
				t.Errorf("%s %s takes %q and %q for things of others, which is not listed", method, path, access, others)
			}
		}
	}
}

// TestPermissionsDontMakeAdmins tries to become an admin, or to get at one, with every permission to grant and to change accounts.
func TestPermissionsDontMakeAdmins(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	adminID := m.Do(t, "POST", "/user-svc/self", admin, nil).Must(t, 200).Text("user", "id")
	eve := m.Register(t, "eve")
	eveID := m.Do(t, "POST", "/user-svc/self", eve, nil).Must(t, 200).Text("user", "id")
	m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": []obj{{"role": "user-svc:admin", "contactId": "boss@example.com", "appHost": "*"}}}).Must(t, 200)
	m.Do(t, "PUT", "/user-svc/organization", m.Register(t, "owner"), obj{"id": "org_1", "slug": "org-1", "name": "x"}).Must(t, 200)
	var permits []obj
	for _, b := range auth.BuiltIns() {
		permits = append(permits, obj{"permission": b.Permission, "slugs": []string{"eve"}})
	}
	m.Do(t, "PUT", "/user-svc/permits", admin, obj{"permits": permits}).Must(t, 200)
	has(t, m, eve, "user-svc:user:create", true)
	adminSession := first(t, m.Do(t, "POST", "/user-svc/sessions", admin, obj{}).Must(t, 200), "sessions").(obj)["id"].(string)
	for _, a := range []asks{
		{"PUT", "/user-svc/enrolls", eve, obj{"enrolls": []obj{{"role": "user-svc:admin", "userId": eveID}}}, 403},
		{"PUT", "/user-svc/enrolls", eve, obj{"enrolls": []obj{{"role": "user-svc:org:{org_1}:admin", "userId": eveID}}}, 403},
		{"PUT", "/user-svc/enrolls", eve, obj{"enrolls": []obj{{"role": "registry-svc:admin", "userId": eveID}}}, 403},
		{"PUT", "/user-svc/enrolls", eve, obj{"enrolls": []obj{{"role": "owner:x", "userId": eveID, "appHost": "*"}}}, 403},
		{"PUT", "/user-svc/permits", eve, obj{"permits": []obj{{"permission": "user-svc:user:view", "slugs": []string{"joe"}}}}, 403},
		{"POST", "/user-svc/user", eve, obj{"user": obj{"slug": "made"}, "password": "password-of-made", "roleIds": []string{"user-svc:admin"}}, 403},
		{"PUT", "/user-svc/user/" + adminID, eve, obj{"name": "Eve"}, 403},
		{"POST", "/user-svc/" + adminID + "/reset-password", eve, obj{"newPassword": "another password"}, 403},
		{"DELETE", "/user-svc/user/" + adminID, eve, nil, 403},
		{"DELETE", "/user-svc/tokens", eve, obj{"userId": adminID, "allTokens": true}, 403},
		{"DELETE", "/user-svc/session/" + adminSession, eve, nil, 403},
		{"POST", "/user-svc/user", eve, obj{
			"user": obj{"slug": "boss"}, "password": "password-of-boss", "contacts": []obj{{"platform": "email", "handle": "boss@example.com", "verified": true}},
		}, 200},
	} {
		a.ask(t, m)
	}
	boss := m.Login(t, "boss", "password-of-boss")
	if self := m.Do(t, "POST", "/user-svc/self", boss, nil).Must(t, 200); strings.Contains(string(self.Body), "user-svc:admin") {
		t.Errorf("a contact that nobody proved has the role of admins: %s", self.Body)
	}
	m.Do(t, "POST", "/user-svc/users", admin, obj{}).Must(t, 200)
}
