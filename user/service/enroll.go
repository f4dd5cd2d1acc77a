package service

import (
	"context"
	"errors"
	"time"

	"micromesh/pkg/errs"
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
	for _, n := range asked {
		if err := n.check(c); err != nil {
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

func (n NewEnroll) check(c Caller) error {
	if err := checkRole("role", n.Role); err != nil {
		return err
	}
	if (n.UserID == "") == (n.ContactID == "") {
		return errs.Field("userId", "required", "or contactId is required: exactly one of them")
	}
	if !c.Owns(n.Role) {
		return errs.Forbiddenf("you can't give the role %s: it takes the account %s, or its admin role", n.Role, firstSegment(n.Role))
	}
	return checkID("id", n.ID)
}

func (s *Service) saveEnroll(ctx context.Context, w *work, c Caller, n NewEnroll, now time.Time) (Enroll, error) {
	appID, err := appIDOf(ctx, w, n.AppHost)
	if err != nil {
		return Enroll{}, err
	}
	e := Enroll{ID: n.ID, AppID: appID, Role: n.Role, UserID: n.UserID, ContactID: n.ContactID, CreatedBy: c.UserID, CreatedAt: now, UpdatedAt: now}
	if e.ID == "" {
		e.ID = newID("enr")
	}
	if e.ContactID != "" {
		e.ContactID = lowerASCII(e.ContactID)
		held, err := w.Contact(ctx, e.ContactID)
		switch {
		case err == nil && (held.Verified || !s.cfg.VerifyContacts):
			e.UserID = held.UserID
		case err != nil && !errors.Is(err, ErrNotFound):
			return Enroll{}, err
		}
	} else if _, err := account(ctx, w, e.UserID); err != nil {
		return Enroll{}, err
	}
	if err := grant(ctx, w, c.UserID, e); err != nil {
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

// grant inserts an enroll, unless the account or contact has the role in the app already.
func grant(ctx context.Context, w *work, actor string, e Enroll) error {
	if e.UserID != "" {
		if err := give(ctx, w, e.UserID, e.Role); err != nil {
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

// ListEnrolls lists enrolls of roles that the caller owns. Errors: Forbidden for a role of others, Unavailable.
func (s *Service) ListEnrolls(ctx context.Context, c Caller, q EnrollQuery) ([]Enroll, error) {
	if q.Role != "" && !c.Owns(q.Role) {
		return nil, errNotAllowed
	}
	if q.Role == "" && !c.IsAdmin() {
		q.Prefixes = c.owned()
	}
	q.ContactID = lowerASCII(q.ContactID)
	q.Limit = maxPage
	return s.store.Enrolls(ctx, q)
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
