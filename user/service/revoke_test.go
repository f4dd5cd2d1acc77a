package service_test

import (
	"slices"
	"testing"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

// lost reports whether tokens that an account has now are without a role.
func (w *world) lost(userID, role string) bool {
	w.Helper()
	_, lost, err := w.Revocations(w.ctx)
	w.fine("revocations", err)
	return slices.ContainsFunc(lost, func(l service.LostRole) bool { return l.UserID == userID && l.Role == role })
}

func TestDeleteEnrolls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pet, joe, ann := w.register("pet-svc"), w.register("joe"), w.register("ann")
	give := func(n service.NewEnroll) string {
		t.Helper()
		saved, err := w.SaveEnrolls(w.ctx, pet, []service.NewEnroll{n})
		if err != nil {
			t.Fatal(err)
		}
		return saved[0].ID
	}
	vip := service.NewEnroll{Role: "pet-svc:vip", UserID: joe.UserID}
	for name, by := range map[string]service.Caller{"the owner": pet, "the receiver": joe, "an admin": w.admin} {
		id := give(vip)
		joe = w.login("joe")
		if !joe.HasRole("pet-svc:vip") {
			t.Fatalf("before, it has %v", joe.Roles)
		}
		w.want("a stranger deletes it", w.DeleteEnrolls(w.ctx, ann, []string{id}), errs.NotFound)
		w.want("with one that there isn't", w.DeleteEnrolls(w.ctx, by, []string{id, "none"}), errs.NotFound)
		w.fine(name+" deletes it", w.DeleteEnrolls(w.ctx, by, []string{id}))
		if !w.lost(joe.UserID, "pet-svc:vip") {
			t.Errorf("%s: tokens keep the role", name)
		}
		if got := w.login("joe"); got.HasRole("pet-svc:vip") {
			t.Errorf("%s: the next token has %v", name, got.Roles)
		}
	}
	give(vip)
	if w.lost(joe.UserID, "pet-svc:vip") {
		t.Error("given again, the role stays lost")
	}
	waits := give(service.NewEnroll{Role: "pet-svc:vip", ContactID: "x@x.example"})
	w.want("a stranger deletes what waits", w.DeleteEnrolls(w.ctx, joe, []string{waits}), errs.NotFound)
	w.fine("the owner does", w.DeleteEnrolls(w.ctx, pet, []string{waits}))
	// The same role by two enrolls: it is lost with the last.
	everywhere := vip
	everywhere.AppHost = "*"
	id := give(everywhere)
	w.fine("delete one of two", w.DeleteEnrolls(w.ctx, pet, []string{give(vip)}))
	if w.lost(joe.UserID, "pet-svc:vip") || !w.login("joe").HasRole("pet-svc:vip") {
		t.Error("the role is lost with the first of two enrolls")
	}
	w.fine("delete the other", w.DeleteEnrolls(w.ctx, pet, []string{id}))
	if !w.lost(joe.UserID, "pet-svc:vip") {
		t.Error("the role is not lost with the last enroll")
	}
}

func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all, err := w.ListEnrolls(w.ctx, w.admin, service.EnrollQuery{Role: service.RoleAdmin})
	if err != nil || len(all) != 1 {
		t.Fatalf("admins: %v, %v", all, err)
	}
	w.want("the last one", w.DeleteEnrolls(w.ctx, w.admin, []string{all[0].ID}), errs.Conflict, "LAST_ADMIN")
	joe := w.register("joe")
	w.fine("an admin of one app", w.enroll(w.admin, service.NewEnroll{Role: service.RoleAdmin, UserID: joe.UserID}))
	w.fine("an admin who must prove an address", w.enroll(w.admin, service.NewEnroll{Role: service.RoleAdmin, ContactID: "x@x.example", AppHost: "*"}))
	w.want("still the last one", w.DeleteEnrolls(w.ctx, w.admin, []string{all[0].ID}), errs.Conflict, "LAST_ADMIN")
	w.fine("an admin of every app", w.enroll(w.admin, service.NewEnroll{Role: service.RoleAdmin, UserID: joe.UserID, AppHost: "*"}))
	w.fine("one of two", w.DeleteEnrolls(w.ctx, w.admin, []string{all[0].ID}))
}

func TestDeletePermits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pet, joe, ann := w.register("pet-svc"), w.register("joe"), w.register("ann")
	save := func(n service.NewPermit) string {
		t.Helper()
		n.Permission = "pet-svc:pet:edit"
		w.fine("save", w.SavePermits(w.ctx, pet, []service.NewPermit{n}))
		all, err := w.ListPermits(w.ctx, pet, n.Permission, "")
		if err != nil || len(all) != 1 {
			t.Fatalf("permits: %v, %v", all, err)
		}
		return all[0].ID
	}
	for name, by := range map[string]service.Caller{"the owner": pet, "the one receiver": joe, "an admin": w.admin} {
		id := save(service.NewPermit{Slugs: []string{"joe"}})
		w.want("a stranger", w.DeletePermits(w.ctx, ann, []string{id}), errs.NotFound)
		w.want("with one that there isn't", w.DeletePermits(w.ctx, by, []string{id, "none"}), errs.NotFound)
		w.changes = nil
		w.fine(name, w.DeletePermits(w.ctx, by, []string{id}))
		if !slices.ContainsFunc(w.changes, func(c service.Changes) bool { return slices.Contains(c.Permits, id) }) {
			t.Errorf("%s: the deletion was not replicated", name)
		}
	}
	id := save(service.NewPermit{Slugs: []string{"joe", "ann"}})
	w.want("one of two receivers", w.DeletePermits(w.ctx, joe, []string{id}), errs.NotFound)
	w.fine("the owner", w.DeletePermits(w.ctx, pet, []string{id}))
}

