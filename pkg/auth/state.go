package auth

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
)

// Key is a public key that signs tokens: an entry of the bucket [kv.Keys], under its id.
type Key struct {
	ID      string `json:"kid"`
	PEM     string `json:"pem"`               // SubjectPublicKeyInfo
	Current bool   `json:"current,omitempty"` // whether it signs now

	public *rsa.PublicKey
}

// Public gives the key itself.
func (k *Key) Public() *rsa.PublicKey { return k.public }

// Permit is an entry of the bucket [kv.Permits], under its id.
type Permit struct {
	AppID      string   `json:"app"` // AnyApp holds in all
	Permission string   `json:"permission"`
	Roles      []string `json:"roles,omitempty"`
	Slugs      []string `json:"slugs,omitempty"`
}

// Revocation is an entry of the bucket [kv.Revocations]. Under a [SessionKey] it voids every token of that session;
// under a [UserKey] it takes roles from tokens that were issued before.
type Revocation struct {
	// Lost are roles that were taken away, with the time of it. The key "shop:*" is every role that begins with "shop:", and "*" is every
	// role. Both leave [RoleUser].
	Lost map[string]time.Time `json:"lost,omitempty"`
	// Apps are the apps, in order, whose tokens have lost a role. A role that isn't here was lost in every app.
	Apps map[string][]string `json:"apps,omitempty"`
}

// Lose adds a role that was taken away in one app, or in every app (AnyApp). If it was lost in several apps, the latest time holds for all
// of them: tokens that were issued in between don't have the role.
func (r *Revocation) Lose(role, appID string, at time.Time) {
	if r.Lost == nil {
		r.Lost = map[string]time.Time{}
	}
	apps, lost := r.Apps[role], false
	if old, ok := r.Lost[role]; ok {
		lost = len(apps) == 0
		if old.After(at) {
			at = old
		}
	}
	r.Lost[role] = at
	switch i, found := slices.BinarySearch(apps, appID); {
	case lost || appID == AnyApp:
		delete(r.Apps, role)
	case !found:
		if r.Apps == nil {
			r.Apps = map[string][]string{}
		}
		r.Apps[role] = slices.Insert(apps, i, appID)
	}
}

const (
	sessionPrefix = "s."
	userPrefix    = "u."
)

// SessionKey is the key under which one session is revoked.
func SessionKey(id string) string { return sessionPrefix + kv.Key(id) }

// UserKey is the key under which an account's tokens lose roles.
func UserKey(id string) string { return userPrefix + kv.Key(id) }

// Revoked is the list of revocations as the gateway shows it to services outside the mesh's own processes, so that
// they can refuse what the gateway refuses.
type Revoked struct {
	Sessions []string                        `json:"sessions"` // ids that void a token with this sid
	Lost     map[string]map[string]time.Time `json:"lost"`     // by user id: roles that older tokens lose
	// Apps are, by user id and role, the apps whose tokens lose the role; those of every app where it isn't here.
	Apps map[string]map[string][]string `json:"apps,omitempty"`
}

// maxRevoked bounds the lost roles that are shown, in bytes. Beyond it tokens of the accounts that lost the most lose all roles.
const maxRevoked = 1 << 20

// State is the replicated state, watched. It implements [Source] and answers for permits.
type State struct {
	keys        *kv.Map[*Key]
	permits     *kv.Map[*Permit]
	revocations *kv.Map[*Revocation]
	grants      atomic.Pointer[grants] // of the present permits
}

var _ Source = (*State)(nil)

// Watch watches the three buckets until ctx ends.
func Watch(ctx context.Context, js jetstream.JetStream, log *slog.Logger, opts ...kv.WatchOption) *State {
	return &State{
		keys:        kv.Watch(ctx, js, kv.Keys, log, decodeKey, opts...),
		permits:     kv.Watch(ctx, js, kv.Permits, log, decode[Permit], opts...),
		revocations: kv.Watch(ctx, js, kv.Revocations, log, decode[Revocation], opts...),
	}
}

// Wait waits until the watches have ended, after their context did.
func (s *State) Wait() {
	s.keys.Wait()
	s.permits.Wait()
	s.revocations.Wait()
}

// Ready reports whether keys and revocations are known, from the buckets or from a saved state.
func (s *State) Ready() bool { return len(s.keys.Load()) > 0 && s.revocations.Known() }

// WaitReady waits until all three buckets were read once, or ctx ends.
func (s *State) WaitReady(ctx context.Context) error {
	some := func(m map[string]*Key) bool { return len(m) > 0 }
	return errors.Join(
		s.keys.WaitFor(ctx, some),
		s.permits.WaitFor(ctx, func(map[string]*Permit) bool { return true }),
		s.revocations.WaitFor(ctx, func(map[string]*Revocation) bool { return true }),
	)
}

// Key gives the public key with an id.
func (s *State) Key(kid string) (*rsa.PublicKey, bool) {
	k, ok := s.keys.Get(kid)
	if !ok {
		return nil, false
	}
	return k.public, true
}

// Names reports whether a permit names a slug as the owner of the permission. Any account may name others as holders of its permissions.
func (s *State) Names(slug string) bool {
	for _, p := range s.permits.Load() {
		if prefix, _, _ := strings.Cut(p.Permission, ":"); prefix == slug {
			return true
		}
	}
	return false
}

