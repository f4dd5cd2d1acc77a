package service

import (
	"context"
	"time"

	"micromesh/pkg/errs"
)

// ErrNotFound is what a Reader gives for a single thing that isn't there. Callers of the service get more telling ones.
var ErrNotFound = errs.NotFoundf("not found")

// ErrTaken is what a Tx gives for a slug, a host or another unique name that somebody has.
var ErrTaken = errs.Conflictf("taken")

// Store keeps everything that the service knows. Errors of all methods: Unavailable.
type Store interface {
	Reader
	// Update runs fn in a transaction that is isolated from all others and durable when Update gives nil. It may run fn
	// more than once; fn's error comes back as it is, and nothing of fn stays.
	Update(ctx context.Context, fn func(Tx) error) error
}

// Reader reads. Single things give [ErrNotFound]; accounts, contacts and others that were deleted are not found, unless said.
type Reader interface {
	App(ctx context.Context, id string) (App, error)
	AppByHost(ctx context.Context, host string) (App, error)
	// Apps lists those with one of the hosts or ids, all where both are empty.
	Apps(ctx context.Context, hosts, ids []string) ([]App, error)

	Account(ctx context.Context, id string) (Account, error)
	AccountBySlug(ctx context.Context, slug string) (Account, error)
	Accounts(ctx context.Context, q AccountQuery) ([]Account, error)
	CountAccounts(ctx context.Context, q AccountQuery) (int, error)

	Contact(ctx context.Context, id string) (Contact, error)
	ContactsOf(ctx context.Context, userIDs ...string) ([]Contact, error)

	Session(ctx context.Context, id string) (Session, error)
	// SessionsOf lists sessions that live at a time, the oldest first. Empty filters match all.
	SessionsOf(ctx context.Context, userID, appID, device string, at time.Time) ([]Session, error)
	// AllSessions lists the sessions of every account that live at a time.
	AllSessions(ctx context.Context, at time.Time) ([]Session, error)
	// RevokedSince lists the ids of sessions that were revoked after a time.
	RevokedSince(ctx context.Context, t time.Time) ([]string, error)
	// SessionsFrom lists the sessions that were exchanged from another one and live at a time.
	SessionsFrom(ctx context.Context, parentID string, at time.Time) ([]Session, error)
	// SessionsOfApp lists the sessions of an app that live at a time.
	SessionsOfApp(ctx context.Context, appID string, at time.Time) ([]Session, error)
	Token(ctx context.Context, id string) (Token, error)
	// NewestToken returns the token of a session that was issued last.
	NewestToken(ctx context.Context, sessionID string) (Token, error)

	Keys(ctx context.Context) ([]Key, error)

	// Enrolls lists enrolls, the oldest first.
	Enrolls(ctx context.Context, q EnrollQuery) ([]Enroll, error)
	// RolesLost lists the roles that one account or (empty) every account has lost, by account, role and app.
	RolesLost(ctx context.Context, userID string) ([]LostRole, error)
	// Issued returns, by app, when the newest token of an account was issued. Tokens of revoked sessions don't matter.
	Issued(ctx context.Context, userID string) (map[string]time.Time, error)

	Permit(ctx context.Context, id string) (Permit, error)
	// Permits lists permits; an empty permission or slug matches all.
	Permits(ctx context.Context, permission, slug string) ([]Permit, error)

	Organization(ctx context.Context, id string) (Organization, error)
	Organizations(ctx context.Context, q OrganizationQuery) ([]Organization, error)
	Membership(ctx context.Context, organizationID, userID string) (Membership, error)
	// Memberships lists those of an account in an app, or (empty) in all, the oldest first.
	Memberships(ctx context.Context, userID, appID string) ([]Membership, error)
	// Members lists the memberships of an organization, the oldest first.
	Members(ctx context.Context, organizationID string) ([]Membership, error)
	CountOrgAdmins(ctx context.Context, organizationID string) (int, error)

	// Code gives a one-time code that was not used.
	Code(ctx context.Context, id string) (Code, error)
	// Attempts counts attempts since a time, and tells when the first of them was. Empty filters match all.
	Attempts(ctx context.Context, kind, subject, ip string, since time.Time) (n int, first time.Time, err error)
}

