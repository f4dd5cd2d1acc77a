package service

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Bounds of the roles that a token carries, in bytes of JSON. With them no grant makes a token larger than verifiers accept. Grants beyond
// them are refused; what an older version has saved beyond them takes no effect.
const (
	maxOwnRoles     = 2048 // of the mesh's own services, and of organizations that the account made itself
	maxForeignRoles = 2048 // of all other accounts and organizations together
	maxRolesOf      = 1024 // of one of them

	maxWaiting = 64 << 10 // of all that waits for one contact
)

var errRolesFull = errs.New(errs.Conflict, "ROLES_FULL",
	"the account has as many roles of others as a token can carry: the account or an admin must delete an enroll, or leave an organization, first")

// orgPrefix returns the beginning of all roles of an organization, up to the last colon.
func orgPrefix(organizationID string) string { return "user-svc:org:{" + organizationID + "}" }

// orgRole is the role of an organization's members, in the form that clients of this API know: with the braces.
func orgRole(organizationID, role string) string {
	return orgPrefix(organizationID) + ":" + role
}

// roles lists the roles that an account has in an app, sorted, and its organizations there, the oldest membership first. Made is the oldest
// one that it has made itself, if any.
func (s *Service) roles(ctx context.Context, r Reader, userID, appID string) (roles, orgs []string, made string, err error) {
	b, memberships, err := s.bundle(ctx, r, userID, appID)
	if err != nil {
		return nil, nil, "", err
	}
	for _, m := range memberships {
		orgs = append(orgs, m.OrganizationID)
		if m.Role == OrgAdmin && made == "" {
			made = m.OrganizationID
		}
	}
	slices.Sort(b.roles)
	return b.roles, orgs, made, nil
}

// bundle collects the roles and memberships that take effect for an account in an app; an empty app is every one.
func (s *Service) bundle(ctx context.Context, r Reader, userID, appID string) (b *bundle, in []Membership, err error) {
	enrolls, err := s.effective(ctx, r, EnrollQuery{UserIDs: []string{userID}, AppID: appID})
	if err != nil {
		return nil, nil, err
	}
	memberships, err := r.Memberships(ctx, userID, appID)
	if err != nil {
		return nil, nil, err
	}
	b = newBundle()
	for _, e := range enrolls {
		b.add(e.Role, false)
	}
	for _, m := range memberships {
		if b.add(orgRole(m.OrganizationID, m.Role), m.Role == OrgAdmin) {
			in = append(in, m)
		}
	}
	return b, in, nil
}

// counts reports whether a role takes effect in an app. The calls of the mesh's own services concern the whole mesh, so their admin roles
// take effect in every app (AnyApp), or in the default app: the mesh's own. Other apps have no admins who could change accounts or routes.
func counts(role, appID string) bool {
	prefix, rest, _ := strings.Cut(role, ":")
	return rest != "admin" || !ident.Own(prefix) || appID == AnyApp || appID == DefaultApp
}

// effective lists the enrolls of an account that count. Those that wait for a contact count only while the account may claim them. Admin roles
// of the mesh's own services that an earlier version saved for one app don't count.
func (s *Service) effective(ctx context.Context, r Reader, q EnrollQuery) ([]Enroll, error) {
	enrolls, err := r.Enrolls(ctx, q)
	enrolls = slices.DeleteFunc(enrolls, func(e Enroll) bool { return !counts(e.Role, e.AppID) })
	if err != nil || !slices.ContainsFunc(enrolls, func(e Enroll) bool { return e.ContactID != "" }) {
		return enrolls, err
	}
	contacts, err := r.ContactsOf(ctx, q.UserIDs...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(enrolls, func(e Enroll) bool {
		return e.ContactID != "" && !slices.ContainsFunc(contacts, func(c Contact) bool {
			return c.ID == e.ContactID && c.UserID == e.UserID && s.claims(c, e.Role)
		})
	}), nil
}

// bundle collects roles within the bounds of a token.
type bundle struct {
	roles   []string
	own     int
	foreign int
	by      map[string]int // bytes, by the account that owns the role
}

func newBundle() *bundle { return &bundle{roles: []string{RoleUser}, by: map[string]int{}} }

// add adds a role, and reports whether it is in the bundle now. Mine are roles that only the account itself can have caused: no stranger uses
// up their room.
func (b *bundle) add(role string, mine bool) bool {
	if slices.Contains(b.roles, role) {
		return true
	}
	owner, size := grantor(role), len(role)+len(`"",`)
	switch {
	case ident.Role(role) != nil:
		return false
	case (mine || ident.Own(owner)) && b.own+size <= maxOwnRoles:
		b.own += size
	case !mine && !ident.Own(owner) && b.foreign+size <= maxForeignRoles && b.by[owner]+size <= maxRolesOf:
		b.foreign += size
		b.by[owner] += size
	default:
		return false
	}
	b.roles = append(b.roles, role)
	return true
}

// grantor returns the account or the organization that owns a role.
func grantor(role string) string {
	if id, ok := ident.OrganizationOf(role); ok {
		return orgPrefix(id)
	}
	return firstSegment(role)
}

// fits refuses a role that would not take effect beside those that an account has.
func (s *Service) fits(ctx context.Context, r Reader, userID, role, appID string, mine bool) error {
	if appID == AnyApp {
		appID = "" // beside those of every app
	}
	b, _, err := s.bundle(ctx, r, userID, appID)
	if err != nil {
		return err
	}
	if !b.add(role, mine) {
		return errRolesFull
	}
	return nil
}

// fitsContact refuses a role if its grantor has given as much to a contact as a token takes. Roles of others don't matter: what doesn't
// fit into the token of the holder waits.
func fitsContact(ctx context.Context, r Reader, contactID, role string) error {
	waiting, err := r.Enrolls(ctx, EnrollQuery{ContactID: contactID})
	if err != nil {
		return err
	}
	total := 0
	b := newBundle()
	for _, e := range waiting {
		total += len(e.Role)
		if grantor(e.Role) == grantor(role) {
			b.add(e.Role, false)
		}
	}
	if !b.add(role, false) || total+len(role) > maxWaiting {
		return errRolesFull
	}
	return nil
}

func addRole(roles []string, role string) []string {
	if slices.Contains(roles, role) {
		return roles
	}
	return append(roles, role)
}

// checkRole checks the form of a role or a permission.
func checkRole(field, role string) error {
	if err := ident.Role(role); err != nil {
		return errs.Field(field, field, "%s", err)
	}
	return nil
}

func checkRoles(roles []string) error {
	for _, r := range roles {
		if err := checkRole("role", r); err != nil {
			return err
		}
	}
	return nil
}

// jsonSize returns the number of bytes of a text in a token.
func jsonSize(s string) int {
	b, _ := json.Marshal(s) // a string always marshals
	return len(b)
}
