package service_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/service"
)

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	w.pass(time.Minute)
	next := w.must(w.RefreshToken(w.ctx, joe))
	if next.ID == joe.TokenID || next.SessionID != joe.SessionID || next.Device != joe.Device || next.RefreshedAt.IsZero() || next.JWT == "" {
		t.Errorf("the next token is %+v", next)
	}
	if next.Refresh != "" {
		t.Error("an access token became a refresh token")
	}
	w.pass(time.Minute)
	if again := w.must(w.RefreshToken(w.ctx, joe)); again.ID != next.ID || again.JWT != next.JWT {
		t.Errorf("another process that shares the first token got %+v, not %+v", again, next)
	}
	w.pass(2 * time.Minute)
	third := w.must(w.RefreshToken(w.ctx, joe))
	if third.ID == next.ID || third.ExpiresAt.Sub(w.now()) < 4*time.Minute {
		t.Errorf("a token that ends soon was returned: %+v", third)
	}
	w.must(w.RefreshToken(w.ctx, w.as(next)))
	w.fine("sign out", w.RevokeTokens(w.ctx, w.as(third), service.Revocation{}))
	for name, c := range map[string]service.Caller{"first": joe, "second": w.as(next), "third": w.as(third)} {
		_, err := w.RefreshToken(w.ctx, c)
		w.want("the "+name+" token after a sign-out", err, errs.Unauthenticated, "TOKEN_REVOKED")
	}
	if !w.revoked(joe.SessionID) {
		t.Error("the session's end was not replicated")
	}
}

func TestLostAnswerOfRefresh(t *testing.T) {
	w := newWorld(t)
	joe := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: password("joe")}))
	first := w.must(w.RefreshBySecret(w.ctx, joe.Refresh))
	w.pass(4 * time.Second)
	if again := w.must(w.RefreshBySecret(w.ctx, joe.Refresh)); again.ID != first.ID || again.JWT != first.JWT || again.Refresh != first.Refresh {
		t.Errorf("another successor: %+v, not %+v", again, first)
	}
	second := w.must(w.RefreshBySecret(w.ctx, first.Refresh)) // the successor was used meanwhile
	w.pass(5 * time.Second)
	if again := w.must(w.RefreshBySecret(w.ctx, joe.Refresh)); again.ID != second.ID || again.Refresh != second.Refresh {
		t.Errorf("the first refresh token returned %+v, not the last successor %+v", again, second)
	}
	w.pass(2 * time.Second)
	_, err := w.RefreshBySecret(w.ctx, joe.Refresh)
	w.want("too late", err, errs.Unauthenticated, "TOKEN_REUSED")
	_, err = w.RefreshBySecret(w.ctx, second.Refresh)
	w.want("its successor then", err, errs.Unauthenticated, "TOKEN_REVOKED")
}

// TestAccessTokensDontUseUpRefreshTokens has a service that was handed an access token refresh it.
func TestAccessTokensDontUseUpRefreshTokens(t *testing.T) {
	w := newWorld(t)
	joe := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: password("joe")}))
	c := w.as(joe)
	for range 3 {
		w.pass(4 * time.Minute)
		c = w.as(w.must(w.RefreshToken(w.ctx, c)))
	}
	next := w.must(w.RefreshBySecret(w.ctx, joe.Refresh))
	if next.Refresh == "" || next.Refresh == joe.Refresh {
		t.Errorf("the next refresh token is %q", next.Refresh)
	}
	plain := w.must(w.RefreshToken(w.ctx, w.as(next)))
	for name, secret := range map[string]string{
		"a plain token's id": strings.Replace(next.Refresh, next.ID, plain.ID, 1), "an access token": plain.JWT,
	} {
		_, err := w.RefreshBySecret(w.ctx, secret)
		w.want(name, err, errs.Unauthenticated, "INVALID_TOKEN")
	}
}

