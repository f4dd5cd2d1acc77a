package auth

import (
	"slices"

	"micromesh/pkg/errs"
	"micromesh/pkg/meshpb"
)

// Permits reports whether a caller holds a permission: by the defaults of [BuiltIns], or by a permit on its slug or roles. A [State] does.
type Permits interface {
	Permitted(c *Claims, permission string) bool
	// Permissions lists what permits grant to the caller, sorted.
	Permissions(c *Claims) []string
}

var _ Permits = (*State)(nil)

// ErrForbidden is the answer to a signed-in caller who may not do what they ask for.
var ErrForbidden = errs.New(errs.Forbidden, "", "you are not allowed to do this")

// Authorize checks a caller, who may be nil for nobody, against a method's access rule.
//
// Errors: Unauthenticated for nobody where the rule wants someone, Forbidden for someone whom it doesn't let.
func Authorize(rule *meshpb.Access, c *Claims, permits Permits) error {
	switch r := rule.GetRule().(type) {
	case *meshpb.Access_Caller:
		if r.Caller == meshpb.Caller_CALLER_PUBLIC {
			return nil
		}
		if c == nil {
			return ErrMissingToken
		}
		if r.Caller == meshpb.Caller_CALLER_SIGNED_IN {
			return nil
		}
	case *meshpb.Access_Role:
		if c == nil {
			return ErrMissingToken
		}
		if c.HasRole(r.Role) || c.IsAdmin() {
			return nil
		}
		return errs.Forbiddenf("this takes the role %s", r.Role)
	case *meshpb.Access_Permission:
		if c == nil {
			return ErrMissingToken
		}
		return Allow(c, r.Permission, permits)
	}
	return ErrForbidden
}

// Allow refuses a signed-in caller who holds neither a permission nor the role of admins. Errors: Forbidden.
func Allow(c *Claims, permission string, permits Permits) error {
	if c.IsAdmin() || permits.Permitted(c, permission) {
		return nil
	}
	return errs.Forbiddenf("this takes the permission %s", permission)
}

// grants indexes a snapshot of the permits by permission.
type grants struct {
	of     *map[string]*Permit // the snapshot, by identity
	by     map[string][]*Permit
	toSlug map[string][]*Permit
	toRole map[string][]*Permit
}

// index gives the index of the present snapshot; it is made anew when the snapshot is another one.
func (s *State) index() *grants {
	of := s.permits.Snapshot()
	if g := s.grants.Load(); g != nil && g.of == of {
		return g
	}
	g := &grants{of: of, by: map[string][]*Permit{}, toSlug: map[string][]*Permit{}, toRole: map[string][]*Permit{}}
	for _, p := range *of {
		g.by[p.Permission] = append(g.by[p.Permission], p)
		for _, slug := range p.Slugs {
			g.toSlug[slug] = append(g.toSlug[slug], p)
		}
		for _, role := range p.Roles {
			g.toRole[role] = append(g.toRole[role], p)
		}
	}
	s.grants.Store(g)
	return g
}

// Permitted reports whether the caller holds the permission: every account does, or a permit grants it to the caller's slug or to one of the
// caller's roles, in the caller's app.
func (s *State) Permitted(c *Claims, permission string) bool {
	if holds(c, permission) {
		return true
	}
	for _, p := range s.index().by[permission] {
		if p.Grants(c) {
			return true
		}
	}
	return false
}

// Permissions lists what permits grant to the caller, sorted.
func (s *State) Permissions(c *Claims) []string {
	var out []string
	g := s.index()
	take := func(some []*Permit) {
		for _, p := range some {
			if p.Grants(c) {
				out = append(out, p.Permission)
			}
		}
	}
	take(g.toSlug[c.Slug])
	for _, role := range c.Roles {
		take(g.toRole[role])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Grants tells whether the permit is the caller's: by app, and by slug or role.
func (p *Permit) Grants(c *Claims) bool {
	if p.AppID != AnyApp && p.AppID != c.AppID {
		return false
	}
	if slices.Contains(p.Slugs, c.Slug) {
		return true
	}
	return slices.ContainsFunc(p.Roles, c.HasRole)
}
