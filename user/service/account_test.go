package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/service"
)

func TestSlugs(t *testing.T) {
	w := newWorld(t)
	for slug, want := range map[string]errs.Kind{
		"аdmin": errs.Invalid, "ad\u200bmin": errs.Invalid, "ad\u200fmin": errs.Invalid, "ａｄｍｉｎ": errs.Invalid, "\u212aelvin": errs.Invalid, "a": errs.Invalid,
		"": errs.Invalid, "..": errs.Invalid, "%2e": errs.Invalid, "a/b": errs.Invalid, "-x": errs.Invalid, "--": errs.Invalid, "a--b": errs.Invalid, "x-": errs.Invalid,
		"a b": errs.Invalid, "a_b": errs.Invalid, "a.b": errs.Invalid, "a\nb": errs.Invalid, "' OR 1=1--": errs.Invalid, strings.Repeat("a", 64): errs.Invalid,
		"user-svc": errs.Conflict, "registry-svc": errs.Conflict, "proxy-svc": errs.Conflict, "gateway-svc": errs.Conflict, "admin": errs.Conflict,
		"Admin": errs.Invalid, "API": errs.Invalid, "Pet-Store": errs.Invalid, ".well-known": errs.Conflict, "health": errs.Conflict, "console": errs.Conflict, "user": errs.Conflict,
	} {
		_, err := w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: slug, Password: "long enough"})
		w.want(fmt.Sprintf("register %q", slug), err, want)
	}
	for _, slug := range []string{"ab", "42", "pet-svc", "reg", "1-2-3", strings.Repeat("a", 63)} {
		w.register(slug)
	}
	_, err := w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "pet-svc", Password: "long enough"})
	w.want("the same again", err, errs.Conflict, "SLUG_TAKEN")
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	for size, want := range map[int]bool{0: false, 7: false, 8: true, 64: true, 1024: true, 1025: false} {
		_, err := w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: fmt.Sprint("pw-", size), Password: strings.Repeat("p", size)})
		if !want {
			w.want(fmt.Sprint(size, " bytes"), err, errs.Invalid)
			continue
		}
		w.fine(fmt.Sprint(size, " bytes"), err)
	}
	long := strings.Repeat("p", 1023)
	_, err := w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "pw-1024", Password: long})
	w.want("all but the last byte", err, errs.Unauthenticated)
	_, err = w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "pw-1024", Password: long + "p"})
	w.fine("all of it", err)
}

// TestOneSlugManyRegistrations has one account come of many registrations at once.
func TestOneSlugManyRegistrations(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		t.Helper()
		w := worldOn(t, db)
		const n = 16
		results := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				_, results[i] = w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "race", Password: "long enough"})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
				continue
			}
			w.want("a loser", err, errs.Conflict, "SLUG_TAKEN")
		}
		if won != 1 {
			t.Errorf("%d registrations succeeded", won)
		}
	})
}

func TestRegisterWithTakenContact(t *testing.T) {
	w := newWorld(t)
	first := w.registerWith("first", "Joe@Mail.example")
	second := w.registerWith("second", "joe@mail.example")
	me, err := w.ReadSelf(w.ctx, second, false)
	if err != nil || len(me.Contacts) != 0 {
		t.Errorf("the second holds %v, %v", me.Contacts, err)
	}
	got := w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{
		Contact: &service.ContactProof{Platform: "email", Handle: "JOE@mail.example"}, Password: password("first"),
	}))
	if got.UserID != first.UserID {
		t.Error("the contact signs in to another account than its first holder's")
	}
	_, err = w.Login(w.ctx, "1.1.1.1", service.Credentials{
		Contact: &service.ContactProof{Platform: "email", Handle: "joe@mail.example"}, Password: password("second"),
	})
	w.want("sign in with somebody's contact", err, errs.Unauthenticated, "INVALID_CREDENTIALS")
}

func TestContactsMustBeContacts(t *testing.T) {
	w := newWorld(t)
	for _, c := range []service.ContactProof{
		{Platform: "email", Handle: "joe"}, {Platform: "email", Handle: "joe@localhost"}, {Platform: "email", Handle: "joe@x.example\r\nBcc: all@x.example"},
		{Platform: "email", Handle: "joe smith@x.example"}, {Platform: "email", Handle: "a@b@c.example"}, {Platform: "email", Handle: "<joe@x.example>"},
		{Platform: "email", Handle: strings.Repeat("a", 250) + "@x.example"}, {Platform: "e mail", Handle: "joe"}, {Platform: "", Handle: "joe"},
		{Platform: "phone", Handle: ""}, {Platform: "phone", Handle: "1\x002"},
	} {
		_, err := w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "nobody", Password: "long enough", Contact: &c})
		w.want(fmt.Sprintf("%+v", c), err, errs.Invalid)
	}
}

