package service

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// Bounds of a one-time code.
const (
	codeLife  = 10 * time.Minute
	codeTries = 6 // the wrong one that makes it useless
)

// Code is a one-time code that was mailed to a contact. Six digits hide badly in any hash: what guards them is that they
// live for minutes and survive few tries.
type Code struct {
	ID        string
	ContactID string
	Salt      []byte
	Hash      []byte // HMAC-SHA256 of the digits under the salt
	Tries     int    // wrong ones
	ExpiresAt time.Time
}

var errBadCode = errs.New(errs.Unauthenticated, "INVALID_CODE", "the code is wrong or has expired: ask for another one")

// SentCode is the answer to the sender of a code. Only admins see more than its id; in test mode, everybody does.
type SentCode struct {
	ID   string
	Code string
	Mail Mail
	Name string // of the sender
	From string // the sender's address
}

// SendCode mails a one-time code to a contact, whether anybody holds it or not.
//
// Errors: Invalid, NotFound for the app, TooMany, Unavailable.
func (s *Service) SendCode(ctx context.Context, c Caller, appHost, platform, handle string) (SentCode, error) {
	if p := ident.LowerASCII(strings.TrimSpace(platform)); p != "" && p != PlatformEmail {
		return SentCode{}, errs.Field("contactPlatform", "one_of", "must be email: codes can't be sent elsewhere")
	}
	contact, err := newContact(contactFields{"contactPlatform", "contactHandle"}, platform, handle)
	if err != nil {
		return SentCode{}, err
	}
	if err := s.appOnDemand(ctx, appHost); err != nil {
		return SentCode{}, err
	}
	app, err := appByHost(ctx, s.store, appHost)
	if err != nil {
		return SentCode{}, err
	}
	digits, err := randomDigits()
	if err != nil {
		return SentCode{}, err
	}
	now := s.now()
	code := Code{ID: newID("otp"), ContactID: contact.ID, Salt: make([]byte, 16), ExpiresAt: now.Add(codeLife)}
	_, _ = rand.Read(code.Salt) // it never fails
	code.Hash = code.hash(digits)
	err = s.update(ctx, func(w *work) error {
		if err := codeLimit.check(ctx, w, contact.ID, c.IP, now); err != nil {
			return err
		}
		return errors.Join(
			w.InsertAttempt(ctx, Attempt{Kind: attemptCode, Subject: contact.ID, IP: c.IP, At: now}),
			w.InsertCode(ctx, code))
	})
	if err != nil {
		return SentCode{}, err
	}
	mail := codeMail(app, contact, digits)
	if err := s.mailer.Send(ctx, mail); err != nil {
		return SentCode{}, err
	}
	if !c.IsAdmin() && !s.cfg.Test {
		return SentCode{ID: code.ID}, nil
	}
	sent := SentCode{ID: code.ID, Code: digits, Mail: mail}
	sent.Name, sent.From = s.mailer.From()
	return sent, nil
}

func codeMail(app App, to Contact, digits string) Mail {
	where := ""
	if app.Host != DefaultApp {
		where = " at " + app.Host
	}
	return Mail{
		To:      to.ID, // the form that is compared: never another mailbox than the one that the code signs in
		Subject: "Your code is " + digits,
		Text: fmt.Sprintf("Your code to sign in%s is %s.\n\nIt is good for %d minutes, once. If you did not ask for it, ignore this mail: "+
			"nobody can sign in without it.\n", where, digits, int(codeLife.Minutes())),
	}
}

// randomDigits makes up six digits.
func randomDigits() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", fmt.Errorf("make up a code: %w", err)
	}
	return fmt.Sprintf("%06d", n), nil
}

func (c Code) hash(digits string) []byte {
	mac := hmac.New(sha256.New, c.Salt)
	mac.Write([]byte(digits))
	return mac.Sum(nil)
}

// prove uses up the code of a proof, if it has one, and then the contact is verified. A wrong code is denied; that is apart
// from err, because the try must be counted: the transaction goes on to its commit.
func (s *Service) prove(ctx context.Context, w *work, c *Contact, p *ContactProof, ip string, now time.Time) (denied, err error) {
	if p == nil || !p.hasCode() {
		return nil, nil
	}
	if err := loginLimit.check(ctx, w, c.ID, ip, now); err != nil {
		return err, nil
	}
	code, err := w.Code(ctx, p.CodeID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err != nil || code.ContactID != c.ID || code.Tries >= codeTries || !now.Before(code.ExpiresAt) {
		return errBadCode, w.InsertAttempt(ctx, Attempt{Kind: attemptLogin, Subject: c.ID, IP: ip, At: now})
	}
	if subtle.ConstantTimeCompare(code.hash(p.Code), code.Hash) != 1 {
		return errBadCode, w.TriedCode(ctx, code.ID)
	}
	c.Verified = true
	return nil, w.UseCode(ctx, code.ID)
}
