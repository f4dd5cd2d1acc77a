package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

// TestForeignGrantsDontLockAnybodyOut has strangers give an account all that they may.
func TestForeignGrantsDontLockAnybodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.register("victim")
	refused := 0
	for i := range 4 {
		eve := w.register(fmt.Sprint("eve-", i))
		for n := range 20 {
			role := fmt.Sprintf("%s:%d-%s", eve.Slug, n, strings.Repeat("x", 110))
			if err := w.enroll(eve, service.NewEnroll{Role: role, UserID: victim.UserID, AppHost: []string{"", "*"}[n%2]}); err != nil {
				w.want("one more role", err, errs.Conflict, "ROLES_FULL")
				refused++
			}
		}
		_, boss := w.saveOrg(eve, service.NewOrganization{ID: fmt.Sprint("org-", i, strings.Repeat("y", 50)), Slug: fmt.Sprint("org-of-", i)})
		for n := range 10 {
			o, more, err := w.SaveOrganization(w.ctx, boss, service.NewOrganization{Slug: fmt.Sprint("org-", i, "-", n), ID: fmt.Sprintf("org-%d-%d-%s", i, n, strings.Repeat("z", 45))})
			if err != nil {
				w.want("one more organization", err, errs.Conflict, "ROLES_FULL")
				break
			}
			if err := w.SaveMembership(w.ctx, w.as(more), o.ID, victim.UserID); err != nil {
				w.want("one more membership", err, errs.Conflict, "ROLES_FULL")
				refused++
			}
		}
	}
	if refused < 50 {
		t.Errorf("only %d grants were refused", refused)
	}
	w.fine("a role by an admin", w.enroll(w.admin, service.NewEnroll{Role: "registry-svc:node:view", UserID: victim.UserID}))
	_, made := w.saveOrg(victim, service.NewOrganization{Slug: "victims-org"})
	if !slices.Contains(made.Roles, "registry-svc:node:view") || !slices.ContainsFunc(made.Roles, func(r string) bool { return strings.HasSuffix(r, ":admin") }) {
		t.Errorf("strangers have kept it from an organization of its own: %v", made.Roles)
	}
	got := w.login("victim")
	if size := len(strings.Join(got.Roles, `","`)); size > 4200 {
		t.Errorf("the token has %d bytes of roles", size)
	}
	// The victim gets rid of them, and makes an organization of its own.
	mine, err := w.ListEnrolls(w.ctx, got, service.EnrollQuery{})
	if err != nil || len(mine) == 0 {
		t.Fatalf("its enrolls: %v, %v", mine, err)
	}
	for _, e := range mine {
		w.fine("delete "+e.ID, w.DeleteEnrolls(w.ctx, got, []string{e.ID}))
	}
	all, err := w.ListOrganizations(w.ctx, got, nil, w.time.AddDate(-1, 0, 0), 1000)
	w.fine("its organizations", err)
	for _, o := range all {
		if o.Slug == "victims-org" {
			w.fine("delete its own", w.DeleteOrganization(w.ctx, got, o.ID))
			continue
		}
		w.fine("leave "+o.ID, w.DeleteMembership(w.ctx, got, o.ID, got.UserID))
	}
	if got = w.login("victim"); !slices.Equal(got.Roles, []string{"user-svc:user"}) {
		t.Errorf("it still has %v", got.Roles)
	}
	_, got = w.saveOrg(got, service.NewOrganization{Slug: "own-org"})
	if len(got.Roles) != 2 {
		t.Errorf("with an organization of its own it has %v", got.Roles)
	}
}

