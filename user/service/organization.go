package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Roles in an organization.
const (
	OrgAdmin = "admin"
	OrgUser  = "user"
)

// Organization is a group of accounts, in one app.
type Organization struct {
	ID        string
	AppID     string
	Slug      string // unique among organizations and accounts
	Name      string
	Thumbnail string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// OrganizationQuery says which organizations to list, by their creation; empty fields match all.
type OrganizationQuery struct {
	IDs      []string
	AppID    string
	MemberID string
	After    time.Time // only those created later
	Limit    int
}

// NewOrganization is what someone asks to be saved.
type NewOrganization struct {
	ID           string
	Slug         string
	Name         string
	Thumbnail    string
	AssignCaller bool // an admin of the mesh becomes a member too
}

var errIDUsed = errs.New(errs.Conflict, "ID_TAKEN", "an organization that was deleted had this id: leave the id out, or choose another one")

var errNoOrganization = errs.NotFoundf("there is no such organization")

func (n NewOrganization) check() error {
	if err := checkNewSlug(n.Slug); err != nil {
		return err
	}
	if n.ID != "" {
		if err := ident.OrganizationID(n.ID); err != nil {
			return errs.Field("id", "organization_id", "%s", err)
		}
	}
	return checkName(n.Name)
}

// SaveOrganization creates an organization in the caller's app, with the caller as its admin, or changes one. It returns a further access
// token too, which carries the new role.
//
// Errors: Invalid, Unauthenticated, Forbidden for an organization of others, Conflict for the slug, Unavailable.
func (s *Service) SaveOrganization(ctx context.Context, c Caller, n NewOrganization) (Organization, Token, error) {
	if err := n.check(); err != nil {
		return Organization{}, Token{}, err
	}
	now := s.now()
	o := Organization{ID: n.ID, AppID: c.AppID, Slug: n.Slug, Name: n.Name, Thumbnail: n.Thumbnail, CreatedAt: now, UpdatedAt: now}
	if o.ID == "" {
		o.ID = newID("org")
	}
	var t Token
	err := s.issuing(ctx, func(w *work) error {
		session, a, app, err := s.family(ctx, w, c, now)
		if err != nil {
			return err
		}
		created, err := s.putOrganization(ctx, w, c, &o)
		if err != nil {
			return err
		}
		if (created && !c.IsAdmin()) || n.AssignCaller {
			if err := s.join(ctx, w, Membership{OrganizationID: o.ID, UserID: a.ID, Role: OrgAdmin, CreatedAt: now}, app.ID, a, c.UserID); err != nil {
				return err
			}
		}
		newest, err := w.NewestToken(ctx, session.ID)
		if err != nil {
			return err
		}
		newest.ActiveOrg = o.ID
		t, err = s.further(ctx, w, newest, session, a, app, now)
		return err
	})
	if err != nil {
		return Organization{}, Token{}, err
	}
	t, err = s.sign(ctx, t)
	return o, t, err
}

// DeleteOrganization deletes an organization: its members lose its roles. Its slug stays taken.
//
// Errors: Forbidden, NotFound, Unavailable.
func (s *Service) DeleteOrganization(ctx context.Context, c Caller, id string) error {
	now := s.now()
	return s.update(ctx, func(w *work) error {
		o, err := w.Organization(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return errNoOrganization
		}
		if err != nil {
			return err
		}
		if err := s.mayManage(ctx, w, c, id, "user-svc:organization:delete"); err != nil {
			return err
		}
		return s.dropOrganization(ctx, w, c, o, now)
	})
}

func (s *Service) dropOrganization(ctx context.Context, w *work, c Caller, o Organization, now time.Time) error {
	members, err := w.Members(ctx, o.ID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := s.leave(ctx, w, c, o, m, now); err != nil {
			return err
		}
	}
	enrolls, err := w.Enrolls(ctx, EnrollQuery{Prefixes: []string{orgPrefix(o.ID)}})
	if err != nil {
		return err
	}
	for _, e := range enrolls {
		if err := s.dropEnroll(ctx, w, c, e, now); err != nil {
			return err
		}
	}
	if err := w.DeleteOrganization(ctx, o.ID); err != nil {
		return err
	}
	return w.Emit(ctx, Event{ActorID: c.UserID, What: OrganizationDeleted{Organization: o}})
}

// putOrganization inserts o, or replaces the one with its id where the caller may.
func (s *Service) putOrganization(ctx context.Context, w *work, c Caller, o *Organization) (created bool, err error) {
	old, err := w.Organization(ctx, o.ID)
	created = errors.Is(err, ErrNotFound)
	switch {
	case created:
		// Roles, permits and data of others may still name the organization that had the id.
		if had, err := w.HadSlug(ctx, o.ID); err != nil || had {
			return false, errors.Join(err, errIDUsed)
		}
	case err != nil:
		return false, err
	default:
		if err := s.mayManage(ctx, w, c, o.ID, "user-svc:organization:edit"); err != nil {
			return false, err
		}
		o.AppID, o.CreatedAt = old.AppID, old.CreatedAt
	}
	if o.Slug != old.Slug && !c.IsAdmin() {
		if err := s.unused(o.Slug); err != nil {
			return false, err
		}
	}
	if err := w.ReserveSlug(ctx, o.Slug, o.ID); err != nil {
		if errors.Is(err, ErrTaken) {
			return false, errSlugTaken
		}
		return false, err
	}
	w.changes.Slugs = append(w.changes.Slugs, o.Slug)
	if err := w.SaveOrganization(ctx, *o); err != nil {
		return false, err
	}
	return created, w.Emit(ctx, Event{ActorID: c.UserID, What: OrganizationSaved{Organization: *o, Created: created}})
}

// mayManage refuses callers who are no admin of the organization now, whatever their token says. An admin is the founder of the
// organization, or an account with the role. So may holders of the permission, in their app.
func (s *Service) mayManage(ctx context.Context, r Reader, c Caller, organizationID, permission string) error {
	if c.IsAdmin() {
		return nil
	}
	if s.may(c, permission) {
		o, err := r.Organization(ctx, organizationID)
		if err != nil && !errors.Is(err, ErrNotFound) || err == nil && o.AppID == c.AppID {
			return err
		}
	}
	m, err := r.Membership(ctx, organizationID, c.UserID)
	if err == nil && m.Role == OrgAdmin {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	given, err := s.givenAdmins(ctx, r, organizationID)
	if err != nil && !errors.Is(err, ErrNotFound) || slices.Contains(given, c.UserID) {
		return err
	}
	return errs.Forbiddenf("this takes an admin of the organization")
}

// givenAdmins returns the accounts that were given the admin role of an organization, in its app.
func (s *Service) givenAdmins(ctx context.Context, r Reader, organizationID string) (userIDs []string, err error) {
	o, err := r.Organization(ctx, organizationID)
	if err != nil {
		return nil, err
	}
	q := EnrollQuery{Role: orgRole(organizationID, OrgAdmin)}
	enrolls, err := r.Enrolls(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, e := range enrolls {
		if e.UserID != "" && (e.AppID == o.AppID || e.AppID == AnyApp) {
			q.IDs, q.UserIDs = append(q.IDs, e.ID), append(q.UserIDs, e.UserID)
		}
	}
	if len(q.IDs) == 0 {
		return nil, nil
	}
	enrolls, err = s.effective(ctx, r, q)
	for _, e := range enrolls {
		userIDs = append(userIDs, e.UserID)
	}
	return userIDs, err
}

// ListOrganizations lists the caller's organizations; for an admin, all; for holders of the permission, all of their app. Errors: Unavailable.
func (s *Service) ListOrganizations(ctx context.Context, c Caller, ids []string, after time.Time, limit int) ([]Organization, error) {
	q := OrganizationQuery{IDs: ids, After: after, Limit: pageLimit(limit)}
	if !c.IsAdmin() {
		q.AppID = c.AppID
	}
	if !s.may(c, "user-svc:organization:view") {
		q.MemberID = c.UserID
	}
	return s.store.Organizations(ctx, q)
}
