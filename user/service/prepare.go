package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"micromesh/pkg/ident"
)

// Admin is the account that exists from the first start.
type Admin struct {
	Slug     string
	Password string
}

// CheckAdminSlug tells what is wrong with the slug of an admin, which may be one that nobody can register.
func CheckAdminSlug(slug string) error {
	return ident.Slug(slug)
}

// Prepare makes sure that there are the default app, a signing key and an admin, and tells whether it created the admin.
// One that exists keeps its password. Of processes that start at once, one does it.
//
// Errors: Invalid for the admin, Unavailable.
func (s *Service) Prepare(ctx context.Context, admin Admin) (created bool, err error) {
	slug := admin.Slug
	if err := checkSlug(slug); err != nil {
		return false, err
	}
	if err := s.ensureApp(ctx); err != nil {
		return false, err
	}
	if err := s.EnsureKey(ctx); err != nil {
		return false, err
	}
	if _, err := s.store.AccountBySlug(ctx, slug); !errors.Is(err, ErrNotFound) {
		return false, err
	}
	if err := s.checkPassword("password", admin.Password); err != nil {
		return false, err
	}
	hash, err := s.hasher.hash(ctx, "", admin.Slug, admin.Password)
	if err != nil {
		return false, err
	}
	now := s.now()
	a := Account{ID: newID("usr"), Slug: slug, Name: "Admin", PasswordHash: hash, CreatedAt: now, UpdatedAt: now}
	err = s.update(ctx, func(w *work) error {
		app, err := appByHost(ctx, w, DefaultApp)
		if err != nil {
			return err
		}
		if err := s.create(ctx, w, a, app.ID, ""); err != nil {
			return err
		}
		return s.grant(ctx, w, "", Enroll{ID: newID("enr"), AppID: AnyApp, Role: RoleAdmin, UserID: a.ID, CreatedAt: now, UpdatedAt: now})
	})
	if errors.Is(err, errSlugTaken) { // by another process, or for ever by an admin who was deleted
		return false, nil
	}
	return err == nil, err
}

func (s *Service) ensureApp(ctx context.Context) error {
	_, err := s.store.App(ctx, DefaultApp)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	err = s.update(ctx, func(w *work) error { return w.InsertApp(ctx, App{ID: DefaultApp, Host: DefaultApp}) })
	if errors.Is(err, ErrTaken) { // another process was faster
		return nil
	}
	return err
}

// Housekeep rotates the signing key when it is due and deletes what is of no more use. Errors: Unavailable.
func (s *Service) Housekeep(ctx context.Context) error {
	if err := s.EnsureKey(ctx); err != nil {
		return err
	}
	now := s.now()
	return s.update(ctx, func(w *work) error {
		if err := s.dropKeys(ctx, w, now); err != nil {
			return err
		}
		reach := now.Add(-s.tokenReach())
		return w.Expire(ctx, Expiry{
			Rotated: reach.Add(-time.Minute), Plain: now.Add(-s.cfg.TokenLife - time.Minute), Sessions: reach, Codes: now, Attempts: now.Add(-limitWindow), Lost: reach,
		})
	})
}

// Revocations returns the sessions that ended and the lost roles of accounts, for replication. Sessions whose tokens have all expired are
// left out. Errors: Unavailable.
func (s *Service) Revocations(ctx context.Context) (sessions []string, lost []LostRole, err error) {
	since := s.now().Add(-s.tokenReach())
	if sessions, err = s.store.RevokedSince(ctx, since); err != nil {
		return nil, nil, err
	}
	lost, err = s.store.RolesLost(ctx, "")
	return sessions, slices.DeleteFunc(lost, func(l LostRole) bool { return l.Back }), err
}

// AllPermits gives every permit, for replication. Errors: Unavailable.
func (s *Service) AllPermits(ctx context.Context) ([]Permit, error) {
	return s.store.Permits(ctx, "", "")
}
