package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
)

// source is a verifier's source with fixed answers.
type source struct {
	keys    map[string]*rsa.PublicKey
	void    map[string]bool // by session
	lost    map[string][]string
	unknown bool // nothing is known yet
}

func (s *source) Ready() bool { return !s.unknown }

func (s *source) Key(kid string) (*rsa.PublicKey, bool) {
	k, ok := s.keys[kid]
	return k, ok
}

func (s *source) Revoked(c *auth.Claims) (bool, []string) {
	return s.void[c.SessionID], s.lost[c.UserID]
}

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func claims(change ...func(*auth.Claims)) *auth.Claims {
	c := &auth.Claims{
		UserID: "usr_1", Slug: "joe", Roles: []string{auth.RoleUser, "shop-svc:clerk"}, AppID: "app_1", SessionID: "ses_1",
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: auth.Issuer, Subject: "usr_1", Audience: jwt.ClaimStrings{auth.Audience}, ID: "tok_1",
			IssuedAt: jwt.NewNumericDate(start), NotBefore: jwt.NewNumericDate(start), ExpiresAt: jwt.NewNumericDate(start.Add(5 * time.Minute)),
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func sign(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, c *auth.Claims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, c)
	for k, v := range header {
		tok.Header[k] = v
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fixture is a verifier that trusts one key, and a clock.
type fixture struct {
	key    *rsa.PrivateKey
	source *source
	now    time.Time
	v      *auth.Verifier
}

func newFixture(t testing.TB, opts ...auth.VerifierOption) *fixture {
	f := &fixture{key: newKey(t), now: start.Add(time.Second)}
	f.source = &source{keys: map[string]*rsa.PublicKey{"k1": &f.key.PublicKey}, void: map[string]bool{}, lost: map[string][]string{}}
	f.v = auth.NewVerifier(f.source, append(opts, auth.WithClock(func() time.Time { return f.now }))...)
	return f
}

func (f *fixture) sign(t testing.TB, change ...func(*auth.Claims)) string {
	return sign(t, jwt.SigningMethodRS256, f.key, map[string]any{"kid": "k1"}, claims(change...))
}

func TestGoodTokenIsAccepted(t *testing.T) {
	f := newFixture(t)
	tok := f.sign(t)
	first, err := f.v.Verify(tok)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c, err := f.v.Verify(tok)
		if err != nil {
			t.Fatal(err)
		}
		if c != first {
			t.Error("a verified token was verified again")
		}
		if diff := cmp.Diff([]string{"usr_1", "joe", "user-svc:user,shop-svc:clerk"}, []string{c.UserID, c.Slug, c.RoleList()}); diff != "" {
			t.Error(diff)
		}
	}
}

// TestAKeyThatIsReplacedTakesItsTokensWithIt replaces a key by another with the same id: tokens of the first become invalid.
func TestAKeyThatIsReplacedTakesItsTokensWithIt(t *testing.T) {
	f := newFixture(t)
	tok := f.sign(t)
	if _, err := f.v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	same := f.key.PublicKey
	f.source.keys["k1"] = &same // as it was read again
	if _, err := f.v.Verify(tok); err != nil {
		t.Errorf("the same key, read again: %v", err)
	}
	f.source.keys["k1"] = &newKey(t).PublicKey
	if _, err := f.v.Verify(tok); err == nil {
		t.Error("a token of the key before is accepted")
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	f := newFixture(t)
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	other := newKey(t)
	kid := map[string]any{"kid": "k1"}
	unsigned := func(alg string) string {
		h, _ := json.Marshal(map[string]any{"alg": alg, "typ": "JWT", "kid": "k1"})
		b, _ := json.Marshal(claims())
		return base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(b) + "."
	}
	good := f.sign(t)
	rows := map[string]string{
		"alg none":                     unsigned("none"),
		"alg None":                     unsigned("None"),
		"alg nOnE":                     unsigned("nOnE"),
		"HS256 signed with public key": sign(t, jwt.SigningMethodHS256, publicPEM, kid, claims()),
		"HS256 signed with public DER": sign(t, jwt.SigningMethodHS256, der, kid, claims()),
		"alg differs from the key's":   sign(t, jwt.SigningMethodRS512, f.key, kid, claims()),
		"PS256 with the right key":     sign(t, jwt.SigningMethodPS256, f.key, kid, claims()),
		"signed by another key":        sign(t, jwt.SigningMethodRS256, other, kid, claims()),
		"kid unknown":                  sign(t, jwt.SigningMethodRS256, f.key, map[string]any{"kid": "k2"}, claims()),
		"kid missing":                  sign(t, jwt.SigningMethodRS256, f.key, nil, claims()),
		"kid is a number":              sign(t, jwt.SigningMethodRS256, f.key, map[string]any{"kid": 1}, claims()),
		"kid with a SQL payload":       sign(t, jwt.SigningMethodRS256, f.key, map[string]any{"kid": "k1' OR '1'='1"}, claims()),
		"crit unknown":                 sign(t, jwt.SigningMethodRS256, f.key, map[string]any{"kid": "k1", "crit": []string{"x"}, "x": 1}, claims()),
		"typ of something else":        sign(t, jwt.SigningMethodRS256, f.key, map[string]any{"kid": "k1", "typ": "refresh+jwt"}, claims()),
		"signature broken":             good[:len(good)-4] + "AAAA",
		"signature missing":            good[:strings.LastIndexByte(good, '.')+1],
		"payload changed":              swapPayload(t, good),
		"longer than 8 KiB":            good + strings.Repeat("a", 8<<10),
		"100k dots":                    strings.Repeat(".", 100_000),
		"one dot":                      "a.b",
		"not a token":                  "hello",
		"an opaque refresh token":      "mrt_" + strings.Repeat("x", 40),
		"iss wrong":                    f.sign(t, func(c *auth.Claims) { c.Issuer = "https://evil.example" }),
		"iss missing":                  f.sign(t, func(c *auth.Claims) { c.Issuer = "" }),
		"aud wrong":                    f.sign(t, func(c *auth.Claims) { c.Audience = jwt.ClaimStrings{"other"} }),
		"aud missing":                  f.sign(t, func(c *auth.Claims) { c.Audience = nil }),
		"aud with another beside ours": f.sign(t, func(c *auth.Claims) { c.Audience = jwt.ClaimStrings{auth.Audience, "other"} }),
		"sub of another":               f.sign(t, func(c *auth.Claims) { c.Subject = "usr_2" }),
		"session missing":              f.sign(t, func(c *auth.Claims) { c.SessionID = "" }),
		"exp missing":                  f.sign(t, func(c *auth.Claims) { c.ExpiresAt = nil }),
		"iat missing":                  f.sign(t, func(c *auth.Claims) { c.IssuedAt = nil }),
		"iat in the future":            f.sign(t, func(c *auth.Claims) { c.IssuedAt = jwt.NewNumericDate(start.Add(time.Minute)) }),
		"nbf in the future":            f.sign(t, func(c *auth.Claims) { c.NotBefore = jwt.NewNumericDate(start.Add(time.Minute)) }),
		"expired":                      f.sign(t, func(c *auth.Claims) { c.ExpiresAt = jwt.NewNumericDate(start.Add(-time.Minute)) }),
		"expired by leeway plus 1 s":   f.sign(t, func(c *auth.Claims) { c.ExpiresAt = jwt.NewNumericDate(f.now.Add(-auth.Leeway - time.Second)) }),
	}
	for name, tok := range rows {
		t.Run(name, func(t *testing.T) {
			c, err := f.v.Verify(tok)
			if !errs.Is(err, errs.Unauthenticated) || c != nil {
				t.Errorf("got %v, %v; want an Unauthenticated error", c, err)
			}
		})
	}
	if _, err := f.v.Verify(good); err != nil {
		t.Errorf("the token that the rows are made of is not good itself: %v", err)
	}
}

func swapPayload(t *testing.T, tok string) string {
	t.Helper()
	parts := strings.Split(tok, ".")
	b, err := json.Marshal(claims(func(c *auth.Claims) { c.Roles = append(c.Roles, auth.RoleAdmin) }))
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(b)
	return strings.Join(parts, ".")
}

// CVE-2025-30204: splitting a token of dots must not cost memory in proportion.
func TestTokenOfDotsCostsNothing(t *testing.T) {
	f := newFixture(t)
	tok := strings.Repeat(".", 100_000)
	perRun := testing.AllocsPerRun(100, func() {
		if _, err := f.v.Verify(tok); err == nil {
			t.Fatal("accepted")
		}
	})
	if perRun > 4 {
		t.Errorf("%v allocations, want a handful", perRun)
	}
}

func TestCachedTokenAges(t *testing.T) {
	f := newFixture(t)
	tok := f.sign(t)
	if _, err := f.v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	f.now = start.Add(5*time.Minute + auth.Leeway - time.Second)
	if _, err := f.v.Verify(tok); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	f.now = start.Add(5*time.Minute + auth.Leeway + time.Second)
	if _, err := f.v.Verify(tok); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("after the leeway: %v, want Unauthenticated", err)
	}
}

func TestRevokedTokenIsRefusedThoughCached(t *testing.T) {
	f := newFixture(t)
	tok := f.sign(t)
	if _, err := f.v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	f.source.void["ses_1"] = true
	if _, err := f.v.Verify(tok); errs.From(err).Code != "TOKEN_REVOKED" {
		t.Errorf("got %v, want TOKEN_REVOKED", err)
	}
}

func TestLostRoleIsTakenFromCachedToken(t *testing.T) {
	f := newFixture(t)
	tok := f.sign(t)
	if _, err := f.v.Verify(tok); err != nil {
		t.Fatal(err)
	}
	f.source.lost["usr_1"] = []string{"shop-svc:clerk"}
	c, err := f.v.Verify(tok)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{auth.RoleUser}, c.Roles); diff != "" {
		t.Error(diff)
	}
	f.source.lost = nil
	if c, _ := f.v.Verify(tok); !c.HasRole("shop-svc:clerk") {
		t.Error("the remembered claims themselves were changed")
	}
}

func TestExpiredTokenWithAutoRefresh(t *testing.T) {
	f := newFixture(t, auth.AcceptExpired(time.Hour))
	tok := f.sign(t)
	f.now = start.Add(30 * time.Minute)
	if _, err := f.v.Verify(tok); err != nil {
		t.Errorf("within the session's life: %v", err)
	}
	f.source.void["ses_1"] = true
	if _, err := f.v.Verify(tok); err == nil {
		t.Error("accepted although its session was revoked")
	}
	delete(f.source.void, "ses_1")
	f.now = start.Add(time.Hour + time.Second)
	if _, err := f.v.Verify(tok); err == nil {
		t.Error("accepted after its session's life")
	}
}

func TestRemovedKeyRefusesNewTokens(t *testing.T) {
	f := newFixture(t)
	before := f.sign(t)
	if _, err := f.v.Verify(before); err != nil {
		t.Fatal(err)
	}
	delete(f.source.keys, "k1")
	if _, err := f.v.Verify(f.sign(t)); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("got %v, want Unauthenticated", err)
	}
	if _, err := f.v.Verify(before); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a token that was remembered: got %v, want Unauthenticated", err)
	}
}

