package sdk

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
)

const (
	keysEvery        = 3 * time.Second  // a key that was removed must no longer count 5 s later
	unknownEvery     = 10 * time.Second // how often an unknown key has them fetched at most
	revocationsEvery = 3 * time.Second
)

// keys is the mesh's public keys and revocations, fetched from the gateway. The last known ones outlive its absence.
type keys struct {
	svc     *Service
	known   atomic.Pointer[map[string]*rsa.PublicKey]
	revoked atomic.Pointer[auth.Revoked]
	tag     string // of the revocations: of Open and then of follow alone
	unknown *rate.Limiter
	flight  singleflight.Group
}

var _ auth.Source = (*keys)(nil)

func newKeys(s *Service) *keys {
	k := &keys{svc: s, unknown: rate.NewLimiter(rate.Every(unknownEvery), 1)}
	k.known.Store(&map[string]*rsa.PublicKey{})
	k.revoked.Store(&auth.Revoked{})
	return k
}

// Ready implements auth.Source.
func (k *keys) Ready() bool { return len(*k.known.Load()) > 0 }

// Key implements auth.Source. A key that is not known may be new: then the keys are fetched, at most once in 10 s,
// however many unknown ones are asked for.
func (k *keys) Key(kid string) (*rsa.PublicKey, bool) {
	if key, ok := (*k.known.Load())[kid]; ok {
		return key, true
	}
	if kid == "" {
		return nil, false
	}
	// Whoever comes while they are being fetched waits for it: the key may well be among them.
	_, _, _ = k.flight.Do("", func() (any, error) {
		if !k.unknown.Allow() {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		return nil, k.fetchKeys(ctx) // revocations are followed
	})
	key, ok := (*k.known.Load())[kid]
	return key, ok
}

// Revoked implements auth.Source.
func (k *keys) Revoked(c *auth.Claims) (bool, []string) { return k.revoked.Load().Void(c) }

// follow fetches keys and revocations again and again, until ctx ends.
func (k *keys) follow(ctx context.Context) {
	fresh := time.NewTicker(keysEvery)
	defer fresh.Stop()
	poll := time.NewTicker(revocationsEvery)
	defer poll.Stop()
	for {
		// What fails is tried again soon, and said where the service notices the mesh's absence: at its heartbeats.
		select {
		case <-fresh.C:
			_ = k.fetch(ctx)
		case <-poll.C:
			_ = k.fetchRevoked(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// fetch fetches everything.
func (k *keys) fetch(ctx context.Context) error {
	if err := k.fetchKeys(ctx); err != nil {
		return err
	}
	return k.fetchRevoked(ctx)
}

// fetchKeys fetches the keys (RFC 7517).
func (k *keys) fetchKeys(ctx context.Context) error {
	var set struct {
		Keys []struct{ Kty, Kid, N, E string }
	}
	if err := k.svc.send(ctx, http.MethodGet, "/.well-known/jwks.json", "", nil, &set); err != nil {
		return err
	}
	next := map[string]*rsa.PublicKey{}
	for _, j := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(j.N)
		if err != nil || j.Kty != "RSA" || j.Kid == "" {
			continue
		}
		e, err := base64.RawURLEncoding.DecodeString(j.E)
		if err != nil || len(e) == 0 || len(e) > 4 {
			continue
		}
		next[j.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	if len(next) == 0 {
		return errs.New(errs.Unavailable, "NO_KEYS", "the mesh has no keys yet")
	}
	k.known.Store(&next)
	return nil
}

func (k *keys) fetchRevoked(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.svc.cfg.ServerURL+"/.well-known/revocations.json", nil)
	if err != nil {
		return err
	}
	if k.tag != "" {
		req.Header.Set("If-None-Match", k.tag)
	}
	rsp, err := k.svc.cfg.Client.Do(req)
	if err != nil {
		return errs.New(errs.Unavailable, "NO_MESH", "no mesh answers").Because(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, longestAnswer))
	if err != nil || rsp.StatusCode == http.StatusNotModified {
		return err
	}
	if rsp.StatusCode != http.StatusOK {
		return answerError(rsp, b)
	}
	var r auth.Revoked
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	k.revoked.Store(&r)
	k.tag = rsp.Header.Get("ETag")
	return nil
}

// Verify gives the claims of the token that a request carries: signature, times, issuer, audience and revocation were
// checked here, without asking anybody. Claims are shared between requests: they must not be changed.
//
// Errors: Unauthenticated.
func (s *Service) Verify(r *http.Request) (*auth.Claims, error) {
	return s.verifier.Verify(auth.Bearer(r.Header.Get("Authorization")))
}

// RequireSignedIn lets requests through that carry a valid token; others get 401. The handler finds the caller with
// auth.FromContext.
func (s *Service) RequireSignedIn(next http.Handler) http.Handler {
	return s.require(func(*auth.Claims) error { return nil }, next)
}

// RequireRole lets requests through whose caller holds the role, or is an admin of the mesh.
func (s *Service) RequireRole(role string, next http.Handler) http.Handler {
	return s.require(func(c *auth.Claims) error {
		if c.HasRole(role) || c.IsAdmin() {
			return nil
		}
		return errs.Forbiddenf("this takes the role %s", role)
	}, next)
}

func (s *Service) require(may func(*auth.Claims) error, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Verify(r)
		if err == nil {
			err = may(c)
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(auth.NewContext(r.Context(), c, auth.Bearer(r.Header.Get("Authorization")))))
	})
}
