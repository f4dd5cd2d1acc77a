package service_test

import (
	"strings"
	"testing"
	"time"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

// saveOrg saves an organization and gives the caller as the fresh token makes it.
func (w *world) saveOrg(c service.Caller, n service.NewOrganization) (service.Organization, service.Caller) {
	w.Helper()
	o, t, err := w.SaveOrganization(w.ctx, c, n)
	if err != nil {
		w.Fatal(err)
	}
	return o, w.as(t)
}

func role(o service.Organization, name string) string { return "user-svc:org:{" + o.ID + "}:" + name }

func TestOrganizations(t *testing.T) {
	w := newWorld(t)
	joe, ann := w.register("joe"), w.register("ann")
	acme, boss := w.saveOrg(joe, service.NewOrganization{Slug: "acme", Name: "Acme Inc."})
	if acme.Slug != "acme" || !boss.HasRole(role(acme, "admin")) || boss.ActiveOrg != acme.ID || boss.SessionID != joe.SessionID || boss.TokenID == joe.TokenID {
		t.Errorf("%+v, and a token of %+v", acme, boss)
	}
	_, _, err := w.SaveOrganization(w.ctx, ann, service.NewOrganization{ID: acme.ID, Slug: "mine"})
	w.want("change another's", err, errs.Forbidden)
	forged := ann
	forged.Roles = append(forged.Roles, role(acme, "admin")) // of a token that says more than the database
	_, _, err = w.SaveOrganization(w.ctx, forged, service.NewOrganization{ID: acme.ID, Slug: "mine"})
	w.want("change another's by an old role", err, errs.Forbidden)
	if o, err := w.store.Organization(w.ctx, acme.ID); err != nil || o.Slug != "acme" || o.Name != "Acme Inc." {
		t.Errorf("it was changed: %+v, %v", o, err)
	}
	for _, slug := range []string{"acme", "ann", "admin"} {
		_, _, err := w.SaveOrganization(w.ctx, ann, service.NewOrganization{Slug: slug})
		w.want("the slug "+slug, err, errs.Conflict, "SLUG_TAKEN")
		if reserved := strings.Contains(errs.From(err).Message, "reserved"); reserved != (slug == "admin") {
			t.Errorf("the slug %s: %v", slug, err)
		}
	}
	_, err = w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "acme", Password: "long enough"})
	w.want("an account with its slug", err, errs.Conflict, "SLUG_TAKEN")
	changed, _ := w.saveOrg(boss, service.NewOrganization{ID: acme.ID, Slug: "acme-2", Name: "Acme 2"})
	if changed.CreatedAt != acme.CreatedAt {
		t.Errorf("changed: %+v", changed)
	}
	byAdmin, admin := w.saveOrg(w.admin, service.NewOrganization{ID: "org-1", Slug: "theirs"})
	if admin.HasRole(role(byAdmin, "admin")) {
		t.Error("an admin of the mesh became a member without asking")
	}
	list := func(c service.Caller) int {
		all, err := w.ListOrganizations(w.ctx, c, nil, time.Time{}, 0)
		w.fine("list", err)
		return len(all)
	}
	if list(boss) != 1 || list(ann) != 0 || list(w.admin) != 2 {
		t.Errorf("listed: %d, %d, %d", list(boss), list(ann), list(w.admin))
	}
}

func TestMemberships(t *testing.T) {
	w := newWorld(t)
	joe, ann := w.register("joe"), w.register("ann")
	acme, boss := w.saveOrg(joe, service.NewOrganization{Slug: "acme"})
	w.want("a stranger adds itself", w.SaveMembership(w.ctx, ann, acme.ID, ann.UserID), errs.Forbidden)
	w.want("an unknown organization", w.SaveMembership(w.ctx, boss, "none", ann.UserID), errs.NotFound)
	w.want("an unknown account", w.SaveMembership(w.ctx, boss, acme.ID, "none"), errs.NotFound)
	w.want("remove one who is none", w.DeleteMembership(w.ctx, boss, acme.ID, ann.UserID), errs.NotFound)
	for range 2 {
		w.fine("add", w.SaveMembership(w.ctx, boss, acme.ID, ann.UserID))
	}
	w.fine("add the admin, who stays one", w.SaveMembership(w.ctx, boss, acme.ID, joe.UserID))
	ann = w.as(w.must(w.RefreshToken(w.ctx, ann)))
	if !ann.HasRole(role(acme, "user")) {
		t.Errorf("a member has %v", ann.Roles)
	}
	w.want("a member removes the admin", w.DeleteMembership(w.ctx, ann, acme.ID, joe.UserID), errs.Forbidden)
	w.want("the last admin leaves", w.DeleteMembership(w.ctx, boss, acme.ID, joe.UserID), errs.Conflict, "LAST_ADMIN")
	w.fine("remove", w.DeleteMembership(w.ctx, boss, acme.ID, ann.UserID))
	if !w.lost(ann.UserID, role(acme, "user")) {
		t.Error("the role is not taken from tokens")
	}
	ann = w.as(w.must(w.RefreshToken(w.ctx, ann)))
	if ann.HasRole(role(acme, "user")) || ann.ActiveOrg != "" {
		t.Errorf("the next token has %v, %q", ann.Roles, ann.ActiveOrg)
	}
	w.fine("add again", w.SaveMembership(w.ctx, boss, acme.ID, ann.UserID))
	if _, lost, err := w.Revocations(w.ctx); len(lost) != 0 || err != nil {
		t.Errorf("the role stays taken from tokens: %v, %v", lost, err)
	}
	w.fine("leave", w.DeleteMembership(w.ctx, w.login("ann"), acme.ID, ann.UserID))
}

