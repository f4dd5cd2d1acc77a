package service

import (
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// Roles that the mesh itself knows.
const (
	RoleAdmin = "user-svc:admin" // may do everything
	RoleUser  = "user-svc:user"  // held by every account
)

// Caller is who calls, as a verified token says it. The zero Caller is nobody.
type Caller struct {
	UserID    string
	Slug      string
	Roles     []string // without those that were taken away since the token was issued
	AppID     string
	Device    string
	ActiveOrg string
	SessionID string
	TokenID   string
	IssuedAt  time.Time
	ExpiresAt time.Time

	IP string // of the client; "local" where no gateway tells
}

// HasRole tells whether the caller holds a role.
func (c Caller) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// IsAdmin tells whether the caller may do everything.
func (c Caller) IsAdmin() bool { return c.HasRole(RoleAdmin) }

// Owns tells whether the caller may hand on a role or a permission: its first segment, up to the colon, equals the caller's
// slug, or the caller holds "<first segment>:admin". Segments are compared whole, never by how they begin.
func (c Caller) Owns(name string) bool {
	prefix, rest, ok := strings.Cut(name, ":")
	if !ok || prefix == "" || rest == "" {
		return false
	}
	return c.Slug == prefix || c.HasRole(prefix+":admin") || c.IsAdmin()
}

// owned lists the first segments of the roles and permissions that the caller may hand on.
func (c Caller) owned() []string {
	prefixes := []string{c.Slug}
	for _, r := range c.Roles {
		if prefix, ok := strings.CutSuffix(r, ":admin"); ok && !strings.Contains(prefix, ":") {
			prefixes = append(prefixes, prefix)
		}
	}
	slices.Sort(prefixes)
	return slices.Compact(prefixes)
}

// errNotAllowed is the answer to a caller who may not do what they ask for.
var errNotAllowed = errs.Forbiddenf("you are not allowed to do this")