func TestDeleteOrganization(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	joe, ann := w.register("joe"), w.register("ann")
	acme, boss := w.saveOrg(joe, service.NewOrganization{Slug: "acme"})
	w.fine("add a member", w.SaveMembership(w.ctx, boss, acme.ID, ann.UserID))
	w.fine("its admin gives a role of it", w.enroll(boss, service.NewEnroll{Role: role(acme, "buyer"), UserID: ann.UserID}))
	w.want("a member gives one", w.enroll(ann, service.NewEnroll{Role: role(acme, "admin"), UserID: ann.UserID}), errs.Forbidden)
	ann = w.login("ann")
	if !ann.HasRole(role(acme, "user")) || !ann.HasRole(role(acme, "buyer")) {
		t.Fatalf("a member has %v", ann.Roles)
	}
	w.want("a member deletes it", w.DeleteOrganization(w.ctx, ann, acme.ID), errs.Forbidden)
	w.fine("its admin deletes it", w.DeleteOrganization(w.ctx, boss, acme.ID))
	w.want("again", w.DeleteOrganization(w.ctx, boss, acme.ID), errs.NotFound)
	for _, name := range []string{"user", "buyer"} {
		if !w.lost(ann.UserID, role(acme, name)) {
			t.Errorf("tokens keep the role %s", name)
		}
	}
	if got := w.login("ann"); len(got.Roles) != 1 || got.ActiveOrg != "" {
		t.Errorf("a former member has %v, %q", got.Roles, got.ActiveOrg)
	}
	_, _, err := w.SaveOrganization(w.ctx, ann, service.NewOrganization{Slug: "acme"})
	w.want("its slug again", err, errs.Conflict, "SLUG_TAKEN")
}

// TestAMemberWhoIsRemovedIsReallyGone has a member who was given a role of the organization by an enroll too.
func TestAMemberWhoIsRemovedIsReallyGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	joe, ann := w.register("joe"), w.register("ann")
	acme, boss := w.saveOrg(joe, service.NewOrganization{Slug: "acme"})
	w.fine("add", w.SaveMembership(w.ctx, boss, acme.ID, ann.UserID))
	w.fine("give the admin's role", w.enroll(boss, service.NewEnroll{Role: role(acme, "admin"), UserID: ann.UserID}))
	w.fine("remove", w.DeleteMembership(w.ctx, boss, acme.ID, ann.UserID))
	if got := w.login("ann"); len(got.Roles) != 1 || !w.lost(ann.UserID, role(acme, "admin")) {
		t.Errorf("she still has %v", got.Roles)
	}
}

func TestDeleteApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shop, err := w.ReadApp(w.ctx, w.admin, "shop.example")
	w.fine("create", err)
	w.register("joe")
	joe := w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{AppHost: "shop.example", Slug: "joe", Password: password("joe")})))
	w.fine("enroll", w.enroll(w.admin, service.NewEnroll{Role: "shop-svc:x", UserID: joe.UserID, AppHost: "shop.example"}))
	w.fine("permit", w.SavePermits(w.ctx, w.admin, []service.NewPermit{{Permission: "shop-svc:a:b", Slugs: []string{"joe"}, AppHost: "shop.example"}}))
	o, joe := w.saveOrg(joe, service.NewOrganization{Slug: "acme"})
	w.fine("delete", w.DeleteApp(w.ctx, w.admin, shop.ID))
	_, err = w.RefreshToken(w.ctx, joe)
	w.want("a session in it", err, errs.Unauthenticated, "TOKEN_REVOKED")
	if !w.revoked(joe.SessionID) {
		t.Error("the session's end was not replicated")
	}
	_, err = w.ReadApp(w.ctx, joe, "shop.example")
	w.want("read it", err, errs.NotFound, "APP_NOT_FOUND")
	if all, err := w.store.Permits(w.ctx, "", ""); err != nil || len(all) != 0 {
		t.Errorf("permits are left: %v, %v", all, err)
	}
	if _, err := w.store.Organization(w.ctx, o.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("its organization is left: %v", err)
	}
	again, err := w.ReadApp(w.ctx, w.admin, "shop.example")
	if err != nil || again.ID == shop.ID {
		t.Errorf("its host again: %+v, %v", again, err)
	}
	home, err := w.ReadApp(w.ctx, w.admin, "")
	w.fine("the default app", err)
	w.want("delete the default app", w.DeleteApp(w.ctx, w.admin, home.ID), errs.Conflict)
	w.want("delete nothing", w.DeleteApp(w.ctx, w.admin, "none"), errs.NotFound)
}
