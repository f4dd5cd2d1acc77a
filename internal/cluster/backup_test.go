package cluster_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/sqldb/sqldbtest"
)

const (
	admin         = "admin"
	adminPassword = "password-of-admin"
)

// owners are the services that have a database.
var owners = []string{"user", "registry", "proxy"}

// databases gives each of them an empty one.
func databases(t *testing.T) map[string]string {
	t.Helper()
	urls := map[string]string{}
	for _, name := range owners {
		u, ok := sqldbtest.PostgresURL(t)
		if !ok {
			t.Skip("there is no Postgres")
		}
		urls[name] = u
	}
	return urls
}

// newSecretKey writes a key as `micro secrets init` does.
func newSecretKey(t *testing.T) (file string) {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	file = filepath.Join(t.TempDir(), "secret.key")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start starts a mesh with a NATS server of its own on these databases.
func start(t *testing.T, urls map[string]string, secretKey string) *mesh {
	t.Helper()
	of := map[string]map[string]string{}
	for name, u := range urls {
		of[name] = map[string]string{"MICRO_DATABASE_URL": u, "MICRO_SECRET_KEY_FILE": secretKey}
	}
	of["user"]["MICRO_ADMIN_PASSWORD"] = adminPassword
	return &mesh{cluster.Start(t, cluster.Config{Of: of})}
}

type obj = map[string]any

// mesh is a cluster that is called through its gateway.
type mesh struct{ *cluster.Cluster }

// do gives the status and the answer of a call.
func (m *mesh) do(t *testing.T, method, path, token string, in any) (int, obj) {
	t.Helper()
	return m.doFor(t, "", method, path, token, in)
}

// doFor makes a call for a host.
func (m *mesh) doFor(t *testing.T, host, method, path, token string, in any) (int, obj) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, m.Gateway(0)+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := obj{}
	_ = json.Unmarshal(b, &out) // the status tells what is wrong with an answer that is no JSON
	return rsp.StatusCode, out
}

// must makes a call that succeeds.
func (m *mesh) must(t *testing.T, method, path, token string, in any) obj {
	t.Helper()
	status, out := m.do(t, method, path, token, in)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	return out
}

func credentials(slug, password string) obj {
	return obj{"appHost": "unnamed", "slug": slug, "password": password}
}

func tokenOf(out obj) string { return out["token"].(obj)["token"].(string) }

func (m *mesh) login(t *testing.T, slug, password string) string {
	t.Helper()
	return tokenOf(m.must(t, "POST", "/user-svc/login", "", credentials(slug, password)))
}

// program is one of Postgres's, of the newest version that is here.
func program(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is well-formed
	if len(found) > 0 {
		return slices.Max(found)
	}
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("there is no %s: .ci/postgres installs it", name)
	}
	if err != nil {
		t.Skipf("there is no %s", name)
	}
	return path
}

// dump is what docs/operations.md says.
func dump(t *testing.T, url string) string {
	t.Helper()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program(t, "pg_dump"), "--no-owner", "--no-privileges", url)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("pg_dump: %v: %s", err, log.String())
	}
	return out.String()
}

// restore is what docs/operations.md says, into an empty database.
func restore(t *testing.T, url, backup string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "psql"), "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", url)
	cmd.Stdin = strings.NewReader(backup)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
}

