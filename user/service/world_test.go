package service_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/secret"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/service"
	"micromesh/user/store"
	"micromesh/user/subscriber"
)

// world is a service on a real database, with a clock of its own and an admin.
type world struct {
	*testing.T
	*service.Service
	ctx   context.Context
	store *store.Store
	db    *sqldb.DB
	admin service.Caller
	test  bool // in test mode
	cfg   service.Config
	box   *secret.Box

	mu      sync.Mutex
	time    time.Time
	mails   []service.Mail
	changes []service.Changes
}

var plain = service.Config{TokenLife: 5 * time.Minute, SessionLife: 30 * 24 * time.Hour, KeyLife: 30 * 24 * time.Hour}

// newWorld makes one on SQLite.
func newWorld(t *testing.T, change ...func(*service.Config)) *world {
	t.Helper()
	return worldOn(t, sqldbtest.Open(t, sqldbtest.SQLiteURL(t)), change...)
}

func worldOn(t *testing.T, db *sqldb.DB, change ...func(*service.Config)) *world {
	t.Helper()
	cfg := plain
	for _, c := range change {
		c(&cfg)
	}
	if err := store.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	box, err := secret.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, test: cfg.Test, ctx: t.Context(), store: store.New(db, subscriber.Encode), db: db, time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	w.cfg, w.box = cfg, box
	w.Service = w.again(func(*service.Config) {})
	w.insertKey(box)
	created, err := w.Prepare(t.Context(), service.Admin{Slug: "admin", Password: "admin password"})
	if err != nil || !created {
		t.Fatalf("prepare: %v, %v", created, err)
	}
	w.admin = w.as(w.must(w.Login(w.ctx, "9.9.9.9", service.Credentials{Slug: "admin", Password: "admin password"})))
	return w
}

// again makes a service on the same database, with other settings.
func (w *world) again(change func(*service.Config)) *service.Service {
	w.Helper()
	cfg := w.cfg
	change(&cfg)
	s, err := service.New(cfg, service.Ports{Store: w.store, Sealer: w.box, Signer: w, Mailer: w, Permits: w, Replica: w, Clock: w.now})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// serviceWith makes a service on the same database, beside programs.
func (w *world) serviceWith(p service.Programs) *service.Service {
	w.Helper()
	s, err := service.New(w.cfg, service.Ports{Store: w.store, Sealer: w.box, Signer: w, Mailer: w, Permits: w, Replica: w, Clock: w.now, Programs: p})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// signingKey is made once for all worlds: that takes a while.
var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func (w *world) insertKey(box *secret.Box) {
	w.Helper()
	private, err := signingKey()
	if err != nil {
		w.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		w.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		w.Fatal(err)
	}
	k := service.Key{ID: "first", Public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), CreatedAt: w.time, ActiveFrom: w.time}
	k.Sealed = box.Seal(plain, k.ID)
	if err := w.store.Update(w.ctx, func(tx service.Tx) error { return tx.InsertKey(w.ctx, k) }); err != nil {
		w.Fatal(err)
	}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

// Sign implements service.Signer: a text that tells the token and the key.
func (w *world) Sign(key *rsa.PrivateKey, t service.Token) (string, error) {
	if key == nil {
		return "", errors.New("no key")
	}
	return "jwt " + t.ID + " " + t.KeyID, nil
}

// SignFor implements service.Signer.
func (w *world) SignFor(key *rsa.PrivateKey, t service.Token, audience string) (string, error) {
	s, err := w.Sign(key, t)
	return s + " for " + audience, err
}

// Send implements service.Mailer.
func (w *world) Send(_ context.Context, m service.Mail) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mails = append(w.mails, m)
	return nil
}

// From implements service.Mailer.
func (w *world) From() (name, address string) { return "Mesh", "mesh@x.example" }

// code is the one that was mailed last.
func (w *world) code() string {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mails) == 0 {
		w.Fatal("no mail was sent")
	}
	subject := w.mails[len(w.mails)-1].Subject
	return subject[len(subject)-6:]
}

// Permitted implements service.Permits, by what is stored.
func (w *world) Permitted(c service.Caller, permission string) bool {
	return slices.Contains(w.Permissions(c), permission)
}

// Permissions implements service.Permits.
func (w *world) Permissions(c service.Caller) (out []string) {
	all, err := w.store.Permits(w.ctx, "", "")
	if err != nil {
		w.Error(err)
	}
	for _, p := range all {
		if p.AppID != service.AnyApp && p.AppID != c.AppID {
			continue
		}
		if slices.Contains(p.Slugs, c.Slug) || slices.ContainsFunc(p.Roles, c.HasRole) {
			out = append(out, p.Permission)
		}
	}
	return out
}

// Changed implements service.Replica.
func (w *world) Changed(_ context.Context, c service.Changes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, c)
}

// revoked tells whether the session's end was replicated.
func (w *world) revoked(sessionID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.changes, func(c service.Changes) bool { return slices.Contains(c.Sessions, sessionID) })
}

func (w *world) must(t service.Token, err error) service.Token {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// as gives the caller of a token.
func (w *world) as(t service.Token) service.Caller {
	return service.Caller{
		UserID: t.UserID, Slug: t.Slug, Roles: t.Roles, AppID: t.AppID, Device: t.Device, ActiveOrg: t.ActiveOrg,
		SessionID: t.SessionID, TokenID: t.ID, IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt, IP: "7.7.7.7",
	}
}

func password(slug string) string { return "password of " + slug }

// register registers an account and gives its caller.
func (w *world) register(slug string) service.Caller {
	w.Helper()
	return w.as(w.must(w.Register(w.ctx, "7.7.7.7", service.Registration{Slug: slug, Password: password(slug)})))
}

func (w *world) registerWith(slug, mail string) service.Caller {
	w.Helper()
	return w.as(w.must(w.Register(w.ctx, "7.7.7.7", service.Registration{
		Slug: slug, Password: password(slug), Contact: &service.ContactProof{Platform: "email", Handle: mail},
	})))
}

func (w *world) login(slug string) service.Caller {
	w.Helper()
	return w.as(w.must(w.Login(w.ctx, "7.7.7.7", service.Credentials{Slug: slug, Password: password(slug)})))
}

// want checks the kind of an error, and its code where one is given.
func (w *world) want(what string, err error, kind errs.Kind, code ...string) {
	w.Helper()
	if !errs.Is(err, kind) || (len(code) > 0 && errs.From(err).Code != code[0]) {
		w.Errorf("%s: got %v, want %v %v", what, err, kind.Code(), code)
	}
}

func (w *world) fine(what string, err error) {
	w.Helper()
	if err != nil {
		w.Errorf("%s: %v", what, err)
	}
}
