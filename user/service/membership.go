package service

import (
	"context"
	"errors"
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

// SaveMembership makes an account a member; who is one stays as they are.
//
// Errors: Forbidden, NotFound, Unavailable.
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
		if err := mayManage(ctx, w, c, organizationID); err != nil {
			return err
		}
		a, err := account(ctx, w, userID)
		if err != nil {
			return err
		}
		return join(ctx, w, Membership{OrganizationID: organizationID, UserID: userID, Role: OrgUser, CreatedAt: now}, o.AppID, a, c.UserID)
	})
}

// join inserts a membership, unless there is one.
func join(ctx context.Context, w *work, m Membership, appID string, a Account, actor string) error {
	_, err := w.Membership(ctx, m.OrganizationID, m.UserID)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	role := orgRole(m.OrganizationID, m.Role)
	if err := give(ctx, w, m.UserID, role); err != nil {
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
			if err := mayManage(ctx, w, c, organizationID); err != nil {
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
			if n == 1 {
				return errs.New(errs.Conflict, "LAST_ADMIN", "this is the last admin of the organization")
			}
		}
		return leave(ctx, w, c, m, now)
	})
}

func leave(ctx context.Context, w *work, c Caller, m Membership, now time.Time) error {
	o, err := w.Organization(ctx, m.OrganizationID)
	if err != nil {
		return err
	}
	a, err := account(ctx, w, m.UserID)
	if err != nil {
		return err
	}
	role := orgRole(m.OrganizationID, m.Role)
	if err := w.DeleteMembership(ctx, m.OrganizationID, m.UserID); err != nil {
		return err
	}
	if err := take(ctx, w, m.UserID, role, now); err != nil {
		return err
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: c.UserID, What: RoleRemoved{Role: role, AppID: o.AppID}})
}
