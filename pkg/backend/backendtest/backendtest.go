// Package backendtest runs a service's app in tests, as its own process would: on a real NATS server, with discovery, tokens
// and permits as the user service would have put them there.
package backendtest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/metadata"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/auth"
	"micromesh/pkg/events"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/secret"
)

// Mesh is what a service finds around it.
type Mesh struct {
	Host *host.Host // for the app; Host.Client calls it

	t       testing.TB
	url     string
	key     *rsa.PrivateKey
	permits jetstream.KeyValue
}

// App is a service that was opened.
type App interface {
	Run(ctx context.Context) error
	Close() error
	Ready(ctx context.Context) error
}

const (
	keyID    = "test"
	patience = 30 * time.Second
)

// Start starts a mesh without other services. It is stopped when the test ends.
func Start(t testing.TB) *Mesh {
	t.Helper()
	srv := natstest.Start(t)
	nc, js := srv.Connect()
	m := &Mesh{t: t, url: srv.URL()}
	m.publishKey(js)
	var err error
	if m.permits, err = kv.Open(t.Context(), js, kv.Permits, kv.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Open(t.Context(), js, kv.Revocations, kv.Options{}); err != nil {
		t.Fatal(err)
	}
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if m.Host, err = host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Host.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// publishKey makes the key that signs tokens, and tells everybody of it.
func (m *Mesh) publishKey(js jetstream.JetStream) {
	m.t.Helper()
	var err error
	if m.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		m.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(m.key.Public())
	if err != nil {
		m.t.Fatal(err)
	}
	keys, err := kv.Open(m.t.Context(), js, kv.Keys, kv.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	m.put(keys, keyID, auth.Key{ID: keyID, PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Current: true})
}

func (m *Mesh) put(bucket jetstream.KeyValue, key string, v any) {
	m.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := bucket.Put(m.t.Context(), key, b); err != nil {
		m.t.Fatal(err)
	}
}

// NATS is where processes connect to the mesh.
func (m *Mesh) NATS() string { return m.url }

// Run runs an app until the test ends, and waits until it is ready.
func (m *Mesh) Run(app App) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	m.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("run: %v", err)
		}
		if err := app.Close(); err != nil {
			m.t.Errorf("close: %v", err)
		}
	})
	m.until("the service is not ready", func() bool { return app.Ready(ctx) == nil })
}

// Token signs a token of an account with a slug and roles.
func (m *Mesh) Token(slug string, roles ...string) string {
	m.t.Helper()
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: "usr_" + slug, Slug: slug, Roles: append([]string{auth.RoleUser}, roles...), AppID: "test", SessionID: "ses_" + slug,
		RegisteredClaims: jwt.RegisteredClaims{
			ID: rand.Text(), Subject: "usr_" + slug, Issuer: auth.Issuer, Audience: jwt.ClaimStrings{auth.Audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
		},
	})
	token.Header["kid"] = keyID
	signed, err := token.SignedString(m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return signed
}

// As gives the context of calls by an account with a slug and roles.
func (m *Mesh) As(slug string, roles ...string) context.Context {
	m.t.Helper()
	return metadata.NewContext(m.t.Context(), metadata.Metadata{"authorization": "Bearer " + m.Token(slug, roles...)})
}

// Permit grants a permission to accounts by their slugs, and waits until it holds in this process.
func (m *Mesh) Permit(permission string, slugs ...string) {
	m.t.Helper()
	m.put(m.permits, kv.Key(permission+rand.Text()), auth.Permit{AppID: auth.AnyApp, Permission: permission, Slugs: slugs})
	for _, slug := range slugs {
		m.until("the permit doesn't hold", func() bool { return m.Host.Auth.Permitted(&auth.Claims{Slug: slug, AppID: "test"}, permission) })
	}
}

// Event waits for an event of a topic that an app has published, and reads the newest.
func (m *Mesh) Event(topic string, into proto.Message) {
	m.t.Helper()
	m.until("there is no event of "+topic, func() bool {
		stream, err := m.Host.JS.Stream(m.t.Context(), events.Stream)
		if err != nil {
			return false
		}
		msg, err := stream.GetLastMsgForSubject(m.t.Context(), events.Subject(topic))
		return err == nil && proto.Unmarshal(msg.Data, into) == nil
	})
}

// until waits for what is to come.
func (m *Mesh) until(otherwise string, holds func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatal(otherwise)
		}
	}
}
