package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Session is one sign-in: the family of the tokens that descend from it by being refreshed.
type Session struct {
	ID          string
	UserID      string
	AppID       string
	Device      string
	CreatedAt   time.Time
	RefreshedAt time.Time // zero if it never was
	ExpiresAt   time.Time
	RevokedAt   time.Time // zero while it lives
	ParentID    string    // the session that it was exchanged from, with which it ends
	ContactID   string    // the contact that its account signed in with
}

// live tells whether the session may be refreshed.
func (s Session) live(at time.Time) bool { return s.RevokedAt.IsZero() && at.Before(s.ExpiresAt) }

// maxSessions is the maximum number of sessions of an account on one device in one app. The oldest ends for another one.
const maxSessions = 100

// UnknownDevice is the device of those who name none.
const UnknownDevice = "unknown"

// maxDevice bounds the name of a device as a token carries it, in bytes of JSON.
const maxDevice = 512

var errRevoked = errs.New(errs.Unauthenticated, "TOKEN_REVOKED", "the token was revoked: sign in again")

func checkDevice(device string) error {
	if err := ident.Text(device); err != nil {
		return errs.Field("device", "text", "%s", err)
	}
	if jsonSize(device) > maxDevice {
		return errs.Field("device", "max_bytes", "has too many characters that JSON writes as escapes")
	}
	return nil
}

// signIn begins a session for an account and returns its first token. Contact is the id of the contact that the account signs in with, if
// any; the session ends when another account proves it.
func (s *Service) signIn(ctx context.Context, w *work, a Account, app App, device, contact string, now time.Time) (Token, error) {
	if err := s.claimAll(ctx, w, a.ID, now); err != nil {
		return Token{}, err
	}
	session := Session{UserID: a.ID, AppID: app.ID, Device: device, ContactID: contact, ExpiresAt: now.Add(s.cfg.SessionLife)}
	return s.begin(ctx, w, a, app, session, now)
}

// begin saves a session and returns its first token. A session that was exchanged from another one has no refresh token.
func (s *Service) begin(ctx context.Context, w *work, a Account, app App, session Session, now time.Time) (Token, error) {
	if session.Device == "" {
		session.Device = UnknownDevice
	}
	live, err := w.SessionsOf(ctx, a.ID, app.ID, session.Device, now)
	if err != nil {
		return Token{}, err
	}
	for ; len(live) >= maxSessions; live = live[1:] {
		if _, err := s.revoke(ctx, w, live[0], now); err != nil {
			return Token{}, err
		}
	}
	session.ID, session.CreatedAt = newID("ses"), now
	if err := w.InsertSession(ctx, session); err != nil {
		return Token{}, err
	}
	t, err := s.issue(ctx, w, a, app, session, Token{Plain: session.ParentID != ""}, now)
	if err != nil {
		return Token{}, err
	}
	return t, w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: a.ID, What: SignedIn{AppID: app.ID, Device: session.Device, SessionID: session.ID}})
}

// claimAll gives an account the roles that wait for its contacts.
func (s *Service) claimAll(ctx context.Context, w *work, userID string, now time.Time) error {
	contacts, err := w.ContactsOf(ctx, userID)
	if err != nil {
		return err
	}
	for _, c := range contacts {
		if err := s.claim(ctx, w, c, now); err != nil {
			return err
		}
	}
	return nil
}

// revoke ends a session, and those that were exchanged from it. It returns the ids of all that it ended.
func (s *Service) revoke(ctx context.Context, w *work, session Session, now time.Time) (ended []string, err error) {
	for left := []Session{session}; len(left) > 0; left = left[1:] {
		one := left[0]
		one.RevokedAt = now
		w.changes.Sessions = append(w.changes.Sessions, one.ID)
		if err := w.UpdateSession(ctx, one); err != nil {
			return nil, err
		}
		children, err := w.SessionsFrom(ctx, one.ID, now)
		if err != nil {
			return nil, err
		}
		left, ended = append(left, children...), append(ended, one.ID)
	}
	return ended, nil
}

// endSessions ends those of an account that match which: by app, device and contact where these aren't empty, and except the one whose id
// which names.
func (s *Service) endSessions(ctx context.Context, w *work, a Account, actor string, which Session, reason string, now time.Time) error {
	live, err := w.SessionsOf(ctx, a.ID, which.AppID, which.Device, now)
	if err != nil {
		return err
	}
	var ended []string
	for _, session := range live {
		if session.ID == which.ID || which.ContactID != "" && session.ContactID != which.ContactID || slices.Contains(ended, session.ID) {
			continue
		}
		more, err := s.revoke(ctx, w, session, now)
		if err != nil {
			return err
		}
		ended = append(ended, more...)
	}
	return s.tellEnded(ctx, w, a, actor, ended, reason)
}