func TestParallelRefreshes(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		t.Helper()
		w := worldOn(t, db)
		joe := w.register("joe")
		var mu sync.Mutex
		var ids []string
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				next, err := w.RefreshToken(w.ctx, joe)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				ids = append(ids, next.ID)
			})
		}
		wg.Wait()
		slices.Sort(ids)
		if ids = slices.Compact(ids); len(ids) != 1 {
			t.Fatalf("%d successors", len(ids))
		}
		if live, err := w.store.SessionsOf(w.ctx, joe.UserID, "", "", w.now()); err != nil || len(live) != 1 {
			t.Errorf("%d sessions live, %v", len(live), err)
		}
	})
}

func TestExpiredTokenIsNotRefreshed(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	w.pass(5*time.Minute + 9*time.Second)
	next := w.must(w.RefreshToken(w.ctx, joe)) // clocks may be apart
	w.pass(5*time.Minute + 11*time.Second)
	_, err := w.RefreshToken(w.ctx, w.as(next))
	w.want("expired", err, errs.Unauthenticated, "TOKEN_EXPIRED")
}

func TestAutoRefresh(t *testing.T) {
	w := newWorld(t, func(c *service.Config) { c.AutoRefresh = true })
	joe := w.register("joe")
	w.pass(29 * 24 * time.Hour)
	next := w.must(w.RefreshToken(w.ctx, joe))
	w.pass(29 * 24 * time.Hour)
	last := w.must(w.RefreshToken(w.ctx, w.as(next)))
	w.pass(31 * 24 * time.Hour)
	_, err := w.RefreshToken(w.ctx, w.as(last))
	w.want("after the session's end", err, errs.Unauthenticated, "TOKEN_REVOKED")
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t)
	first := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: password("joe")}))
	if !service.IsRefreshToken(first.Refresh) || service.IsRefreshToken(first.JWT) {
		t.Errorf("refresh token %q, access token %q", first.Refresh, first.JWT)
	}
	w.pass(10 * 24 * time.Hour) // the access token has expired
	next := w.must(w.RefreshBySecret(w.ctx, first.Refresh))
	if next.SessionID != first.SessionID || next.Refresh == first.Refresh {
		t.Errorf("the successor is %+v", next)
	}
	for name, bad := range map[string]string{
		"empty": "mrt_", "another MAC": first.Refresh[:len(first.Refresh)-1] + "!", "another id": strings.Replace(next.Refresh, next.ID, first.ID, 1),
		"long": "mrt_" + strings.Repeat("a", 9000), "cut": first.Refresh[:20],
	} {
		_, err := w.RefreshBySecret(w.ctx, bad)
		w.want(name, err, errs.Unauthenticated, "INVALID_TOKEN")
	}
	w.pass(time.Minute)
	_, err := w.RefreshBySecret(w.ctx, first.Refresh)
	w.want("reuse", err, errs.Unauthenticated, "TOKEN_REUSED")
	_, err = w.RefreshBySecret(w.ctx, next.Refresh)
	w.want("its successor then", err, errs.Unauthenticated, "TOKEN_REVOKED")

	ann := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "ann", Password: password("ann")}))
	w.must(w.RefreshToken(w.ctx, w.as(ann)))
	w.pass(time.Minute)
	w.must(w.RefreshBySecret(w.ctx, ann.Refresh)) // whoever has the access token alone can't void it

	bob := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "bob", Password: password("bob")}))
	w.pass(31 * 24 * time.Hour)
	_, err = w.RefreshBySecret(w.ctx, bob.Refresh)
	w.want("after the session's end", err, errs.Unauthenticated, "TOKEN_REVOKED")
}

