// Package meshtest runs a whole mesh in a test: the real services on real NATS and SQLite, behind the real gateway.
package meshtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/pkg/config"
	"micromesh/pkg/host"
	"micromesh/pkg/rpc/identity"
)

// Admin's account of every mesh that this package starts.
const (
	AdminSlug     = "1backend"
	AdminPassword = "changeme"
)

// Mesh is a mesh in a test.
type Mesh struct {
	Host    *host.Host // in the mesh's process, or beside its processes
	URL     string     // of the gateway
	EdgeURL string     // of host routes, where they have an address of their own
	stop    func()
	version string // of the API that Do speaks; empty is the first

	identity func(slug string) *identity.Identity // of a service beside the mesh; nil where it speaks plain text
}

// Addr is where the gateway listens, "host:port".
func (m *Mesh) Addr() string { return strings.TrimPrefix(m.URL, "http://") }

// Version2 returns the mesh for callers that send "Mesh-Api-Version: 2".
func (m *Mesh) Version2() *Mesh {
	c := *m
	c.version = "2"
	return &c
}

// Stop ends the mesh before the test ends.
func (m *Mesh) Stop() { m.stop() }

// Option changes the configuration before the start.
type Option func(*mesh.Config)

// WithEdge serves host routes on an address of their own.
func WithEdge() Option { return func(c *mesh.Config) { c.Gateway.EdgeListen = "127.0.0.1:0" } }

// At has the gateway listen where one did before, "host:port".
func At(address string) Option { return func(c *mesh.Config) { c.Gateway.Listen = address } }

// WithRoutes configures routes of the gateway: the path of a routes.yaml.
func WithRoutes(file string) Option { return func(c *mesh.Config) { c.Gateway.Routes = file } }

// InstanceNetworks sets the networks that instances may be in.
func InstanceNetworks(cidrs ...string) Option {
	return func(c *mesh.Config) { c.Gateway.InstanceNetworks, c.Registry.InstanceNetworks = cidrs, cidrs }
}

// WithForwarder sends events to a URL that takes what Mixpanel's import does.
func WithForwarder(url string) Option {
	return func(c *mesh.Config) {
		c.Forwarder.Target, c.Forwarder.URL, c.Forwarder.Token = "mixpanel", url, "token"
		c.Forwarder.Wait, c.Forwarder.MaxRetry = 20*time.Millisecond, 100*time.Millisecond
	}
}

// InDir uses a data folder that outlives the mesh.
func InDir(dir string) Option { return func(c *mesh.Config) { c.Dir = dir } }

// Config gives the settings' defaults, with a gateway on a port that the system picks. Variables of the environment don't
// reach it.
func Config(dir string, log *slog.Logger) (mesh.Config, error) {
	cfg := mesh.Config{Dir: dir, Logger: log}
	env := map[string]string{"MICRO_ADMIN_SLUG": AdminSlug, "MICRO_ADMIN_PASSWORD": AdminPassword}
	err := config.Parse(env, &cfg.User, &cfg.Registry, &cfg.Proxy, &cfg.Gateway, &cfg.Forwarder)
	cfg.Gateway.Listen = "127.0.0.1:0"
	return cfg, err
}

