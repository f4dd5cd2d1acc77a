package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"micromesh/pkg/errs"
)

// Membership makes an account a member of an organization.
type Membership struct {
	OrganizationID string
	UserID         string
	Role           string // OrgAdmin or OrgUser
	CreatedAt      time.Time
}

// SaveMembership makes an account a member; a member stays as they are, and may leave.
//
// Errors: Forbidden, NotFound, Conflict where the account has too many roles, Unavailable.
func (s *Service) SaveMembership(ctx context.Context, c Caller, organizationID, userID string) error {
	now := s.now()
	return s.update(ctx, func(w *work) error {
		o, err := w.Organization(ctx, organizationID)
		if errors.Is(err, ErrNotFound) {
			return errNoOrganization
		}
		if err != nil {
			return err
		}
		if err := s.mayManage(ctx, w, c, organizationID, "user-svc:membership:edit"); err != nil {
			return err
		}
		a, err := account(ctx, w, userID)
		if err != nil {
			return err
		}
		return s.join(ctx, w, Membership{OrganizationID: organizationID, UserID: userID, Role: OrgUser, CreatedAt: now}, o.AppID, a, c.UserID)
	})
}

// join inserts a membership, unless there is one.
func (s *Service) join(ctx context.Context, w *work, m Membership, appID string, a Account, actor string) error {
	_, err := w.Membership(ctx, m.OrganizationID, m.UserID)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	role := orgRole(m.OrganizationID, m.Role)
	if err := s.fits(ctx, w, m.UserID, role, appID, m.Role == OrgAdmin); err != nil {
		return err
	}
	if err := give(ctx, w, m.UserID, appID, role); err != nil {
		return err
	}
	if err := w.InsertMembership(ctx, m); err != nil {
		return err
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: actor, What: RoleGranted{Role: role, AppID: appID}})
}

// DeleteMembership takes an account out of an organization, and the role out of its tokens. A member may leave; the last admin may not.
//
// Errors: Forbidden, NotFound, Conflict, Unavailable.
func (s *Service) DeleteMembership(ctx context.Context, c Caller, organizationID, userID string) error {
	now := s.now()
	return s.update(ctx, func(w *work) error {
		if userID != c.UserID {
			if err := s.mayManage(ctx, w, c, organizationID, "user-svc:membership:delete"); err != nil {
				return err
			}
		}
		m, err := w.Membership(ctx, organizationID, userID)
		if errors.Is(err, ErrNotFound) {
			return errs.NotFoundf("the account is no member of the organization")
		}
		if err != nil {
			return err
		}
		if m.Role == OrgAdmin {
			n, err := w.CountOrgAdmins(ctx, organizationID)
			if err != nil {
				return err
			}
			given, err := s.givenAdmins(ctx, w, organizationID)
			if err != nil {
				return err
			}
			if n == 1 && !slices.ContainsFunc(given, func(id string) bool { return id != userID }) {
				return errs.New(errs.Conflict, "LAST_ADMIN", "this is the last admin of the organization: give the role to another account first, or delete the organization")
			}
		}
		o, err := w.Organization(ctx, organizationID)
		if err != nil {
			return err
		}
		return s.leave(ctx, w, c, o, m, now)
	})
}

// leave ends a membership, with all roles of the organization that the member has.
func (s *Service) leave(ctx context.Context, w *work, c Caller, o Organization, m Membership, now time.Time) error {
	a, err := account(ctx, w, m.UserID)
	if err != nil {
		return err
	}
	role := orgRole(m.OrganizationID, m.Role)
	if err := w.DeleteMembership(ctx, m.OrganizationID, m.UserID); err != nil {
		return err
	}
	if err := take(ctx, w, m.UserID, o.AppID, role, m.CreatedAt, now, func(string) bool { return false }); err != nil {
		return err
	}
	enrolls, err := w.Enrolls(ctx, EnrollQuery{Prefixes: []string{orgPrefix(o.ID)}, UserIDs: []string{m.UserID}})
	if err != nil {
		return err
	}
	for _, e := range enrolls {
		if err := s.dropEnroll(ctx, w, c, e, now); err != nil {
			return err
		}
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: c.UserID, What: RoleRemoved{Role: role, AppID: o.AppID}})
}
