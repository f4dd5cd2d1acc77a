package service

import (
	"context"
	"errors"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// PlatformEmail is the platform of e-mail addresses, the one to which codes can be sent.
const PlatformEmail = "email"

// Contact is where a person can be reached. It has one holder at a time.
type Contact struct {
	ID        string // what enrolls name: the address, behind "<platform>:" for all platforms but e-mail
	Platform  string
	Handle    string // as its holder writes it
	UserID    string
	Primary   bool
	Verified  bool // by a one-time code, or by an admin's word
	CreatedAt time.Time
	UpdatedAt time.Time
}

// ContactProof names a contact, and may prove with a one-time code that it is one's own.
type ContactProof struct {
	Platform string
	Handle   string
	CodeID   string
	Code     string
}

func (p *ContactProof) hasCode() bool { return p.Code != "" }

// maxHandle bounds an address (RFC 5321, section 4.5.3.1.3, less the brackets).
const maxHandle = 254

// newContact makes a contact of what someone wrote. Errors: Invalid.
func newContact(platform, handle string) (Contact, error) {
	platform, handle = strings.ToLower(strings.TrimSpace(platform)), strings.TrimSpace(handle)
	if !isPlatform(platform) {
		return Contact{}, errs.Field("contact.platform", "platform", "must be email or the name of another platform, in the letters a-z and digits")
	}
	if handle == "" || len(handle) > maxHandle || strings.ContainsFunc(handle, func(r rune) bool { return r == ' ' || isControl(r) }) {
		return Contact{}, errs.Field("contact.id", "handle", "must have 1 to %d bytes, without spaces and control characters", maxHandle)
	}
	c := Contact{ID: strings.ToLower(handle), Platform: platform, Handle: handle}
	if platform != PlatformEmail {
		c.ID = platform + ":" + c.ID
		return c, nil
	}
	name, domain, ok := strings.Cut(c.ID, "@")
	if !ok || name == "" || !strings.Contains(domain, ".") || strings.ContainsAny(domain, "@/\\:<>()[],;\"") || strings.ContainsAny(name, ":<>()[],;\"\\") {
		return Contact{}, errs.Field("contact.id", "email", "must be an e-mail address")
	}
	return c, nil
}

func isPlatform(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// takeContact gives a contact to an account, with the enrolls that wait for it. One that somebody holds stays theirs,
// unless they never proved it and the account did. The zero contact is none.
func (s *Service) takeContact(ctx context.Context, w *work, c Contact, userID string, now time.Time) error {
	if c.ID == "" {
		return nil
	}
	held, err := w.Contact(ctx, c.ID)
	switch {
	case err == nil && held.UserID != userID && (held.Verified || !c.Verified):
		return nil
	case err == nil:
		c.CreatedAt = held.CreatedAt
		c.Verified = c.Verified || held.Verified
	case errors.Is(err, ErrNotFound):
		c.CreatedAt = now
	default:
		return err
	}
	others, err := w.ContactsOf(ctx, userID)
	if err != nil {
		return err
	}
	c.UserID, c.Primary, c.UpdatedAt = userID, len(others) == 0 || (len(others) == 1 && others[0].ID == c.ID), now
	if err := w.SaveContact(ctx, c); err != nil {
		return err
	}
	return s.claim(ctx, w, c, now)
}

// claim gives the roles that wait for a contact to its holder. Where contacts are verified, only to a holder who proved it.
func (s *Service) claim(ctx context.Context, w *work, c Contact, now time.Time) error {
	if s.cfg.VerifyContacts && !c.Verified {
		return nil
	}
	return w.ClaimEnrolls(ctx, c.ID, c.UserID, now)
}
