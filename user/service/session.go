package service

import (
	"context"
	"strings"
	"time"

	"micromesh/pkg/errs"
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
}

// live tells whether the session may be refreshed.
func (s Session) live(at time.Time) bool { return s.RevokedAt.IsZero() && at.Before(s.ExpiresAt) }

// maxSessions is how many sessions of an account live on one device in one app. The oldest makes room for another.
const maxSessions = 3

// UnknownDevice is the device of those who name none.
const UnknownDevice = "unknown"

var errRevoked = errs.New(errs.Unauthenticated, "TOKEN_REVOKED", "the token was revoked: sign in again")

func checkDevice(device string) error {
	if len(device) > maxName || strings.ContainsFunc(device, isControl) {
		return errs.Field("device", "device", "must have at most %d bytes, without control characters", maxName)
	}
	return nil
}

// signIn begins a session for an account and gives its first token.
func (s *Service) signIn(ctx context.Context, w *work, a Account, app App, device string, now time.Time) (Token, error) {
	if device == "" {
		device = UnknownDevice
	}
	if err := s.claimAll(ctx, w, a.ID, now); err != nil {
		return Token{}, err
	}
	live, err := w.SessionsOf(ctx, a.ID, app.ID, device, now)
	if err != nil {
		return Token{}, err
	}
	for ; len(live) >= maxSessions; live = live[1:] {
		if err := s.revoke(ctx, w, live[0], now); err != nil {
			return Token{}, err
		}
	}
	session := Session{ID: newID("ses"), UserID: a.ID, AppID: app.ID, Device: device, CreatedAt: now, ExpiresAt: now.Add(s.cfg.SessionLife)}
	if err := w.InsertSession(ctx, session); err != nil {
		return Token{}, err
	}
	t, err := s.issue(ctx, w, a, app, session, "", now)
	if err != nil {
		return Token{}, err
	}
	return t, w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: a.ID, What: SignedIn{AppID: app.ID, Device: device, SessionID: session.ID}})
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

// revoke ends one session.
func (s *Service) revoke(ctx context.Context, w *work, session Session, now time.Time) error {
	session.RevokedAt = now
	w.changes.Sessions = append(w.changes.Sessions, session.ID)
	return w.UpdateSession(ctx, session)
}

// endSessions ends those of an account that match which: by app and device where these aren't empty, and except the one whose id
// which names.
func (s *Service) endSessions(ctx context.Context, w *work, a Account, actor string, which Session, reason string, now time.Time) error {
	live, err := w.SessionsOf(ctx, a.ID, which.AppID, which.Device, now)
	if err != nil {
		return err
	}
	var ended []string
	for _, session := range live {
		if session.ID == which.ID {
			continue
		}
		if err := s.revoke(ctx, w, session, now); err != nil {
			return err
		}
		ended = append(ended, session.ID)
	}
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

// RevokeTokens ends sessions. Errors: Forbidden for somebody else's, NotFound, Unavailable.
func (s *Service) RevokeTokens(ctx context.Context, c Caller, r Revocation) error {
	if r.UserID == "" {
		r.UserID = c.UserID
	}
	if r.UserID != c.UserID && !c.IsAdmin() {
		return errNotAllowed
	}
	now := s.now()
	return s.update(ctx, func(w *work) error {
		a, err := account(ctx, w, r.UserID)
		if err != nil {
			return err
		}
		switch {
		case r.All || (r.Device == "" && r.UserID != c.UserID):
			return s.endSessions(ctx, w, a, c.UserID, Session{}, "revoked", now)
		case r.Device != "":
			return s.endSessions(ctx, w, a, c.UserID, Session{AppID: c.AppID, Device: r.Device}, "revoked", now)
		}
		return s.logout(ctx, w, a, c, now)
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
	if err := s.revoke(ctx, w, session, now); err != nil {
		return err
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, ActorID: c.UserID, What: SessionsRevoked{SessionIDs: []string{session.ID}, Reason: "signed out"}})
}