func TestRevokeTokens(t *testing.T) {
	w := newWorld(t)
	refused := func(what string, c service.Caller, want bool) {
		t.Helper()
		_, err := w.RefreshToken(w.ctx, c)
		if !want {
			w.fine(what, err)
			return
		}
		w.want(what, err, errs.Unauthenticated, "TOKEN_REVOKED")
	}
	on := func(device string) service.Caller {
		return w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: password("joe"), Device: device})))
	}
	joe := w.register("joe")
	phone, tv, tv2 := on("phone"), on("tv"), on("tv")
	w.fine("sign out", w.RevokeTokens(w.ctx, joe, service.Revocation{}))
	w.fine("sign out again", w.RevokeTokens(w.ctx, joe, service.Revocation{}))
	refused("signed out", joe, true)
	refused("another session", phone, false)
	w.fine("a device", w.RevokeTokens(w.ctx, phone, service.Revocation{Device: "tv"}))
	refused("of the device", tv, true)
	refused("of the device", tv2, true)
	ann := w.register("ann")
	w.want("somebody else's", w.RevokeTokens(w.ctx, ann, service.Revocation{UserID: joe.UserID}), errs.Forbidden)
	w.fine("by an admin", w.RevokeTokens(w.ctx, w.admin, service.Revocation{UserID: ann.UserID}))
	refused("by an admin", ann, true)
	bob := w.register("bob")
	w.fine("all", w.RevokeTokens(w.ctx, bob, service.Revocation{All: true}))
	refused("all", bob, true)
}

func TestExchangeToken(t *testing.T) {
	w := newWorld(t)
	shop, err := w.ReadApp(w.ctx, w.admin, "Shop.example")
	if err != nil {
		t.Fatal(err)
	}
	joe := w.register("joe")
	_, err = w.SaveEnrolls(w.ctx, w.admin, []service.NewEnroll{
		{AppHost: "shop.example", Role: "shop:buyer", UserID: joe.UserID}, {Role: "home:owner", UserID: joe.UserID}, {AppHost: "*", Role: "all:x", UserID: joe.UserID},
	})
	w.fine("enroll", err)
	got := w.must(w.ExchangeToken(w.ctx, joe, service.Exchange{AppHost: "shop.example", Device: "till"}))
	if got.AppID != shop.ID || got.App.Host != "shop.example" || got.Device != "till" || got.UserID != joe.UserID || got.SessionID == joe.SessionID {
		t.Errorf("exchanged for %+v", got)
	}
	if want := []string{"all:x", "shop:buyer", "user-svc:user"}; !slices.Equal(got.Roles, want) {
		t.Errorf("its roles are %v, want %v", got.Roles, want)
	}
	if got.Refresh != "" {
		t.Error("an exchange returned a refresh token")
	}
	_, err = w.RefreshToken(w.ctx, joe)
	w.fine("the first one goes on", err)
	_, err = w.ExchangeToken(w.ctx, joe, service.Exchange{AppHost: "none"})
	w.want("an unknown host", err, errs.NotFound, "APP_NOT_FOUND")
	_, err = w.ExchangeToken(w.ctx, joe, service.Exchange{AppID: "none"})
	w.want("an unknown id", err, errs.NotFound, "APP_NOT_FOUND")
	_, err = w.ExchangeToken(w.ctx, joe, service.Exchange{AppID: shop.ID, AppHost: "unnamed"})
	w.want("two apps", err, errs.Invalid)
}

// TestExchangedTokensEndWithTheirSession has a chain of exchanges from one sign-in.
func TestExchangedTokensEndWithTheirSession(t *testing.T) {
	w := newWorld(t)
	for name, end := range map[string]func(joe service.Caller){
		"a sign-out":       func(joe service.Caller) { w.fine("sign out", w.RevokeTokens(w.ctx, joe, service.Revocation{})) },
		"an ended session": func(joe service.Caller) { w.fine("end", w.EndSession(w.ctx, joe, joe.SessionID)) },
		"a device's end": func(joe service.Caller) {
			w.fine("end", w.RevokeTokens(w.ctx, joe, service.Revocation{Device: "unknown"}))
		},
		"another password": func(joe service.Caller) {
			w.fine("change", w.ChangePassword(w.ctx, joe, password(joe.Slug), "another password"))
		},
		"a deleted account": func(joe service.Caller) { w.fine("delete", w.DeleteUser(w.ctx, w.admin, joe.UserID)) },
	} {
		slug := strings.ReplaceAll(name, " ", "-")
		slug = strings.ReplaceAll(slug, "'", "")
		joe := w.register(slug)
		child := w.as(w.must(w.ExchangeToken(w.ctx, joe, service.Exchange{Device: "till"})))
		grandchild := w.as(w.must(w.ExchangeToken(w.ctx, child, service.Exchange{Device: "printer"})))
		w.must(w.RefreshToken(w.ctx, grandchild))
		end(joe)
		for what, c := range map[string]service.Caller{"an exchanged token": child, "one exchanged from it": grandchild} {
			_, err := w.RefreshToken(w.ctx, c)
			w.want(what+" after "+name, err, errs.Unauthenticated, "TOKEN_REVOKED")
			if !w.revoked(c.SessionID) {
				t.Errorf("%s after %s: its end was not replicated", what, name)
			}
		}
	}
}

