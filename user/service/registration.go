package service

import (
	"context"
	"errors"
	"fmt"

	"micromesh/pkg/errs"
)

// Registration is what someone says to get an account.
type Registration struct {
	AppHost  string
	Slug     string
	Name     string
	Password string
	Contact  *ContactProof
	Device   string
}

// Register creates an account and signs it in, by a password, or by a contact with a one-time code. Without a code, a contact that somebody
// holds stays theirs, and the answer doesn't tell. With its code, the contact is the new account's, unless another one has proved it.
//
// Errors: Invalid, Unauthenticated for a wrong code, NotFound for the app, Conflict for the slug or the contact, Unavailable.
func (s *Service) Register(ctx context.Context, ip string, r Registration) (Token, error) {
	slug, contact, err := s.checkRegistration(r)
	if err == nil {
		err = s.appOnDemand(ctx, r.AppHost)
	}
	if err != nil {
		return Token{}, err
	}
	done, err := s.turns.take(ctx, slug)
	if err != nil {
		return Token{}, err
	}
	defer done()
	if err := s.untaken(ctx, slug); err != nil {
		return Token{}, err
	}
	if err := s.unusedBy(ctx, ip, slug, r.Password); err != nil {
		return Token{}, err
	}
	hash, err := s.hashNew(ctx, ip, slug, r.Password)
	if err != nil {
		return Token{}, err
	}
	now := s.now()
	a := Account{ID: newID("usr"), Slug: slug, Name: r.Name, PasswordHash: hash, CreatedAt: now, UpdatedAt: now}
	var t Token
	var denied error
	err = s.issuing(ctx, func(w *work) error {
		app, err := appByHost(ctx, w, r.AppHost)
		if err != nil {
			return err
		}
		if denied, err = s.prove(ctx, w, &contact, r.Contact, ip, now); denied != nil || err != nil {
			return err // a wrong code is counted
		}
		if err := unproved(ctx, w, contact, a.ID); err != nil {
			return err
		}
		if err := s.create(ctx, w, a, app.ID, a.ID); err != nil {
			return err
		}
		if err := s.takeContact(ctx, w, contact, a.ID, now); err != nil {
			return err
		}
		t, err = s.signIn(ctx, w, a, app, r.Device, contact.ID, now)
		return err
	})
	if err = errors.Join(err, denied); err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

// unproved refuses a proved contact that another account has proved before.
func unproved(ctx context.Context, r Reader, c Contact, userID string) error {
	if !c.Verified {
		return nil
	}
	held, err := r.Contact(ctx, c.ID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && held.Verified && held.UserID != userID {
		return errContactTaken
	}
	return err
}

// checkRegistration checks all that needs no database.
func (s *Service) checkRegistration(r Registration) (slug string, contact Contact, err error) {
	slug = r.Slug
	if err := checkNewSlug(slug); err != nil {
		return "", Contact{}, err
	}
	if err := errors.Join(checkName(r.Name), checkDevice(r.Device)); err != nil {
		return "", Contact{}, errs.From(err)
	}
	if r.Contact != nil {
		if contact, err = newContact(namedContact, r.Contact.Platform, r.Contact.Handle); err != nil {
			return "", Contact{}, err
		}
		if s.cfg.VerifyContacts && !r.Contact.hasCode() {
			return "", Contact{}, errs.Field("contact.otpCode", "required", "is required: ask for a code with sendOtp first")
		}
	}
	if r.Password == "" && (r.Contact == nil || !r.Contact.hasCode()) {
		return "", Contact{}, errs.Field("password", "required", "is required, or a contact with a one-time code")
	}
	return slug, contact, nil
}

// hashNew hashes the password of a new account, if it has one. A slug that is taken costs no hash.
func (s *Service) hashNew(ctx context.Context, ip, slug, password string) (string, error) {
	if password == "" {
		return "", nil
	}
	if err := s.checkPassword("password", password); err != nil {
		return "", err
	}
	if err := s.untaken(ctx, slug); err != nil {
		return "", err
	}
	return s.hasher.hash(ctx, ip, slug, password)
}

// untaken refuses the slug of an account.
func (s *Service) untaken(ctx context.Context, slug string) error {
	_, err := s.store.AccountBySlug(ctx, slug)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil:
		return errSlugTaken
	}
	return err
}

var errSlugInUse = errs.New(errs.Conflict, "SLUG_TAKEN", "a program runs under this name, or ran lately: choose another one, or have an admin create the account")

// unused refuses the name of a program that has no account: whoever made an account of that name would own its roles and permissions, and
// receive its calls.
func (s *Service) unused(slug string) error {
	if s.programs == nil {
		return nil
	}
	used, err := s.programs.Used(slug)
	if err == nil && used {
		err = errSlugInUse
	}
	return err
}

// unusedBy is unused for an account with a password: a program may register the account that it has named as its own.
func (s *Service) unusedBy(ctx context.Context, ip, slug, password string) error {
	unused := s.unused(slug)
	if !errors.Is(unused, errSlugInUse) || s.checkPassword("password", password) != nil {
		return unused
	}
	for _, claim := range s.programs.Claims(slug) {
		leave, err := s.hasher.enter(ctx, ip, slug)
		if err != nil {
			return err
		}
		claimed := s.programs.Claimed(claim, slug, password)
		leave()
		if claimed {
			return nil
		}
	}
	return unused
}

// create inserts an account under a slug that nobody ever had.
func (s *Service) create(ctx context.Context, w *work, a Account, appID, actor string) error {
	if err := w.ReserveSlug(ctx, a.Slug, a.ID); err != nil {
		if errors.Is(err, ErrTaken) {
			return errSlugTaken
		}
		return err
	}
	w.changes.Slugs = append(w.changes.Slugs, a.Slug)
	if err := w.InsertAccount(ctx, a); err != nil {
		if errors.Is(err, ErrTaken) {
			return errs.Conflictf("another account has the id %q", a.ID)
		}
		return err
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: actor, What: Registered{Name: a.Name, AppID: appID}})
}