func TestApps(t *testing.T) {
	w := newWorld(t)
	joe := w.register("joe")
	home, err := w.ReadApp(w.ctx, service.Caller{}, "")
	if err != nil || home.Host != "unnamed" {
		t.Fatalf("the default app: %+v, %v", home, err)
	}
	_, err = w.ReadApp(w.ctx, joe, "shop.example")
	w.want("anybody creates one", err, errs.NotFound, "APP_NOT_FOUND")
	_, err = w.ReadApp(w.ctx, w.admin, "shop example")
	w.want("a bad host", err, errs.Invalid)
	shop, err := w.ReadApp(w.ctx, w.admin, "Shop.example")
	w.fine("create", err)
	if again, err := w.ReadApp(w.ctx, joe, "shop.EXAMPLE"); err != nil || again != shop {
		t.Errorf("read: %+v, %v", again, err)
	}
	w.fine("the default app's host", w.UpdateApp(w.ctx, home.ID, "x.example"))
	w.fine("and back", w.UpdateApp(w.ctx, home.ID, "unnamed"))
	w.want("an unknown app", w.UpdateApp(w.ctx, "none", "x.example"), errs.NotFound)
	w.want("a taken host", w.UpdateApp(w.ctx, shop.ID, "unnamed"), errs.Conflict)
	w.fine("move", w.UpdateApp(w.ctx, shop.ID, "store.example"))
	all, err := w.ListApps(w.ctx, w.admin, nil, nil)
	if err != nil || len(all) != 2 || all[0].Host != "store.example" {
		t.Errorf("all: %v, %v", all, err)
	}
	in, err := w.Login(w.ctx, "1.1.1.1", service.Credentials{AppHost: "store.example", Slug: "joe", Password: password("joe")})
	if err != nil || in.AppID != shop.ID {
		t.Errorf("an account is of every app: %+v, %v", in, err)
	}
}

// TestIDsOfDeletedOrganizationsAreNotUsedAgain uses the ids of deleted organizations again.
func TestIDsOfDeletedOrganizationsAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	joe, eve := w.register("joe"), w.register("eve")
	for _, id := range []string{"", "chosen"} {
		o, boss := w.saveOrg(joe, service.NewOrganization{ID: id, Slug: "acme" + id})
		w.fine("delete", w.DeleteOrganization(w.ctx, boss, o.ID))
		for _, c := range []service.Caller{eve, joe, w.admin} {
			_, _, err := w.SaveOrganization(w.ctx, c, service.NewOrganization{ID: o.ID, Slug: "acme-again" + id, AssignCaller: true})
			w.want(c.Slug+" uses the id again", err, errs.Conflict, "ID_TAKEN")
		}
	}
	for _, id := range []string{".", "..", "..."} {
		_, _, err := w.SaveOrganization(w.ctx, eve, service.NewOrganization{ID: id, Slug: "dots"})
		w.want("the id "+id, err, errs.Invalid)
	}
}

// TestAnOrganizationHasSeveralAdmins has the founder give the admin role to another account, and leave.
func TestAnOrganizationHasSeveralAdmins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	joe, ann, eve := w.register("joe"), w.register("ann"), w.register("eve")
	acme, boss := w.saveOrg(joe, service.NewOrganization{Slug: "acme"})
	add := func(c service.Caller) error { return w.SaveMembership(w.ctx, c, acme.ID, eve.UserID) }
	w.want("ann before", add(ann), errs.Forbidden)
	w.want("a stranger gives the role", w.enroll(eve, service.NewEnroll{Role: role(acme, "admin"), UserID: eve.UserID}), errs.Forbidden)
	w.want("the founder leaves alone", w.DeleteMembership(w.ctx, boss, acme.ID, joe.UserID), errs.Conflict, "LAST_ADMIN")
	w.fine("the founder gives the role", w.enroll(boss, service.NewEnroll{Role: role(acme, "admin"), UserID: ann.UserID}))
	w.fine("ann adds a member", add(ann))
	w.fine("ann gives a role of the organization", w.enroll(ann, service.NewEnroll{Role: role(acme, "user"), UserID: eve.UserID}))
	w.want("a member adds nobody", w.SaveMembership(w.ctx, eve, acme.ID, ann.UserID), errs.Forbidden)
	w.fine("the founder leaves", w.DeleteMembership(w.ctx, boss, acme.ID, joe.UserID))
	w.want("the founder after that", add(boss), errs.Forbidden)
	given, err := w.ListEnrolls(w.ctx, ann, service.EnrollQuery{UserIDs: []string{ann.UserID}})
	if err != nil || len(given) != 1 {
		t.Fatalf("ann has %v, %v", given, err)
	}
	w.fine("the role is taken back", w.DeleteEnrolls(w.ctx, w.admin, []string{given[0].ID}))
	w.want("ann after that", add(ann), errs.Forbidden)
}
