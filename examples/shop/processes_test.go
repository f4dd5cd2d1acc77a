package shop_test

import (
	"context"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/client"
	"go-micro.dev/v5/errors"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	natsregistry "go-micro.dev/v5/registry/nats"
	"go-micro.dev/v5/selector"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest"
	"micromesh/pkg/sqldb/sqldbtest"
)

// besideProcesses is a shop as it runs in production: on Postgres, beside a mesh each of whose services is a process of its own, with the
// login that guests have on a NATS server of their own.
func besideProcesses(t *testing.T) *shop {
	t.Helper()
	c := cluster.Start(t, cluster.Config{Guests: true, Of: map[string]map[string]string{
		"user":    {"MICRO_ADMIN_SLUG": meshtest.AdminSlug, "MICRO_ADMIN_PASSWORD": meshtest.AdminPassword},
		"gateway": {"MICRO_ROUTES": routesFile(t)},
	}})
	env := map[string]map[string]string{}
	for _, p := range programs {
		env[p] = c.GuestEnv()
		url, ok := sqldbtest.PostgresURL(t)
		if !ok {
			t.Fatal("there is no Postgres")
		}
		env[p]["DATABASE_URL_FILE"] = file(t, url)
		env[p]["MICRO_REGISTRY_ADDRESS_FILE"] = file(t, env[p]["MICRO_REGISTRY_ADDRESS"])
		delete(env[p], "MICRO_REGISTRY_ADDRESS")
		env[p]["MICRO_SERVER_ADDRESS"] = cluster.FreeAddress(t)
	}
	s := open(t, &shop{guest: c.GuestEnv(), Mesh: &meshtest.Mesh{URL: c.Gateway(0)}, bin: build(t), env: func(program string) map[string]string { return env[program] }})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("registry: %s", c.Services["registry"][0].Log())
		}
	})
	return s
}

// file is one with such a content.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestShopBesideProcesses(t *testing.T) {
	s := besideProcesses(t)
	s.all(t)
	s.restart()
	s.healthcheck()
	s.callsTheMesh()
	s.killed()
}

// healthcheck asks a program as its container does.
func (s *shop) healthcheck() {
	s.t.Helper()
	check := func(env map[string]string) (string, error) {
		cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, "users"), "healthcheck")
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(s.env("users")); err != nil {
		s.t.Errorf("users is not well: %v: %s", err, out)
	}
	nowhere := maps.Clone(s.env("users"))
	nowhere["MICRO_SERVER_ADDRESS"] = cluster.FreeAddress(s.t)
	if out, err := check(nowhere); err == nil || !strings.Contains(out, "connection refused") {
		s.t.Errorf("who doesn't run is well: %v: %s", err, out)
	}
}

// callsTheMesh calls user-svc by go-micro's own client, as a program with the guests' login does.
func (s *shop) callsTheMesh() {
	s.t.Helper()
	opts := nats.GetDefaultOptions()
	if err := nats.RootCAs(s.guest["SSL_CERT_FILE"])(&opts); err != nil {
		s.t.Fatal(err)
	}
	r := natsregistry.NewNatsRegistry(registry.Addrs(s.guest["MICRO_REGISTRY_ADDRESS"]), natsregistry.NatsOptions(opts))
	c := client.NewClient(client.Registry(r), client.Selector(selector.NewSelector(selector.Registry(r))), client.Retries(0))
	call := func(ctx context.Context, out any) error {
		req := c.NewRequest("user-svc", "UserService.ReadSelf", map[string]any{}, client.WithContentType("application/json"))
		return c.Call(ctx, req, out)
	}
	signedIn := metadata.NewContext(s.t.Context(), metadata.Metadata{"Authorization": "Bearer " + s.Admin(s.t)})
	var self struct{ User struct{ Slug string } }
	var err error
	s.eventually("user-svc is found", func() bool {
		err = call(signedIn, &self)
		return err == nil || !strings.Contains(err.Error(), "not found")
	})
	if err != nil || self.User.Slug != meshtest.AdminSlug {
		s.t.Errorf("who calls is %q: %v", self.User.Slug, err)
	}
	if err := call(s.t.Context(), &self); err == nil || errors.Parse(err.Error()).Code != http.StatusUnauthorized {
		s.t.Errorf("nobody is told who he is: %v", err)
	}
}

// killed ends a program by a power cut: it is no instance any more.
func (s *shop) killed() {
	s.t.Helper()
	admin := s.Admin(s.t)
	listed := func() bool {
		return strings.Contains(string(s.Do(s.t, "GET", "/registry-svc/instances", admin, nil).Must(s.t, 200).Body), `"products"`)
	}
	if !listed() {
		s.t.Fatal("products is no instance while it runs")
	}
	_ = s.run["products"].Process.Kill()
	_ = s.run["products"].Wait()
	s.eventually("products is no instance", func() bool { return !listed() })
	s.eventually("the gateway leads nowhere", func() bool {
		return s.Do(s.t, "POST", "/products/Products/Read", "", `{"id":1}`).Status == http.StatusNotFound
	})
	s.must("GET", "/users/1", nil, 200, `"name":"Joe"`)
}