// TestExchangedTokenDoesNotOutliveItsSession lets the first session expire while the exchanged token is refreshed all the time.
func TestExchangedTokenDoesNotOutliveItsSession(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	child := w.as(w.must(w.ExchangeToken(w.ctx, joe, service.Exchange{})))
	for range 29 {
		w.pass(24 * time.Hour)
		child.ExpiresAt = w.now().Add(time.Minute)
		child = w.as(w.must(w.RefreshToken(w.ctx, child)))
	}
	w.pass(25 * time.Hour)
	child.ExpiresAt = w.now().Add(time.Minute)
	_, err := w.RefreshToken(w.ctx, child)
	w.want("the exchanged token", err, errs.Unauthenticated, "TOKEN_REVOKED")
}

func TestIssueToken(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	w.register("shop-svc")
	w.pass(3 * time.Minute)
	jwt, expires, err := w.IssueToken(w.ctx, joe, "shop-svc")
	if err != nil || !strings.HasSuffix(jwt, " for shop-svc") || !expires.Equal(joe.ExpiresAt) {
		t.Errorf("issued %q until %v, %v; the caller's own ends %v", jwt, expires, err, joe.ExpiresAt)
	}
	_, _, err = w.IssueToken(w.ctx, joe, "none-svc")
	w.want("for nobody", err, errs.NotFound)
	_, _, err = w.IssueToken(w.ctx, joe, "micromesh")
	w.want("for the mesh itself", err, errs.NotFound)
	_, _, err = w.IssueToken(w.ctx, joe, "Shop-svc")
	w.want("for no slug", err, errs.Invalid)
	w.fine("sign out", w.RevokeTokens(w.ctx, joe, service.Revocation{}))
	_, _, err = w.IssueToken(w.ctx, joe, "shop-svc")
	w.want("after a sign-out", err, errs.Unauthenticated, "TOKEN_REVOKED")
}

func TestSessions(t *testing.T) {
	w := newWorld(t)
	joe, ann := w.register("joe"), w.register("ann")
	phone := w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: password("joe"), Device: "phone"})))
	all, err := w.Sessions(w.ctx, joe, "")
	if err != nil || len(all) != 2 || all[1].Device != "phone" {
		t.Errorf("listed %+v, %v", all, err)
	}
	_, err = w.Sessions(w.ctx, ann, joe.UserID)
	w.want("a stranger lists them", err, errs.Forbidden)
	if all, err := w.Sessions(w.ctx, w.admin, joe.UserID); err != nil || len(all) != 2 {
		t.Errorf("an admin sees %+v, %v", all, err)
	}
	w.want("a stranger ends one", w.EndSession(w.ctx, ann, phone.SessionID), errs.NotFound)
	w.want("one that there isn't", w.EndSession(w.ctx, joe, "none"), errs.NotFound)
	w.fine("the owner ends one", w.EndSession(w.ctx, joe, phone.SessionID))
	_, err = w.RefreshToken(w.ctx, phone)
	w.want("its token", err, errs.Unauthenticated, "TOKEN_REVOKED")
	w.must(w.RefreshToken(w.ctx, joe))
	w.want("again", w.EndSession(w.ctx, joe, phone.SessionID), errs.NotFound)
	w.fine("an admin ends one", w.EndSession(w.ctx, w.admin, joe.SessionID))
}

