package service

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// rotationGrace is how long after its rotation a token still gives the successor that it was given: for an answer that was lost,
// and for clients that refresh in parallel.
const rotationGrace = 10 * time.Second

// leeway is how far the clocks of processes may be apart.
const leeway = 10 * time.Second

// Token is what a session's holder carries: what a JWT says, and what becomes of it.
type Token struct {
	ID        string
	SessionID string
	KeyID     string // of the key that signs it
	UserID    string
	Slug      string
	AppID     string
	Device    string
	Roles     []string
	ActiveOrg string
	IssuedAt  time.Time
	ExpiresAt time.Time
	RotatedAt time.Time // zero while it is its session's latest
	Successor string    // id

	// What is known beside it where it is answered; not stored with it.
	App         App
	JWT         string
	Refresh     string    // the refresh token
	CreatedAt   time.Time // of the session
	RefreshedAt time.Time // of the session
}

var (
	errBadToken = errs.New(errs.Unauthenticated, "INVALID_TOKEN", "the token is not valid: sign in again")
	errExpired  = errs.New(errs.Unauthenticated, "TOKEN_EXPIRED", "the token has expired: sign in again")
	errReused   = errs.New(errs.Unauthenticated, "TOKEN_REUSED", "the token was refreshed already, so its session was ended: sign in again")
)

// issue makes a token for a session, with the roles of this moment.
func (s *Service) issue(ctx context.Context, w *work, a Account, app App, session Session, org string, now time.Time) (Token, error) {
	roles, orgs, err := s.roles(ctx, w, a.ID, app.ID)
	if err != nil {
		return Token{}, err
	}
	if !slices.Contains(orgs, org) {
		org = ""
		if len(orgs) > 0 {
			org = orgs[0]
		}
	}
	t := Token{
		ID: newID("tok"), SessionID: session.ID, KeyID: w.key.ID, UserID: a.ID, Slug: a.Slug, AppID: app.ID, Device: session.Device,
		Roles: roles, ActiveOrg: org, IssuedAt: now, ExpiresAt: now.Add(s.cfg.TokenLife),
	}
	return t.of(session, app), w.InsertToken(ctx, t)
}

// of completes a token by its session and app.
func (t Token) of(session Session, app App) Token {
	t.App, t.CreatedAt, t.RefreshedAt = app, session.CreatedAt, session.RefreshedAt
	return t
}

// sign makes the token's JWT.
func (s *Service) sign(ctx context.Context, t Token) (Token, error) {
	key, err := s.keys.private(ctx, s, t.KeyID)
	if err != nil {
		return Token{}, err
	}
	t.JWT, err = s.signer.Sign(key, t)
	t.Refresh = s.refreshSecret(t.ID)
	return t, err
}

// Refresh tokens are "mrt_<token id>_<MAC>": nothing of them is stored, and the same one can be given again.
const (
	refreshPrefix = "mrt_"
	refreshUse    = "refresh token"
)

// IsRefreshToken tells a refresh token from an access token.
func IsRefreshToken(s string) bool { return strings.HasPrefix(s, refreshPrefix) }

func (s *Service) refreshSecret(tokenID string) string {
	mac := s.sealer.MAC([]byte(tokenID), refreshUse)
	return refreshPrefix + tokenID + "_" + base64.RawURLEncoding.EncodeToString(mac)
}

// tokenOfSecret gives the id of the token that a refresh token was given with.
func (s *Service) tokenOfSecret(secret string) (id string, ok bool) {
	macLen := base64.RawURLEncoding.EncodedLen(sha256.Size)
	id = strings.TrimPrefix(secret, refreshPrefix)
	if len(id) <= macLen+1 || len(id) > 128 {
		return "", false
	}
	id = id[:len(id)-macLen-1]
	return id, subtle.ConstantTimeCompare([]byte(s.refreshSecret(id)), []byte(secret)) == 1
}

// RefreshToken rotates the access token that the caller presents, whose signature was verified, but not whether it has expired or was
// revoked. See refresh. Errors: Unauthenticated, Unavailable.
func (s *Service) RefreshToken(ctx context.Context, c Caller) (Token, error) {
	now := s.now()
	if !s.cfg.AutoRefresh && !now.Before(c.ExpiresAt.Add(leeway)) {
		return Token{}, errExpired
	}
	return s.refresh(ctx, c, now)
}

// RefreshBySecret rotates a token by the refresh token that was given with it, which is good as long as the session lives. See refresh.
//
// Errors: Unauthenticated, Unavailable.
func (s *Service) RefreshBySecret(ctx context.Context, secret string) (Token, error) {
	id, ok := s.tokenOfSecret(secret)
	if !ok {
		return Token{}, errBadToken
	}
	t, err := s.store.Token(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Token{}, errBadToken
	}
	if err != nil {
		return Token{}, err
	}
	return s.refresh(ctx, Caller{UserID: t.UserID, SessionID: t.SessionID, TokenID: t.ID}, s.now())
}

