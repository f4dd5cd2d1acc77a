package service_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

func (w *world) enroll(c service.Caller, n ...service.NewEnroll) error {
	_, err := w.SaveEnrolls(w.ctx, c, n)
	return err
}

// TestOwnershipIsOfWholeSegments has accounts whose slugs begin like those of the mesh.
func TestOwnershipIsOfWholeSegments(t *testing.T) {
	w := newWorld(t)
	for _, slug := range []string{"use", "reg", "user-sv", "user-svc-2"} { // "user" and "registry" are reserved beside
		me := w.register(slug)
		for _, role := range []string{"user-svc:admin", "user-svc:org:{x}:admin", "registry-svc:admin", "proxy-svc:x"} {
			w.want(slug+" enrolls itself as "+role, w.enroll(me, service.NewEnroll{Role: role, UserID: me.UserID}), errs.Forbidden)
			err := w.SavePermits(w.ctx, me, []service.NewPermit{{Permission: role + ":view", Slugs: []string{slug}}})
			w.want(slug+" permits itself "+role+":view", err, errs.Forbidden)
		}
		w.fine("its own", w.enroll(me, service.NewEnroll{Role: slug + ":admin", UserID: me.UserID}))
	}
	pet := w.register("pet-svc")
	w.fine("make an admin", w.enroll(pet, service.NewEnroll{Role: "pet-svc:admin", UserID: w.register("joe").UserID}))
	joe := w.login("joe")
	w.fine("an admin of the prefix", w.enroll(joe, service.NewEnroll{Role: "pet-svc:pet:manager", UserID: joe.UserID}))
	w.want("of another", w.enroll(joe, service.NewEnroll{Role: "pet-svc-2:x", UserID: joe.UserID}), errs.Forbidden)
	w.want("a deeper admin", w.enroll(service.Caller{Slug: "x", Roles: []string{"pet-svc:pet:admin"}}, service.NewEnroll{Role: "pet-svc:pet:x", UserID: joe.UserID}), errs.Forbidden)
}

func TestEnrolls(t *testing.T) {
	w := newWorld(t)
	pet, joe := w.register("pet-svc"), w.register("joe")
	for name, n := range map[string]service.NewEnroll{
		"no colon": {Role: "pet-svc", UserID: joe.UserID}, "nothing behind it": {Role: "pet-svc:", UserID: joe.UserID}, "no slug": {Role: ":x", UserID: joe.UserID},
		"nobody": {Role: "pet-svc:x"}, "both": {Role: "pet-svc:x", UserID: joe.UserID, ContactID: "a@x.example"}, "a space": {Role: "pet-svc:a b", UserID: joe.UserID},
		"a bad id": {Role: "pet-svc:x", UserID: joe.UserID, ID: "a/b"},
	} {
		w.want(name, w.enroll(pet, n), errs.Invalid)
	}
	w.want("unknown account", w.enroll(pet, service.NewEnroll{Role: "pet-svc:x", UserID: "none"}), errs.NotFound)
	w.want("unknown app", w.enroll(pet, service.NewEnroll{Role: "pet-svc:x", UserID: joe.UserID, AppHost: "none"}), errs.NotFound, "APP_NOT_FOUND")
	ask := []service.NewEnroll{{Role: "pet-svc:pet:manager", UserID: joe.UserID}}
	first, err := w.SaveEnrolls(w.ctx, pet, ask)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.SaveEnrolls(w.ctx, pet, ask)
	if err != nil || again[0].ID != first[0].ID {
		t.Errorf("saved again as %+v, %v", again, err)
	}
	if got := w.as(w.must(w.RefreshToken(w.ctx, joe))); !got.HasRole("pet-svc:pet:manager") {
		t.Errorf("the next token has %v", got.Roles)
	}
	list := func(c service.Caller, q service.EnrollQuery) int {
		all, err := w.ListEnrolls(w.ctx, c, q)
		w.fine("list", err)
		return len(all)
	}
	if n := list(pet, service.EnrollQuery{}); n != 1 {
		t.Errorf("the owner sees %d enrolls", n)
	}
	if n := list(joe, service.EnrollQuery{}); n != 1 {
		t.Errorf("the account that has the role sees %d enrolls", n)
	}
	if n := list(w.register("ann"), service.EnrollQuery{}); n != 0 {
		t.Errorf("a stranger sees %d enrolls", n)
	}
	if n := list(w.admin, service.EnrollQuery{}); n != 2 {
		t.Errorf("an admin sees %d enrolls", n)
	}
	_, err = w.ListEnrolls(w.ctx, joe, service.EnrollQuery{Role: "pet-svc:pet:manager"})
	w.want("a stranger asks for the role", err, errs.Forbidden)
	w.want("one that fails takes all with it", w.enroll(pet, service.NewEnroll{Role: "pet-svc:y", UserID: joe.UserID}, service.NewEnroll{Role: "pet-svc:y", UserID: "none"}), errs.NotFound)
	if n := list(pet, service.EnrollQuery{Role: "pet-svc:y"}); n != 0 {
		t.Error("half of the enrolls were saved")
	}
}

