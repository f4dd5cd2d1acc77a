package cluster_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest/upstream"
)

// TestNoSecretIsLogged has everything that is secret used, rightly and wrongly, while all processes log as much as they can, and looks
// for it in what they have logged, and in what callers were told.
func TestNoSecretIsLogged(t *testing.T) {
	urls := databases(t)
	of := map[string]map[string]string{}
	for name, u := range urls {
		of[name] = map[string]string{"MICRO_DATABASE_URL": u}
	}
	of["user"]["MICRO_ADMIN_PASSWORD"] = "canary-admin-password"
	m := &mesh{cluster.Start(t, cluster.Config{Of: of, Env: map[string]string{"MICRO_LOG": "debug"}})}
	secrets := map[string]string{"the admin's password": "canary-admin-password", "a password": "canary-joes-password", "a wrong password": "canary-wrong-password", "a token in a query": "canary-query-token"}
	var told strings.Builder
	call := func(method, path, token string, in any) obj {
		status, out := m.do(t, method, path, token, in)
		if status >= 400 {
			for _, v := range out {
				if s, ok := v.(string); ok {
					told.WriteString(s + "\n")
				}
			}
		}
		return out
	}
	root := m.login(t, admin, "canary-admin-password")
	joe := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("joe", "canary-joes-password")))
	secrets["a token"], secrets["the admin's token"] = joe, root
	web := upstream.Start(t)
	call("POST", "/user-svc/login", "", credentials("joe", "canary-wrong-password"))
	call("POST", "/user-svc/change-password", joe, obj{"currentPassword": "canary-wrong-password", "newPassword": "canary-joes-password"})
	call("POST", "/user-svc/register", "", credentials("joe", "canary-joes-password"))
	call("PUT", "/registry-svc/instance", joe, obj{"url": web.URL})
	call("PUT", "/registry-svc/instance", joe, obj{"url": "http://user:canary-wrong-password@10.0.0.1"})
	call("GET", "/joe/x?token=canary-query-token&access_token="+joe, joe, nil)
	call("GET", "/user-svc/self?token=canary-query-token", "", nil)
	call("POST", "/user-svc/self", joe[:len(joe)-4]+"AAAA", obj{})
	call("PUT", "/proxy-svc/certs", root, obj{"certs": []obj{{"id": "x", "cert": "canary-wrong-password"}}})
	web.Stop()
	call("GET", "/joe/x?token=canary-query-token", joe, nil)
	for name, u := range urls { // of a database that is none any more, for as long as that takes to be logged
		if parsed, err := url.Parse(u); err == nil {
			if p, ok := parsed.User.Password(); ok && p != "" {
				secrets["password of the database of "+name] = p
			}
		}
	}
	for _, file := range []string{"user-svc/nats.password", "user-svc/secret.key", "gateway-svc/nats.password", "gateway-svc/key.pem", "proxy-svc/secret.key", "admin/nats.password"} {
		b, err := os.ReadFile(filepath.Join(m.Secrets(), file))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		secrets[file] = lines[len(lines)/2] // of a key, a line of its middle
	}
	m.NATS.Kill() // which everybody has something to say about
	call("POST", "/user-svc/login", "", credentials("joe", "canary-joes-password"))
	m.NATS.Start()
	m.AwaitReady()
	logged := 0
	for _, name := range cluster.Services {
		for _, p := range m.Services[name] {
			log := p.WholeLog()
			logged += len(log)
			for what, secret := range secrets {
				if strings.Contains(log, secret) {
					t.Errorf("%s has logged %s", p.Name, what)
				}
			}
		}
	}
	for what, secret := range secrets {
		if strings.Contains(told.String(), secret) {
			t.Errorf("callers are told %s", what)
		}
	}
	if logged < 2000 {
		t.Errorf("only %d bytes were logged: it is not looked where they are", logged)
	}
}
