package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"micromesh/cmd/micro/cli"
	"micromesh/internal/cluster"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/kv"
)

// line is a command line of its own, with a file of sign-ins that its commands share.
type line struct {
	config, server string
}

// run gives what a command prints, and its exit code.
func (l line) run(args ...string) (string, int) {
	var out bytes.Buffer
	code := cli.Run(append([]string{"micro", "--server", l.server}, args...), cli.IO{
		Stdin: os.Stdin, Stdout: &out, Stderr: &out, Config: l.config,
		Getenv: func(name string) string {
			if name == "MICRO_PASSWORD" {
				return meshtest.AdminPassword
			}
			return ""
		},
	})
	return out.String(), code
}

// says fails the test unless the doctor ends with a code and says what fits each pattern.
func (l line) says(t *testing.T, code int, patterns ...string) {
	t.Helper()
	out, got := l.run("doctor")
	if got != code {
		t.Errorf("exit code %d, want %d:\n%s", got, code, out)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(out) {
			t.Errorf("no line fits %s:\n%s", p, out)
		}
	}
}

// TestDoctorThroughAProxy looks at a mesh through proxies that change what it answers.
func TestDoctorThroughAProxy(t *testing.T) {
	t.Parallel()
	mesh, err := url.Parse(meshtest.Start(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	date := func(off time.Duration) func(*http.Response) error {
		return func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			return nil
		}
	}
	rows := map[string]struct {
		change func(*http.Response) error
		code   int
		says   string
	}{
		"nothing changed":      {func(*http.Response) error { return nil }, 0, `^ok    clock: within \d+s`},
		"a clock that is fast": {date(10 * time.Minute), 0, `^warn  clock: .* by (10m0s|9m59s) → synchronize`},
		"a clock that is slow": {date(-time.Hour), 0, `^warn  clock: .* by -1h0m[01]s → synchronize`},
		"no time": {func(r *http.Response) error {
			r.Header.Set("Date", "")
			return nil
		}, 0, `^warn  clock: the gateway doesn't tell the time`},
		"another version": {func(r *http.Response) error {
			if r.Request.URL.Path == "/openapi.json" {
				answer := `{"info":{"version":"9.9.9"}}`
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(answer)), int64(len(answer))
				r.Header.Set("Content-Length", strconv.Itoa(len(answer)))
			}
			return nil
		}, 0, `^warn  version: the mesh is 9.9.9, this command line `},
		"a gateway that is down": {func(r *http.Response) error {
			r.StatusCode, r.Status, r.Body, r.ContentLength = 502, "", http.NoBody, 0
			r.Header.Set("Content-Length", "0")
			return nil
		}, 1, `^FAIL  gateway: a proxy in front of it answers 502 Bad Gateway → `},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			proxy := httptest.NewServer(&httputil.ReverseProxy{
				Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(mesh) }, ModifyResponse: r.change,
			})
			t.Cleanup(proxy.Close)
			line{filepath.Join(t.TempDir(), "config.json"), proxy.URL}.says(t, r.code, r.says)
		})
	}
}

// TestDoctorSparesRoutesOfAnEdge looks at a gateway that serves host routes at another address than the one it is asked at.
func TestDoctorSparesRoutesOfAnEdge(t *testing.T) {
	t.Parallel()
	l := line{filepath.Join(t.TempDir(), "config.json"), meshtest.Start(t, meshtest.WithEdge()).URL}
	for _, args := range [][]string{
		{"login", meshtest.AdminSlug},
		{"route", "save", "--id", "shop.example.com", "--target", "http://127.0.0.1:1"},
		{"route", "save", "--id", "shop.example.com/api", "--target", "http://127.0.0.1:1"},
	} {
		if out, code := l.run(args...); code != 0 {
			t.Fatal(out)
		}
	}
	l.says(t, 0, `^warn  route shop.example.com: is not served at http://.* → look at the address`, `^warn  route shop.example.com/api: is not served`)
}

// TestDoctorOfRefusedTargets looks at a host route that a guard of routes.yaml closes, and at an instance that was registered before
// MICRO_INSTANCE_NETWORKS left its network out.
func TestDoctorOfRefusedTargets(t *testing.T) {
	t.Parallel()
	web, dir := upstream.Start(t), t.TempDir()
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "version: 1\nroutes:\n  - {path: /secret, proxy_upstream: %q, auth_required: true}\n", web.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config.json")
	m := meshtest.Start(t, meshtest.InDir(dir), meshtest.WithRoutes(file))
	l := line{config, m.URL}
	for _, args := range [][]string{
		{"login", meshtest.AdminSlug},
		{"route", "save", "--id", "shop.example.com", "--target", web.URL + "/base"},
		{"instance", "register", "--slug", "shop-svc", web.URL},
	} {
		if out, code := l.run(args...); code != 0 {
			t.Fatal(out)
		}
	}
	l.says(t, 0, `^warn  route shop.example.com: is closed, since routes.yaml guards its target → micro gateway check`, `^ok    routes: 0 of 1 lead somewhere`)
	m.Stop()

	l.server = meshtest.Start(t, meshtest.InDir(dir), meshtest.InstanceNetworks("10.0.0.0/8")).URL
	if out, code := l.run("login", meshtest.AdminSlug); code != 0 {
		t.Fatal(out)
	}
	advice := ` → add its network to MICRO_INSTANCE_NETWORKS of registry and gateway`
	meshtest.Eventually(t, "the instance is refused", func() bool {
		out, _ := l.run("doctor")
		return strings.Contains(out, "none of 1 instance is live")
	})
	l.says(t, 1, `^warn  shop-svc: instance .* is Unreachable: .*`+advice, `^FAIL  shop-svc: none of 1 instance is live.*`+advice)
}

// TestDoctorOfABrokenMesh takes parts of a mesh away, and sees the doctor name each.
func TestDoctorOfABrokenMesh(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Config{
		Of:       map[string]map[string]string{"user": {"MICRO_ADMIN_PASSWORD": meshtest.AdminPassword}},
		Replicas: map[string]int{"user": 2},
	})
	l := line{filepath.Join(t.TempDir(), "config.json"), c.Gateway(0)}
	if out, code := l.run("login", "admin"); code != 0 {
		t.Fatal(out)
	}
	l.says(t, 0, `^ok    user-svc: 2 nodes: grpc://\S+ grpc://\S+$`)

	c.Services["proxy"][0].Stop()
	l.says(t, 1, `^FAIL  proxy-svc: no node is known → start it`, `^FAIL  proxy-svc: a call fails after .* → see whether a process`)

	for _, p := range c.Services["user"] {
		p.Stop()
	}
	l.says(t, 1, `^ok    gateway: ready`, `^FAIL  user-svc: a call fails`, `^ok    registry-svc: answers`)

	// A gateway that starts for the first time while nothing tells it the keys.
	if err := c.Host(t.Context()).JS.DeleteKeyValue(t.Context(), kv.Keys); err != nil {
		t.Fatal(err)
	}
	gateway := c.Services["gateway"][0]
	c.Configure(map[string]map[string]string{"gateway": {"MICRO_GATEWAY_DATA": t.TempDir()}})
	gateway.Stop()
	gateway.Start()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if rsp, err := http.Get(c.Gateway(0) + "/healthz"); err == nil {
			rsp.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	l.says(t, 1, `^FAIL  gateway: not ready: the keys that sign tokens are not known yet → see whether NATS, user-svc`)
}