func TestEnrollsWaitForContacts(t *testing.T) {
	for _, verify := range []bool{false, true} {
		t.Run(fmt.Sprint("verify=", verify), func(t *testing.T) {
			w := newWorld(t, func(c *service.Config) { c.VerifyContacts = verify })
			pet := w.register("pet-svc")
			w.fine("enroll", w.enroll(pet, service.NewEnroll{Role: "pet-svc:vip", ContactID: "Joe@x.example"}))
			r := service.Registration{Slug: "joe", Password: password("joe"), Contact: &service.ContactProof{Platform: "email", Handle: "joe@x.example"}}
			if verify {
				r.Contact = w.send("joe@x.example")
			}
			if got := w.must(w.Register(w.ctx, "1.1.1.1", r)); slices.Contains(got.Roles, "pet-svc:vip") != verify {
				t.Errorf("at registration: %v", got.Roles)
			}
			w.fine("enroll", w.enroll(pet, service.NewEnroll{Role: "pet-svc:later", ContactID: "joe@x.example"}))
			if got := w.login("joe"); got.HasRole("pet-svc:later") != verify {
				t.Errorf("at login: %v", got.Roles)
			}
			if got := w.provedWithPassword("joe", "joe@x.example"); !got.HasRole("pet-svc:vip") || !got.HasRole("pet-svc:later") {
				t.Errorf("once the address is proved: %v", got.Roles)
			}
		})
	}
}

func TestSquatterOfAContactGetsNoRole(t *testing.T) {
	w := newWorld(t)
	pet := w.register("pet-svc")
	w.fine("enroll", w.enroll(pet, service.NewEnroll{Role: "pet-svc:vip", ContactID: "joe@x.example"}))
	got := w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{
		Slug: "squatter", Password: password("squatter"), Contact: &service.ContactProof{Platform: "phone", Handle: "joe@x.example"},
	}))
	if slices.Contains(got.Roles, "pet-svc:vip") {
		t.Error("the same address on another platform got the role")
	}
}

