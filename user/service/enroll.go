package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Enroll gives a role to an account, or to a contact whose holder may register later.
type Enroll struct {
	ID        string
	AppID     string // AnyApp holds in all
	Role      string
	UserID    string
	ContactID string
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// EnrollQuery says which enrolls to list; empty fields match all.
type EnrollQuery struct {
	IDs       []string
	Role      string
	Prefixes  []string // of roles, up to the colon
	UserIDs   []string
	ContactID string
	AppID     string // of those of this app, and of any app
	Limit     int    // 0 is no limit
}

// NewEnroll is what someone asks to be enrolled.
type NewEnroll struct {
	AppHost   string
	ID        string
	Role      string
	UserID    string
	ContactID string
}

// SaveEnrolls gives roles that the caller owns. An enroll that exists already is answered as it is.
//
// Errors: Invalid, Forbidden, NotFound, Unavailable.
func (s *Service) SaveEnrolls(ctx context.Context, c Caller, asked []NewEnroll) ([]Enroll, error) {
	for i := range asked {
		if err := asked[i].check(); err != nil {
			return nil, err
		}
		if err := s.appOnDemand(ctx, asked[i].AppHost); err != nil {
			return nil, err
		}
	}
	now := s.now()
	var saved []Enroll
	err := s.update(ctx, func(w *work) error {
		saved = make([]Enroll, len(asked))
		for i, n := range asked {
			var err error
			if saved[i], err = s.saveEnroll(ctx, w, c, n, now); err != nil {
				return err
			}
		}
		return nil
	})
	return saved, err
}

// check checks what someone asks for, and brings it into its canonical form.
func (n *NewEnroll) check() error {
	if err := checkRole("role", n.Role); err != nil {
		return err
	}
	if (n.UserID == "") == (n.ContactID == "") {
		return errs.Field("userId", "required", "or contactId is required: exactly one of them")
	}
	if n.ContactID != "" {
		id, err := ident.ContactID(n.ContactID)
		if err != nil {
			return errs.Field("contactId", "contact_id", "%s", err)
		}
		n.ContactID = id
	}
	return checkID("id", n.ID)
}

// mayHandle refuses callers who neither own a role or a permission in an app, nor hold the permission to make the call for those of others.
// Owners are its account, the holders of that account's admin role, and the admins of an organization for the roles of that organization.
// The permission counts in the caller's app, and never for the mesh's own roles and permissions: else its holders could become admins.
func (s *Service) mayHandle(ctx context.Context, r Reader, c Caller, name, appID, permission string) error {
	if c.Owns(name) {
		return s.ownsIn(ctx, r, c, name, appID)
	}
	if id, ok := ident.OrganizationOf(name); ok {
		return s.mayManage(ctx, r, c, id, "")
	}
	if prefix := firstSegment(name); ident.Own(prefix) || appID != c.AppID || !s.may(c, permission) {
		return errs.Forbiddenf("%s belongs to the account %s: sign in as it, or as a holder of its admin role", name, prefix)
	}
	return nil
}

// ownsIn refuses an owner of a role or a permission who owns it in other apps alone: by the admin role of its account, which was given for
// one app.
func (s *Service) ownsIn(ctx context.Context, r Reader, c Caller, name, appID string) error {
	prefix := firstSegment(name)
	if appID == c.AppID || c.Slug == prefix || c.IsAdmin() {
		return nil
	}
	held, err := s.effective(ctx, r, EnrollQuery{UserIDs: []string{c.UserID}, Role: prefix + ":admin"})
	if err != nil || slices.ContainsFunc(held, func(e Enroll) bool { return e.AppID == AnyApp || e.AppID == appID }) {
		return err
	}
	return errs.Forbiddenf("%s belongs to others in that app: you have the role %s:admin in another app alone", name, prefix)
}

func (s *Service) saveEnroll(ctx context.Context, w *work, c Caller, n NewEnroll, now time.Time) (Enroll, error) {
	appID, err := appIDOf(ctx, w, c, n.AppHost)
	if err != nil {
		return Enroll{}, err
	}
	if !counts(n.Role, appID) {
		if n.AppHost != "" {
			return Enroll{}, errs.Field("appHost", "app", "is one app: the role %s holds in the whole mesh. Use * or leave appHost out", n.Role)
		}
		appID = AnyApp
	}
	if err := s.mayHandle(ctx, w, c, n.Role, appID, "user-svc:enroll:edit"); err != nil {
		return Enroll{}, err
	}
	e := Enroll{ID: n.ID, AppID: appID, Role: n.Role, UserID: n.UserID, ContactID: n.ContactID, CreatedBy: c.UserID, CreatedAt: now, UpdatedAt: now}
	if e.ID == "" {
		e.ID = newID("enr")
	}
	if e.ContactID != "" {
		held, err := w.Contact(ctx, e.ContactID)
		switch {
		case err == nil && s.claims(held, e.Role):
			e.UserID = held.UserID
		case err != nil && !errors.Is(err, ErrNotFound):
			return Enroll{}, err
		}
	} else if _, err := account(ctx, w, e.UserID); err != nil {
		return Enroll{}, err
	}
	if n.ID != "" {
		if done, err := s.replaceEnroll(ctx, w, c, &e); done || err != nil {
			return e, err
		}
	}
	if err := s.grant(ctx, w, c.UserID, e); err != nil {
		return Enroll{}, err
	}
	same, err := w.Enrolls(ctx, EnrollQuery{Role: e.Role, ContactID: e.ContactID, UserIDs: nonEmpty(e.UserID)})
	if err != nil {
		return Enroll{}, err
	}
	for _, old := range same {
		if old.AppID == appID {
			return old, nil
		}
	}
	return e, nil
}

// replaceEnroll deletes the enroll that has the id of e, so that e can take its place. It reports whether the saved enroll says the same as e:
// then it stays, and e becomes it.
func (s *Service) replaceEnroll(ctx context.Context, w *work, c Caller, e *Enroll) (same bool, err error) {
	others, err := w.Enrolls(ctx, EnrollQuery{Role: e.Role, ContactID: e.ContactID, UserIDs: nonEmpty(e.UserID)})
	if err != nil {
		return false, err
	}
	for _, o := range others {
		if o.AppID != e.AppID {
			continue
		}
		if o.ID == e.ID {
			*e = o
			return true, nil
		}
		return false, errs.Conflictf("the enroll %s says the same as %s would", o.ID, e.ID)
	}
	named, err := w.Enrolls(ctx, EnrollQuery{IDs: []string{e.ID}})
	if err != nil || len(named) == 0 {
		return false, err
	}
	old := named[0]
	if s.mayHandle(ctx, w, c, old.Role, old.AppID, "user-svc:enroll:edit") != nil {
		return false, errs.Conflictf("another owner's enroll has the id %q", e.ID)
	}
	if err := s.keepAdmin(ctx, w, func(o Enroll) bool { return o.ID == old.ID }); err != nil {
		return false, err
	}
	e.CreatedAt = old.CreatedAt
	return false, s.dropEnroll(ctx, w, c, old, e.UpdatedAt)
}

// grant inserts an enroll, unless the account or contact has the role in the app already. One that could take no effect is refused.
func (s *Service) grant(ctx context.Context, w *work, actor string, e Enroll) error {
	if e.UserID != "" {
		if err := give(ctx, w, e.UserID, e.AppID, e.Role); err != nil {
			return err
		}
	}
	same, err := w.Enrolls(ctx, EnrollQuery{Role: e.Role, ContactID: e.ContactID, UserIDs: nonEmpty(e.UserID)})
	if err != nil {
		return err
	}
	for _, old := range same {
		if old.AppID == e.AppID {
			return nil
		}
	}
	if e.UserID != "" {
		err = s.fits(ctx, w, e.UserID, e.Role, e.AppID, false)
	} else {
		err = fitsContact(ctx, w, e.ContactID, e.Role)
	}
	if err != nil {
		return err
	}
	if err := w.InsertEnroll(ctx, e); err != nil {
		if errors.Is(err, ErrTaken) {
			return errs.Conflictf("another enroll has the id %q", e.ID)
		}
		return err
	}
	slug := ""
	if e.UserID != "" {
		a, err := account(ctx, w, e.UserID)
		if err != nil {
			return err
		}
		slug = a.Slug
	}
	return w.Emit(ctx, Event{UserID: e.UserID, Slug: slug, ActorID: actor, What: RoleGranted{Role: e.Role, AppID: e.AppID, ContactID: e.ContactID}})
}

// DeleteEnrolls takes roles back: all that are named, or none. Their owners may do it, and the account that holds a role. The last admin
// stays one.
//
// Errors: Forbidden, NotFound, Conflict, Unavailable.
func (s *Service) DeleteEnrolls(ctx context.Context, c Caller, ids []string) error {
	now := s.now()
	return s.update(ctx, func(w *work) error {
		enrolls, err := w.Enrolls(ctx, EnrollQuery{IDs: ids})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if !slices.ContainsFunc(enrolls, func(e Enroll) bool { return e.ID == id }) {
				return errs.NotFoundf("there is no enroll %q", id)
			}
		}
		for _, e := range enrolls {
			if e.UserID == c.UserID && e.UserID != "" {
				continue
			}
			if err := s.mayHandle(ctx, w, c, e.Role, e.AppID, "user-svc:enroll:delete"); err != nil {
				return errs.NotFoundf("there is no enroll %q of yours", e.ID)
			}
		}
		if err := s.keepAdmin(ctx, w, func(e Enroll) bool { return slices.Contains(ids, e.ID) }); err != nil {
			return err
		}
		for _, e := range enrolls {
			if err := s.dropEnroll(ctx, w, c, e, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropEnroll deletes an enroll, and takes its role out of the tokens of its account.
func (s *Service) dropEnroll(ctx context.Context, w *work, c Caller, e Enroll, now time.Time) error {
	if err := w.DeleteEnroll(ctx, e.ID); err != nil {
		return err
	}
	if e.UserID == "" {
		return w.Emit(ctx, Event{ActorID: c.UserID, What: RoleRemoved{Role: e.Role, AppID: e.AppID, ContactID: e.ContactID}})
	}
	a, err := account(ctx, w, e.UserID)
	if err != nil {
		return err
	}
	return s.drop(ctx, w, c.UserID, a, e, now)
}

// drop takes the role of an enroll that no longer counts out of the tokens of its account, unless it has the role by another one too.
func (s *Service) drop(ctx context.Context, w *work, actor string, a Account, e Enroll, now time.Time) error {
	others, err := s.effective(ctx, w, EnrollQuery{Role: e.Role, UserIDs: []string{a.ID}})
	if err != nil {
		return err
	}
	held := func(appID string) bool {
		return slices.ContainsFunc(others, func(o Enroll) bool { return o.ID != e.ID && (o.AppID == appID || o.AppID == AnyApp) })
	}
	if err := take(ctx, w, a.ID, e.AppID, e.Role, e.CreatedAt, now, held); err != nil {
		return err
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: actor, What: RoleRemoved{Role: e.Role, AppID: e.AppID}})
}

// ListEnrolls lists enrolls of roles that the caller owns, and those of the caller's own account. Owners by an admin role, and holders of the
// permission to view all, see those of their app.
//
// Errors: Invalid, Forbidden for a role of others, Unavailable.
func (s *Service) ListEnrolls(ctx context.Context, c Caller, q EnrollQuery) ([]Enroll, error) {
	own := len(q.UserIDs) == 1 && q.UserIDs[0] == c.UserID
	all := s.may(c, "user-svc:enroll:view")
	if q.Role != "" && !own && !all {
		if err := s.mayHandle(ctx, s.store, c, q.Role, c.AppID, ""); err != nil {
			return nil, errNotAllowed
		}
	} else if q.Role == "" && !own && !all {
		q.Prefixes = c.owned()
	}
	if q.ContactID != "" {
		id, err := ident.ContactID(q.ContactID)
		if err != nil {
			return nil, errs.Field("contactId", "contact_id", "%s", err)
		}
		q.ContactID = id
	}
	q.Limit = maxPage
	enrolls, err := s.store.Enrolls(ctx, q)
	enrolls = slices.DeleteFunc(enrolls, func(e Enroll) bool { return e.UserID != c.UserID && !c.sees(e.Role, e.AppID) })
	if err != nil || q.Prefixes == nil || len(q.UserIDs) > 0 {
		return enrolls, err
	}
	q.Prefixes, q.UserIDs = nil, []string{c.UserID}
	mine, err := s.store.Enrolls(ctx, q)
	return append(enrolls, slices.DeleteFunc(mine, func(e Enroll) bool {
		return slices.ContainsFunc(enrolls, func(o Enroll) bool { return o.ID == e.ID })
	})...), err
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
