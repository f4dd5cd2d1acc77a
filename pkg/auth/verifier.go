package auth

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Leeway is how far the clocks of the issuer and of a verifier may be apart.
const Leeway = 10 * time.Second

const (
	maxToken     = 8 << 10 // bytes; a longer token is refused unread
	cachedTokens = 100_000 // verified tokens that a process remembers; each costs about 1 KiB
)

// Source is what a verifier asks: a [State], or the user service's own database.
type Source interface {
	// Ready tells whether the state was ever known. Until then nobody can be judged.
	Ready() bool
	// Key gives the public key with an id.
	Key(kid string) (*rsa.PublicKey, bool)
	// Revoked tells whether the token is void, and which of its roles were taken away since it was issued.
	Revoked(c *Claims) (void bool, lost []string)
}

// Verifier verifies access tokens, and remembers what it verified until the token expires or is revoked.
type Verifier struct {
	source     Source
	maxSession time.Duration // how old an expired token may be; 0 refuses every expired one
	audience   string        // accepted beside the mesh's own
	now        func() time.Time
	parser     *jwt.Parser // of the signature; times are checked at each use, since a cached token ages
	cache      *otter.Cache[string, *Claims]
	log        *slog.Logger
}

// VerifierOption changes a Verifier.
type VerifierOption func(*Verifier)

// AcceptExpired makes expired tokens acceptable for as long as their session may live at most: the setting "token
// auto refresh". A revoked session's tokens stay refused.
func AcceptExpired(maxSession time.Duration) VerifierOption {
	return func(v *Verifier) { v.maxSession = maxSession }
}

// ForAudience accepts tokens for one service too, by its slug. Without it, tokens for the whole mesh alone are accepted.
func ForAudience(slug string) VerifierOption {
	return func(v *Verifier) { v.audience = slug }
}

// WithLogger sets the logger. The default is slog's.
func WithLogger(log *slog.Logger) VerifierOption {
	return func(v *Verifier) { v.log = log }
}

// WithClock sets the clock, for tests.
func WithClock(now func() time.Time) VerifierOption {
	return func(v *Verifier) { v.now = now }
}

// NewVerifier makes a verifier on a source.
func NewVerifier(source Source, opts ...VerifierOption) *Verifier {
	v := &Verifier{source: source, now: time.Now, log: slog.Default()}
	for _, o := range opts {
		o(v)
	}
	v.parser = jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	v.cache = otter.Must(&otter.Options[string, *Claims]{MaximumSize: cachedTokens})
	return v
}

func unauthenticated(code, msg string) *errs.Error {
	return errs.New(errs.Unauthenticated, code, "%s", msg)
}

// Errors that Verify gives; all but ErrNotReady are Unauthenticated.
var (
	ErrMissingToken  = unauthenticated("UNAUTHENTICATED", "sign in first: send `Authorization: Bearer <token>`")
	ErrBadToken      = unauthenticated("INVALID_TOKEN", "the token is not valid: sign in again")
	errRefreshToken  = unauthenticated("INVALID_TOKEN", "this is a refresh token: it is good for POST /user-svc/refresh-token alone")
	errOtherAudience = unauthenticated("INVALID_TOKEN", "the token is for another service: its audience is not this one")
	ErrExpiredToken  = unauthenticated("TOKEN_EXPIRED", "the token has expired: refresh it, or sign in again")
	ErrRevokedToken  = unauthenticated("TOKEN_REVOKED", "the token was revoked: sign in again")
	ErrNotReady      = errs.New(errs.Unavailable, "NOT_READY", "the mesh is starting: try again in a moment").After(time.Second)
)

// Verify gives the claims of a token: its signature, times, issuer, audience and revocation were checked, and roles
// that were taken away since are not in it. The claims are shared: they must not be changed.
//
// Errors: Unauthenticated, and Unavailable before the state is known.
func (v *Verifier) Verify(token string) (*Claims, error) {
	if token == "" {
		return nil, ErrMissingToken
	}
	c, ok := v.cache.GetIfPresent(token)
	if ok {
		// A key that was removed, or replaced, takes the tokens that it signed with it.
		var key *rsa.PublicKey
		key, ok = v.source.Key(c.kid)
		ok = ok && (key == c.key || key.Equal(c.key))
	}
	if !ok {
		var err error
		if c, err = v.parse(token); err != nil {
			return nil, err
		}
		v.cache.Set(strings.Clone(token), c)
	}
	if err := v.inTime(c); err != nil {
		v.cache.Invalidate(token)
		return nil, err
	}
	return v.notRevoked(c)
}