func TestPermits(t *testing.T) {
	w := newWorld(t)
	pet, joe := w.register("pet-svc"), w.register("joe")
	has := func(c service.Caller, permission string) bool {
		v, err := w.HasPermission(w.ctx, c, permission)
		w.fine("has", err)
		if v.Account.ID != c.UserID || v.App.Host != "unnamed" || v.Until.After(w.now().Add(5*time.Second)) || v.Until.After(c.ExpiresAt) {
			t.Errorf("the verdict is %+v", v)
		}
		return v.Authorized
	}
	if has(joe, "pet-svc:pet:edit") || !has(w.admin, "pet-svc:pet:edit") {
		t.Error("at first, exactly the admin should have it")
	}
	save := func(n ...service.NewPermit) error { return w.SavePermits(w.ctx, pet, n) }
	w.fine("by slug", save(service.NewPermit{Permission: "pet-svc:pet:edit", Slugs: []string{"joe"}}))
	if !has(joe, "pet-svc:pet:edit") || has(joe, "pet-svc:pet:view") {
		t.Error("by slug")
	}
	w.fine("by role", save(service.NewPermit{Permission: "pet-svc:pet:view", Roles: []string{"user-svc:user"}, AppHost: "*"}))
	if !has(joe, "pet-svc:pet:view") {
		t.Error("by role")
	}
	if got, err := w.ListPermissions(w.ctx, joe); err != nil || !slices.Equal(got, []string{"pet-svc:pet:edit", "pet-svc:pet:view"}) {
		t.Errorf("permissions: %v, %v", got, err)
	}
	w.fine("again", save(service.NewPermit{Permission: "pet-svc:pet:edit", Slugs: []string{"joe"}}))
	all, err := w.ListPermits(w.ctx, pet, "", "")
	if err != nil || len(all) != 2 {
		t.Errorf("%d permits, %v", len(all), err)
	}
	if own, err := w.ListPermits(w.ctx, joe, "", ""); err != nil || len(own) != 1 || own[0].Permission != "pet-svc:pet:edit" {
		t.Errorf("the one account that a permit is for sees %v, %v", own, err)
	}
	if own, err := w.ListPermits(w.ctx, w.register("ann"), "", ""); err != nil || len(own) != 0 {
		t.Errorf("a stranger sees %v, %v", own, err)
	}
	id := all[0].ID
	err = w.SavePermits(w.ctx, joe, []service.NewPermit{{ID: id, Permission: "joe:x:y", Slugs: []string{"joe"}}})
	w.want("take over another's permit", err, errs.Forbidden)
	w.fine("withdraw", save(service.NewPermit{ID: id, Permission: all[0].Permission}))
	if has(joe, all[0].Permission) {
		t.Error("it was not withdrawn")
	}
	for name, n := range map[string]service.NewPermit{
		"no one": {Permission: "pet-svc:a:b"}, "no colon": {Permission: "pet-svc", Slugs: []string{"joe"}}, "a bad slug": {Permission: "pet-svc:a:b", Slugs: []string{"a/b"}},
		"a bad role": {Permission: "pet-svc:a:b", Roles: []string{"x"}},
	} {
		w.want(name, save(n), errs.Invalid)
	}
	if v, err := w.HasPermission(w.ctx, joe, "nonsense"); err != nil || v.Authorized {
		t.Errorf("no permission at all: %v, %v", v, err)
	}
}

func TestHasPermissionOfDeleted(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	_, err := w.HasPermission(w.ctx, joe, "pet:b")
	w.fine("before", err)
	w.fine("delete", w.DeleteUser(w.ctx, w.admin, joe.UserID))
	_, err = w.HasPermission(w.ctx, joe, "pet:b")
	w.want("after", err, errs.Unauthenticated)
}

// TestOwnersOfOneAppGrantInThatApp has the holder of a service's admin role in one app give its roles and permissions in others.
func TestOwnersOfOneAppGrantInThatApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pet, joe := w.register("pet-svc"), w.register("joe")
	app, err := w.ReadApp(w.ctx, w.admin, "shop.example")
	w.fine("create an app", err)
	w.fine("its admin in one app", w.enroll(pet, service.NewEnroll{Role: "pet-svc:admin", UserID: joe.UserID, AppHost: app.Host}))
	there := w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: password("joe"), AppHost: app.Host})))
	permit := func(host string) error {
		return w.SavePermits(w.ctx, there, []service.NewPermit{{Permission: "pet-svc:pet:edit", Slugs: []string{"joe"}, AppHost: host}})
	}
	w.fine("a role there", w.enroll(there, service.NewEnroll{Role: "pet-svc:editor", UserID: joe.UserID, AppHost: app.Host}))
	w.fine("a permit there", permit(app.Host))
	for _, host := range []string{"*", "unnamed"} {
		w.want("a role in "+host, w.enroll(there, service.NewEnroll{Role: "pet-svc:admin", UserID: joe.UserID, AppHost: host}), errs.Forbidden)
		w.want("a permit in "+host, permit(host), errs.Forbidden)
		w.fine("the account itself", w.enroll(pet, service.NewEnroll{Role: "pet-svc:x", UserID: joe.UserID, AppHost: host}))
	}
	w.fine("its admin in every app", w.enroll(pet, service.NewEnroll{Role: "pet-svc:admin", UserID: joe.UserID, AppHost: "*"}))
	w.fine("a role in another app then", w.enroll(there, service.NewEnroll{Role: "pet-svc:editor", UserID: joe.UserID, AppHost: "unnamed"}))
}