// Start starts a mesh with the settings' defaults; it is stopped when the test ends. It is one process, this one; or, where
// MESHTEST is "processes", one for each service on Postgres and NATS: then the package's TestMain must call Main or Play.
func Start(t testing.TB, opts ...Option) *Mesh {
	t.Helper()
	cfg, err := Config(t.TempDir(), Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range opts {
		o(&cfg)
	}
	if os.Getenv("MESHTEST") == "processes" {
		return startProcesses(t, cfg)
	}
	ctx := context.WithoutCancel(t.Context()) // Stop ends it, so that it can end in order
	m, err := mesh.Start(ctx, cfg)
	if err != nil {
		t.Fatalf("start mesh: %v", err)
	}
	t.Cleanup(m.Stop)
	out := &Mesh{Host: m.Host, URL: "http://" + m.Addr().String(), stop: m.Stop}
	if a := m.EdgeAddr(); a != nil {
		out.EdgeURL = "http://" + a.String()
	}
	return out
}

// Logger writes warnings and errors to the test's output.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Answer is what the gateway has answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Field gives a field of a JSON answer by its path; nil where there is none.
func (a Answer) Field(path ...string) any {
	var v any
	if json.Unmarshal(a.Body, &v) != nil {
		return nil
	}
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// Text gives a text field of a JSON answer by its path; empty where there is none.
func (a Answer) Text(path ...string) string {
	s, _ := a.Field(path...).(string)
	return s
}

// Do calls the gateway. In is JSON: text as it is, nil for no body, anything else marshalled.
func (m *Mesh) Do(t testing.TB, method, path, token string, in any) Answer {
	t.Helper()
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case string:
		body = bytes.NewReader([]byte(v))
	default:
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, m.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if m.version != "" {
		req.Header.Set("Mesh-Api-Version", m.version)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return Send(t, req)
}

// Send sends a request and reads its answer whole. Redirects are not followed.
func Send(t testing.TB, req *http.Request) Answer {
	t.Helper()
	rsp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatalf("%s %s: read answer: %v", req.Method, req.URL, err)
	}
	return Answer{Status: rsp.StatusCode, Header: rsp.Header, Body: b}
}

// Must fails the test unless the status is the one that is wanted.
func (a Answer) Must(t testing.TB, status int) Answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status is %d, want %d: %s", a.Status, status, a.Body)
	}
	return a
}

// Login gives a token of an account.
func (m *Mesh) Login(t testing.TB, slug, password string) string {
	t.Helper()
	a := m.Do(t, "POST", "/user-svc/login", "", map[string]string{"appHost": "unnamed", "slug": slug, "password": password})
	return a.Must(t, 200).Text("token", "token")
}

// Soon waits until something holds, for at most the 5 s in which a revocation reaches every process.
func Soon(t testing.TB, what string, holds func() bool) {
	t.Helper()
	within(t, 5*time.Second, what, holds)
}

// Eventually waits until something holds that has no time of its own, however busy the machine is.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	within(t, 30*time.Second, what, holds)
}

func within(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// Admin gives a token of the admin.
func (m *Mesh) Admin(t testing.TB) string { t.Helper(); return m.Login(t, AdminSlug, AdminPassword) }

// Register makes an account, with the password "password-of-"+slug, and gives its token.
func (m *Mesh) Register(t testing.TB, slug string) string {
	t.Helper()
	a := m.Do(t, "POST", "/user-svc/register", "", map[string]string{"appHost": "unnamed", "slug": slug, "name": slug, "password": "password-of-" + slug})
	return a.Must(t, 200).Text("token", "token")
}

// LoseMany has an account lose so many roles of an owner that one mark takes the place of them in the list of revocations. It returns a token
// of the account that was issued before.
func (m *Mesh) LoseMany(t testing.TB, owner, userID, token string) string {
	t.Helper()
	type obj = map[string]any
	admin, first := m.Admin(t), ""
	for i := range 9 {
		var enrolls []obj
		var ids []string
		for j := range 7 {
			role := fmt.Sprintf("%s:%d-%d-", owner, i, j)
			ids = append(ids, fmt.Sprintf("%s-%d-%d", userID, i, j))
			enrolls = append(enrolls, obj{"id": ids[j], "role": role + strings.Repeat("x", 128-len(role)), "userId": userID})
		}
		m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": enrolls}).Must(t, 200)
		token = m.Do(t, "POST", "/user-svc/refresh-token", token, nil).Must(t, 200).Text("token", "token")
		if i == 0 {
			first = token // older than the mark, whenever that is made
		}
		m.Do(t, "DELETE", "/user-svc/enrolls", admin, obj{"ids": ids}).Must(t, 200)
	}
	return first
}
