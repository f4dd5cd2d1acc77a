package cluster_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/kv"
)

// rights is a mesh with one right of each kind to revoke.
type rights struct {
	*mesh
	urls       map[string]string
	web        *upstream.Server
	joe, root  string // tokens that keep their rights
	annID, org string
	ann        string // a member of the organization
	ben        string // who has a permit
	eve        string // whose session ends
	old        string // which a key has signed that is dropped
	instance   string
}

const routesOfRights = `
version: 1
routes:
  - {path: /guarded, method: GET, proxy_upstream: shop-svc, auth_required: true, scopes: [joe:pet:view], also_open: true}
  - {path: /kept, method: GET, proxy_upstream: shop-svc, auth_required: true, cache_ttl: 1h, also_open: true}
`

func startRights(t *testing.T) *rights {
	t.Helper()
	urls, key, file := databases(t), newSecretKey(t), filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte(routesOfRights), 0o600); err != nil {
		t.Fatal(err)
	}
	of := map[string]map[string]string{"gateway": {"MICRO_ROUTES": file}}
	for name, u := range urls {
		of[name] = map[string]string{"MICRO_DATABASE_URL": u, "MICRO_SECRET_KEY_FILE": key}
	}
	of["user"]["MICRO_ADMIN_PASSWORD"] = adminPassword
	r := &rights{mesh: &mesh{cluster.Start(t, cluster.Config{Of: of})}, urls: urls, web: upstream.Start(t)}
	r.root = r.login(t, admin, adminPassword)
	for _, slug := range []string{"ann", "ben", "eve", "gone-svc", "shop-svc"} {
		r.must(t, "POST", "/user-svc/register", "", credentials(slug, "password-of-"+slug))
	}
	r.joe = tokenOf(r.must(t, "POST", "/user-svc/register", "", credentials("joe", "password-of-joe")))
	out := r.must(t, "PUT", "/user-svc/organization", r.joe, obj{"slug": "acme", "name": "Acme"})
	r.org, r.joe = out["organization"].(obj)["id"].(string), tokenOf(out)
	r.annID = r.must(t, "POST", "/user-svc/self", r.login(t, "ann", "password-of-ann"), obj{})["user"].(obj)["id"].(string)
	r.must(t, "PUT", "/registry-svc/instance", r.login(t, "shop-svc", "password-of-shop-svc"), obj{"url": r.web.URL})
	return r
}

// status returns the status of a request to a host.
func (r *rights) status(t *testing.T, host, path, token string) int {
	t.Helper()
	status, _ := r.doFor(t, host, "GET", path, token, nil)
	return status
}

// header returns a request header that reaches the instance of shop-svc.
func (r *rights) header(t *testing.T, token, name string) string {
	t.Helper()
	_, out := r.do(t, "GET", "/shop-svc/", token, nil)
	headers, _ := out["Header"].(obj)
	values, _ := headers[name].([]any)
	return fmt.Sprint(values...)
}

func (r *rights) permit(t *testing.T, slugs ...string) {
	t.Helper()
	r.must(t, "PUT", "/user-svc/permits", r.joe, obj{"permits": []obj{{"id": "prm_1", "permission": "joe:pet:view", "slugs": slugs}}})
}

// grant grants the rights that revoke takes away.
func (r *rights) grant(t *testing.T) {
	t.Helper()
	r.old = r.login(t, "ben", "password-of-ben")
	before := r.must(t, "GET", "/user-svc/public-key", "", nil)["publicKey"]
	restore(t, r.urls["user"], "UPDATE signing_keys SET created_at = 0;")
	r.Services["user"][0].Restart() // makes another key
	restore(t, r.urls["user"], "UPDATE signing_keys SET active_from = created_at;")
	eventually(t, func() error {
		if _, out := r.do(t, "GET", "/user-svc/public-key", "", nil); out["publicKey"] == nil || out["publicKey"] == before {
			return fmt.Errorf("the old key still signs, or none: %v", out)
		}
		return nil
	})
	r.root = r.login(t, admin, adminPassword)
	r.joe = r.login(t, "joe", "password-of-joe")
	r.must(t, "PUT", "/user-svc/organization/"+r.org+"/user/"+r.annID, r.joe, nil)
	r.ann, r.ben, r.eve = r.login(t, "ann", "password-of-ann"), r.login(t, "ben", "password-of-ben"), r.login(t, "eve", "password-of-eve")
	r.permit(t, "ben", "someone-else")
	r.instance = r.must(t, "PUT", "/registry-svc/instance", r.login(t, "gone-svc", "password-of-gone-svc"), obj{"url": r.web.URL + "/gone"})["id"].(string)
	r.must(t, "PUT", "/proxy-svc/routes", r.root, obj{"routes": []obj{{"id": "gone.example.com", "target": r.web.URL}}})
	r.obeyed(t, "granted", map[string]bool{})
}

