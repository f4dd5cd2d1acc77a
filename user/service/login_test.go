package service_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/service"
)

// try signs in with a password from an address.
func (w *world) try(ip, slug, password string) error {
	_, err := w.Login(w.ctx, ip, service.Credentials{Slug: slug, Password: password})
	return err
}

func TestLoginTellsNothing(t *testing.T) {
	w := newWorld(t)
	w.register("joe")
	w.registerWith("ann", "ann@x.example")
	_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: "no-password"})
	w.fine("create", err)
	mail := func(handle string) service.Credentials {
		return service.Credentials{Contact: &service.ContactProof{Platform: "email", Handle: handle}, Password: "wrong password"}
	}
	var first *errs.Error
	for i, c := range []service.Credentials{
		{Slug: "joe", Password: "wrong password"}, {Slug: "nobody", Password: "wrong password"}, {Slug: "no-password", Password: "wrong password"},
		{Slug: "no-password", Password: " "}, mail("ann@x.example"), mail("none@x.example"),
	} {
		_, err := w.Login(w.ctx, fmt.Sprint("1.1.1.", i), c)
		w.want(fmt.Sprintf("%+v", c), err, errs.Unauthenticated, "INVALID_CREDENTIALS")
		if first == nil {
			first = errs.From(err)
		}
		if e := errs.From(err); e.Message != first.Message {
			t.Errorf("%+v: %q differs from %q", c, e.Message, first.Message)
		}
	}
	for name, c := range map[string]service.Credentials{
		"nothing": {}, "no password": {Slug: "joe"}, "both": {Slug: "joe", Contact: mail("x@x.example").Contact, Password: "p"}, "no slug": {Slug: "a/b", Password: "p"},
	} {
		_, err := w.Login(w.ctx, "2.2.2.2", c)
		w.want(name, err, errs.Invalid)
	}
	_, err = w.Login(w.ctx, "2.2.2.2", service.Credentials{Slug: "joe", Password: password("joe"), AppHost: "none"})
	w.want("an unknown app", err, errs.NotFound, "APP_NOT_FOUND")
	w.want("upper case", w.try("2.2.2.2", "JOE", password("joe")), errs.Invalid)
}

func TestFailedLoginsAreLimited(t *testing.T) {
	w := newWorld(t)
	w.register("joe")
	for range 5 {
		w.want("a wrong password", w.try("1.1.1.1", "joe", "wrong password"), errs.Unauthenticated)
	}
	err := w.try("1.1.1.1", "joe", password("joe"))
	w.want("the sixth", err, errs.TooMany)
	if after := errs.From(err).RetryAfter; after <= 14*time.Minute || after > 15*time.Minute {
		t.Errorf("try again after %v", after)
	}
	w.fine("the owner elsewhere", w.try("2.2.2.2", "joe", password("joe")))
	w.want("still limited", w.try("1.1.1.1", "joe", password("joe")), errs.TooMany)
	w.pass(15*time.Minute + time.Second)
	w.fine("later", w.try("1.1.1.1", "joe", password("joe")))

	for range 2 { // a success clears what was before
		for range 4 {
			w.want("a wrong password", w.try("1.1.1.1", "joe", "wrong password"), errs.Unauthenticated)
		}
		w.fine("the right one", w.try("1.1.1.1", "joe", password("joe")))
	}
	for range 5 {
		w.want("an account that isn't", w.try("1.1.1.1", "nobody", "wrong password"), errs.Unauthenticated)
	}
	w.want("is limited as well", w.try("1.1.1.1", "nobody", "wrong password"), errs.TooMany)
}

func TestSprayIsLimited(t *testing.T) {
	w := newWorld(t)
	w.register("joe")
	for i := range 50 {
		w.want("spray", w.try("1.1.1.1", fmt.Sprint("account-", i), "Summer2026!"), errs.Unauthenticated)
	}
	w.want("the next account", w.try("1.1.1.1", "joe", password("joe")), errs.TooMany)
	w.fine("elsewhere", w.try("2.2.2.2", "joe", password("joe")))
}