// A token that comes before the keys are known is not judged, and the answer is not remembered.
func TestTokenBeforeTheKeysAreKnown(t *testing.T) {
	f := newFixture(t)
	tok := f.sign(t)
	f.source.unknown = true
	if _, err := f.v.Verify(tok); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("got %v, want Unavailable", err)
	}
	f.source.unknown = false
	if _, err := f.v.Verify(tok); err != nil {
		t.Errorf("once the keys are known: %v", err)
	}
}

func TestOwnsComparesWholeSegments(t *testing.T) {
	rows := []struct {
		slug  string
		roles []string
		name  string
		want  bool
	}{
		{"basic-svc", nil, "basic-svc:pet:manager", true},
		{"user", nil, "user-svc:admin", false},
		{"reg", nil, "registry-svc:node:view", false},
		{"basic-svc", nil, "basic-svc", false},
		{"basic-svc", nil, ":pet", false},
		{"joe", []string{"basic-svc:admin"}, "basic-svc:pet:manager", true},
		{"joe", []string{"basic:admin"}, "basic-svc:pet:manager", false},
		{"joe", []string{auth.RoleAdmin}, "anything:at:all", true},
	}
	for _, r := range rows {
		c := &auth.Claims{Slug: r.slug, Roles: r.roles}
		if got := c.Owns(r.name); got != r.want {
			t.Errorf("slug %s with %v owns %s: %v, want %v", r.slug, r.roles, r.name, got, r.want)
		}
	}
}