// TestBackupAndRestore dumps the databases of a mesh that runs, ends it, and starts another from them on a NATS server that
// knows nothing.
func TestBackupAndRestore(t *testing.T) {
	key, web := newSecretKey(t), upstream.Start(t)
	before := databases(t)
	m := start(t, before, key)
	root := m.login(t, admin, adminPassword)
	shop := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("shop-svc", "password-of-shop")))
	joe := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("joe", "password-of-joe")))
	leaver := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("leaver", "password-of-leaver")))
	gone := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("gone", "password-of-gone")))
	m.must(t, "DELETE", "/user-svc/tokens", gone, obj{})
	m.must(t, "PUT", "/user-svc/permits", shop, obj{"permits": []obj{{"permission": "shop-svc:pet:edit", "slugs": []string{"joe"}}}})
	m.must(t, "PUT", "/registry-svc/instance", shop, obj{"url": web.URL})
	m.must(t, "PUT", "/registry-svc/definition", shop, obj{"definition": obj{"id": "shop-svc"}})
	m.must(t, "PUT", "/proxy-svc/routes", root, obj{"routes": []obj{{"id": "shop.example.com", "target": web.URL}}})

	backup := map[string]string{}
	for name, u := range before {
		backup[name] = dump(t, u)
	}
	// What happens from now on is lost: a sign-in that ended, too.
	m.must(t, "POST", "/user-svc/register", "", credentials("late", "password-of-late"))
	m.must(t, "DELETE", "/user-svc/tokens", leaver, obj{})
	m.StopAll()

	after := databases(t)
	for name, u := range after {
		restore(t, u, backup[name])
	}
	m = start(t, after, key)
	for slug, token := range map[string]string{"joe": joe, "leaver": leaver} {
		if status, self := m.do(t, "POST", "/user-svc/self", token, obj{}); status != 200 {
			t.Errorf("the token of %s: %d %v", slug, status, self)
		}
		m.login(t, slug, "password-of-"+slug)
	}
	for slug, want := range map[string]int{"late": 401, "gone": 200} {
		if status, out := m.do(t, "POST", "/user-svc/login", "", credentials(slug, "password-of-"+slug)); status != want {
			t.Errorf("sign-in of %s: %d, want %d: %v", slug, status, want, out)
		}
	}
	if status, _ := m.do(t, "POST", "/user-svc/self", gone, obj{}); status != 401 {
		t.Errorf("a token that was revoked before the backup: %d", status)
	}
	if out := m.must(t, "POST", "/user-svc/self/has/shop-svc:pet:edit", joe, obj{}); out["authorized"] != true {
		t.Errorf("the permit is not there: %v", out)
	}
	m.leadsTo(t, web)
	if got := m.must(t, "GET", "/registry-svc/definitions", shop, nil)["definitions"].([]any); len(got) != 1 {
		t.Errorf("definitions %v", got)
	}
	root = m.login(t, admin, adminPassword)
	if got := m.must(t, "POST", "/proxy-svc/routes", root, obj{})["routes"].([]any); len(got) != 1 {
		t.Errorf("routes %v", got)
	}
}

// leadsTo checks that the slug and the host route lead to the instance. A mesh is ready before a table that was empty is
// whole.
func (m *mesh) leadsTo(t *testing.T, web *upstream.Server) {
	t.Helper()
	for _, host := range []string{"", "shop.example.com"} {
		eventually(t, func() error {
			if status, out := m.doFor(t, host, "GET", "/shop-svc/x", "", nil); status != 200 || out["Target"] != "/shop-svc/x" {
				return fmt.Errorf("host %q leads to %d %v, not to %s", host, status, out, web.URL)
			}
			return nil
		})
	}
}

// TestSecretKeyIsLost starts the user service with another key than the one that has sealed what is in its database, and
// does what docs/operations.md says.
func TestSecretKeyIsLost(t *testing.T) {
	urls := databases(t)
	m := start(t, urls, newSecretKey(t))
	joe := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("joe", "password-of-joe")))
	m.StopAll()

	other := newSecretKey(t)
	m.Configure(map[string]map[string]string{"user": {"MICRO_SECRET_KEY_FILE": other}})
	m.NATS.Start()
	p := m.Services["user"][0]
	p.Start()
	eventually(t, func() error {
		if p.Running() {
			return errors.New("the process runs")
		}
		return nil
	})
	const remedy = "DELETE FROM signing_keys; DELETE FROM secret_key;"
	for _, want := range []string{other, "is not the one of its database", "restore the one", remedy, "everybody has to sign in again"} {
		if log := p.WholeLog(); !strings.Contains(log, want) {
			t.Errorf("%q is missing in the log:\n%s", want, log)
		}
	}
	restore(t, urls["user"], remedy)
	m.StartAll()
	m.login(t, "joe", "password-of-joe")
	if status, out := m.do(t, "POST", "/user-svc/self", joe, obj{}); status != 401 {
		t.Errorf("a token of before: %d %v", status, out)
	}
}