func TestLimitsAreShared(t *testing.T) {
	url := sqldbtest.SQLiteURL(t)
	w := worldOn(t, sqldbtest.Open(t, url))
	for range 5 {
		w.want("a wrong password", w.try("1.1.1.1", "joe", "wrong password"), errs.Unauthenticated)
	}
	db, err := sqldb.Open(t.Context(), sqldb.Config{URL: url}) // another process
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM attempts").Scan(&n); err != nil || n != 5 {
		t.Errorf("another process sees %d attempts, %v", n, err)
	}
}

// TestGuessingInParallel has no more guesses through than one after the other, but for those that hash at that moment.
func TestGuessingInParallel(t *testing.T) {
	w := newWorld(t)
	w.register("joe")
	var wg sync.WaitGroup
	var mu sync.Mutex
	kinds := map[errs.Kind]int{}
	began := time.Now()
	for range 200 {
		wg.Go(func() {
			err := w.try("1.1.1.1", "joe", "wrong password")
			mu.Lock()
			defer mu.Unlock()
			kinds[errs.From(err).Kind]++
		})
	}
	wg.Wait()
	if kinds[errs.Unauthenticated] > 12 || kinds[errs.Unavailable]+kinds[errs.TooMany]+kinds[errs.Unauthenticated] != 200 {
		t.Errorf("answers by kind: %v", kinds)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	joe, other := w.register("joe"), w.login("joe")
	err := w.ChangePassword(w.ctx, joe, "wrong password", "another password")
	w.want("a wrong current one", err, errs.Unauthenticated, "INVALID_CREDENTIALS")
	if got := errs.From(err).Message; got != "the current password is wrong" {
		t.Errorf("a wrong current one: %q", got)
	}
	w.want("a short one", w.ChangePassword(w.ctx, joe, password("joe"), "short"), errs.Invalid)
	w.fine("change", w.ChangePassword(w.ctx, joe, password("joe"), "another password"))
	for what, c := range map[string]service.Caller{"another": other, "the same": joe} {
		_, err := w.RefreshToken(w.ctx, c)
		w.want("refresh in "+what+" session", err, errs.Unauthenticated, "TOKEN_REVOKED")
		if !w.revoked(c.SessionID) {
			t.Errorf("the end of %s session was not replicated", what)
		}
	}
	w.want("the old password", w.try("1.1.1.1", "joe", password("joe")), errs.Unauthenticated)
	w.fine("the new one", w.try("1.1.1.1", "joe", "another password"))

	joe = w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: "another password"})))
	w.fine("reset", w.ResetPassword(w.ctx, w.admin, joe.UserID, "a third password"))
	if !w.revoked(joe.SessionID) {
		t.Error("a reset left a session")
	}
	w.fine("the third", w.try("1.1.1.1", "joe", "a third password"))
	w.want("reset of nobody", w.ResetPassword(w.ctx, w.admin, "none", "a third password"), errs.NotFound)
}

func TestSessionsOfADevice(t *testing.T) {
	w := newWorld(t)
	first := w.register("joe")
	w.pass(time.Second)
	err := w.store.Update(w.ctx, func(tx service.Tx) error {
		for i := range 98 {
			s := service.Session{
				ID: fmt.Sprint("ses_", i), UserID: first.UserID, AppID: first.AppID, Device: first.Device, CreatedAt: w.now(), ExpiresAt: w.now().Add(time.Hour),
			}
			if err := tx.InsertSession(w.ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
	w.fine("98 more", err)
	w.pass(time.Second)
	hundredth := w.login("joe")
	w.must(w.RefreshToken(w.ctx, first))
	tv := w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: password("joe"), Device: "tv"})))
	if w.revoked(first.SessionID) {
		t.Error("a sign-in within the bound ended another session")
	}
	last := w.login("joe")
	if !w.revoked(first.SessionID) {
		t.Error("the oldest of 101 sessions still lives")
	}
	for _, c := range []service.Caller{hundredth, tv, last} {
		if w.revoked(c.SessionID) {
			t.Errorf("session %s was revoked", c.SessionID)
		}
	}
	if me, err := w.ReadSelf(w.ctx, tv, true); err != nil || me.Tokens != 101 {
		t.Errorf("%d tokens, %v", me.Tokens, err)
	}
}
