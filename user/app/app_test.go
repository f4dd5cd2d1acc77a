package app_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/metadata"

	"micromesh/pkg/host"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/natsconn/embedded"
	"micromesh/pkg/secret"
	"micromesh/user/app"

	userpb "micromesh/user/proto"
)

const adminPassword = "correct horse battery"

// mesh is a user service that runs on an embedded NATS server.
type mesh struct {
	t      *testing.T
	host   *host.Host
	app    *app.App
	client userpb.UserService
	cfg    app.Config
}

func config(t *testing.T) app.Config {
	t.Helper()
	dir := t.TempDir()
	return app.Config{
		DatabaseURL: "sqlite:" + filepath.Join(dir, "user.db"), AdminSlug: "admin", AdminPassword: adminPassword,
		TokenExpiration: 5 * time.Minute, SessionLife: 720 * time.Hour, KeyRotation: 720 * time.Hour,
		MailFrom: "Mesh <noreply@localhost>", MailDir: filepath.Join(dir, "mail"),
	}
}

// newHost starts NATS and a host on it.
func newHost(t *testing.T, session time.Duration) *host.Host {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	srv, err := embedded.Start(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	conn, err := natsconn.Connect(t.Context(), natsconn.Config{URL: nats.DefaultURL, Name: "test", Logger: log, Extra: []nats.Option{srv.Option()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	box, err := secret.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(t.Context(), host.Config{NATS: conn, Secrets: box, Logger: log, TokenSession: session})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	return h
}

func start(t *testing.T, change ...func(*app.Config)) *mesh {
	t.Helper()
	cfg := config(t)
	for _, c := range change {
		c(&cfg)
	}
	return startOn(t, newHost(t, cfg.AcceptExpired()), cfg)
}

func startOn(t *testing.T, h *host.Host, cfg app.Config) *mesh {
	t.Helper()
	a, err := app.New(t.Context(), h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	m := &mesh{t: t, host: h, app: a, client: userpb.NewUserService(app.Name, h.Client), cfg: cfg}
	wait(t, "the service is found", func() bool {
		_, err := m.client.GetPublicKey(t.Context(), &userpb.GetPublicKeyRequest{})
		return err == nil
	})
	return m
}

// wait waits until something has come true.
func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// as gives a context whose calls carry a token.
func (m *mesh) as(token string) context.Context {
	return metadata.NewContext(m.t.Context(), metadata.Metadata{"authorization": "Bearer " + token})
}

func (m *mesh) login(slug, password string) *userpb.Token {
	m.t.Helper()
	out, err := m.client.Login(m.t.Context(), &userpb.LoginRequest{Slug: slug, Password: password})
	if err != nil {
		m.t.Fatalf("login %s: %v", slug, err)
	}
	return out.GetToken()
}

func (m *mesh) register(slug string) *userpb.Token {
	m.t.Helper()
	out, err := m.client.Register(m.t.Context(), &userpb.RegisterRequest{Slug: slug, Password: "password of " + slug})
	if err != nil {
		m.t.Fatalf("register %s: %v", slug, err)
	}
	return out.GetToken()
}
