// Package auth decides, where a request is, who calls and what they may do: from the token that the call carries and
// from state that the user service replicates to every process. No decision waits for another service.
//
// A [Verifier] turns a token into [Claims]; [Authorize] checks them against a method's access rule. The state (public
// keys, permits, revocations) is a [State], fed by [Watch].
package auth

import (
	"context"
	"crypto/rsa"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Roles that the mesh itself knows.
const (
	RoleAdmin = "user-svc:admin" // may do everything
	RoleUser  = "user-svc:user"  // held by every account
)

// Issuer and Audience are the iss and aud claims of the mesh's access tokens.
const (
	Issuer   = "micromesh"
	Audience = "micromesh"
)

// AnyApp is the app of a permit or an enroll that holds in every app.
const AnyApp = "*"

// Claims is what an access token says: RFC 7519's registered claims (sub is the user id, jti the token's), and the
// mesh's own, with the names that clients of this API know.
type Claims struct {
	UserID    string   `json:"1ui"`
	Slug      string   `json:"1sl"`
	Roles     []string `json:"1ro"`
	AppID     string   `json:"1ai"`
	Device    string   `json:"1de,omitempty"`
	ActiveOrg string   `json:"1ao,omitempty"`
	SessionID string   `json:"sid"` // the sign-in that the token descends from
	jwt.RegisteredClaims

	kid      string         // of the key that signed it
	key      *rsa.PublicKey // which that was when the signature was checked
	roleList string         // joined once, since a verified token is used many times
}

// RoleList is the roles with commas between, as a header holds them.
func (c *Claims) RoleList() string { return c.roleList }

// HasRole tells whether the token carries a role.
func (c *Claims) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// IsAdmin tells whether the caller may do everything.
func (c *Claims) IsAdmin() bool { return c.HasRole(RoleAdmin) }

// Owns tells whether the caller may hand on a role or a permission: its first segment, up to the colon, equals the
// caller's slug, or the caller holds "<first segment>:admin", or is an admin. Segments are compared whole.
func (c *Claims) Owns(name string) bool {
	prefix, _, ok := strings.Cut(name, ":")
	return ok && prefix != "" && (c.Slug == prefix || c.HasRole(prefix+":admin") || c.IsAdmin())
}

type contextKey struct{}

type caller struct {
	claims *Claims
	token  string
}

// NewContext gives a context that carries a verified caller and the token it was verified from. Claims may be nil:
// then only the token is there, for a handler that verifies it itself.
func NewContext(ctx context.Context, c *Claims, token string) context.Context {
	return context.WithValue(ctx, contextKey{}, caller{c, token})
}

// FromContext gives the verified caller, or nil where nobody is signed in.
func FromContext(ctx context.Context) *Claims {
	c, _ := ctx.Value(contextKey{}).(caller)
	return c.claims
}

// TokenFromContext gives the bearer token that the call carries, verified or not; it may be empty.
func TokenFromContext(ctx context.Context) string {
	c, _ := ctx.Value(contextKey{}).(caller)
	return c.token
}

// Bearer gives the token of an Authorization header's value (RFC 6750, section 2.1), or "" where it has none.
func Bearer(header string) string {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(header[len(scheme):])
}
