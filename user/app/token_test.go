package app_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/user/app"

	userpb "micromesh/user/proto"
)

// want checks the code of an error.
func want(t *testing.T, what string, err error, code string) {
	t.Helper()
	if err == nil || errs.From(err).Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func (m *mesh) refresh(bearer string) (*userpb.Token, error) {
	out, err := m.client.RefreshToken(m.as(bearer), &userpb.RefreshTokenRequest{})
	return out.GetToken(), err
}

func (m *mesh) self(bearer string) (*userpb.ReadSelfResponse, error) {
	return m.client.ReadSelf(m.as(bearer), &userpb.ReadSelfRequest{CountTokens: true})
}

func TestTokenIsWhatItSays(t *testing.T) {
	m := start(t)
	tok := m.register("pet-svc")
	claims, err := m.host.Verifier.Verify(tok.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Slug != "pet-svc" || claims.UserID != tok.GetUserId() || claims.Subject != tok.GetUserId() || claims.ID != tok.GetId() ||
		claims.AppID != tok.GetAppId() || claims.Device != "unknown" || !slices.Equal(claims.Roles, []string{"user-svc:user"}) {
		t.Errorf("claims %+v of token %v", claims, tok)
	}
	for name, text := range map[string]string{"createdAt": tok.GetCreatedAt(), "expiresAt": tok.GetExpiresAt(), "updatedAt": tok.GetUpdatedAt()} {
		at, err := time.Parse("2006-01-02T15:04:05.000000Z", text)
		if err != nil || at.IsZero() {
			t.Errorf("%s is %q", name, text)
		}
	}
	me, err := m.self(tok.GetToken())
	if err != nil || me.GetUser().GetSlug() != "pet-svc" || me.GetTokenCount() != 1 || !slices.Equal(me.GetRoles(), []string{"user-svc:user"}) {
		t.Errorf("self: %v, %v", me, err)
	}
}

func TestRefreshOverRPC(t *testing.T) {
	m := start(t)
	tok := m.register("joe")
	next, err := m.refresh(tok.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.refresh(breakSignature(next.GetToken())); err == nil || errs.From(err).Code != "INVALID_TOKEN" {
		t.Errorf("a broken signature while the account's refresh is warm: %v", err)
	}
	if next.RefreshToken != nil {
		t.Error("an access token became a refresh token")
	}
	if _, err := m.self(next.GetToken()); err != nil {
		t.Error(err)
	}
	for _, old := range []*userpb.Token{tok, tok, next} { // several processes share the first one
		again, err := m.refresh(old.GetToken())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.self(again.GetToken()); err != nil {
			t.Error(err)
		}
	}
	first, err := m.refresh(tok.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.self(first.GetToken()); err != nil {
		t.Error(err)
	}
	if again, err := m.refresh(tok.GetRefreshToken()); err != nil || again.GetToken() != first.GetToken() || again.GetRefreshToken() != first.GetRefreshToken() {
		t.Errorf("a lost answer, though the token was used: %v, %v", again, err)
	}
	_, err = m.refresh("")
	want(t, "no token", err, "UNAUTHENTICATED")
}

func breakSignature(token string) string {
	at := len(token) - 20
	c := byte('A')
	if token[at] == c {
		c = 'B'
	}
	return token[:at] + string(c) + token[at+1:]
}

func TestRefreshTokenIsNoAccessToken(t *testing.T) {
	m := start(t)
	tok := m.register("joe")
	_, err := m.self(tok.GetRefreshToken())
	want(t, "a refresh token as an access token", err, "INVALID_TOKEN")
	if next, err := m.refresh(tok.GetRefreshToken()); err != nil || next.GetToken() == tok.GetToken() {
		t.Errorf("by refresh token: %v, %v", next, err)
	}
}

func TestExpiredTokens(t *testing.T) {
	for auto, code := range map[bool]string{false: "TOKEN_EXPIRED", true: ""} {
		m := start(t, func(c *app.Config) { c.TokenAutoRefresh = auto; c.TokenExpiration = time.Second })
		tok := m.register("joe")
		claims, err := m.host.Verifier.VerifySigned(tok.GetToken())
		if err != nil {
			t.Fatal(err)
		}
		later := auth.NewVerifier(m.host.Auth, auth.WithClock(func() time.Time { return claims.ExpiresAt.Add(time.Minute) }))
		if auto {
			later = auth.NewVerifier(m.host.Auth, auth.AcceptExpired(m.cfg.AcceptExpired()),
				auth.WithClock(func() time.Time { return claims.ExpiresAt.Add(time.Minute) }))
		}
		_, err = later.Verify(tok.GetToken())
		if (err == nil) != (code == "") || (err != nil && errs.From(err).Code != code) {
			t.Errorf("auto refresh %v: %v, want %q", auto, err, code)
		}
		if _, err := m.client.RevokeTokens(m.as(tok.GetToken()), &userpb.RevokeTokensRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := later.Verify(tok.GetToken()); err == nil {
			t.Errorf("auto refresh %v: a token is good after its session was ended", auto)
		}
	}
}

// TestSignedOutIsSignedOut has every way to end a session take effect before its call is answered.
func TestSignedOutIsSignedOut(t *testing.T) {
	m := start(t)
	admin := m.login("admin", adminPassword)
	for name, end := range map[string]func(t *userpb.Token) error{
		"sign out": func(t *userpb.Token) error {
			_, err := m.client.RevokeTokens(m.as(t.GetToken()), &userpb.RevokeTokensRequest{})
			return err
		},
		"reset password": func(t *userpb.Token) error {
			_, err := m.client.ResetPassword(m.as(admin.GetToken()), &userpb.ResetPasswordRequest{UserId: t.GetUserId(), NewPassword: "another password"})
			return err
		},
		"delete user": func(t *userpb.Token) error {
			_, err := m.client.DeleteUser(m.as(admin.GetToken()), &userpb.DeleteUserRequest{UserId: t.GetUserId()})
			return err
		},
	} {
		tok := m.register(strings.ReplaceAll(name, " ", "-"))
		if err := end(tok); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := m.self(tok.GetToken())
		want(t, name, err, "TOKEN_REVOKED")
		_, err = m.refresh(tok.GetRefreshToken())
		want(t, name+", refresh", err, "TOKEN_REVOKED")
	}
}

func TestCodeByMail(t *testing.T) {
	m := start(t, func(c *app.Config) { c.VerifyContacts = true })
	sent, err := m.client.SendOtp(t.Context(), &userpb.SendOtpRequest{ContactPlatform: "email", ContactHandle: "joe@x.example"})
	if err != nil || sent.GetOtpId() == "" || sent.Code != nil || sent.Body != nil {
		t.Fatalf("sent: %v, %v", sent, err)
	}
	files, err := filepath.Glob(filepath.Join(m.cfg.MailDir, "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("mails: %v, %v", files, err)
	}
	mail, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	_, subject, _ := strings.Cut(string(mail), "Subject: Your code is ")
	in, err := m.client.Login(t.Context(), &userpb.LoginRequest{
		Contact: &userpb.ContactInput{Platform: "email", Id: "joe@x.example", OtpId: sent.GetOtpId(), OtpCode: subject[:6]},
	})
	if err != nil {
		t.Fatal(err)
	}
	if me, err := m.self(in.GetToken().GetToken()); err != nil || !me.GetContacts()[0].GetVerified() {
		t.Errorf("self: %v, %v", me, err)
	}
}
