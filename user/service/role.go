package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// orgRole is the role of an organization's members, in the form that clients of this API know: with the braces.
func orgRole(organizationID, role string) string {
	return "user-svc:org:{" + organizationID + "}:" + role
}

// roles lists the roles that an account has in an app, sorted, and its organizations there, the oldest membership first.
func (s *Service) roles(ctx context.Context, r Reader, userID, appID string) (roles, orgs []string, err error) {
	roles = []string{RoleUser}
	enrolls, err := r.Enrolls(ctx, EnrollQuery{UserIDs: []string{userID}, AppID: appID})
	if err != nil {
		return nil, nil, err
	}
	for _, e := range enrolls {
		roles = addRole(roles, e.Role)
	}
	memberships, err := r.Memberships(ctx, userID, appID)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range memberships {
		roles = addRole(roles, orgRole(m.OrganizationID, m.Role))
		orgs = append(orgs, m.OrganizationID)
	}
	slices.Sort(roles)
	return roles, orgs, nil
}

func addRole(roles []string, role string) []string {
	if slices.Contains(roles, role) {
		return roles
	}
	return append(roles, role)
}

// checkRole checks the form of a role or a permission: "<slug>:<anything>".
func checkRole(field, role string) error {
	prefix, rest, ok := strings.Cut(role, ":")
	if !ok || rest == "" || checkSlug(prefix) != nil || strings.ContainsFunc(rest, func(r rune) bool { return r == ' ' || isControl(r) }) {
		return errs.Field(field, field, "must begin with a slug and a colon, such as pet-svc:pet:manager, and have no spaces")
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

// take takes a role away: tokens that carry it lose it too.
func take(ctx context.Context, w *work, userID, role string, now time.Time) error {
	w.changes.Users = append(w.changes.Users, userID)
	return w.LoseRole(ctx, userID, role, now)
}

// give makes sure that a role which was taken away before counts again.
func give(ctx context.Context, w *work, userID, role string) error {
	lost, err := w.RolesLost(ctx, userID)
	if err != nil {
		return err
	}
	if _, ok := lost[userID][role]; !ok {
		return nil
	}
	w.changes.Users = append(w.changes.Users, userID)
	return w.RegainRole(ctx, userID, role)
}
