package app_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/metadata"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/natsconn/embedded"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
	"micromesh/pkg/secret"
	"micromesh/registry/app"
)

// mesh is a registry with what it needs: NATS, a key that signs tokens.
type mesh struct {
	t    *testing.T
	log  *slog.Logger
	dir  string
	host *host.Host
	key  *rsa.PrivateKey
	cfg  app.Config

	tokens sync.Map // by slug

	stop  context.CancelFunc
	ended chan error
	app   *app.App
}

func start(t *testing.T, change ...func(*app.Config)) *mesh {
	t.Helper()
	m := &mesh{t: t, dir: t.TempDir(), log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	server, err := embedded.Start(filepath.Join(m.dir, "nats"), m.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	nc, err := natsconn.Connect(t.Context(), natsconn.Config{URL: nats.DefaultURL, Name: "test", Logger: m.log, Extra: []nats.Option{server.Option()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	box, err := secret.Open(filepath.Join(m.dir, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	if m.host, err = host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: m.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.host.Close() })
	m.publishKey()
	m.cfg = app.Config{DatabaseURL: "sqlite:" + filepath.Join(m.dir, "registry.db"), CheckInterval: 100 * time.Millisecond, InstanceNetworks: slices.Concat(netpolicy.Networks, netpolicy.Loopback)}
	for _, f := range change {
		f(&m.cfg)
	}
	m.run()
	t.Cleanup(m.halt)
	return m
}

func (m *mesh) run() {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, m.host, m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.app, m.stop, m.ended = a, cancel, make(chan error, 1)
	ended := m.ended
	go func() { ended <- a.Run(ctx) }()
	m.eventually("the registry answers", func() bool {
		return m.call("", "EchoGet", "{}", nil) == nil
	})
}

func (m *mesh) halt() {
	m.stop()
	if err := <-m.ended; err != nil {
		m.t.Error(err)
	}
	m.ended <- nil
	if err := m.app.Close(); err != nil {
		m.t.Error(err)
	}
}

// restart ends the registry, and starts it again on the same data.
func (m *mesh) restart() {
	m.t.Helper()
	m.halt()
	m.run()
}

func (m *mesh) publishKey() {
	m.t.Helper()
	var err error
	if m.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		m.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&m.key.PublicKey)
	if err != nil {
		m.t.Fatal(err)
	}
	entry, err := json.Marshal(auth.Key{ID: "k", PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Current: true})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range []string{kv.Keys, kv.Permits, kv.Revocations} {
		b, err := kv.Open(m.t.Context(), m.host.JS, name, kv.Options{})
		if err != nil {
			m.t.Fatal(err)
		}
		if name == kv.Keys {
			if _, err := b.Put(m.t.Context(), "k", entry); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	if err := m.host.Auth.WaitReady(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// token is that of an account with a slug; that of "admin" is an admin's.
func (m *mesh) token(slug string) string {
	m.t.Helper()
	if t, ok := m.tokens.Load(slug); ok {
		return t.(string)
	}
	roles := []string{auth.RoleUser}
	if slug == "admin" {
		roles = append(roles, auth.RoleAdmin)
	}
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: "usr_" + slug, Slug: slug, Roles: roles, AppID: "app", SessionID: "ses_" + slug,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: auth.Issuer, Audience: jwt.ClaimStrings{auth.Audience}, Subject: "usr_" + slug, ID: "tok_" + slug,
			IssuedAt: jwt.NewNumericDate(now.Add(-time.Second)), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
		},
	})
	t.Header["kid"] = "k"
	s, err := t.SignedString(m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	m.tokens.Store(slug, s)
	return s
}

// call calls the registry with JSON, as the gateway does, for the account with a slug; "" is nobody.
func (m *mesh) call(as, method, body string, answer any, version ...string) error {
	m.t.Helper()
	md := metadata.MD{"mesh-api-version": version}
	if as != "" {
		md.Set("authorization", "Bearer "+m.token(as))
	}
	out, _, err := m.host.RPC.Raw(m.t.Context(), app.Name, "RegistryService."+method, "json", []byte(body), md)
	if err != nil {
		return err
	}
	if answer != nil {
		if err := json.Unmarshal(out, answer); err != nil {
			m.t.Fatalf("%s answered %s: %v", method, out, err)
		}
	}
	return nil
}

// registered is the answer to a registration.
type registered struct {
	ID           string `json:"id"`
	Generation   int    `json:"generation"`
	LeaseSeconds int    `json:"leaseSeconds"`
	ProofKey     string `json:"proofKey"`
}

func (m *mesh) register(as, body string) (registered, error) {
	m.t.Helper()
	var r registered
	err := m.call(as, "RegisterInstance", body, &r)
	return r, err
}

// beat registers an instance by version 2 of the API.
func (m *mesh) beat(as, body string) (registered, error) {
	m.t.Helper()
	var r registered
	err := m.call(as, "RegisterInstance", body, &r, "2")
	return r, err
}

func (m *mesh) mustRegister(as, body string) registered {
	m.t.Helper()
	r, err := m.register(as, body)
	if err != nil {
		m.t.Fatalf("register %s: %v", body, err)
	}
	return r
}

// instance is one as it is listed.
type instance struct {
	ID            string            `json:"id"`
	Slug          string            `json:"slug"`
	URL           string            `json:"url"`
	Scheme        string            `json:"scheme"`
	Host          string            `json:"host"`
	IP            string            `json:"ip"`
	Port          int               `json:"port"`
	Path          string            `json:"path"`
	DeploymentID  string            `json:"deploymentId"`
	Status        string            `json:"status"`
	Details       string            `json:"details"`
	LastHeartbeat time.Time         `json:"lastHeartbeat"`
	Generation    int               `json:"generation"`
	Metadata      map[string]string `json:"metadata"`
}

func (m *mesh) list(as, filter string) []instance {
	m.t.Helper()
	var out struct {
		Instances []instance `json:"instances"`
	}
	if err := m.call(as, "ListInstances", filter, &out); err != nil {
		m.t.Fatal(err)
	}
	return out.Instances
}

// find gives the instance with an id, as the admin sees it.
func (m *mesh) find(id string) (instance, bool) {
	m.t.Helper()
	for _, i := range m.list("admin", "{}") {
		if i.ID == id {
			return i, true
		}
	}
	return instance{}, false
}

// published gives an instance as it lies in the bucket.
func (m *mesh) published(slug, id string) (routing.Instance, bool) {
	m.t.Helper()
	b, err := m.host.JS.KeyValue(m.t.Context(), kv.Instances)
	if err != nil {
		return routing.Instance{}, false
	}
	e, err := b.Get(m.t.Context(), routing.InstanceKey(slug, id))
	if err != nil {
		return routing.Instance{}, false
	}
	var in routing.Instance
	if err := json.Unmarshal(e.Value(), &in); err != nil {
		m.t.Fatal(err)
	}
	return in, true
}

func (m *mesh) eventually(what string, cond func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("never: %s", what)
		}
	}
}

func wantKind(t *testing.T, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("got %v, want an error of status %d", err, kind.Status())
	}
}

// listen gives the address of a listener that accepts and says nothing.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
