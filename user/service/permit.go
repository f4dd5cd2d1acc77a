package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// Permit grants a permission to slugs and to holders of roles.
type Permit struct {
	ID         string
	AppID      string // AnyApp holds in all
	Permission string
	Roles      []string
	Slugs      []string
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// NewPermit is what someone asks to be permitted.
type NewPermit struct {
	AppHost    string
	ID         string // the permit that is replaced; made of the rest where it is empty, so that saving again changes nothing
	Permission string
	Roles      []string
	Slugs      []string
}

// SavePermits grants permissions that the caller owns. Errors: Invalid, Forbidden, NotFound for the app, Unavailable.
func (s *Service) SavePermits(ctx context.Context, c Caller, asked []NewPermit) error {
	for i := range asked {
		if err := asked[i].check(); err != nil {
			return err
		}
		if err := s.appOnDemand(ctx, asked[i].AppHost); err != nil {
			return err
		}
	}
	now := s.now()
	return s.update(ctx, func(w *work) error {
		for _, n := range asked {
			if err := s.savePermit(ctx, w, c, n, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// check checks what someone asks, and brings it into its normal form.
func (n *NewPermit) check() error {
	if err := errors.Join(checkRole("permission", n.Permission), checkRoles(n.Roles), checkID("id", n.ID)); err != nil {
		return errs.From(err)
	}
	for _, slug := range n.Slugs {
		if err := checkSlug(slug); err != nil {
			return err
		}
	}
	if len(n.Roles) == 0 && len(n.Slugs) == 0 && n.ID == "" {
		return errs.Field("slugs", "required", "or roles are required: to whom is it granted?")
	}
	slices.Sort(n.Roles)
	slices.Sort(n.Slugs)
	n.Roles, n.Slugs = slices.Compact(n.Roles), slices.Compact(n.Slugs)
	return nil
}

func (s *Service) savePermit(ctx context.Context, w *work, c Caller, n NewPermit, now time.Time) error {
	appID, err := appIDOf(ctx, w, c, n.AppHost)
	if err != nil {
		return err
	}
	if err := s.mayHandle(ctx, w, c, n.Permission, appID, "user-svc:permit:edit"); err != nil {
		return err
	}
	p := Permit{ID: n.ID, AppID: appID, Permission: n.Permission, Roles: n.Roles, Slugs: n.Slugs, CreatedAt: now, UpdatedAt: now}
	if p.ID == "" {
		if p.ID, err = p.free(ctx, w); err != nil {
			return err
		}
	}
	old, err := w.Permit(ctx, p.ID)
	switch {
	case errors.Is(err, ErrNotFound) && madeUp.MatchString(n.ID) && n.ID != p.digest(0):
		return errs.Field("id", "made_up", "belongs to a permit with other content, which does not exist: leave the id out, or choose another one")
	case err == nil && s.mayHandle(ctx, w, c, old.Permission, old.AppID, "user-svc:permit:edit") != nil:
		return errs.Forbiddenf("the permit %s is another owner's", p.ID)
	case err == nil:
		p.CreatedAt = old.CreatedAt
		if p.same(old) {
			return nil
		}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if err := w.SavePermit(ctx, p); err != nil {
		return err
	}
	w.changes.Permits = append(w.changes.Permits, p.ID)
	return w.Emit(ctx, Event{ActorID: c.UserID, What: PermitSaved{Permit: p}})
}

// madeUp matches the ids of permits that were saved without one. A permit of another account may get such an id, so it can't be chosen.
var madeUp = regexp.MustCompile("^prm_[0-9a-f]{24}$")

// free returns the id of the permit that says the same, or else one that none has. The id is a hash of the content, so that saving again
// changes nothing. A permit with that id may have other content by now.
func (p Permit) free(ctx context.Context, r Reader) (string, error) {
	for n := 0; ; n++ {
		id := p.digest(n)
		old, err := r.Permit(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && p.same(old):
			return id, nil
		case err != nil:
			return "", err
		}
	}
}

// same reports whether two permits grant the same.
func (p Permit) same(old Permit) bool {
	return old.AppID == p.AppID && old.Permission == p.Permission && slices.Equal(old.Roles, p.Roles) && slices.Equal(old.Slugs, p.Slugs)
}

// digest makes an id of what a permit says, the n-th that it could have.
func (p Permit) digest(n int) string {
	h := sha256.New()
	parts := [][]string{{p.AppID, p.Permission}, p.Roles, {""}, p.Slugs}
	if n > 0 {
		parts = append(parts, []string{"", strconv.Itoa(n)})
	}
	for _, part := range parts {
		for _, s := range part {
			h.Write([]byte(s))
			h.Write([]byte{0})
		}
	}
	return "prm_" + hex.EncodeToString(h.Sum(nil)[:12])
}

// ListPermits lists permits: all for an admin, those that the caller owns and those for the caller alone for others. The permission
// to view all shows those of the caller's app. Empty filters match all.
//
// Errors: Unavailable.
func (s *Service) ListPermits(ctx context.Context, c Caller, permission, slug string) ([]Permit, error) {
	all, err := s.store.Permits(ctx, permission, slug)
	if err != nil {
		return nil, err
	}
	view := s.may(c, "user-svc:permit:view")
	return slices.DeleteFunc(all, func(p Permit) bool {
		shown := (view || c.Owns(p.Permission)) && c.sees(p.Permission, p.AppID)
		return !shown && !p.concerns(c)
	}), nil
}

// concerns reports whether a permit is for the caller's slug and nobody else.
func (p Permit) concerns(c Caller) bool {
	return len(p.Roles) == 0 && len(p.Slugs) == 1 && p.Slugs[0] == c.Slug
}

// DeletePermits takes permissions back: all permits that are named, or none. The owners of a permission may do it, and the one account that
// a permit is for.
//
// Errors: NotFound, Unavailable.
func (s *Service) DeletePermits(ctx context.Context, c Caller, ids []string) error {
	return s.update(ctx, func(w *work) error {
		for _, id := range ids {
			p, err := w.Permit(ctx, id)
			if errors.Is(err, ErrNotFound) || err == nil && !p.concerns(c) && s.mayHandle(ctx, w, c, p.Permission, p.AppID, "user-svc:permit:delete") != nil {
				return errs.NotFoundf("there is no permit %q of yours", id)
			}
			if err != nil {
				return err
			}
			if err := s.dropPermit(ctx, w, c, p); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) dropPermit(ctx context.Context, w *work, c Caller, p Permit) error {
	if err := w.DeletePermit(ctx, p.ID); err != nil {
		return err
	}
	w.changes.Permits = append(w.changes.Permits, p.ID)
	return w.Emit(ctx, Event{ActorID: c.UserID, What: PermitDeleted{Permit: p}})
}

// ListPermissions lists what permits grant to the caller's slug and roles; for an admin, all that is known.
//
// Errors: Unavailable.
func (s *Service) ListPermissions(ctx context.Context, c Caller) ([]string, error) {
	if !c.IsAdmin() {
		return s.permits.Permissions(c), nil
	}
	all, err := s.store.Permits(ctx, "", "")
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Permission
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// permissionFor is the time for which an answer of HasPermission may be cached. A permit must not count 5 s after its revocation.
const permissionFor = 4 * time.Second

// Verdict is the answer of HasPermission.
type Verdict struct {
	Authorized bool
	Until      time.Time
	Account    Account
	App        App
}

// known is what a verdict tells about its caller.
type known struct {
	account Account
	app     App
}

// HasPermission tells whether the caller has a permission: by role, by a permit on a role, or by one on the slug.
//
// A malformed permission is one that was not granted.
//
// Errors: Unauthenticated where the account was deleted, Unavailable.
func (s *Service) HasPermission(ctx context.Context, c Caller, permission string) (Verdict, error) {
	k, err := s.knownCaller(ctx, c)
	if err != nil {
		return Verdict{}, err
	}
	until := s.now().Add(permissionFor)
	if !s.cfg.AutoRefresh && c.ExpiresAt.Before(until) {
		until = c.ExpiresAt
	}
	return Verdict{
		Authorized: s.may(c, permission),
		Until:      until, Account: k.account, App: k.app,
	}, nil
}

// knownCaller reads the caller's account and app, at most once a second.
func (s *Service) knownCaller(ctx context.Context, c Caller) (known, error) {
	key := c.UserID + " " + c.AppID
	if k, ok := s.known.get(key); ok {
		return k, nil
	}
	read := s.known.now()
	a, err := self(ctx, s.store, c)
	if err != nil {
		return known{}, err
	}
	app, err := s.store.App(ctx, c.AppID)
	if err != nil {
		return known{}, err
	}
	k := known{a, app}
	s.known.put(key, k, read)
	return k, nil
}

// firstSegment is a role's or a permission's up to the colon.
func firstSegment(name string) string {
	prefix, _, _ := strings.Cut(name, ":")
	return prefix
}