// TestGrantsOfEarlierVersionsFit has more roles in the database than a token takes, and one that no header may carry.
func TestGrantsOfEarlierVersionsFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	joe := w.register("joe")
	err := w.store.Update(w.ctx, func(tx service.Tx) error {
		for i, role := range append([]string{"shop:x,user-svc:admin", "old-svc:" + strings.Repeat("x", 1000)}, slices.Repeat([]string{"pet-svc:"}, 60)...) {
			if role == "pet-svc:" {
				role += fmt.Sprint(i, strings.Repeat("y", 100))
			}
			e := service.Enroll{ID: fmt.Sprint("enr_", i), AppID: service.AnyApp, Role: role, UserID: joe.UserID, CreatedAt: w.now(), UpdatedAt: w.now()}
			if err := tx.InsertEnroll(w.ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	w.fine("insert", err)
	got := w.login("joe")
	if n := len(got.Roles); n < 5 || n > 12 || slices.ContainsFunc(got.Roles, func(r string) bool { return strings.ContainsAny(r, ", ") || len(r) > 128 }) {
		t.Errorf("the token has %d roles: %v", n, got.Roles)
	}
}

func TestRolesThatAContactWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eve := w.register("eve")
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = w.enroll(eve, service.NewEnroll{Role: fmt.Sprint("eve:", n, strings.Repeat("x", 100)), ContactID: "boss@x.example"})
	}
	w.want("one more role", err, errs.Conflict, "ROLES_FULL")
	w.fine("a role of another owner", w.enroll(w.admin, service.NewEnroll{Role: "user-svc:admin", ContactID: "boss@x.example"}))
	if boss := w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "boss", Contact: w.send("boss@x.example")}))); !boss.IsAdmin() {
		t.Errorf("it has %v", boss.Roles)
	}
}

// TestStrangersDontCrowdOutRolesThatWait has strangers give a contact more than a token takes, before the owner of a service comes.
func TestStrangersDontCrowdOutRolesThatWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shop := w.register("shop-svc")
	for i := range 5 {
		eve := w.register(fmt.Sprint("eve-", i))
		for n := range 8 {
			w.fine("a stranger's", w.enroll(eve, service.NewEnroll{Role: fmt.Sprintf("%s:%d%s", eve.Slug, n, strings.Repeat("x", 100)), ContactID: "ann@x.example"}))
		}
	}
	w.fine("the owner's", w.enroll(shop, service.NewEnroll{Role: "shop-svc:editor", ContactID: "ann@x.example"}))
	ann := w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "ann", Contact: w.send("ann@x.example")})))
	if size := len(strings.Join(ann.Roles, `","`)); !slices.Contains(ann.Roles, "shop-svc:editor") || size > 2200 {
		t.Fatalf("she has %d bytes of %v", size, ann.Roles)
	}
	had := len(ann.Roles)
	mine, err := w.ListEnrolls(w.ctx, ann, service.EnrollQuery{UserIDs: []string{ann.UserID}})
	w.fine("list", err)
	for _, e := range mine {
		if e.Role != "shop-svc:editor" {
			w.fine("delete "+e.ID, w.DeleteEnrolls(w.ctx, ann, []string{e.ID}))
		}
	}
	if ann = w.as(w.must(w.byCode(w.send("ann@x.example")))); len(ann.Roles) < had {
		t.Errorf("those that waited did not come: %v", ann.Roles)
	}
}

func TestNamesThatForgeHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	joe := w.register("joe")
	for _, role := range []string{"joe:x,user-svc:admin", "joe:x\nuser-svc:admin", "joe:x;y", "joe:x\"y", "joe:\u00e9", "joe:x y", "joe:" + strings.Repeat("x", 200)} {
		w.want(fmt.Sprintf("the role %q", role), w.enroll(joe, service.NewEnroll{Role: role, UserID: joe.UserID}), errs.Invalid)
		w.want(fmt.Sprintf("a permit to %q", role), w.SavePermits(w.ctx, joe, []service.NewPermit{{Permission: "joe:a:b", Roles: []string{role}}}), errs.Invalid)
		w.want(fmt.Sprintf("the permission %q", role), w.SavePermits(w.ctx, joe, []service.NewPermit{{Permission: role, Slugs: []string{"joe"}}}), errs.Invalid)
		_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: "ann", Roles: []string{role}})
		w.want(fmt.Sprintf("an account with %q", role), err, errs.Invalid)
	}
	for _, id := range []string{"a,b", "a}:admin:{b", "a:b", "a/b", "a b", "*", strings.Repeat("x", 65), "\u00e9"} {
		_, _, err := w.SaveOrganization(w.ctx, joe, service.NewOrganization{ID: id, Slug: "acme"})
		w.want(fmt.Sprintf("the organization %q", id), err, errs.Invalid)
	}
	_, err := w.Login(w.ctx, "1.1.1.1", service.Credentials{Slug: "joe", Password: password("joe"), Device: strings.Repeat("<", 200)})
	w.want("a device that fills the token", err, errs.Invalid)
}
