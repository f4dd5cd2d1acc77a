package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/internal/mesh"
	"micromesh/pkg/config"
	"micromesh/pkg/sqldb"
	"micromesh/user/store"
)

// password of every account that signs in here; they live as long as the run.
const password = "password-of-a-bench"

// serveMesh runs a mesh with as many accounts, of which some are signed in, until its input ends.
func serveMesh(ctx context.Context, accounts, conns int) error {
	dir, err := os.MkdirTemp("", "bench-mesh")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := seed(ctx, filepath.Join(dir, "user.db"), accounts); err != nil {
		return err
	}
	cfg := mesh.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	env := map[string]string{"MICRO_ADMIN_PASSWORD": password, "MICRO_TOKEN_EXPIRATION": "2h"}
	if err := config.Parse(env, &cfg.User, &cfg.Registry, &cfg.Proxy, &cfg.Gateway); err != nil {
		return err
	}
	cfg.Gateway.Listen = "127.0.0.1:0"
	started := time.Now()
	m, err := mesh.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Stop()
	h := hello{Address: m.Addr().String(), Ready: time.Since(started)}
	if h.Idle, err = child.Resident(os.Getpid()); err != nil {
		return err
	}
	for i := range conns {
		tok, err := signIn(ctx, h.Address, fmt.Sprintf("bench-%d", i))
		if err != nil {
			return err
		}
		h.Tokens = append(h.Tokens, tok)
	}
	return child.Ready(h)
}

// seed puts accounts into the database that nobody signs in with: they only make it as large as it would be.
func seed(ctx context.Context, file string, n int) error {
	db, err := sqldb.Open(ctx, sqldb.Config{URL: "sqlite:" + file, Timeout: 5 * time.Minute})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := store.Migrate(ctx, db); err != nil {
		return err
	}
	return db.Write(ctx, func(tx *sqldb.Tx) error {
		const numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) "
		for _, q := range []string{
			numbers + "INSERT INTO slugs (slug, owner) SELECT 'seed-' || n, 'usr_seed' || n FROM c",
			numbers + "INSERT INTO accounts (id, slug, name, search, created_at, updated_at) SELECT 'usr_seed' || n, 'seed-' || n, 'Seed ' || n, 'seed-' || n, n, n FROM c",
			numbers + `INSERT INTO contacts (id, platform, handle, user_id, is_primary, verified, created_at, updated_at)
				SELECT 'seed-' || n || '@example.com', 'email', 'seed-' || n || '@example.com', 'usr_seed' || n, TRUE, TRUE, n, n FROM c`,
		} {
			if _, err := tx.Exec(ctx, q, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// signIn registers an account and gives its token.
func signIn(ctx context.Context, address, slug string) (string, error) {
	var out struct{ Token struct{ Token string } }
	in := map[string]any{"appHost": "unnamed", "slug": slug, "password": password, "contact": map[string]string{"id": slug + "@example.org", "platform": "email"}}
	err := call(ctx, http.MethodPost, "http://"+address+"/user-svc/register", "", in, &out)
	return out.Token.Token, err
}

// register makes the upstream an instance of the slug bench-svc.
func register(ctx context.Context, mesh, upstream string) error {
	tok, err := signIn(ctx, mesh, "bench-svc")
	if err != nil {
		return err
	}
	return call(ctx, http.MethodPut, "http://"+mesh+"/registry-svc/instance", tok, map[string]string{"url": "http://" + upstream}, nil)
}

func call(ctx context.Context, method, url, token string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if b, err = io.ReadAll(rsp.Body); err != nil {
		return err
	}
	if rsp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, url, rsp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
