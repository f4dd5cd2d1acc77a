package app

import (
	"context"
	"crypto/rsa"
	"fmt"
	"log/slog"
	netmail "net/mail"

	"github.com/golang-jwt/jwt/v5"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/mail"
	"micromesh/user/service"
)

// signer makes JWTs, with the claims that package auth verifies.
type signer struct{}

var _ service.Signer = signer{}

// Sign implements service.Signer. RS256 needs no randomness, so equal tokens give equal JWTs.
func (signer) Sign(key *rsa.PrivateKey, t service.Token) (string, error) {
	return sign(key, t, auth.Audience)
}

// SignFor implements service.Signer.
func (signer) SignFor(key *rsa.PrivateKey, t service.Token, audience string) (string, error) {
	return sign(key, t, audience)
}

func sign(key *rsa.PrivateKey, t service.Token, audience string) (string, error) {
	issued := jwt.NewNumericDate(t.IssuedAt)
	j := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: t.UserID, Slug: t.Slug, Roles: t.Roles, AppID: t.AppID, Device: t.Device, ActiveOrg: t.ActiveOrg, SessionID: t.SessionID,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: auth.Issuer, Subject: t.UserID, Audience: jwt.ClaimStrings{audience}, ID: t.ID,
			IssuedAt: issued, NotBefore: issued, ExpiresAt: jwt.NewNumericDate(t.ExpiresAt),
		},
	})
	j.Header["kid"] = t.KeyID
	s, err := j.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return s, nil
}

// permits asks the replicated state.
type permits struct{ state *auth.State }

var _ service.Permits = permits{}

// Permitted implements service.Permits.
func (p permits) Permitted(c service.Caller, permission string) bool {
	return p.state.Permitted(claimsOf(c), permission)
}

// Permissions implements service.Permits.
func (p permits) Permissions(c service.Caller) []string { return p.state.Permissions(claimsOf(c)) }

// claimsOf gives what permits look at.
func claimsOf(c service.Caller) *auth.Claims {
	return &auth.Claims{UserID: c.UserID, Slug: c.Slug, Roles: c.Roles, AppID: c.AppID}
}

// mailer sends the domain's mails.
type mailer struct {
	send func(context.Context, mail.Message) error
	from mail.Sender
}

var _ service.Mailer = (*mailer)(nil)

// newMailer makes a mailer for the server that is configured, or else for a folder.
func newMailer(cfg Config, log *slog.Logger) (*mailer, error) {
	address, err := netmail.ParseAddress(cfg.MailFrom)
	if err != nil {
		return nil, fmt.Errorf("MICRO_MAIL_FROM: %w", err)
	}
	m := &mailer{from: mail.Sender{Name: address.Name, Address: address.Address}}
	if cfg.SMTPAddress == "" {
		folder, err := mail.NewFolder(cfg.MailDir, m.from, log)
		if err != nil {
			return nil, err
		}
		m.send = folder.Send
		return m, nil
	}
	smtp, err := mail.NewSMTP(mail.SMTPConfig{
		Address: cfg.SMTPAddress, User: cfg.SMTPUser, Password: cfg.SMTPPassword, Insecure: cfg.SMTPInsecure,
	}, m.from)
	if err != nil {
		return nil, err
	}
	m.send = smtp.Send
	return m, nil
}

// Send implements service.Mailer.
func (m *mailer) Send(ctx context.Context, msg service.Mail) error {
	if err := m.send(ctx, mail.Message{To: msg.To, Subject: msg.Subject, Text: msg.Text}); err != nil {
		return errs.New(errs.Unavailable, "MAIL_UNAVAILABLE", "the mail could not be sent: try again later").Because(err)
	}
	return nil
}

// From implements service.Mailer.
func (m *mailer) From() (name, address string) { return m.from.Name, m.from.Address }
