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
	"micromesh/pkg/ident"
)

// rotationGrace is the time after its use for which a refresh token still returns its successor: for an answer that was lost, and for clients
// that refresh in parallel.
const rotationGrace = 10 * time.Second

// issuedLife is the maximum lifetime of a token for one audience.
const issuedLife = 5 * time.Minute

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
	Plain     bool      // it came without a refresh token
	RotatedAt time.Time // zero while nothing has followed it
	Successor string    // the id of the token that has followed it

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

// issue makes a token for a session, with the roles of this moment. Of like it takes the active organization, and whether it is plain. Without
// one, the oldest organization that the account has made itself is active. A membership that another account added never is.
func (s *Service) issue(ctx context.Context, w *work, a Account, app App, session Session, like Token, now time.Time) (Token, error) {
	roles, orgs, made, err := s.roles(ctx, w, a.ID, app.ID)
	if err != nil {
		return Token{}, err
	}
	org := like.ActiveOrg
	if !slices.Contains(orgs, org) {
		org = made
	}
	t := Token{
		ID: newID("tok"), SessionID: session.ID, KeyID: w.key.ID, UserID: a.ID, Slug: a.Slug, AppID: app.ID, Device: session.Device,
		Roles: roles, ActiveOrg: org, IssuedAt: now, ExpiresAt: now.Add(s.cfg.TokenLife), Plain: like.Plain,
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
	if !t.Plain {
		t.Refresh = s.refreshSecret(t.ID)
	}
	return t, err
}

// Refresh tokens are "mrt_<token id>_<MAC>": nothing of them is stored, and the same one can be given again.
const refreshUse = "refresh token"

// IsRefreshToken tells a refresh token from an access token.
func IsRefreshToken(s string) bool { return strings.HasPrefix(s, ident.RefreshTokenPrefix) }

func (s *Service) refreshSecret(tokenID string) string {
	mac := s.sealer.MAC([]byte(tokenID), refreshUse)
	return ident.RefreshTokenPrefix + tokenID + "_" + base64.RawURLEncoding.EncodeToString(mac)
}

// tokenOfSecret gives the id of the token that a refresh token was given with.
func (s *Service) tokenOfSecret(secret string) (id string, ok bool) {
	macLen := base64.RawURLEncoding.EncodedLen(sha256.Size)
	id = strings.TrimPrefix(secret, ident.RefreshTokenPrefix)
	if len(id) <= macLen+1 || len(id) > 128 {
		return "", false
	}
	id = id[:len(id)-macLen-1]
	return id, subtle.ConstantTimeCompare([]byte(s.refreshSecret(id)), []byte(secret)) == 1
}

// RefreshToken returns a live access token of the session whose access token the caller presents. That token's signature was verified, but
// not whether it has expired or was revoked. Any token of the session will do, however often it was refreshed before, so that several
// processes may share it. The answer has no refresh token, since an access token must not yield more than access tokens.
//
// Errors: Unauthenticated, Unavailable.
func (s *Service) RefreshToken(ctx context.Context, c Caller) (Token, error) {
	now := s.now()
	if !s.cfg.AutoRefresh && !now.Before(c.ExpiresAt.Add(leeway)) {
		return Token{}, errExpired
	}
	var t Token
	err := s.issuing(ctx, func(w *work) error {
		session, a, app, err := s.family(ctx, w, c, now)
		if err != nil {
			return err
		}
		newest, err := w.NewestToken(ctx, session.ID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && newest.ID != c.TokenID && newest.ExpiresAt.Sub(now) > s.cfg.TokenLife/2 {
			t = newest.of(session, app)
			t.Plain = true
			return nil
		}
		t, err = s.further(ctx, w, newest, session, a, app, now)
		return err
	})
	if err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

// further issues one more access token in a session, without a refresh token. The session lives on from here. The refresh token that the
// session has stays valid.
func (s *Service) further(ctx context.Context, w *work, newest Token, session Session, a Account, app App, now time.Time) (Token, error) {
	session, err := s.prolong(ctx, w, session, now)
	if err != nil {
		return Token{}, err
	}
	like := newest
	like.Plain = true
	t, err := s.issue(ctx, w, a, app, session, like, now)
	if err != nil || !newest.Plain {
		return t, err
	}
	return t, w.RotateToken(ctx, newest.ID, t.ID, now)
}

// RefreshBySecret returns the next access token and the next refresh token of a session, for a refresh token, which is valid as long as
// the session lives and is used once. Someone who presents it again has a copy that they should not have, or lost one: the whole session
// ends. For a few seconds after its use it returns what has followed it, so that a lost answer can be asked for again.
//
// Errors: Unauthenticated, Unavailable.
func (s *Service) RefreshBySecret(ctx context.Context, secret string) (Token, error) {
	id, ok := s.tokenOfSecret(secret)
	if !ok {
		return Token{}, errBadToken
	}
	now := s.now()
	var t Token
	var denied error
	err := s.issuing(ctx, func(w *work) error {
		denied = nil
		old, err := w.Token(ctx, id)
		if errors.Is(err, ErrNotFound) || err == nil && old.Plain {
			return errBadToken
		}
		if err != nil {
			return err
		}
		session, a, app, err := s.family(ctx, w, Caller{UserID: old.UserID, SessionID: old.SessionID}, now)
		if err != nil {
			return err
		}
		if old.Successor != "" && now.Sub(old.RotatedAt) > rotationGrace {
			denied = errReused // the revocation is committed
			return s.punish(ctx, w, session, a, now)
		}
		t, err = s.next(ctx, w, old, session, a, app, now)
		return err
	})
	if err = errors.Join(err, denied); err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

// punish ends a session whose refresh token was used twice.
func (s *Service) punish(ctx context.Context, w *work, session Session, a Account, now time.Time) error {
	ended, err := s.revoke(ctx, w, session, now)
	if err != nil {
		return err
	}
	return s.tellEnded(ctx, w, a, "", ended, "refresh token reused")
}

// next returns the last token of the chain that a refresh token belongs to, and adds one to the chain where the token is the last itself.
func (s *Service) next(ctx context.Context, w *work, old Token, session Session, a Account, app App, now time.Time) (Token, error) {
	if old.Successor == "" {
		return s.rotate(ctx, w, old, session, a, app, now)
	}
	for old.Successor != "" {
		var err error
		if old, err = w.Token(ctx, old.Successor); err != nil {
			return Token{}, err
		}
	}
	return old.of(session, app), nil
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

// rotate adds a token to the chain of refresh tokens. It acts for the organization that the session's newest token acts for.
func (s *Service) rotate(ctx context.Context, w *work, old Token, session Session, a Account, app App, now time.Time) (Token, error) {
	session, err := s.prolong(ctx, w, session, now)
	if err != nil {
		return Token{}, err
	}
	newest, err := w.NewestToken(ctx, session.ID)
	if err != nil {
		return Token{}, err
	}
	newest.Plain = false
	t, err := s.issue(ctx, w, a, app, session, newest, now)
	if err != nil {
		return Token{}, err
	}
	return t, w.RotateToken(ctx, old.ID, t.ID, now)
}

// prolong extends a session by the lifetime of sessions. An exchanged session ends with its parent.
func (s *Service) prolong(ctx context.Context, w *work, session Session, now time.Time) (Session, error) {
	session.RefreshedAt, session.ExpiresAt = now, now.Add(s.cfg.SessionLife)
	if session.ParentID != "" {
		parent, err := w.Session(ctx, session.ParentID)
		if err != nil {
			return Session{}, err
		}
		if parent.ExpiresAt.Before(session.ExpiresAt) {
			session.ExpiresAt = parent.ExpiresAt
		}
	}
	return session, w.UpdateSession(ctx, session)
}

// Exchange says for what a token is wanted; empty fields mean the same as the caller's token has.
type Exchange struct {
	AppHost string
	AppID   string
	Device  string
}

// ExchangeToken returns a token of the caller for another app or device. It has a session of its own, which ends with the caller's, and no
// refresh token. The caller's token stays as it is.
//
// Errors: Invalid, Unauthenticated, NotFound for the app, Unavailable.
func (s *Service) ExchangeToken(ctx context.Context, c Caller, x Exchange) (Token, error) {
	if err := checkDevice(x.Device); err != nil {
		return Token{}, err
	}
	if err := s.appOnDemand(ctx, x.AppHost); err != nil {
		return Token{}, err
	}
	if x.Device == "" {
		x.Device = c.Device
	}
	now := s.now()
	var t Token
	err := s.issuing(ctx, func(w *work) error {
		parent, a, app, err := s.family(ctx, w, c, now)
		if err != nil {
			return err
		}
		if x.AppHost != "" || x.AppID != "" {
			if app, err = exchangeApp(ctx, w, x); err != nil {
				return err
			}
		}
		t, err = s.begin(ctx, w, a, app, Session{UserID: a.ID, AppID: app.ID, Device: x.Device, ParentID: parent.ID, ExpiresAt: parent.ExpiresAt}, now)
		return err
	})
	if err != nil {
		return Token{}, err
	}
	return s.sign(ctx, t)
}

// IssueToken returns a token of the caller for one audience alone, the slug of a service, and the time of its end (RFC 8693, RFC 8707).
// It ends with the caller's token at the latest.
//
// Errors: Invalid, Unauthenticated, NotFound for the slug, Unavailable.
func (s *Service) IssueToken(ctx context.Context, c Caller, audience string) (jwt string, expires time.Time, err error) {
	if err := checkSlug(audience); err != nil {
		return "", time.Time{}, err
	}
	now := s.now()
	if _, err := s.store.AccountBySlug(ctx, audience); err != nil {
		if errors.Is(err, ErrNotFound) {
			err = errs.NotFoundf("there is no account with the slug %q", audience)
		}
		return "", time.Time{}, err
	}
	if _, _, _, err := s.family(ctx, s.store, c, now); err != nil {
		return "", time.Time{}, err
	}
	key, err := s.keys.current(ctx, s)
	if err != nil {
		return "", time.Time{}, err
	}
	private, err := s.keys.private(ctx, s, key.ID)
	if err != nil {
		return "", time.Time{}, err
	}
	expires = now.Add(issuedLife)
	if c.ExpiresAt.Before(expires) && !s.cfg.AutoRefresh {
		expires = c.ExpiresAt
	}
	t := Token{
		ID: newID("tok"), SessionID: c.SessionID, KeyID: key.ID, UserID: c.UserID, Slug: c.Slug, AppID: c.AppID, Device: c.Device,
		Roles: c.Roles, ActiveOrg: c.ActiveOrg, IssuedAt: now, ExpiresAt: expires,
	}
	jwt, err = s.signer.SignFor(private, t, audience)
	return jwt, expires, err
}

func exchangeApp(ctx context.Context, r Reader, x Exchange) (App, error) {
	if x.AppID == "" {
		return appByHost(ctx, r, x.AppHost)
	}
	app, err := r.App(ctx, x.AppID)
	if errors.Is(err, ErrNotFound) {
		return App{}, errs.New(errs.NotFound, "APP_NOT_FOUND", "there is no app with the id %q", x.AppID)
	}
	if err == nil && x.AppHost != "" && app.Host != canonicalHost(x.AppHost) {
		return App{}, errs.Invalidf("newAppHost and newAppId name different apps")
	}
	return app, err
}
