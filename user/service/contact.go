package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

// PlatformEmail is the platform of e-mail addresses, the one to which codes can be sent.
const PlatformEmail = ident.PlatformEmail

// Contact is an address at which a person can be reached. It has one holder at a time: whoever has proved it, else whoever named it first.
type Contact struct {
	ID        string // its canonical form, to which codes are sent: see package ident
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

var errContactTaken = errs.New(errs.Conflict, "CONTACT_TAKEN", "another account has proved this contact: sign in to that account")

// contactFields are a call's names for a contact's platform and handle.
type contactFields struct{ platform, handle string }

// namedContact is the contact of a call to register or to sign in.
var namedContact = contactFields{"contact.platform", "contact.id"}

// newContact returns the contact that someone wrote. Errors: Invalid, about the field that is wrong.
func newContact(field contactFields, platform, handle string) (Contact, error) {
	platform, handle = ident.LowerASCII(strings.TrimSpace(platform)), strings.TrimSpace(handle)
	platform = cmp.Or(platform, PlatformEmail)
	if err := ident.Platform(platform); err != nil {
		return Contact{}, errs.Field(field.platform, "platform", "%s", err)
	}
	id, err := ident.Contact(platform, handle)
	if err != nil {
		return Contact{}, errs.Field(field.handle, platform, "%s", err)
	}
	return Contact{ID: id, Platform: platform, Handle: handle}, nil
}

// takeContact makes an account the holder of a contact, and of the enrolls that wait for it. A proved contact stays with the account that has
// proved it. A contact that was only named goes to the account that proves it. The zero contact changes nothing.
func (s *Service) takeContact(ctx context.Context, w *work, c Contact, userID string, now time.Time) error {
	if c.ID == "" {
		return nil
	}
	c.CreatedAt = now
	held, err := w.Contact(ctx, c.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		if held.UserID != userID && (held.Verified || !c.Verified) {
			return nil
		}
		if held.UserID != userID {
			if err := s.dispossess(ctx, w, held, now); err != nil {
				return err
			}
		}
		c.CreatedAt = held.CreatedAt
		c.Verified = c.Verified || held.Verified
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

// dispossess takes from an account all that it has by a contact which it never proved: the sessions that began with the contact, and the
// roles that waited for it.
func (s *Service) dispossess(ctx context.Context, w *work, held Contact, now time.Time) error {
	a, err := account(ctx, w, held.UserID)
	if err != nil {
		return err
	}
	if err := s.endSessions(ctx, w, a, "", Session{ContactID: held.ID}, "contact proved by another account", now); err != nil {
		return err
	}
	enrolls, err := w.Enrolls(ctx, EnrollQuery{ContactID: held.ID, UserIDs: []string{held.UserID}})
	if err != nil {
		return err
	}
	for _, e := range enrolls {
		if err := w.AssignEnroll(ctx, e.ID, "", now); err != nil {
			return err
		}
		if err := s.drop(ctx, w, "", a, e, now); err != nil {
			return err
		}
	}
	return w.Emit(ctx, Event{UserID: a.ID, Slug: a.Slug, What: ContactLost{ContactID: held.ID}})
}

// claim makes the holder of a contact the holder of the enrolls that wait for it, if they fit into a token. Grantors of few bytes come first:
// many roles of one grantor don't crowd out those of others.
func (s *Service) claim(ctx context.Context, w *work, c Contact, now time.Time) error {
	waiting, err := w.Enrolls(ctx, EnrollQuery{ContactID: c.ID})
	if err != nil {
		return err
	}
	given := map[string]int{}
	for _, e := range waiting {
		given[grantor(e.Role)] += len(e.Role)
	}
	slices.SortStableFunc(waiting, func(a, b Enroll) int { return given[grantor(a.Role)] - given[grantor(b.Role)] })
	for _, e := range waiting {
		if e.UserID == c.UserID || !s.claims(c, e.Role) {
			continue
		}
		err := s.fits(ctx, w, c.UserID, e.Role, e.AppID, false)
		if errors.Is(err, errRolesFull) {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.AssignEnroll(ctx, e.ID, c.UserID, now); err != nil {
			return err
		}
		if err := give(ctx, w, c.UserID, e.AppID, e.Role); err != nil {
			return err
		}
	}
	return nil
}

// claims reports whether roles that wait for a contact take effect for its holder. That needs a proof, whatever else is configured.
func (s *Service) claims(c Contact, role string) bool {
	return c.Verified || s.cfg.Test && !ident.Own(firstSegment(role))
}
