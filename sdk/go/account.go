package sdk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"micromesh/pkg/atomicfile"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
)

// credentials are what the account signs in with.
type credentials struct {
	Slug     string `json:"slug"`
	Password string `json:"password"`
}

// loadCredentials reads the file, or makes a password and writes it: durably, before the account is registered, since
// an account whose password was lost can't be used any more.
func loadCredentials(file, slug string) (credentials, error) {
	var c credentials
	b, err := os.ReadFile(file)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &c); err != nil || c.Slug == "" || c.Password == "" {
			return c, fmt.Errorf("read credentials: %s does not hold a slug and a password as JSON", file)
		}
		if c.Slug != slug {
			return c, fmt.Errorf("read credentials: %s is of %s, not of %s", file, c.Slug, slug)
		}
		return c, nil
	case !errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("read credentials: %w", err)
	}
	c = credentials{Slug: slug, Password: rand.Text() + rand.Text()}
	if b, err = json.MarshalIndent(c, "", "  "); err != nil { //nolint:gosec // the file is there to hold the password
		return c, err
	}
	if err := atomicfile.Create(file, append(b, '\n')); err != nil {
		return c, fmt.Errorf("write credentials: %w", err)
	}
	return c, nil
}

// Claim returns the text by which a service's nodes name the account that it is going to register ([auth.Claim]). It reads the credentials, and
// makes them where there are none.
func Claim(cfg Config) (string, error) {
	if err := cfg.complete(); err != nil {
		return "", err
	}
	c, err := loadCredentials(cfg.Credentials, cfg.Slug)
	if err != nil {
		return "", err
	}
	return auth.Claim(c.Slug, c.Password), nil
}

// token is a sign-in as the API answers it.
type token struct {
	Token        string    `json:"token"`
	RefreshToken string    `json:"refreshToken"`
	ExpiresAt    time.Time `json:"expiresAt"`
	UserID       string    `json:"userId"`
}

// account signs in, and keeps the token fresh.
type account struct {
	svc   *Service
	creds credentials

	mu      sync.RWMutex
	current token
	flight  singleflight.Group
}

// early is how long before a token expires the next one is fetched.
const early = time.Minute

// Token gives a token of this service's account, for calls that it makes itself. It is refreshed, or made by a new
// sign-in, when it is about to expire.
//
// Errors: as of Call.
func (s *Service) Token(ctx context.Context) (string, error) { return s.account.token(ctx) }

func (a *account) token(ctx context.Context) (string, error) {
	a.mu.RLock()
	t := a.current
	a.mu.RUnlock()
	if time.Until(t.ExpiresAt) > early {
		return t.Token, nil
	}
	// One of many callers fetches it. It does so whether or not its own caller waits: the others do.
	ch := a.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return a.renew(ctx)
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// renew refreshes the token, or signs in anew where its session has ended.
func (a *account) renew(ctx context.Context) (string, error) {
	a.mu.RLock()
	t := a.current
	a.mu.RUnlock()
	if time.Until(t.ExpiresAt) > early {
		return t.Token, nil // another call was first
	}
	var out struct{ Token token }
	err := errs.New(errs.Unauthenticated, "", "not signed in yet")
	if t.RefreshToken != "" {
		if e := a.svc.send(ctx, http.MethodPost, "/user-svc/refresh-token", t.RefreshToken, nil, &out); e != nil {
			err = errs.From(e)
		} else {
			err = nil
		}
	}
	if err != nil {
		if err.Kind != errs.Unauthenticated {
			return "", err
		}
		if err := a.enter(ctx, &out.Token); err != nil {
			return "", err
		}
	}
	a.mu.Lock()
	a.current = out.Token
	a.mu.Unlock()
	return out.Token.Token, nil
}

// enter signs in, and registers the account where there is none.
func (a *account) enter(ctx context.Context, t *token) error {
	var out struct{ Token token }
	in := map[string]any{"appHost": "unnamed", "slug": a.creds.Slug, "password": a.creds.Password, "device": "sdk-go"}
	err := a.svc.send(ctx, http.MethodPost, "/user-svc/login", "", in, &out)
	if errs.Is(err, errs.Unauthenticated) {
		in["name"] = a.svc.cfg.Name
		err = a.svc.send(ctx, http.MethodPost, "/user-svc/register", "", in, &out)
		if errs.Is(err, errs.Conflict) {
			return errs.New(errs.Unauthenticated, "SLUG_TAKEN",
				"the slug %s belongs to an account with another password: restore %s, or choose another slug", a.creds.Slug, a.svc.cfg.Credentials).Because(err)
		}
	}
	if err != nil {
		return err
	}
	*t = out.Token
	return nil
}
