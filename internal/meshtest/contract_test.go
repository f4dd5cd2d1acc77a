package meshtest_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

type obj = map[string]any

// TestEveryCallOfTheContract makes each call of the HTTP API as its clients do: the paths, methods, field names and
// statuses are those of the published contract.
func TestEveryCallOfTheContract(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	joe := m.Register(t, "joe")
	joeID := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	m.Register(t, "ann")
	annToken := m.Login(t, "ann", "password-of-ann")
	annID := m.Do(t, "POST", "/user-svc/self", annToken, nil).Must(t, 200).Text("user", "id")
	web := upstream.Start(t)

	t.Run("apps", func(t *testing.T) {
		a := m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "shop.example.com"}).Must(t, 200)
		id := a.Text("app", "id")
		if id == "" || a.Text("app", "host") != "shop.example.com" {
			t.Fatalf("app is %s", a.Body)
		}
		m.Do(t, "POST", "/user-svc/app", "", obj{"host": "shop.example.com"}).Must(t, 200)
		m.Do(t, "POST", "/user-svc/app", joe, obj{"host": "new.example.com"}).Must(t, 404)
		m.Do(t, "PUT", "/user-svc/app", admin, obj{"id": id, "newHost": "store.example.com"}).Must(t, 200)
		if got := m.Do(t, "POST", "/user-svc/apps", admin, obj{"ids": []string{id}}).Must(t, 200); !strings.Contains(string(got.Body), "store.example.com") {
			t.Errorf("apps are %s", got.Body)
		}
		m.Do(t, "POST", "/user-svc/apps", joe, obj{}).Must(t, 403)
	})
	t.Run("passwords", func(t *testing.T) {
		tok := m.Register(t, "pat")
		m.Do(t, "POST", "/user-svc/change-password", tok, obj{"currentPassword": "wrong-one", "newPassword": "another-password"}).Must(t, 401)
		m.Do(t, "POST", "/user-svc/change-password", tok, obj{"currentPassword": "password-of-pat", "newPassword": "another-password"}).Must(t, 200)
		m.Login(t, "pat", "another-password")
		id := m.Do(t, "POST", "/user-svc/users", admin, obj{"search": "pat"}).Must(t, 200).Field("users").([]any)[0].(obj)["id"].(string)
		m.Do(t, "POST", "/user-svc/"+id+"/reset-password", admin, obj{"newPassword": "third-password"}).Must(t, 200)
		m.Login(t, "pat", "third-password")
		m.Do(t, "POST", "/user-svc/"+id+"/reset-password", joe, obj{"newPassword": "third-password"}).Must(t, 403)
	})
	t.Run("enrolls", func(t *testing.T) {
		in := obj{"enrolls": []obj{{"role": "joe:clerk", "userId": annID}}}
		m.Do(t, "PUT", "/user-svc/enrolls", annToken, in).Must(t, 403)
		a := m.Do(t, "PUT", "/user-svc/enrolls", joe, in).Must(t, 200)
		if got := a.Field("enrolls").([]any)[0].(obj); got["role"] != "joe:clerk" || got["userId"] != annID || got["id"] == "" {
			t.Errorf("enroll is %v", got)
		}
		m.Do(t, "POST", "/user-svc/enrolls", joe, obj{"role": "joe:clerk"}).Must(t, 200)
		m.Do(t, "POST", "/user-svc/enrolls", annToken, obj{"role": "joe:clerk"}).Must(t, 403)
	})
	t.Run("tokens", func(t *testing.T) {
		a := m.Do(t, "POST", "/user-svc/login", "", obj{"appHost": "unnamed", "slug": "ann", "password": "password-of-ann", "device": "phone"}).Must(t, 200)
		tok := a.Text("token", "token")
		for _, f := range []string{"id", "appId", "createdAt", "updatedAt", "device", "expiresAt", "userId"} {
			if a.Text("token", f) == "" {
				t.Errorf("token has no %s: %s", f, a.Body)
			}
		}
		if !strings.Contains(string(m.Do(t, "POST", "/user-svc/self", tok, nil).Must(t, 200).Body), "joe:clerk") {
			t.Error("the new token does not carry the role")
		}
		next := m.Do(t, "POST", "/user-svc/refresh-token", tok, nil).Must(t, 200).Text("token", "token")
		watch := m.Do(t, "PUT", "/user-svc/token/exchange", next, obj{"newDevice": "watch"}).Must(t, 200)
		if m.Do(t, "POST", "/user-svc/self", watch.Text("token", "token"), nil).Must(t, 200); watch.Text("token", "device") != "watch" {
			t.Errorf("the exchanged token is %s", watch.Body)
		}
		m.Do(t, "DELETE", "/user-svc/tokens", next, obj{}).Must(t, 200)
		m.Do(t, "POST", "/user-svc/self", next, nil).Must(t, 401)
		m.Do(t, "DELETE", "/user-svc/tokens", joe, obj{"userId": annID, "allTokens": true}).Must(t, 403)
	})
	t.Run("organizations", func(t *testing.T) {
		a := m.Do(t, "PUT", "/user-svc/organization", joe, obj{"slug": "acme", "name": "Acme"}).Must(t, 200)
		org, tok := a.Text("organization", "id"), a.Text("token", "token")
		m.Do(t, "PUT", "/user-svc/organization", annToken, obj{"id": org, "slug": "mine"}).Must(t, 403)
		path := "/user-svc/organization/" + org + "/user/" + annID
		m.Do(t, "PUT", path, annToken, nil).Must(t, 403)
		m.Do(t, "PUT", path, tok, nil).Must(t, 200)
		if got := string(m.Do(t, "POST", "/user-svc/organizations", m.Login(t, "ann", "password-of-ann"), nil).Must(t, 200).Body); !strings.Contains(got, "acme") {
			t.Errorf("the member's organizations are %s", got)
		}
		m.Do(t, "DELETE", path, tok, nil).Must(t, 200)
		m.Do(t, "DELETE", "/user-svc/organization/"+org+"/user/"+joeID, tok, nil).Must(t, 409)
		joe = tok // the token before was rotated
	})
	t.Run("one-time codes", func(t *testing.T) {
		a := m.Do(t, "POST", "/user-svc/otp/send", "", obj{"appHost": "unnamed", "contactId": "eve@example.com", "contactPlatform": "email"}).Must(t, 200)
		if a.Text("otpId") == "" || a.Field("code") != nil || a.Field("body") != nil {
			t.Errorf("answer is %s", a.Body)
		}
		a = m.Do(t, "POST", "/user-svc/otp/send", admin, obj{"appHost": "unnamed", "contactId": "eva@example.com", "contactPlatform": "email"}).Must(t, 200)
		if len(a.Text("code")) != 6 || a.Text("subject") == "" {
			t.Errorf("admin's answer is %s", a.Body)
		}
	})
	t.Run("permissions", func(t *testing.T) {
		in := obj{"permits": []obj{{"permission": "joe:pet:edit", "slugs": []string{"ann"}}}}
		m.Do(t, "PUT", "/user-svc/permits", annToken, in).Must(t, 403)
		m.Do(t, "PUT", "/user-svc/permits", joe, in).Must(t, 200)
		m.Do(t, "POST", "/user-svc/permits", admin, obj{}).Must(t, 200)
		ann := m.Login(t, "ann", "password-of-ann")
		a := m.Do(t, "POST", "/user-svc/self/has/joe:pet:edit", ann, nil).Must(t, 200)
		if a.Field("authorized") != true || a.Text("until") == "" || a.Text("app", "id") == "" || a.Text("user", "id") != annID {
			t.Errorf("answer is %s", a.Body)
		}
		if a := m.Do(t, "POST", "/user-svc/self/has/joe:pet:eat", ann, nil).Must(t, 200); a.Field("authorized") != false {
			t.Errorf("answer is %s", a.Body)
		}
		if got := m.Do(t, "POST", "/user-svc/permissions", ann, nil).Must(t, 200); cmp.Diff([]any{"joe:pet:edit"}, got.Field("permissions")) != "" {
			t.Errorf("permissions are %s", got.Body)
		}
	})
	t.Run("self", func(t *testing.T) {
		m.Do(t, "PUT", "/user-svc/self", joe, obj{"name": "Joe!", "labels": obj{"team": "red"}}).Must(t, 200)
		a := m.Do(t, "POST", "/user-svc/self", joe, obj{"countTokens": true}).Must(t, 200)
		if a.Text("user", "name") != "Joe!" || a.Text("user", "labels", "team") != "red" || a.Field("tokenCount") == 0.0 {
			t.Errorf("self is %s", a.Body)
		}
		m.Do(t, "PUT", "/user-svc/self", joe, obj{"roles": []string{"user-svc:admin"}}).Must(t, 403)
		m.Do(t, "GET", "/user-svc/public-key", "", nil).Must(t, 200)
	})
	t.Run("users", func(t *testing.T) {
		m.Do(t, "POST", "/user-svc/user", admin, obj{"user": obj{"id": "", "slug": "made"}, "password": "made-by-admin", "appHost": "unnamed", "roleIds": []string{"made:chief"}}).Must(t, 200)
		a := m.Do(t, "POST", "/user-svc/users", admin, obj{"search": "made", "count": true}).Must(t, 200)
		u := a.Field("users").([]any)[0].(obj)
		if a.Field("count") != 1.0 || u["slug"] != "made" || !strings.Contains(string(a.Body), "made:chief") {
			t.Errorf("users are %s", a.Body)
		}
		id := u["id"].(string)
		m.Do(t, "PUT", "/user-svc/user/"+id, admin, obj{"name": "Maid"}).Must(t, 200)
		m.Do(t, "DELETE", "/user-svc/user/"+id, joe, nil).Must(t, 403)
		m.Do(t, "DELETE", "/user-svc/user/"+id, admin, nil).Must(t, 200)
		m.Do(t, "POST", "/user-svc/register", "", obj{"slug": "made", "password": "mine-now-ok"}).Must(t, 409)
	})
	t.Run("definitions", func(t *testing.T) {
		in := obj{"definition": obj{"id": "joe", "image": obj{"name": "nginx", "internalPorts": []int{80}}, "clients": []obj{{"language": "C#", "url": "http://x.example"}}}}
		m.Do(t, "PUT", "/registry-svc/definition", annToken, in).Must(t, 403)
		m.Do(t, "PUT", "/registry-svc/definition", joe, in).Must(t, 201)
		if got := m.Do(t, "GET", "/registry-svc/definitions", annToken, nil).Must(t, 200); !strings.Contains(string(got.Body), "nginx") {
			t.Errorf("definitions are %s", got.Body)
		}
		m.Do(t, "DELETE", "/registry-svc/definition/joe", annToken, nil).Must(t, 403)
		m.Do(t, "DELETE", "/registry-svc/definition/joe", joe, nil).Must(t, 204)
	})
	t.Run("echo", func(t *testing.T) {
		for _, method := range []string{"PUT", "POST"} {
			if a := m.Do(t, method, "/registry-svc/echo", "", `{"a":{"b":[1,"x",null,true]}}`).Must(t, 200); cmp.Diff([]any{1.0, "x", nil, true}, a.Field("a", "b")) != "" {
				t.Errorf("%s answers %s", method, a.Body)
			}
		}
		if a := m.Do(t, "GET", "/registry-svc/echo?a=1", "", nil).Must(t, 200); a.Text("a") != "1" {
			t.Errorf("GET answers %s", a.Body)
		}
	})
	t.Run("instances", func(t *testing.T) {
		a := m.Do(t, "PUT", "/registry-svc/instance", joe, obj{"url": web.URL}).Must(t, 201)
		id := a.Text("id")
		m.Do(t, "PUT", "/registry-svc/instance", joe, obj{"url": web.URL}).Must(t, 201) // the heartbeat
		m.Do(t, "GET", "/joe/some/path?q=1", "", nil).Must(t, 200)
		q := url.Values{"slug": {"joe"}, "scheme": {"http"}, "id": {id}}
		got := m.Do(t, "GET", "/registry-svc/instances?"+q.Encode(), joe, nil).Must(t, 200).Field("instances").([]any)
		if len(got) != 1 || got[0].(obj)["id"] != id || got[0].(obj)["url"] != web.URL {
			t.Errorf("instances are %v", got)
		}
		if got := m.Do(t, "GET", "/registry-svc/instances?slug=other", joe, nil).Must(t, 200).Field("instances").([]any); len(got) != 0 {
			t.Errorf("instances of another slug are %v", got)
		}
		m.Do(t, "DELETE", "/registry-svc/instance/"+id, annToken, nil).Must(t, 403)
		m.Do(t, "DELETE", "/registry-svc/instance/"+id, joe, nil).Must(t, 204)
		if a := m.Do(t, "GET", "/joe/some/path", "", nil); a.Status != 503 || a.Text("code") != "UNAVAILABLE" || a.Header.Get("Retry-After") == "" {
			t.Errorf("a slug that had an instance: %d %s", a.Status, a.Body)
		}
		m.Do(t, "GET", "/ann/some/path", "", nil).Must(t, 404)
		m.Do(t, "OPTIONS", "/ann/some/path", "", nil).Must(t, 200)
		m.Do(t, "OPTIONS", "/joe/some/path", "", nil).Must(t, 200)
	})
	t.Run("nodes", func(t *testing.T) {
		node := m.Do(t, "GET", "/registry-svc/node/self", admin, nil).Must(t, 200)
		if node.Text("node", "id") == "" || node.Field("node", "usage", "memory", "total") == 0.0 {
			t.Errorf("node is %s", node.Body)
		}
		m.Do(t, "POST", "/registry-svc/nodes", admin, nil).Must(t, 200)
		m.Do(t, "POST", "/registry-svc/nodes", joe, nil).Must(t, 403)
		m.Do(t, "DELETE", "/registry-svc/node/"+url.PathEscape(node.Text("node", "url")), admin, nil).Must(t, 204)
	})
	t.Run("routes", func(t *testing.T) {
		m.Do(t, "PUT", "/proxy-svc/routes", joe, obj{"routes": []obj{{"id": "x.example.com", "target": web.URL}}}).Must(t, 403)
		m.Do(t, "PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "x.example.com", "target": web.URL}}}).Must(t, 200)
		if got := m.Do(t, "POST", "/proxy-svc/routes", admin, nil).Must(t, 200); !strings.Contains(string(got.Body), "x.example.com") {
			t.Errorf("routes are %s", got.Body)
		}
		m.Do(t, "DELETE", "/proxy-svc/routes", admin, obj{"ids": []string{"x.example.com"}}).Must(t, 200)
		m.Do(t, "POST", "/proxy-svc/certs", admin, nil).Must(t, 200)
		m.Do(t, "PUT", "/proxy-svc/certs", admin, obj{"certs": []obj{{"id": "x.example.com", "cert": "no PEM"}}}).Must(t, 400)
	})
}
