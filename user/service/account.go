package service

import (
	"context"
	"errors"
	"maps"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Account is who somebody is: a person or a service.
type Account struct {
	ID           string
	Slug         string // for ever
	Name         string
	Labels       map[string]string
	Thumbnail    string // id of a file
	PasswordHash string // empty where no password signs in
	CreatedAt    time.Time
	UpdatedAt    time.Time
	DeletedAt    time.Time // zero for one that lives
}

// maxLabels is the most labels of an account.
const maxLabels = 64

var errNoUser = errs.NotFoundf("there is no such account")

// account finds an account that lives. Errors: NotFound.
func account(ctx context.Context, r Reader, id string) (Account, error) {
	a, err := r.Account(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Account{}, errNoUser
	}
	return a, err
}

// self finds the caller's account. One that is gone is no longer signed in.
func self(ctx context.Context, r Reader, c Caller) (Account, error) {
	a, err := r.Account(ctx, c.UserID)
	if errors.Is(err, ErrNotFound) {
		return Account{}, errRevoked
	}
	return a, err
}

// Change is what may be changed of an account; nil fields stay as they are.
type Change struct {
	Name      *string
	Thumbnail *string
	Labels    map[string]string // replaces all, where it isn't nil
}

// SaveSelf changes the caller's own account. Errors: Invalid, Unauthenticated, Unavailable.
func (s *Service) SaveSelf(ctx context.Context, c Caller, ch Change) error {
	return s.change(ctx, c, c.UserID, errRevoked, ch)
}

// SaveUser changes an account. Errors: Invalid, NotFound, Unavailable.
func (s *Service) SaveUser(ctx context.Context, c Caller, id string, ch Change) error {
	return s.change(ctx, c, id, errNoUser, ch)
}

func (s *Service) change(ctx context.Context, c Caller, id string, gone error, ch Change) error {
	if ch.Name != nil {
		if err := checkName(*ch.Name); err != nil {
			return err
		}
	}
	if err := checkLabels(ch.Labels); err != nil {
		return err
	}
	defer s.known.forget()
	return s.update(ctx, func(w *work) error {
		a, err := w.Account(ctx, id)
		if errors.Is(err, ErrNotFound) {
			return gone
		}
		if err != nil {
			return err
		}
		if id != c.UserID {
			if err := s.mayChange(ctx, w, c, id); err != nil {
				return err
			}
		}
		fields := ch.apply(&a)
		if err := checkLabels(a.Labels); err != nil {
			return err
		}
		if len(fields) == 0 {
			return nil
		}
		a.UpdatedAt = s.now()
		if err := w.UpdateAccount(ctx, a); err != nil {
			return err
		}
		return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: c.UserID, What: AccountChanged{Fields: fields}})
	})
}

// apply changes a and tells which fields are different now.
func (ch Change) apply(a *Account) (fields []string) {
	if ch.Name != nil && *ch.Name != a.Name {
		a.Name = *ch.Name
		fields = append(fields, "name")
	}
	if ch.Thumbnail != nil && *ch.Thumbnail != a.Thumbnail {
		a.Thumbnail = *ch.Thumbnail
		fields = append(fields, "thumbnailFileId")
	}
	if merged := merge(a.Labels, ch.Labels); !maps.Equal(merged, a.Labels) {
		a.Labels = merged
		fields = append(fields, "labels")
	}
	return fields
}

// merge returns labels with changes. An empty value removes a label.
func merge(labels, changes map[string]string) map[string]string {
	merged := maps.Clone(labels)
	if merged == nil {
		merged = map[string]string{}
	}
	for k, v := range changes {
		if merged[k] = v; v == "" {
			delete(merged, k)
		}
	}
	return merged
}

// DeleteUser deletes an account for good: its sessions end, its contacts are free, its slug stays taken. The last admin stays.
//
// Errors: NotFound, Conflict, Unavailable.
func (s *Service) DeleteUser(ctx context.Context, c Caller, id string) error {
	now := s.now()
	defer s.known.forget()
	return s.update(ctx, func(w *work) error {
		a, err := account(ctx, w, id)
		if err != nil {
			return err
		}
		if err := s.mayChange(ctx, w, c, id); err != nil {
			return err
		}
		if err := s.keepAdmin(ctx, w, func(e Enroll) bool { return e.UserID == id }); err != nil {
			return err
		}
		if err := s.endSessions(ctx, w, a, c.UserID, Session{UserID: id}, "account deleted", now); err != nil {
			return err
		}
		memberships, err := w.Memberships(ctx, id, "")
		if err != nil {
			return err
		}
		for _, m := range memberships {
			if err := w.DeleteMembership(ctx, m.OrganizationID, id); err != nil {
				return err
			}
		}
		if err := errors.Join(w.DeleteContactsOf(ctx, id), w.DeleteEnrollsOf(ctx, id)); err != nil {
			return err
		}
		a = Account{ID: a.ID, Slug: a.Slug, CreatedAt: a.CreatedAt, UpdatedAt: now, DeletedAt: now}
		if err := w.UpdateAccount(ctx, a); err != nil {
			return err
		}
		w.changes.Deleted = append(w.changes.Deleted, a.Slug)
		return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: c.UserID, What: AccountDeleted{}})
	})
}

// keepAdmin refuses to go on without any account that is an admin in every app.
func (s *Service) keepAdmin(ctx context.Context, w *work, gone func(Enroll) bool) error {
	admins, err := w.Enrolls(ctx, EnrollQuery{Role: RoleAdmin})
	if err != nil {
		return err
	}
	is := false
	for _, e := range admins {
		switch {
		case gone(e):
			is = is || e.AppID == AnyApp
		case e.UserID != "" && e.AppID == AnyApp:
			count, err := s.effective(ctx, w, EnrollQuery{IDs: []string{e.ID}, UserIDs: []string{e.UserID}})
			if err != nil || len(count) > 0 {
				return err
			}
		}
	}
	if is {
		return errs.New(errs.Conflict, "LAST_ADMIN", "this is the last admin: make another one first, for every app (*)")
	}
	return nil
}

func checkName(name string) error {
	if err := ident.Text(name); err != nil {
		return errs.Field("name", "text", "%s", err)
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return errs.Field("labels", "max_items", "has %d entries; at most %d are allowed", len(labels), maxLabels)
	}
	for k := range labels {
		if k == "" {
			return errs.Field("labels", "key", "must not have an empty key")
		}
	}
	return nil
}

// checkID checks an id that a client chose; none is fine.
func checkID(field, id string) error {
	if id == "" {
		return nil
	}
	if err := ident.ID(id); err != nil {
		return errs.Field(field, "id", "%s", err)
	}
	return nil
}