func TestSelf(t *testing.T) {
	w := newWorld(t)
	joe := w.registerWith("joe", "joe@x.example")
	name := "Joe"
	w.fine("save", w.SaveSelf(w.ctx, joe, service.Change{Name: &name, Labels: map[string]string{"team": "red"}}))
	w.fine("save again", w.SaveSelf(w.ctx, joe, service.Change{Labels: map[string]string{"size": "xl"}}))
	me, err := w.ReadSelf(w.ctx, joe, true)
	if err != nil {
		t.Fatal(err)
	}
	want := service.Self{
		Account:  service.Account{ID: joe.UserID, Slug: "joe", Name: "Joe", Labels: map[string]string{"size": "xl", "team": "red"}},
		Contacts: []service.Contact{{ID: "joe@x.example", Platform: "email", Handle: "joe@x.example", UserID: joe.UserID, Primary: true}},
		Roles:    []string{"user-svc:user"}, Tokens: 1,
	}
	ignore := cmpopts.IgnoreTypes(time.Time{})
	hash := cmpopts.IgnoreFields(service.Account{}, "PasswordHash")
	if diff := cmp.Diff(want, me, ignore, hash, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("self (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"a\nb", "\u202egnp", strings.Repeat("x", 257)} {
		w.want("a bad name", w.SaveSelf(w.ctx, joe, service.Change{Name: &bad}), errs.Invalid)
	}
}

func TestDeleteUser(t *testing.T) {
	w := newWorld(t)
	joe := w.registerWith("joe", "joe@x.example")
	w.fine("delete", w.DeleteUser(w.ctx, w.admin, joe.UserID))
	if !w.revoked(joe.SessionID) {
		t.Error("its session was not revoked")
	}
	_, err := w.RefreshToken(w.ctx, joe)
	w.want("refresh", err, errs.Unauthenticated)
	_, err = w.ReadSelf(w.ctx, joe, false)
	w.want("read self", err, errs.Unauthenticated)
	_, err = w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: password("joe")})
	w.want("login", err, errs.Unauthenticated, "INVALID_CREDENTIALS")
	_, err = w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: "long enough"})
	w.want("register the slug again", err, errs.Conflict, "SLUG_TAKEN")
	w.want("delete again", w.DeleteUser(w.ctx, w.admin, joe.UserID), errs.NotFound)
	next := w.registerWith("next", "joe@x.example")
	if me, err := w.ReadSelf(w.ctx, next, false); err != nil || len(me.Contacts) != 1 {
		t.Errorf("the contact was not freed: %v, %v", me.Contacts, err)
	}
	w.want("delete the last admin", w.DeleteUser(w.ctx, w.admin, w.admin.UserID), errs.Conflict, "LAST_ADMIN")
	_, err = w.SaveEnrolls(w.ctx, w.admin, []service.NewEnroll{{Role: service.RoleAdmin, UserID: next.UserID, AppHost: "*"}})
	w.fine("make another admin", err)
	w.fine("delete an admin", w.DeleteUser(w.ctx, w.admin, w.admin.UserID))
}

func TestCreateUser(t *testing.T) {
	w := newWorld(t)
	a, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{
		ID: "usr-1", Slug: "robot", Name: "Robot", Password: password("robot"), Roles: []string{"pet-svc:admin"},
		Contacts: []service.Contact{{Platform: "email", Handle: "robot@x.example", Verified: true}},
	})
	if err != nil || a.ID != "usr-1" {
		t.Fatalf("%+v, %v", a, err)
	}
	if me := w.login("robot"); !me.HasRole("pet-svc:admin") {
		t.Errorf("its roles are %v", me.Roles)
	}
	_, err = w.CreateUser(w.ctx, w.admin, service.NewAccount{ID: "usr-1", Slug: "robot-2"})
	w.want("an id twice", err, errs.Conflict)
	_, err = w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: "robot"})
	w.want("a slug twice", err, errs.Conflict, "SLUG_TAKEN")
	_, err = w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: "nowhere", AppHost: "none"})
	w.want("an unknown app", err, errs.NotFound, "APP_NOT_FOUND")
	if _, err := w.store.AccountBySlug(w.ctx, "nowhere"); !errors.Is(err, service.ErrNotFound) {
		t.Errorf("half an account was made: %v", err)
	}
}

func TestListUsers(t *testing.T) {
	w := newWorld(t)
	const n = 25
	for i := range n {
		_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: fmt.Sprint("user-", i), Roles: []string{"pet-svc:x"}})
		w.fine("create", err)
	}
	seen := map[string]int{}
	q := service.AccountQuery{Limit: 10}
	for pages := 0; ; pages++ {
		page, err := w.ListUsers(w.ctx, q, true)
		if err != nil || page.Count != n+1 || pages > 3 {
			t.Fatalf("page %d: %d of %d, %v", pages, len(page.Accounts), page.Count, err)
		}
		for _, a := range page.Accounts {
			seen[a.Slug]++
			if a.Slug != "admin" && len(page.Roles[a.ID]) != 1 {
				t.Errorf("%s has the roles %v", a.Slug, page.Roles[a.ID])
			}
		}
		if page.Next == "" {
			break
		}
		if q.After, err = service.ParseAfter(page.Next); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != n+1 {
		t.Errorf("%d accounts were listed", len(seen))
	}
	for slug, times := range seen {
		if times != 1 {
			t.Errorf("%s was listed %d times", slug, times)
		}
	}
	_, err := service.ParseAfter("yesterday")
	w.want("no time", err, errs.Invalid)
}

func TestPrepareAgainChangesNothing(t *testing.T) {
	w := newWorld(t)
	created, err := w.Prepare(w.ctx, service.Admin{Slug: "admin", Password: "another password"})
	if err != nil || created {
		t.Errorf("created %v, %v", created, err)
	}
	_, err = w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "admin", Password: "another password"})
	w.want("the password of a later start", err, errs.Unauthenticated)
	keys, err := w.store.Keys(w.ctx)
	if err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

func TestCancelledRegistrationLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := w.Register(ctx, "1.1.1.1", service.Registration{Slug: "late", Password: "long enough"}); err == nil {
		t.Error("it was answered")
	}
	w.register("late")
}
