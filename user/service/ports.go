package service

import (
	"context"
	"crypto/rsa"
	"time"
)

// Sealer keeps private keys unreadable in the database, and makes secrets that need not be kept.
type Sealer interface {
	// Seal encrypts plain; context is authenticated with it.
	Seal(plain []byte, context string) []byte
	// Open decrypts what Seal made with the same context.
	Open(sealed []byte, context string) ([]byte, error)
	// MAC authenticates data in a context: nobody else can make it.
	MAC(data []byte, context string) []byte
}

// Signer makes the JWT of a token. Equal tokens and keys give equal JWTs.
type Signer interface {
	Sign(key *rsa.PrivateKey, t Token) (string, error)
	// SignFor makes a token for one audience alone, which no service of the mesh itself accepts.
	SignFor(key *rsa.PrivateKey, t Token, audience string) (string, error)
}

// Mailer sends mails.
type Mailer interface {
	// Send hands a mail over for delivery. Errors: Unavailable.
	Send(ctx context.Context, m Mail) error
	// From is the sender of its mails.
	From() (name, address string)
}

// Mail is a text for one address.
type Mail struct {
	To      string
	Subject string
	Text    string
}

// Permits answers from the replicated permits.
type Permits interface {
	// Permitted reports whether every account holds a permission, or a permit grants it to the caller's slug or roles.
	Permitted(c Caller, permission string) bool
	// Permissions lists all that permits grant to the caller.
	Permissions(c Caller) []string
}

// Replica tells the other processes of the mesh what they decide by.
type Replica interface {
	// Changed replicates what a committed transaction has changed, and waits a moment until this process, at least, knows
	// it. It cannot fail: what could not be replicated now is as soon as possible.
	Changed(ctx context.Context, c Changes)
}

// Programs run beside the mesh's own services, in plain go-micro or with a schema. Their names are in use, though they may have no account.
type Programs interface {
	// Used reports whether a program runs under a slug, or ran lately. Errors: Unavailable while it can't be told.
	Used(slug string) (bool, error)
	// Claims lists the accounts that the programs under a slug have named as their own.
	Claims(slug string) []string
	// Claimed reports whether a claim names the account with a password. It costs as much as the hash of a password.
	Claimed(claim, slug, password string) bool
}

// Changes names what was changed of what every process must know.
type Changes struct {
	Permits  []string // ids
	Sessions []string // ids of revoked ones
	Users    []string // ids of those who lost or regained a role
	Slugs    []string // that have an owner now
	Deleted  []string // slugs whose account was deleted
	Keys     bool
}

func (c Changes) empty() bool {
	return len(c.Permits) == 0 && len(c.Sessions) == 0 && len(c.Users) == 0 && len(c.Slugs) == 0 && len(c.Deleted) == 0 && !c.Keys
}

// Clock tells the time.
type Clock func() time.Time