func BenchmarkVerifyRemembered(b *testing.B) {
	f := newFixture(b)
	tok := f.sign(b)
	for b.Loop() {
		if _, err := f.v.Verify(tok); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRolesThatForgeHeaders has tokens of an earlier version, which hold a role and an organization that read as another one in a header.
func TestRolesThatForgeHeaders(t *testing.T) {
	f := newFixture(t)
	token := f.sign(t, func(c *auth.Claims) {
		c.Roles = []string{auth.RoleUser, "shop:x,user-svc:admin", "shop:a b", "shop-svc:clerk", "user-svc:org:{org_1}:user"}
		c.ActiveOrg = "org_1,org_2"
	})
	c, err := f.v.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if want := auth.RoleUser + ",shop-svc:clerk,user-svc:org:{org_1}:user"; c.RoleList() != want || c.HasRole("shop:a b") || c.ActiveOrg != "" {
		t.Errorf("the header would be %q, the organization %q", c.RoleList(), c.ActiveOrg)
	}
	member := f.sign(t, func(c *auth.Claims) {
		c.Roles, c.ActiveOrg = []string{"user-svc:org:{org_1}:user"}, "org_1"
	})
	f.source.lost = map[string][]string{"usr_1": {"user-svc:org:{org_1}:user"}}
	if c, err := f.v.Verify(member); err != nil || c.ActiveOrg != "" || c.RoleList() != "" {
		t.Errorf("a former member speaks for %q with %q (%v)", c.ActiveOrg, c.RoleList(), err)
	}
}