// Tx reads and writes in a transaction.
type Tx interface {
	Reader

	InsertApp(ctx context.Context, a App) error // ErrTaken for the host
	SetAppHost(ctx context.Context, id, host string) error
	// DeleteApp makes an app unknown, and its host free.
	DeleteApp(ctx context.Context, id string, at time.Time) error

	// ReserveSlug takes a slug for an account or an organization, for ever. It gives ErrTaken where another owner has it.
	ReserveSlug(ctx context.Context, slug, owner string) error
	// HadSlug reports whether an owner has, or ever had, a slug.
	HadSlug(ctx context.Context, owner string) (bool, error)
	InsertAccount(ctx context.Context, a Account) error
	// UpdateAccount saves name, labels, thumbnail, password and times.
	UpdateAccount(ctx context.Context, a Account) error

	// SaveContact inserts a contact, or replaces the one with its id.
	SaveContact(ctx context.Context, c Contact) error
	DeleteContactsOf(ctx context.Context, userID string) error

	InsertSession(ctx context.Context, s Session) error
	// UpdateSession saves the times.
	UpdateSession(ctx context.Context, s Session) error
	InsertToken(ctx context.Context, t Token) error
	// RotateToken records a token's successor.
	RotateToken(ctx context.Context, id, successor string, at time.Time) error

	InsertKey(ctx context.Context, k Key) error
	DeleteKey(ctx context.Context, id string) error

	// InsertEnroll inserts an enroll, unless there is an equal one.
	InsertEnroll(ctx context.Context, e Enroll) error
	// AssignEnroll makes an account the holder of an enroll; no account makes it wait for its contact again.
	AssignEnroll(ctx context.Context, id, userID string, at time.Time) error
	DeleteEnroll(ctx context.Context, id string) error
	DeleteEnrollsOf(ctx context.Context, userID string) error
	// LoseRole inserts a lost role, or replaces the one of its account, app and role.
	LoseRole(ctx context.Context, l LostRole) error
	// DropLost forgets that an account has lost a role in an app.
	DropLost(ctx context.Context, l LostRole) error

	// SavePermit inserts a permit, or replaces the one with its id.
	SavePermit(ctx context.Context, p Permit) error
	DeletePermit(ctx context.Context, id string) error

	// SaveOrganization inserts an organization, or replaces the one with its id.
	SaveOrganization(ctx context.Context, o Organization) error
	// InsertMembership inserts a membership, unless there is one.
	InsertMembership(ctx context.Context, m Membership) error
	DeleteMembership(ctx context.Context, organizationID, userID string) error
	// DeleteOrganization deletes an organization with its memberships.
	DeleteOrganization(ctx context.Context, id string) error

	InsertCode(ctx context.Context, c Code) error
	// TriedCode counts a wrong try.
	TriedCode(ctx context.Context, id string) error
	UseCode(ctx context.Context, id string) error

	InsertAttempt(ctx context.Context, a Attempt) error
	ClearAttempts(ctx context.Context, kind, subject, ip string) error

	// Emit publishes an event if the transaction is committed.
	Emit(ctx context.Context, e Event) error

	// Expire deletes what is of no more use: tokens that were rotated or have expired, sessions, codes, attempts and lost
	// roles, each by its time.
	Expire(ctx context.Context, before Expiry) error
}

// Expiry says before when each kind of thing is of no more use.
type Expiry struct {
	Rotated  time.Time // tokens that were rotated
	Plain    time.Time // tokens without a refresh token that were rotated
	Sessions time.Time // sessions that expired or were revoked, with their tokens
	Codes    time.Time
	Attempts time.Time
	Lost     time.Time
}
