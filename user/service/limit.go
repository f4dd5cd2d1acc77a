package service

import (
	"context"
	"time"

	"micromesh/pkg/errs"
)

// limitWindow is how long attempts count.
const limitWindow = 15 * time.Minute

// Kinds of attempts.
const (
	attemptLogin = "login" // failed ones
	attemptCode  = "code"  // one-time codes that were sent
)

// local is the address of callers who came through no gateway: many may share it.
const (
	local       = "local"
	localFactor = 10
)

// Attempt is one that counts against a limit.
type Attempt struct {
	Kind    string
	Subject string // whom it was aimed at: a slug or a contact, known or not
	IP      string
	At      time.Time
}

// limit is the most attempts in a window.
type limit struct {
	kind        string
	perSubject  int  // from one address, or from anywhere
	anywhere    bool // perSubject counts attempts of all addresses
	perIP       int  // over all subjects
	description string
}

// The limits. Failed sign-ins count by account and address together, so that nobody can lock out an owner who is elsewhere.
var (
	loginLimit = limit{kind: attemptLogin, perSubject: 5, perIP: 50, description: "too many failed sign-ins"}
	codeLimit  = limit{kind: attemptCode, perSubject: 5, anywhere: true, perIP: 20, description: "too many codes were asked for"}
)

// check tells whether one more attempt is allowed. Errors: TooMany, with the time after which it is.
func (l limit) check(ctx context.Context, r Reader, subject, ip string, now time.Time) error {
	since := now.Add(-limitWindow)
	most, from := l.perSubject, ip
	if l.anywhere {
		from = ""
	} else if ip == local {
		most *= localFactor
	}
	if err := l.within(ctx, r, subject, from, most, since, now); err != nil {
		return err
	}
	most = l.perIP
	if ip == local {
		most *= localFactor
	}
	return l.within(ctx, r, "", ip, most, since, now)
}

func (l limit) within(ctx context.Context, r Reader, subject, ip string, most int, since, now time.Time) error {
	n, first, err := r.Attempts(ctx, l.kind, subject, ip, since)
	if err != nil || n < most {
		return err
	}
	return errs.New(errs.TooMany, "", "%s: try again later", l.description).After(first.Add(limitWindow).Sub(now))
}