// VerifySigned gives the claims of a token whose signature, issuer and audience are right, be it expired or revoked:
// for the handler that decides about those itself. The claims are not shared.
//
// Errors: Unauthenticated, and Unavailable before the state is known.
func (v *Verifier) VerifySigned(token string) (*Claims, error) {
	if token == "" {
		return nil, ErrMissingToken
	}
	return v.parse(token)
}

// Issued reports whether a token says that the mesh has issued it. That is not verified.
func Issued(token string) bool {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return false
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Issuer string `json:"iss"`
	}
	return err == nil && json.Unmarshal(b, &claims) == nil && claims.Issuer == Issuer
}

func (v *Verifier) parse(token string) (*Claims, error) {
	if strings.HasPrefix(token, ident.RefreshTokenPrefix) {
		return nil, errRefreshToken
	}
	// Before anything is split or decoded: a token of dots alone would otherwise cost memory (CVE-2025-30204).
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return nil, ErrBadToken
	}
	if !v.source.Ready() {
		return nil, ErrNotReady
	}
	c := &Claims{}
	t, err := v.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		key, err := v.key(t)
		c.key = key
		return key, err
	})
	if err != nil {
		return nil, ErrBadToken.Because(err)
	}
	c.kid, _ = t.Header["kid"].(string)
	if c.Issuer != Issuer || len(c.Audience) != 1 || c.Audience[0] == "" {
		return nil, ErrBadToken.Because(errors.New("wrong issuer, or no single audience"))
	}
	if c.Audience[0] != Audience && c.Audience[0] != v.audience {
		return nil, errOtherAudience
	}
	if c.UserID == "" || c.UserID != c.Subject || c.ID == "" || c.SessionID == "" || c.ExpiresAt == nil || c.IssuedAt == nil {
		return nil, ErrBadToken.Because(errors.New("a claim is missing"))
	}
	return c, v.fitHeaders(c)
}

// fitHeaders makes the list of roles that a header carries. A role or an organization that is not written as one is left out: it could
// read as another one there. Such a token was signed by an older version, and is logged once.
func (v *Verifier) fitHeaders(c *Claims) error {
	if ident.ID(c.UserID) != nil || ident.Slug(c.Slug) != nil {
		return ErrBadToken.Because(errors.New("the account or its slug is not written as one"))
	}
	roles := slices.DeleteFunc(slices.Clone(c.Roles), func(r string) bool { return ident.Role(r) != nil })
	if dropped := len(c.Roles) - len(roles); dropped > 0 {
		v.log.Warn("roles_dropped", "user", c.UserID, "dropped", dropped)
	}
	if c.ActiveOrg != "" && ident.OrganizationID(c.ActiveOrg) != nil {
		v.log.Warn("organization_dropped", "user", c.UserID)
		c.ActiveOrg = ""
	}
	c.Roles, c.roleList = roles, strings.Join(roles, ",")
	return nil
}

// key finds the key that a token's header names. Headers that ask for more than that are refused (RFC 7515, 4.1.11).
func (v *Verifier) key(t *jwt.Token) (*rsa.PublicKey, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("crit names an extension that is not known")
	}
	if typ, ok := t.Header["typ"]; ok && typ != "JWT" {
		return nil, fmt.Errorf("typ is %v, not JWT", typ)
	}
	kid, _ := t.Header["kid"].(string)
	key, ok := v.source.Key(kid)
	if !ok {
		return nil, errors.New("the key is not known")
	}
	return key, nil
}

func (v *Verifier) inTime(c *Claims) error {
	now := v.now()
	if c.IssuedAt.After(now.Add(Leeway)) || (c.NotBefore != nil && c.NotBefore.After(now.Add(Leeway))) {
		return ErrBadToken.Because(errors.New("issued in the future"))
	}
	if now.Before(c.ExpiresAt.Add(Leeway)) {
		return nil
	}
	if v.maxSession > 0 && now.Before(c.IssuedAt.Add(v.maxSession)) {
		return nil
	}
	return ErrExpiredToken
}

func (v *Verifier) notRevoked(c *Claims) (*Claims, error) {
	void, lost := v.source.Revoked(c)
	if void {
		return nil, ErrRevokedToken
	}
	if len(lost) == 0 {
		return c, nil
	}
	less := *c
	less.Roles = nil
	for _, r := range c.Roles {
		if !slices.Contains(lost, r) {
			less.Roles = append(less.Roles, r)
		}
	}
	less.roleList = strings.Join(less.Roles, ",")
	if less.ActiveOrg != "" && slices.ContainsFunc(lost, func(r string) bool {
		id, ok := ident.OrganizationOf(r)
		return ok && id == less.ActiveOrg
	}) {
		less.ActiveOrg = "" // the caller left it, or it is gone
	}
	return &less, nil
}
