package app_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"micromesh/pkg/events"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/secret"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/app"

	userpb "micromesh/user/proto"
)

func (m *mesh) permit(token, permission string, slugs ...string) {
	m.t.Helper()
	_, err := m.client.SavePermits(m.as(token), &userpb.SavePermitsRequest{Permits: []*userpb.PermitInput{{Permission: permission, Slugs: slugs}}})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) has(token, permission string) bool {
	m.t.Helper()
	out, err := m.client.HasPermission(m.as(token), &userpb.HasPermissionRequest{Permission: permission})
	if err != nil {
		m.t.Fatal(err)
	}
	return out.GetAuthorized()
}

func TestPermitCountsAtOnce(t *testing.T) {
	m := start(t)
	owner, joe := m.register("pet-svc"), m.register("joe")
	for _, permission := range []string{"pet-svc:pet:edit", "pet-svc:pet:view", "pet-svc:pet:feed"} {
		if m.has(joe.GetToken(), permission) {
			t.Errorf("%s before it was granted", permission)
		}
		m.permit(owner.GetToken(), permission, "joe")
		if !m.has(joe.GetToken(), permission) {
			t.Errorf("%s right after it was granted", permission)
		}
	}
}

func TestRoleIsGoneAtOnce(t *testing.T) {
	m := start(t)
	joe, ann := m.register("joe"), m.register("ann")
	saved, err := m.client.SaveOrganization(m.as(joe.GetToken()), &userpb.SaveOrganizationRequest{Slug: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	boss, id := saved.GetToken().GetToken(), saved.GetOrganization().GetId()
	member := &userpb.SaveMembershipRequest{OrganizationId: id, UserId: ann.GetUserId()}
	if _, err := m.client.SaveMembership(m.as(boss), member); err != nil {
		t.Fatal(err)
	}
	tok, err := m.refresh(ann.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	role := "user-svc:org:{" + id + "}:user"
	has := func(token string) bool {
		c, err := m.host.Verifier.Verify(token)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(c.Roles, role)
	}
	if !has(tok.GetToken()) {
		t.Fatal("a member lacks the role")
	}
	_, err = m.client.DeleteMembership(m.as(boss), &userpb.DeleteMembershipRequest{OrganizationId: id, UserId: ann.GetUserId()})
	if err != nil {
		t.Fatal(err)
	}
	if has(tok.GetToken()) {
		t.Error("the token of before still carries the role")
	}
	if _, err := m.client.SaveMembership(m.as(boss), member); err != nil {
		t.Fatal(err)
	}
	if tok, err = m.refresh(tok.GetToken()); err != nil || !has(tok.GetToken()) {
		t.Errorf("a member again lacks the role (%v)", err)
	}
}

// TestBucketsAreRebuilt has NATS lose what it had.
func TestBucketsAreRebuilt(t *testing.T) {
	m := start(t)
	owner, joe := m.register("pet-svc"), m.register("joe")
	m.permit(owner.GetToken(), "pet-svc:pet:edit", "joe")
	if _, err := m.client.RevokeTokens(m.as(joe.GetToken()), &userpb.RevokeTokensRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{kv.Keys, kv.Permits, kv.Revocations} {
		if err := m.host.JS.DeleteKeyValue(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	m.permit(owner.GetToken(), "pet-svc:pet:view", "joe") // cannot be put, so that everything is compared
	for bucket, n := range map[string]int{kv.Keys: 1, kv.Permits: 2, kv.Revocations: 1} {
		wait(t, bucket+" is rebuilt", func() bool {
			b, err := m.host.JS.KeyValue(t.Context(), bucket)
			if err != nil {
				return false
			}
			keys, err := b.Keys(t.Context())
			return err == nil && len(keys) == n+1 // the mark
		})
	}
}

// TestTwoProcesses has what one decides reach the other within seconds.
func TestTwoProcesses(t *testing.T) {
	url, ok := sqldbtest.PostgresURL(t)
	if !ok {
		url = sqldbtest.SQLiteURL(t)
	}
	m := start(t, func(c *app.Config) { c.DatabaseURL = url })
	other, err := host.New(t.Context(), host.Config{NATS: m.host.NATS, Secrets: m.host.Secrets, Logger: m.host.Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	second, err := app.New(t.Context(), other, m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
	if keys := other.Auth.Keys(); len(keys) != 1 {
		t.Errorf("%d keys after a second process has started", len(keys))
	}
	tok := m.register("joe")
	if _, err := other.Verifier.Verify(tok.GetToken()); err != nil {
		t.Errorf("the other process: %v", err)
	}
	began := time.Now()
	if _, err := m.client.RevokeTokens(m.as(tok.GetToken()), &userpb.RevokeTokensRequest{}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the other process refuses the token", func() bool {
		_, err := other.Verifier.Verify(tok.GetToken())
		return err != nil
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestRestart(t *testing.T) {
	cfg := config(t)
	cfg.AdminPassword = ""
	h := newHost(t, 0)
	first, err := app.New(t.Context(), h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	password := first.AdminPassword()
	if len(password) < 16 {
		t.Errorf("the password that was made up is %q", password)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.AdminPassword = "that of a later start"
	m := startOn(t, h, cfg)
	if m.app.AdminPassword() != "" {
		t.Error("a password was made up for an admin who has one")
	}
	admin := m.login("admin", password)
	if !m.has(admin.GetToken(), "any-svc:thing:do") {
		t.Error("the admin may not do everything")
	}
	_, err = m.client.Login(t.Context(), &userpb.LoginRequest{Slug: "admin", Password: cfg.AdminPassword})
	want(t, "the password of a later start", err, "INVALID_CREDENTIALS")
}

func TestEventsArePublished(t *testing.T) {
	m := start(t)
	m.register("joe")
	got := map[string]bool{}
	enough := errors.New("enough")
	err := events.Tail(t.Context(), m.host.Events, events.TailOptions{Topics: []string{"accounts"}, Since: time.Hour}, func(r events.Record) error {
		if r.Problem != "" || r.Source != "/user-svc" {
			t.Errorf("event %+v", r)
		}
		got[r.Type] = true
		if r.Type == "micromesh.accounts.SIGNED_IN" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	for _, typ := range []string{"KEY_ROTATED", "ACCOUNT_REGISTERED", "ROLE_GRANTED", "SIGNED_IN"} {
		if !got["micromesh.accounts."+typ] {
			t.Errorf("no %s among %v", typ, got)
		}
	}
}

func TestConfigTellsAllMistakes(t *testing.T) {
	cfg := app.Config{AdminSlug: "A/B", AdminPassword: "short", TokenExpiration: time.Millisecond, SMTPAddress: "mail"}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("no mistake was found")
	}
	for _, name := range []string{"MICRO_ADMIN_SLUG", "MICRO_ADMIN_PASSWORD", "MICRO_TOKEN_EXPIRATION", "MICRO_SESSION_LIFE", "MICRO_KEY_ROTATION", "MICRO_MAIL_FROM", "MICRO_SMTP_ADDRESS"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in %q", name, err)
		}
	}
	if strings.Contains(err.Error(), "short") {
		t.Error("the password is told")
	}
}

// TestProcessesWithAnotherSecretKeyRefuseToStart starts processes with different keys on one database, one after the other and together.
func TestProcessesWithAnotherSecretKeyRefuseToStart(t *testing.T) {
	url, ok := sqldbtest.PostgresURL(t)
	if !ok {
		url = sqldbtest.SQLiteURL(t)
	}
	h := newHost(t, 0)
	cfg := config(t)
	cfg.DatabaseURL = url
	begin := func(letter string) error {
		box, err := secret.New([]byte(strings.Repeat(letter, 32)))
		if err != nil {
			return err
		}
		other, err := host.New(t.Context(), host.Config{NATS: h.NATS, Secrets: box, Logger: h.Logger, SecretKey: host.SecretKey{Name: "the key " + letter}})
		if err != nil {
			return err
		}
		a, err := app.New(t.Context(), other, cfg)
		if err == nil {
			err = a.Close()
		}
		return errors.Join(err, other.Close())
	}
	results := make(chan error, 3)
	for _, letter := range []string{"a", "b", "c"} {
		go func() { results <- begin(letter) }()
	}
	started := 0
	for range 3 {
		err := <-results
		switch {
		case err == nil:
			started++
		case !strings.Contains(err.Error(), "is not the one of its database") || !strings.Contains(err.Error(), "the key "):
			t.Error(err)
		}
	}
	if started != 1 {
		t.Errorf("%d processes with different keys have started", started)
	}
	again := 0
	for _, letter := range []string{"a", "b", "c"} {
		if begin(letter) == nil {
			again++
		}
	}
	if again != 1 {
		t.Errorf("%d keys are good afterwards", again)
	}
}
