package service

import (
	"context"
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

// sees reports whether the caller is shown roles and permissions of an app: its own ones in every app, those of others in the caller's app.
func (c Caller) sees(name, appID string) bool {
	return c.IsAdmin() || c.Slug == firstSegment(name) || appID == c.AppID || appID == AnyApp
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

// may reports whether the caller may make a call for things of others: an admin, and who holds its permission.
func (s *Service) may(c Caller, permission string) bool {
	return c.IsAdmin() || permission != "" && c.UserID != "" && s.permits.Permitted(c, permission)
}

// mayChange refuses callers who are no admins for accounts that are: else a permission to change accounts would be the role of admins.
func (s *Service) mayChange(ctx context.Context, r Reader, c Caller, userID string) error {
	if c.IsAdmin() {
		return nil
	}
	held, err := s.effective(ctx, r, EnrollQuery{UserIDs: []string{userID}, Role: RoleAdmin})
	if err == nil && len(held) > 0 {
		return errs.Forbiddenf("this account is an admin: only admins may change it")
	}
	return err
}

// errNotAllowed is the answer to a caller who may not do what they ask for.
var errNotAllowed = errs.Forbiddenf("you are not allowed to do this")