// tellEnded publishes that sessions have ended.
func (s *Service) tellEnded(ctx context.Context, w *work, a Account, actor string, ended []string, reason string) error {
	if len(ended) == 0 {
		return nil
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: actor, What: SessionsRevoked{SessionIDs: ended, Reason: reason}})
}

// Revocation says which sessions to end: that of the caller's token where nothing is set.
type Revocation struct {
	All    bool
	Device string // all of the caller's app on this device
	UserID string // whose; empty is the caller
}

// RevokeTokens ends sessions: everyone's where an admin names all tokens and no account.
//
// Errors: Forbidden for another account's, NotFound, Unavailable.
func (s *Service) RevokeTokens(ctx context.Context, c Caller, r Revocation) error {
	if r.All && r.UserID == "" && c.IsAdmin() {
		return s.endAllSessions(ctx, c)
	}
	if r.UserID == "" {
		r.UserID = c.UserID
	}
	if r.UserID != c.UserID && !s.may(c, "user-svc:session:delete") {
		return errNotAllowed
	}
	now := s.now()
	return s.update(ctx, func(w *work) error {
		a, err := account(ctx, w, r.UserID)
		if err != nil {
			return err
		}
		if r.UserID != c.UserID {
			if err := s.mayChange(ctx, w, c, a.ID); err != nil {
				return err
			}
		}
		within := Session{AppID: c.AppID}
		if r.UserID == c.UserID || c.IsAdmin() {
			within = Session{}
		}
		switch {
		case r.All || (r.Device == "" && r.UserID != c.UserID):
			return s.endSessions(ctx, w, a, c.UserID, within, "revoked", now)
		case r.Device != "":
			return s.endSessions(ctx, w, a, c.UserID, Session{AppID: c.AppID, Device: r.Device}, "revoked", now)
		}
		return s.logout(ctx, w, a, c, now)
	})
}

// endAllSessions ends the sessions of every account, that of the call included.
func (s *Service) endAllSessions(ctx context.Context, c Caller) error {
	now := s.now()
	return s.update(ctx, func(w *work) error {
		live, err := w.AllSessions(ctx, now)
		if err != nil {
			return err
		}
		done := map[string]bool{}
		for _, session := range live {
			if done[session.UserID] {
				continue
			}
			done[session.UserID] = true
			a, err := account(ctx, w, session.UserID)
			if err != nil {
				return err
			}
			if err := s.endSessions(ctx, w, a, c.UserID, Session{}, "revoked", now); err != nil {
				return err
			}
		}
		return nil
	})
}

// logout ends the caller's session.
func (s *Service) logout(ctx context.Context, w *work, a Account, c Caller, now time.Time) error {
	session, err := w.Session(ctx, c.SessionID)
	if err != nil {
		return err
	}
	if !session.live(now) {
		return nil
	}
	ended, err := s.revoke(ctx, w, session, now)
	if err != nil {
		return err
	}
	return s.tellEnded(ctx, w, a, c.UserID, ended, "signed out")
}

var errNoSession = errs.NotFoundf("there is no such session")

// Sessions lists the sessions of an account that live, the caller's own where no account is named.
//
// Errors: Forbidden for somebody else's, Unavailable.
func (s *Service) Sessions(ctx context.Context, c Caller, userID string) ([]Session, error) {
	if userID == "" {
		userID = c.UserID
	}
	if userID != c.UserID && !s.may(c, "user-svc:session:view") {
		return nil, errNotAllowed
	}
	appID := c.AppID
	if userID == c.UserID || c.IsAdmin() {
		appID = "" // all
	}
	return s.store.SessionsOf(ctx, userID, appID, "", s.now())
}

// sees reports whether the caller may end a session: its own, and those of others in its app by permission.
func (s *Service) sees(c Caller, session Session) bool {
	return session.UserID == c.UserID || c.IsAdmin() || session.AppID == c.AppID && s.may(c, "user-svc:session:delete")
}

// EndSession ends one session, of the caller's or, for an admin, of anybody. Errors: NotFound, Unavailable.
func (s *Service) EndSession(ctx context.Context, c Caller, id string) error {
	now := s.now()
	return s.update(ctx, func(w *work) error {
		session, err := w.Session(ctx, id)
		if errors.Is(err, ErrNotFound) || err == nil && (!session.live(now) || !s.sees(c, session)) {
			return errNoSession
		}
		if err != nil {
			return err
		}
		a, err := account(ctx, w, session.UserID)
		if err != nil {
			return err
		}
		if a.ID != c.UserID {
			if err := s.mayChange(ctx, w, c, a.ID); err != nil {
				return err
			}
		}
		ended, err := s.revoke(ctx, w, session, now)
		if err != nil {
			return err
		}
		return s.tellEnded(ctx, w, a, c.UserID, ended, "ended")
	})
}
