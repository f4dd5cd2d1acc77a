package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// Credentials are what someone signs in with: a slug or a contact with a password, or a contact with a one-time code.
type Credentials struct {
	AppHost  string
	Slug     string
	Contact  *ContactProof
	Password string
	Device   string
}

// errBadCredentials is the one answer to an unknown account, a wrong password and an account without one.
var errBadCredentials = errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS", "the account or the password is wrong")

// errBadCurrent is for callers who are signed in: which account it is about is no secret to them.
var errBadCurrent = errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS", "the current password is wrong")

// Login signs in. An account that doesn't exist costs as much time, and gives the same answer, as a wrong password.
//
// Errors: Invalid, Unauthenticated, NotFound for the app, TooMany, Unavailable.
func (s *Service) Login(ctx context.Context, ip string, cr Credentials) (Token, error) {
	if err := checkDevice(cr.Device); err != nil {
		return Token{}, err
	}
	if err := s.appOnDemand(ctx, cr.AppHost); err != nil {
		return Token{}, err
	}
	app, err := appByHost(ctx, s.store, cr.AppHost)
	if err != nil {
		return Token{}, err
	}
	var contact Contact
	switch {
	case cr.Slug != "" && cr.Contact != nil && !cr.Contact.hasCode():
		return Token{}, errs.Invalidf("name a slug or a contact, not both, unless the contact comes with a one-time code")
	case cr.Slug != "" && cr.Contact == nil:
		err = checkSlug(cr.Slug)
	case cr.Contact != nil:
		contact, err = newContact(namedContact, cr.Contact.Platform, cr.Contact.Handle)
	default:
		err = errs.Field("slug", "required", "is required, or a contact")
	}
	if err != nil {
		return Token{}, err
	}
	var t Token
	if contact.ID != "" && cr.Contact.hasCode() {
		t, err = s.loginByCode(ctx, ip, app, contact, cr)
	} else {
		t, err = s.loginByPassword(ctx, ip, app, contact, cr)
	}
	if err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

func (s *Service) loginByPassword(ctx context.Context, ip string, app App, contact Contact, cr Credentials) (Token, error) {
	if cr.Password == "" {
		return Token{}, errs.Field("password", "required", "is required, or a contact with a one-time code")
	}
	subject := cr.Slug
	if contact.ID != "" {
		subject = contact.ID
	}
	a, err := s.findAccount(ctx, cr.Slug, contact.ID)
	if err != nil {
		return Token{}, err
	}
	if err := s.tryPassword(ctx, a.PasswordHash, cr.Password, subject, ip); err != nil {
		return Token{}, err
	}
	now := s.now()
	var t Token
	err = s.issuing(ctx, func(w *work) error {
		still, err := w.Account(ctx, a.ID)
		if errors.Is(err, ErrNotFound) || (err == nil && still.PasswordHash != a.PasswordHash) {
			return errBadCredentials // changed while the hash was computed
		}
		if err != nil {
			return err
		}
		if err := w.ClearAttempts(ctx, attemptLogin, subject, ip); err != nil {
			return err
		}
		t, err = s.signIn(ctx, w, still, app, cr.Device, contact.ID, now)
		return err
	})
	return t, err
}

// findAccount gives the zero account where there is none.
func (s *Service) findAccount(ctx context.Context, slug, contactID string) (Account, error) {
	var a Account
	var err error
	if contactID == "" {
		a, err = s.store.AccountBySlug(ctx, slug)
	} else {
		var c Contact
		if c, err = s.store.Contact(ctx, contactID); err == nil {
			a, err = s.store.Account(ctx, c.UserID)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return Account{}, nil
	}
	return a, err
}

// tryPassword compares a password with a hash, within the limits, and counts a failure.
func (s *Service) tryPassword(ctx context.Context, hash, password, subject, ip string) error {
	if err := loginLimit.check(ctx, s.store, subject, ip, s.now()); err != nil {
		return err
	}
	leave, err := s.hasher.enter(ctx, ip, subject)
	if err != nil {
		return err
	}
	defer leave()
	// Once more: tries that waited together for their turn must not all be decided by what was known before.
	if err := loginLimit.check(ctx, s.store, subject, ip, s.now()); err != nil {
		return err
	}
	ok, err := s.hasher.matches(hash, password)
	if err != nil || ok {
		return err
	}
	err = s.update(ctx, func(w *work) error {
		return w.InsertAttempt(ctx, Attempt{Kind: attemptLogin, Subject: subject, IP: ip, At: s.now()})
	})
	if err != nil {
		return err
	}
	return errBadCredentials
}

func (s *Service) loginByCode(ctx context.Context, ip string, app App, contact Contact, cr Credentials) (Token, error) {
	known, err := s.alsoByPassword(ctx, ip, contact, cr.Password)
	if err != nil {
		return Token{}, err
	}
	wrong := cr.Password != "" && known.ID == ""
	now := s.now()
	var t Token
	var denied error
	err = s.issuing(ctx, func(w *work) (err error) {
		if denied, err = s.prove(ctx, w, &contact, cr.Contact, ip, now); denied != nil || err != nil {
			return err // a wrong code is counted
		}
		a, err := s.holder(ctx, w, app, contact, known, wrong, cr.Slug, now)
		if err != nil {
			return err
		}
		if cr.Slug != "" && a.Slug != cr.Slug {
			return errOtherSlug
		}
		if err := s.takeContact(ctx, w, contact, a.ID, now); err != nil {
			return err
		}
		if err := w.ClearAttempts(ctx, attemptLogin, contact.ID, ip); err != nil {
			return err
		}
		t, err = s.signIn(ctx, w, a, app, cr.Device, contact.ID, now)
		return err
	})
	return t, errors.Join(err, denied)
}

// errOtherSlug is told to those alone who have proved the contact.
var errOtherSlug = errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS", "the contact is that of another account: sign in without the slug")

// errOtherPassword is told to those alone who have proved the contact. Their code is not used up.
var errOtherPassword = errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS",
	"the password is not that of the account which has named this contact: send the code without a password to get a separate account")

// alsoByPassword finds the account that holds a contact, where the password of that account comes with the code. It returns the zero
// account for any other password.
func (s *Service) alsoByPassword(ctx context.Context, ip string, contact Contact, password string) (Account, error) {
	if password == "" {
		return Account{}, nil
	}
	a, err := s.findAccount(ctx, "", contact.ID)
	if err != nil {
		return Account{}, err
	}
	err = s.tryPassword(ctx, a.PasswordHash, password, contact.ID, ip)
	if errors.Is(err, errBadCredentials) {
		return Account{}, nil
	}
	return a, err
}

// holder finds the account of someone who has proved a contact. An account that merely named the contact is theirs only where they know its
// password as well: known is that account. Without a password they get another account, with the slug if they name one; wrong reports
// another password.
func (s *Service) holder(ctx context.Context, w *work, app App, contact Contact, known Account, wrong bool, slug string, now time.Time) (Account, error) {
	c, err := w.Contact(ctx, contact.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Account{}, err
	}
	if err == nil && (c.Verified || c.UserID == known.ID) {
		a, err := account(ctx, w, c.UserID)
		if err == nil && !c.Verified && a.PasswordHash != known.PasswordHash {
			return Account{}, errBadCredentials // changed while the hash was computed
		}
		return a, err
	}
	if err == nil && wrong {
		return Account{}, errOtherPassword
	}
	if slug == "" {
		slug = slugFor(contact)
	} else if err := cmp.Or(checkNewSlug(slug), s.unused(slug)); err != nil {
		return Account{}, err
	}
	a := Account{ID: newID("usr"), Slug: slug, CreatedAt: now, UpdatedAt: now}
	return a, s.create(ctx, w, a, app.ID, a.ID)
}

// slugFor makes up a slug from the address of a contact, with a random end, so that it tells nobody's address.
func slugFor(c Contact) string {
	name, _, _ := strings.Cut(c.ID, "@")
	var b strings.Builder
	for _, r := range name {
		if ('a' <= r && r <= 'z') || ('0' <= r && r <= '9') {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
		if b.Len() == 40 {
			break
		}
	}
	name = strings.Trim(b.String(), "-")
	if name == "" {
		name = "user"
	}
	return name + "-" + strings.ToLower(rand.Text()[:8])
}

// ChangePassword sets the caller's password and ends all sessions of the caller, that of the call included.
//
// Errors: Invalid, Unauthenticated for a wrong current password, TooMany, Unavailable.
func (s *Service) ChangePassword(ctx context.Context, c Caller, current, next string) error {
	if err := s.checkPassword("newPassword", next); err != nil {
		return err
	}
	a, err := self(ctx, s.store, c)
	if err != nil {
		return err
	}
	err = s.tryPassword(ctx, a.PasswordHash, current, a.Slug, c.IP)
	if errors.Is(err, errBadCredentials) {
		return errBadCurrent
	}
	if err != nil {
		return err
	}
	return s.setPassword(ctx, c, a.ID, next, false)
}

// ResetPassword sets an account's password and ends its sessions. Errors: Invalid, NotFound, Unavailable.
func (s *Service) ResetPassword(ctx context.Context, c Caller, userID, next string) error {
	if err := s.checkPassword("newPassword", next); err != nil {
		return err
	}
	if _, err := account(ctx, s.store, userID); err != nil {
		return err
	}
	return s.setPassword(ctx, c, userID, next, true)
}

func (s *Service) setPassword(ctx context.Context, c Caller, userID, next string, reset bool) error {
	hash, err := s.hasher.hash(ctx, c.IP, userID, next)
	if err != nil {
		return err
	}
	now := s.now()
	return s.update(ctx, func(w *work) error {
		a, err := account(ctx, w, userID)
		if err != nil {
			return err
		}
		if reset {
			if err := s.mayChange(ctx, w, c, userID); err != nil {
				return err
			}
		}
		a.PasswordHash, a.UpdatedAt = hash, now
		if err := w.UpdateAccount(ctx, a); err != nil {
			return err
		}
		if err := s.endSessions(ctx, w, a, c.UserID, Session{UserID: userID}, "password changed", now); err != nil {
			return err
		}
		return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: c.UserID, What: PasswordChanged{Reset: reset}})
	})
}