// NewAccount is an account that an admin creates for somebody.
type NewAccount struct {
	AppHost  string
	ID       string // made up where it is empty
	Slug     string
	Name     string
	Labels   map[string]string
	Thumb    string
	Password string // none where it is empty
	Contacts []Contact
	Roles    []string
}

// CreateUser creates an account on somebody's behalf. Errors: Invalid, NotFound, Conflict, Unavailable.
func (s *Service) CreateUser(ctx context.Context, c Caller, n NewAccount) (Account, error) {
	slug := n.Slug
	if err := checkNewSlug(slug); err != nil {
		return Account{}, err
	}
	if !c.IsAdmin() {
		if err := s.unused(slug); err != nil {
			return Account{}, err
		}
	}
	if err := errors.Join(checkName(n.Name), checkLabels(n.Labels), checkRoles(n.Roles), checkID("user.id", n.ID)); err != nil {
		return Account{}, errs.From(err)
	}
	contacts := make([]Contact, len(n.Contacts))
	for i, in := range n.Contacts {
		field := contactFields{fmt.Sprintf("contacts[%d].platform", i), fmt.Sprintf("contacts[%d].handle", i)}
		var err error
		if contacts[i], err = newContact(field, in.Platform, in.Handle); err != nil {
			return Account{}, err
		}
		contacts[i].Verified = in.Verified && c.IsAdmin()
	}
	if err := s.appOnDemand(ctx, n.AppHost); err != nil {
		return Account{}, err
	}
	hash, err := s.hashNew(ctx, c.IP, slug, n.Password)
	if err != nil {
		return Account{}, err
	}
	now := s.now()
	a := Account{ID: n.ID, Slug: slug, Name: n.Name, Labels: n.Labels, Thumbnail: n.Thumb, PasswordHash: hash, CreatedAt: now, UpdatedAt: now}
	if a.ID == "" {
		a.ID = newID("usr")
	}
	return a, s.update(ctx, func(w *work) error {
		app, err := appByHost(ctx, w, n.AppHost)
		if err != nil {
			return err
		}
		if err := s.create(ctx, w, a, app.ID, c.UserID); err != nil {
			return err
		}
		for _, contact := range contacts {
			if err := unproved(ctx, w, contact, a.ID); err != nil {
				return err
			}
			if err := s.takeContact(ctx, w, contact, a.ID, now); err != nil {
				return err
			}
		}
		for _, role := range n.Roles {
			if !counts(role, app.ID) {
				return errs.Field("roleIds", "app", "has %s, which holds in the whole mesh: leave it out, and enroll the account for the app *", role)
			}
			if err := s.mayHandle(ctx, w, c, role, app.ID, "user-svc:enroll:edit"); err != nil {
				return err
			}
			if err := s.grant(ctx, w, c.UserID, Enroll{ID: newID("enr"), AppID: app.ID, Role: role, UserID: a.ID, CreatedBy: c.UserID, CreatedAt: now, UpdatedAt: now}); err != nil {
				return err
			}
		}
		return nil
	})
}