func TestRevokedKey(t *testing.T) {
	w := newWorld(t)
	before := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: password("joe")}))
	made, err := w.RotateKey(w.ctx, true)
	w.fine("rotate", err)
	keys, err := w.PublishedKeys(w.ctx)
	if err != nil || len(keys) != 1 || keys[0].ID != made.ID || !keys[0].Current {
		t.Fatalf("published: %+v, %v", keys, err)
	}
	after := w.must(w.RefreshBySecret(w.ctx, before.Refresh)) // refresh tokens are of another secret
	if after.KeyID != made.ID {
		t.Errorf("the key of the next token is %s, want %s", after.KeyID, made.ID)
	}
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	before := w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "admin", Password: "admin password"}))
	_, err := w.RotateKey(w.ctx, false)
	w.fine("rotate", err)
	published := func() (current string, n int) {
		keys, err := w.PublishedKeys(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if k.Current {
				current = k.ID
			}
			if strings.Contains(k.Public, "PRIVATE") || !strings.HasPrefix(k.Public, "-----BEGIN PUBLIC KEY-----") {
				t.Errorf("published: %s", k.Public)
			}
		}
		return current, len(keys)
	}
	if current, n := published(); n != 2 || current != before.KeyID {
		t.Errorf("%d keys; a new one signs before everybody knows it", n)
	}
	w.pass(11 * time.Second)
	after := w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "admin", Password: "admin password"}))
	if current, _ := published(); current != after.KeyID || after.KeyID == before.KeyID {
		t.Errorf("the key of a token is %s, that of one before %s, the current one %s", after.KeyID, before.KeyID, current)
	}
	w.pass(4 * time.Minute)
	w.fine("housekeep", w.Housekeep(w.ctx))
	if _, n := published(); n != 2 {
		t.Error("a key was dropped whose tokens are still good")
	}
	w.pass(time.Minute + 30*time.Second)
	w.fine("housekeep", w.Housekeep(w.ctx))
	if current, n := published(); n != 1 || current != after.KeyID {
		t.Errorf("%d keys are left", n)
	}
	w.pass(31 * 24 * time.Hour)
	w.fine("housekeep", w.Housekeep(w.ctx))
	if _, n := published(); n != 2 {
		t.Error("the key was not rotated when it was due")
	}
}

func TestKeysAtOnce(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		t.Helper()
		w := worldOn(t, db)
		w.pass(31 * 24 * time.Hour)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { w.fine("ensure", w.EnsureKey(w.ctx)) })
		}
		wg.Wait()
		if keys, err := w.store.Keys(w.ctx); err != nil || len(keys) != 2 {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

func TestHousekeeping(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	w.must(w.RefreshToken(w.ctx, joe))
	w.want("a wrong password", w.try("1.1.1.1", "joe", "wrong password"), errs.Unauthenticated)
	w.send("joe@x.example")
	w.fine("sign out", w.RevokeTokens(w.ctx, joe, service.Revocation{}))
	sessions, _, err := w.Revocations(w.ctx)
	if err != nil || !slices.Contains(sessions, joe.SessionID) {
		t.Errorf("revocations: %v, %v", sessions, err)
	}
	w.pass(20 * time.Minute)
	if sessions, _, err = w.Revocations(w.ctx); err != nil || len(sessions) != 0 {
		t.Errorf("revocations that no token needs: %v, %v", sessions, err)
	}
	w.fine("housekeep", w.Housekeep(w.ctx))
	for table, want := range map[string]int{"sessions": 1, "tokens": 1, "codes": 0, "attempts": 0} { // those of the admin
		var n int
		if err := w.db.QueryRow(w.ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil || n != want {
			t.Errorf("%d rows are left in %s, want %d (%v)", n, table, want, err)
		}
	}
}