// has returns the rights that count now.
func (r *rights) has(t *testing.T) map[string]bool {
	t.Helper()
	role := "user-svc:user user-svc:org:{" + r.org + "}:user"
	return map[string]bool{
		"the session":      r.header(t, r.eve, "X-User-Slug") == "eve",
		"the session, RPC": func() bool { s, _ := r.do(t, "POST", "/user-svc/self", r.eve, obj{}); return s == http.StatusOK }(),
		"the role":         len(r.header(t, r.ann, "X-Roles")) == len(role),
		"the permit":       r.status(t, "", "/guarded", r.ben) == http.StatusOK,
		"the permit, kept": r.must(t, "POST", "/user-svc/self/has/joe:pet:view", r.ben, nil)["authorized"] == true,
		"the key":          r.status(t, "", "/kept", r.old) == http.StatusOK,
		"the instance":     r.status(t, "", "/gone-svc/", "") == http.StatusOK,
		"the host route":   r.status(t, "gone.example.com", "/x", "") == http.StatusOK,
	}
}

// obeyed waits until all rights count except the given ones. It fails if that takes longer than a revocation may.
func (r *rights) obeyed(t *testing.T, when string, not map[string]bool) {
	t.Helper()
	began := time.Now()
	for {
		wrong := ""
		for name, has := range r.has(t) {
			if has == not[name] {
				wrong += fmt.Sprintf("; %s: %v", name, has)
			}
		}
		switch {
		case wrong == "":
			t.Logf("%s: after %v", when, time.Since(began).Round(time.Millisecond))
			return
		case time.Since(began) > 5*time.Second:
			t.Fatalf("%s: not within 5 s%s", when, wrong)
		}
	}
}

// dropKeys deletes all keys that don't sign any more, behind the back of user-svc.
func (r *rights) dropKeys(t *testing.T) {
	t.Helper()
	restore(t, r.urls["user"], "DELETE FROM signing_keys WHERE active_from < (SELECT max(active_from) FROM signing_keys);")
}

// revoke takes all of them away.
func (r *rights) revoke(t *testing.T) map[string]bool {
	t.Helper()
	r.must(t, "DELETE", "/user-svc/tokens", r.eve, obj{})
	r.must(t, "DELETE", "/user-svc/organization/"+r.org+"/user/"+r.annID, r.joe, nil)
	r.permit(t, "someone-else")
	r.dropKeys(t)
	r.must(t, "DELETE", "/registry-svc/instance/"+r.instance, r.root, nil)
	r.must(t, "DELETE", "/proxy-svc/routes", r.root, obj{"ids": []string{"gone.example.com"}})
	return map[string]bool{
		"the session": true, "the session, RPC": true, "the role": true, "the permit": true, "the permit, kept": true, "the key": true,
		"the instance": true, "the host route": true,
	}
}

// TestRightsThatAreTakenAwayWhileNATSIsAway revokes a right of each kind during outages of NATS: it is away, it loses all data, or its
// buckets are deleted under live processes. Requests obey within 5 s after each.
func TestRightsThatAreTakenAwayWhileNATSIsAway(t *testing.T) {
	r := startRights(t)
	js := r.Host(t.Context()).JS
	for _, c := range []struct {
		name         string
		before, then func()
	}{
		{"NATS is away", r.NATS.Stop, r.NATS.Start},
		{"NATS loses everything", r.NATS.Stop, func() { r.WipeNATS(); r.NATS.Start() }},
		{"the buckets are deleted", func() {
			r.dropKeys(t) // before user-svc fills them again
			for _, bucket := range []string{kv.Keys, kv.Permits, kv.Revocations, kv.Instances, kv.Routing, kv.Nodes, kv.Signers, kv.Schemas} {
				if err := js.DeleteKeyValue(t.Context(), bucket); err != nil {
					t.Fatal(bucket, err)
				}
			}
		}, func() {}},
	} {
		r.grant(t)
		c.before()
		gone := r.revoke(t)
		c.then()
		r.obeyed(t, c.name, gone)
		r.joe = r.login(t, "joe", "password-of-joe")
	}
}