// refresh rotates a token. It is no longer good for another refresh then. Who presents it nevertheless has a copy that they should not
// have, or lost one: the whole session ends. For a few seconds the same successor is given again, while nobody has used it.
func (s *Service) refresh(ctx context.Context, c Caller, now time.Time) (Token, error) {
	var t Token
	var denied error
	err := s.issuing(ctx, func(w *work) error {
		denied = nil
		session, a, app, err := s.family(ctx, w, c, now)
		if err != nil {
			return err
		}
		old, err := w.Token(ctx, c.TokenID)
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case err == nil && old.Successor == "":
			t, err = s.rotate(ctx, w, old, session, a, app, old.ActiveOrg, now)
			return err
		case err == nil && now.Sub(old.RotatedAt) <= rotationGrace && !s.seen.used(old.Successor):
			next, err := w.Token(ctx, old.Successor)
			if err != nil {
				return err
			}
			if next.Successor == "" {
				t = next.of(session, app)
				return nil
			}
		}
		denied = errReused // the revocation is committed
		if err := s.revoke(ctx, w, session, now); err != nil {
			return err
		}
		return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, What: SessionsRevoked{SessionIDs: []string{session.ID}, Reason: "token reused"}})
	})
	if err = errors.Join(err, denied); err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

// family finds what a token belongs to, as long as it lives. Errors: Unauthenticated.
func (s *Service) family(ctx context.Context, r Reader, c Caller, now time.Time) (session Session, a Account, app App, err error) {
	session, err = r.Session(ctx, c.SessionID)
	if errors.Is(err, ErrNotFound) || (err == nil && (!session.live(now) || session.UserID != c.UserID)) {
		err = errRevoked
	}
	if err != nil {
		return Session{}, Account{}, App{}, err
	}
	if a, err = self(ctx, r, c); err != nil {
		return Session{}, Account{}, App{}, err
	}
	app, err = r.App(ctx, session.AppID)
	return session, a, app, err
}

// rotate gives the token's session a new one. The session lives on from here.
func (s *Service) rotate(ctx context.Context, w *work, old Token, session Session, a Account, app App, org string, now time.Time) (Token, error) {
	session.RefreshedAt, session.ExpiresAt = now, now.Add(s.cfg.SessionLife)
	if err := w.UpdateSession(ctx, session); err != nil {
		return Token{}, err
	}
	t, err := s.issue(ctx, w, a, app, session, org, now)
	if err != nil {
		return Token{}, err
	}
	return t, w.RotateToken(ctx, old.ID, t.ID, now)
}

// latest finds the last token of the session of the caller's, which may have been rotated since.
func latest(ctx context.Context, r Reader, id string) (Token, error) {
	t, err := r.Token(ctx, id)
	for err == nil && t.Successor != "" {
		t, err = r.Token(ctx, t.Successor)
	}
	if errors.Is(err, ErrNotFound) {
		return Token{}, errBadToken
	}
	return t, err
}

// Exchange says for what a token is wanted; empty fields mean the same as the caller's token has.
type Exchange struct {
	AppHost string
	AppID   string
	Device  string
}

// ExchangeToken signs the caller in to another app or on another device. The caller's token stays as it is.
//
// Errors: Invalid, Unauthenticated, NotFound for the app, Unavailable.
func (s *Service) ExchangeToken(ctx context.Context, c Caller, x Exchange) (Token, error) {
	if err := checkDevice(x.Device); err != nil {
		return Token{}, err
	}
	if x.Device == "" {
		x.Device = c.Device
	}
	now := s.now()
	var t Token
	err := s.issuing(ctx, func(w *work) error {
		_, a, app, err := s.family(ctx, w, c, now)
		if err != nil {
			return err
		}
		if x.AppHost != "" || x.AppID != "" {
			if app, err = exchangeApp(ctx, w, x); err != nil {
				return err
			}
		}
		t, err = s.signIn(ctx, w, a, app, x.Device, now)
		return err
	})
	if err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

func exchangeApp(ctx context.Context, r Reader, x Exchange) (App, error) {
	if x.AppID == "" {
		return appByHost(ctx, r, x.AppHost)
	}
	app, err := r.App(ctx, x.AppID)
	if errors.Is(err, ErrNotFound) {
		return App{}, errs.New(errs.NotFound, "APP_NOT_FOUND", "there is no app with the id %q", x.AppID)
	}
	if err == nil && x.AppHost != "" && app.Host != lowerASCII(x.AppHost) {
		return App{}, errs.Invalidf("newAppHost and newAppId name different apps")
	}
	return app, err
}
