package service

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds of signing keys.
const (
	keyBits = 2048
	// keyLead is how long a new key is published before it signs, so that every process knows it by then.
	keyLead = 10 * time.Second
	// keyFresh is for how long the list of keys is believed, which other processes may have changed.
	keyFresh = time.Second
)

// Key signs tokens. Its private half is sealed wherever it is kept.
type Key struct {
	ID         string // the kid of tokens
	Public     string // PEM, SubjectPublicKeyInfo
	Sealed     []byte // the private half, PKCS #8
	CreatedAt  time.Time
	ActiveFrom time.Time // it signs from then on, until a later key does
}

// currentKey is the one that signs at a time: the latest that is active. There is none before the first was made.
func currentKey(keys []Key, at time.Time) (current Key, ok bool) {
	for _, k := range keys {
		if !k.ActiveFrom.After(at) && (!ok || k.ActiveFrom.After(current.ActiveFrom)) {
			current, ok = k, true
		}
	}
	return current, ok
}

// newKey makes a key. It takes a while.
func (s *Service) newKey() (Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return Key{}, fmt.Errorf("make a signing key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return Key{}, fmt.Errorf("encode a signing key: %w", err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, fmt.Errorf("encode a signing key: %w", err)
	}
	k := Key{ID: newID("key"), Public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}
	k.Sealed = s.sealer.Seal(plain, k.ID)
	return k, nil
}

// EnsureKey makes sure that there is a key and that it isn't too old, and drops those whose last token has expired.
// Of processes that call it at once, one makes a key. Errors: Unavailable.
func (s *Service) EnsureKey(ctx context.Context) error {
	return s.makeKey(ctx, s.cfg.KeyLife)
}

// RotateKey makes a new key that signs after a moment, once every process knows it. Tokens of older keys stay valid. With revoke, the new
// key signs immediately, and the older ones are deleted: no access token that they signed is valid any more. Errors: Unavailable.
func (s *Service) RotateKey(ctx context.Context, revoke bool) (Key, error) {
	made, err := s.newKey()
	if err != nil {
		return Key{}, err
	}
	defer s.keys.forget()
	err = s.update(ctx, func(w *work) error {
		made.CreatedAt = s.now()
		made.ActiveFrom = made.CreatedAt.Add(keyLead)
		if revoke {
			made.ActiveFrom = made.CreatedAt
			keys, err := w.Keys(ctx)
			if err != nil {
				return err
			}
			for _, k := range keys {
				if err := w.DeleteKey(ctx, k.ID); err != nil {
					return err
				}
			}
		}
		return s.insertKey(ctx, w, made)
	})
	return made, err
}

func (s *Service) insertKey(ctx context.Context, w *work, k Key) error {
	if err := w.InsertKey(ctx, k); err != nil {
		return err
	}
	w.changes.Keys = true
	return w.Emit(ctx, Event{What: KeyRotated{KeyID: k.ID}})
}

// makeKey makes a key unless one is younger than that.
func (s *Service) makeKey(ctx context.Context, than time.Duration) error {
	young := func(keys []Key, now time.Time) bool {
		for _, k := range keys {
			if now.Sub(k.CreatedAt) < than {
				return true
			}
		}
		return false
	}
	keys, err := s.store.Keys(ctx)
	if err != nil {
		return err
	}
	if young(keys, s.now()) {
		return nil
	}
	made, err := s.newKey()
	if err != nil {
		return err
	}
	defer s.keys.forget()
	return s.update(ctx, func(w *work) error {
		keys, err := w.Keys(ctx)
		now := s.now()
		if err != nil || young(keys, now) { // another process was faster
			return err
		}
		made.CreatedAt, made.ActiveFrom = now, now.Add(keyLead)
		if len(keys) == 0 {
			made.ActiveFrom = now
		}
		return s.insertKey(ctx, w, made)
	})
}

// dropKeys deletes keys that signed no token that could still be good.
func (s *Service) dropKeys(ctx context.Context, w *work, now time.Time) error {
	keys, err := w.Keys(ctx)
	if err != nil {
		return err
	}
	current, _ := currentKey(keys, now)
	for _, k := range keys {
		until := current.ActiveFrom.Add(s.tokenReach())
		if k.ActiveFrom.Before(current.ActiveFrom) && now.After(until) {
			if err := w.DeleteKey(ctx, k.ID); err != nil {
				return err
			}
			w.changes.Keys = true
		}
	}
	return nil
}

// tokenReach is how long after its issue a token may be accepted anywhere.
func (s *Service) tokenReach() time.Duration {
	if s.cfg.AutoRefresh {
		return s.cfg.SessionLife + leeway
	}
	return s.cfg.TokenLife + leeway
}

// PublicKey gives the PEM of the key that signs now. Errors: Unavailable.
func (s *Service) PublicKey(ctx context.Context) (string, error) {
	k, err := s.keys.current(ctx, s)
	return k.Public, err
}

// PublishedKey is a key as other processes know it.
type PublishedKey struct {
	ID      string
	Public  string
	Current bool
}

// PublishedKeys gives all keys, without their private halves. Errors: Unavailable.
func (s *Service) PublishedKeys(ctx context.Context) ([]PublishedKey, error) {
	keys, err := s.store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	current, _ := currentKey(keys, s.now())
	out := make([]PublishedKey, len(keys))
	for i, k := range keys {
		out[i] = PublishedKey{ID: k.ID, Public: k.Public, Current: k.ID == current.ID}
	}
	return out, nil
}

// keyring remembers the keys, and private halves that were opened.
type keyring struct {
	mu     sync.Mutex
	keys   []Key
	read   time.Time
	opened map[string]*rsa.PrivateKey
}

func (r *keyring) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = time.Time{}
}

// load gives the keys, which may be a second old. The caller holds mu.
func (r *keyring) load(ctx context.Context, s *Service, now time.Time) ([]Key, error) {
	if age := now.Sub(r.read); age >= 0 && age < keyFresh {
		return r.keys, nil
	}
	keys, err := s.store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	r.keys, r.read = keys, now
	return keys, nil
}

var errNoKey = errors.New("there is no signing key")

func (r *keyring) current(ctx context.Context, s *Service) (Key, error) {
	now := s.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	keys, err := r.load(ctx, s, now)
	if err != nil {
		return Key{}, err
	}
	k, ok := currentKey(keys, now)
	if !ok {
		return Key{}, errNoKey
	}
	return k, nil
}

// private gives the private half of a key.
func (r *keyring) private(ctx context.Context, s *Service, id string) (*rsa.PrivateKey, error) {
	now := s.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.opened[id]; ok {
		return k, nil
	}
	keys, err := r.load(ctx, s, now)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ID != id {
			continue
		}
		private, err := openKey(s.sealer, k)
		if err != nil {
			return nil, err
		}
		if r.opened == nil {
			r.opened = make(map[string]*rsa.PrivateKey)
		}
		r.opened[id] = private
		return private, nil
	}
	return nil, errNoKey
}

func openKey(sealer Sealer, k Key) (*rsa.PrivateKey, error) {
	plain, err := sealer.Open(k.Sealed, k.ID)
	if err != nil {
		return nil, fmt.Errorf("open the signing key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the signing key is a %T", parsed)
	}
	return private, nil
}
