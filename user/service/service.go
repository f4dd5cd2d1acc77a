package service

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"
)

// Config is what an operator may choose.
type Config struct {
	TokenLife      time.Duration // of an access token
	SessionLife    time.Duration // of a sign-in without a refresh
	KeyLife        time.Duration // after which another key signs
	AutoRefresh    bool          // expired tokens are good while their session lives
	VerifyContacts bool          // a contact needs a one-time code to be registered
	AppsOnDemand   bool          // an app that is named for the first time is created
	MinPassword    int           // bytes; 0 is the usual minimum
	// Test is for test suites on loopback: passwords may be short, one-time codes are returned, and a contact that was not proved claims
	// roles, except those of the mesh's own services.
	Test bool
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	var wrong []error
	if c.TokenLife < time.Second {
		wrong = append(wrong, errors.New("the token expiration must be at least 1s"))
	}
	if c.SessionLife < c.TokenLife {
		wrong = append(wrong, errors.New("a session must not end before its token"))
	}
	if c.KeyLife < time.Hour {
		wrong = append(wrong, errors.New("the key rotation must be at least 1h"))
	}
	return errors.Join(wrong...)
}

// Ports are what the service needs. All but Clock must be set.
type Ports struct {
	Store    Store
	Sealer   Sealer
	Signer   Signer
	Mailer   Mailer
	Permits  Permits
	Replica  Replica
	Programs Programs // nil where none can run
	Clock    Clock    // default: the system's
}

// Service is the domain. Its methods are safe for concurrent use.
type Service struct {
	cfg      Config
	store    Store
	sealer   Sealer
	signer   Signer
	mailer   Mailer
	permits  Permits
	replica  Replica
	programs Programs
	clock    *ticker
	hasher   *hasher
	known    *briefly[known] // by account and app, for hasPermission
	keys     keyring
	turns    turns // of registrations, by slug
}

// New makes a service. [Service.Prepare] comes before anything else.
func New(cfg Config, p Ports) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if p.Clock == nil {
		p.Clock = time.Now
	}
	s := &Service{
		cfg: cfg, store: p.Store, sealer: p.Sealer, signer: p.Signer, mailer: p.Mailer, permits: p.Permits, replica: p.Replica, programs: p.Programs,
		clock: &ticker{now: p.Clock}, hasher: newHasher(), known: newBriefly[known](p.Clock),
	}
	return s, nil
}

// now is the time, to the microsecond. No two calls get the same, so that what is listed by time has an order.
func (s *Service) now() time.Time { return s.clock.next() }

// ticker gives times that only grow.
type ticker struct {
	now  Clock
	mu   sync.Mutex
	last time.Time
}

func (t *ticker) next() time.Time {
	now := t.now().UTC().Truncate(time.Microsecond)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.After(t.last) && t.last.Sub(now) < time.Second { // a clock that was set back is followed
		now = t.last.Add(time.Microsecond)
	}
	t.last = now
	return now
}

// work is a transaction that notes what other processes must know of it.
type work struct {
	Tx
	changes Changes
	key     Key // that signs, in a transaction that issues tokens
}

// update runs fn in a transaction, and replicates what it changed after the commit.
func (s *Service) update(ctx context.Context, fn func(w *work) error) error {
	var changes Changes
	err := s.store.Update(ctx, func(tx Tx) error {
		w := &work{Tx: tx}
		err := fn(w)
		changes = w.changes
		return err
	})
	if err == nil && !changes.empty() {
		s.replica.Changed(ctx, changes)
	}
	return err
}

// issuing is update for a transaction that issues tokens. The key is read before it, so that nobody holds one connection while
// waiting for another.
func (s *Service) issuing(ctx context.Context, fn func(w *work) error) error {
	key, err := s.keys.current(ctx, s)
	if err != nil {
		return err
	}
	return s.update(ctx, func(w *work) error {
		w.key = key
		return fn(w)
	})
}

// newID makes up an id of 100 random bits.
func newID(prefix string) string { return prefix + "_" + strings.ToLower(rand.Text()[:20]) }
