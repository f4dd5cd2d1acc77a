package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
	"micromesh/pkg/ident"
)

// TokenMode says which token an instance receives of its callers.
type TokenMode uint8

// The modes. In each of them the instance receives the identity headers that the gateway has verified.
const (
	ForwardToken  TokenMode = iota // the caller's own, which is valid everywhere in the mesh
	IdentityOnly                   // none
	AudienceToken                  // one whose audience is the instance's slug alone (RFC 8707)
)

var tokenModes = map[string]TokenMode{"forward": ForwardToken, "identity": IdentityOnly, "audience": AudienceToken}

// CallerTokens is the mode of each slug.
type CallerTokens struct {
	Default TokenMode
	BySlug  map[string]TokenMode
}

// ParseCallerTokens reads the setting: a mode, modes of slugs, or both, such as "identity,legacy-svc=forward".
func ParseCallerTokens(setting string) (CallerTokens, error) {
	c := CallerTokens{BySlug: map[string]TokenMode{}}
	if setting == "" {
		return c, nil
	}
	defaults := 0
	for part := range strings.SplitSeq(setting, ",") {
		slug, mode, perSlug := strings.Cut(strings.TrimSpace(part), "=")
		if !perSlug {
			slug, mode = "", slug
		}
		m, ok := tokenModes[mode]
		switch {
		case !ok:
			return c, fmt.Errorf("%q: the mode must be forward, identity or audience", part)
		case perSlug && ident.Slug(slug) != nil:
			return c, fmt.Errorf("%q: it must be SLUG=MODE, with the slug of an account", part)
		case !perSlug:
			defaults++
			c.Default = m
		default:
			if _, twice := c.BySlug[slug]; twice {
				return c, fmt.Errorf("%q: the slug has a mode already", part)
			}
			c.BySlug[slug] = m
		}
	}
	if defaults > 1 {
		return c, fmt.Errorf("%q: there must be one mode for all slugs that are not named", setting)
	}
	return c, nil
}

func (c *CallerTokens) of(slug string) TokenMode {
	if len(c.BySlug) == 0 {
		return c.Default
	}
	if m, ok := c.BySlug[slug]; ok {
		return m
	}
	return c.Default
}

// Bounds of tokens for one audience.
const (
	cachedIssued = 50_000
	issueTimeout = time.Second      // of the user service
	issueSpare   = 10 * time.Second // before its end a token is replaced
	issueAgain   = 2 * time.Second  // after a failure
)

// The method that issues tokens.
const (
	userService = "user-svc"
	issueMethod = "UserService.IssueToken"
)

// issuedToken is a token for one audience; empty where the user service could not issue one a moment ago.
type issuedToken struct {
	jwt     string
	expires time.Time
}

// issuer issues tokens for one audience, and remembers them. The key of a token has all that the token says of its caller, so that a role that
// was taken away is in none of them.
type issuer struct {
	rpc   RPC
	cache *otter.Cache[string, issuedToken]
}

func newIssuer(rpc RPC) *issuer {
	return &issuer{rpc: rpc, cache: otter.Must(&otter.Options[string, issuedToken]{
		MaximumSize: cachedIssued,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, issuedToken]) time.Duration {
			return max(time.Until(e.Value.expires), time.Millisecond)
		}),
	})}
}

// token returns a token of a caller for a slug, or "" while the user service is away.
func (i *issuer) token(ctx context.Context, c *auth.Claims, bearer, slug string) string {
	key := strings.Join([]string{slug, c.SessionID, c.ID, c.ActiveOrg, c.RoleList()}, "\n")
	t, err := i.cache.Get(ctx, key, otter.LoaderFunc[string, issuedToken](func(context.Context, string) (issuedToken, error) {
		return i.issue(ctx, bearer, slug), nil
	}))
	if err != nil {
		return ""
	}
	return t.jwt
}

// issue asks the user service. A failure is remembered for a moment, so that requests don't wait for a service that is away.
func (i *issuer) issue(ctx context.Context, bearer, slug string) issuedToken {
	failed := issuedToken{expires: time.Now().Add(issueAgain)}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTimeout)
	defer cancel()
	in, err := json.Marshal(map[string]string{"slug": slug})
	if err != nil {
		return failed
	}
	out, _, err := i.rpc.Raw(ctx, userService, issueMethod, "json", in, map[string][]string{"authorization": {"Bearer " + bearer}})
	if err != nil {
		return failed
	}
	var answer struct {
		Token     string
		ExpiresAt time.Time
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Token == "" {
		return failed
	}
	return issuedToken{answer.Token, answer.ExpiresAt.Add(-issueSpare)}
}

// replaceToken withholds the caller's token from the instance, unless the mode is forward. Credentials that are not the mesh's are the
// instance's own business, and pass.
func (g *Gateway) replaceToken(x *http1.Exchange, c *auth.Claims, bearer, slug string) {
	mode := g.cfg.CallerTokens.of(slug)
	if mode == ForwardToken || c == nil && !holdsOurs(bearer) {
		return
	}
	x.Withhold("authorization")
	if mode != AudienceToken || c == nil || ident.Slug(slug) != nil {
		return
	}
	if jwt := g.issuer.token(x.Context(), c, bearer, slug); jwt != "" {
		x.UpstreamHeader().Add("Authorization", "Bearer "+jwt)
	}
}

// tokenFor returns the token that a service called by RPC receives. Services of the mesh check the caller's own; services in plain go-micro
// receive what instances do.
func (g *Gateway) tokenFor(ctx context.Context, service, bearer string) string {
	mode := g.cfg.CallerTokens.of(service)
	if bearer == "" || mode == ForwardToken || g.guest(service) == nil {
		return bearer
	}
	c, err := g.cfg.Verifier.Verify(bearer)
	switch {
	case err != nil && !holdsOurs(bearer):
		return bearer
	case err != nil || mode != AudienceToken:
		return ""
	}
	return g.issuer.token(ctx, c, bearer, service)
}

// holdsOurs reports whether credentials in any form hold a token of the mesh.
func holdsOurs(credentials string) bool {
	for part := range strings.FieldsFuncSeq(credentials, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		if ours(strings.Trim(part, ".")) {
			return true
		}
	}
	return false
}

// ours reports whether a token is one of the mesh's, valid or not: expired, revoked, for one service, of a key that is gone, or a refresh token.
func ours(token string) bool {
	return strings.HasPrefix(token, ident.RefreshTokenPrefix) || auth.Issued(token)
}