// Keys lists the keys, the one that signs now first.
func (s *State) Keys() []*Key {
	m := s.keys.Load()
	out := make([]*Key, 0, len(m))
	for _, k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *Key) int {
		if a.Current != b.Current {
			if a.Current {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return out
}

// Revoked tells whether a token is void, and which roles it has lost.
func (s *State) Revoked(c *Claims) (void bool, lost []string) {
	m := s.revocations.Load()
	if len(m) == 0 {
		return false, nil
	}
	if _, ok := m[SessionKey(c.SessionID)]; ok {
		return true, nil
	}
	r, ok := m[UserKey(c.UserID)]
	if !ok {
		return false, nil
	}
	return false, r.takes(c)
}

func (r *Revocation) takes(c *Claims) (lost []string) {
	if len(r.Lost) == 0 {
		return nil
	}
	for _, role := range c.Roles {
		if r.lost(c, role) || role != RoleUser && (r.lost(c, "*") || r.marked(c, role)) {
			lost = append(lost, role)
		}
	}
	return lost
}

// marked reports whether a token has lost a role with all others that begin like it.
func (r *Revocation) marked(c *Claims, role string) bool {
	for i := range len(role) {
		if role[i] == ':' && r.lost(c, role[:i+1]+"*") {
			return true
		}
	}
	return false
}

// lost reports whether a token has lost a role by one of the keys.
func (r *Revocation) lost(c *Claims, key string) bool {
	at, ok := r.Lost[key]
	apps := r.Apps[key]
	return ok && !c.IssuedAt.After(at) && (len(apps) == 0 || slices.Contains(apps, c.AppID))
}

// Changed gives a channel that is closed at the next change of anything. Take it before looking, so that none is
// missed. Each call costs a goroutine until then: it is for those few that save or show the state.
func (s *State) Changed() <-chan struct{} {
	keys, permits, revocations := s.keys.Changed(), s.permits.Changed(), s.revocations.Changed()
	out := make(chan struct{})
	go func() {
		defer close(out)
		select {
		case <-keys:
		case <-permits:
		case <-revocations:
		case <-s.keys.Ended():
		}
	}()
	return out
}

// Revocations lists what is revoked.
func (s *State) Revocations() Revoked {
	out := Revoked{Sessions: []string{}, Lost: map[string]map[string]time.Time{}, Apps: map[string]map[string][]string{}}
	for key, r := range s.revocations.Load() {
		if k, ok := strings.CutPrefix(key, sessionPrefix); ok {
			if id, ok := kv.Text(k); ok {
				out.Sessions = append(out.Sessions, id)
			}
		}
		if k, ok := strings.CutPrefix(key, userPrefix); ok {
			if id, ok := kv.Text(k); ok {
				out.Lost[id] = r.Lost
				if len(r.Apps) > 0 {
					out.Apps[id] = r.Apps
				}
			}
		}
	}
	slices.Sort(out.Sessions)
	out.bound(maxRevoked)
	return out
}

// bound has the tokens of those accounts that lost the most lose all roles, until the list has room for the lost roles.
func (r *Revoked) bound(room int) {
	sizes := make(map[string]int, len(r.Lost))
	total := 0
	for user := range r.Lost {
		sizes[user] = r.size(user)
		total += sizes[user]
	}
	if total <= room {
		return
	}
	users := slices.SortedFunc(maps.Keys(sizes), func(a, b string) int { return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(a, b)) })
	for _, user := range users {
		if total <= room {
			return
		}
		var last time.Time
		for _, at := range r.Lost[user] {
			if at.After(last) {
				last = at
			}
		}
		r.Lost[user] = map[string]time.Time{"*": last} // another map: the entry is shared
		delete(r.Apps, user)
		total -= sizes[user] - r.size(user)
	}
}

// size returns about the number of bytes of what an account has lost.
func (r *Revoked) size(user string) int {
	n := 2 * len(user)
	for role := range r.Lost[user] {
		n += 2*len(role) + len(time.RFC3339Nano) + 12
	}
	for _, apps := range r.Apps[user] {
		for _, app := range apps {
			n += len(app) + 3
		}
	}
	return n
}

// Void tells whether a token is void, and which roles it has lost, by a list of revocations.
func (r *Revoked) Void(c *Claims) (void bool, lost []string) {
	if _, ok := slices.BinarySearch(r.Sessions, c.SessionID); ok {
		return true, nil
	}
	rev := Revocation{Lost: r.Lost[c.UserID], Apps: r.Apps[c.UserID]}
	return false, rev.takes(c)
}

// Saved is the state as a process saves it, to start from when the mesh's other parts are away.
type Saved struct {
	Keys        map[string]*Key        `json:"keys"`
	Permits     map[string]*Permit     `json:"permits"`
	Revocations map[string]*Revocation `json:"revocations"`
}

// Save gives what is known.
func (s *State) Save() Saved {
	return Saved{s.keys.Load(), s.permits.Load(), s.revocations.Load()}
}

// Restore takes up what was saved, until the buckets are read.
func (s *State) Restore(saved Saved) error {
	for id, k := range saved.Keys {
		if err := k.parse(); err != nil {
			return fmt.Errorf("restore key %s: %w", id, err)
		}
	}
	s.keys.Seed(saved.Keys)
	s.permits.Seed(saved.Permits)
	s.revocations.Seed(saved.Revocations)
	return nil
}

func decode[T any](_ string, b []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(b, v)
}

func decodeKey(_ string, b []byte) (*Key, error) {
	k := &Key{}
	if err := json.Unmarshal(b, k); err != nil {
		return nil, err
	}
	return k, k.parse()
}

func (k *Key) parse() error {
	block, _ := pem.Decode([]byte(k.PEM))
	if block == nil {
		return errors.New("no PEM block")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	key, ok := pub.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("a %T is not an RSA key", pub)
	}
	k.public = key
	return nil
}
