package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"

	"micromesh/bench/internal/child"
	"micromesh/pkg/auth"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/natsconn/embedded"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/secret"
	"micromesh/registry/app"
)

// services own the instances.
const services = 10

func slug(i int) string { return fmt.Sprintf("svc-%d", i) }

// hello is what the registry's process says first: where it answers, and the tokens of those who call.
type hello struct {
	Address string
	Tokens  map[string]string
}

// registry is the role of the registry's process.
func registry(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "heartbeats-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := embedded.Start(filepath.Join(dir, "nats"), log)
	if err != nil {
		return err
	}
	defer server.Stop()
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: nats.DefaultURL, Logger: log, Extra: []nats.Option{server.Option()}})
	if err != nil {
		return err
	}
	defer nc.Close()
	box, err := secret.Open(filepath.Join(dir, "secret.key"))
	if err != nil {
		return err
	}
	h, err := host.New(ctx, host.Config{NATS: nc, Secrets: box, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	tokens, err := signIn(ctx, h)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, h, app.Config{DatabaseURL: "sqlite:" + filepath.Join(dir, "registry.db"), InstanceNetworks: netpolicy.Loopback})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	return ready(ctx, h, tokens)
}

// ready tells where the registry is once it is there.
func ready(ctx context.Context, h *host.Host, tokens map[string]string) error {
	for h.Nodes.Lookup(app.Name) == nil {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return child.Ready(hello{h.Nodes.Lookup(app.Name).Nodes[0].Address, tokens})
}

// signIn does what the user service does elsewhere: it publishes a key, and makes tokens with it.
func signIn(ctx context.Context, h *host.Host) (map[string]string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	entry, err := json.Marshal(auth.Key{ID: "k", PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Current: true})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{kv.Permits, kv.Revocations, kv.Keys} {
		b, err := kv.Open(ctx, h.JS, name, kv.Options{})
		if err != nil {
			return nil, err
		}
		if name == kv.Keys {
			if _, err := b.Put(ctx, "k", entry); err != nil {
				return nil, err
			}
		}
	}
	tokens := map[string]string{}
	for i := range services {
		if tokens[slug(i)], err = token(key, slug(i), auth.RoleUser); err != nil {
			return nil, err
		}
	}
	tokens["admin"], err = token(key, "admin", auth.RoleAdmin)
	return tokens, errors.Join(err, h.Auth.WaitReady(ctx))
}

func token(key *rsa.PrivateKey, slug, role string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: "usr_" + slug, Slug: slug, Roles: []string{role}, AppID: "app", SessionID: "ses_" + slug,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: auth.Issuer, Audience: jwt.ClaimStrings{auth.Audience}, Subject: "usr_" + slug, ID: "tok_" + slug,
			IssuedAt: jwt.NewNumericDate(now.Add(-time.Second)), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
		},
	})
	t.Header["kid"] = "k"
	return t.SignedString(key)
}
