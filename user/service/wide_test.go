package service_test

import (
	"fmt"
	"testing"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

// in signs an account in at an app.
func (w *world) in(app, slug string) service.Caller {
	w.Helper()
	return w.as(w.must(w.Login(w.ctx, "7.7.7.7", service.Credentials{AppHost: app, Slug: slug, Password: password(slug)})))
}

// TestAdminsAreOfTheWholeMesh grants the admin roles of the mesh's own services for one app. Their holder would change accounts, keys and routes of all.
func TestAdminsAreOfTheWholeMesh(t *testing.T) {
	w := newWorld(t, func(c *service.Config) { c.AppsOnDemand = true })
	eve := w.register("eve")
	for _, role := range []string{service.RoleAdmin, "registry-svc:admin", "proxy-svc:admin", "gateway-svc:admin"} {
		w.want(role+" of one app", w.enroll(w.admin, service.NewEnroll{Role: role, UserID: eve.UserID, AppHost: "ten.example"}), errs.Invalid)
		_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: "made", AppHost: "ten.example", Roles: []string{role}})
		w.want("an account with "+role+" of one app", err, errs.Invalid)
	}
	if roles := w.in("ten.example", "eve").Roles; len(roles) != 1 {
		t.Errorf("the token has %v", roles)
	}
	w.fine("another role of one app", w.enroll(w.admin, service.NewEnroll{Role: "user-svc:helper", UserID: eve.UserID, AppHost: "ten.example"}))

	boss := w.as(w.must(w.ExchangeToken(w.ctx, w.admin, service.Exchange{AppHost: "ten.example"})))
	saved, err := w.SaveEnrolls(w.ctx, boss, []service.NewEnroll{{Role: service.RoleAdmin, UserID: w.register("ann").UserID}})
	if err != nil || saved[0].AppID != service.AnyApp || !w.in("ten.example", "ann").IsAdmin() || !w.login("ann").IsAdmin() {
		t.Errorf("without an app, by a token of one: %+v, %v", saved, err)
	}
	saved, err = w.SaveEnrolls(w.ctx, w.admin, []service.NewEnroll{{Role: service.RoleAdmin, UserID: w.register("bob").UserID}})
	if err != nil || saved[0].AppID != service.DefaultApp || !w.login("bob").IsAdmin() || w.in("ten.example", "bob").IsAdmin() {
		t.Errorf("without an app, by a token of the default app: %+v, %v", saved, err)
	}
}

// TestSavedAdminsOfOneAppAreNone has such an enroll of an earlier version.
func TestSavedAdminsOfOneAppAreNone(t *testing.T) {
	w := newWorld(t, func(c *service.Config) { c.AppsOnDemand = true })
	eve, vic := w.register("eve"), w.register("vic")
	app := w.in("ten.example", "eve").AppID
	for i, role := range []string{service.RoleAdmin, "proxy-svc:admin"} {
		w.fine("save", w.store.Update(w.ctx, func(tx service.Tx) error {
			return tx.InsertEnroll(w.ctx, service.Enroll{ID: fmt.Sprint("old", i), AppID: app, Role: role, UserID: eve.UserID, CreatedAt: w.now(), UpdatedAt: w.now()})
		}))
	}
	eve = w.in("ten.example", "eve")
	if len(eve.Roles) != 1 {
		t.Errorf("the token has %v", eve.Roles)
	}
	w.want("an admin of everything", w.enroll(eve, service.NewEnroll{Role: service.RoleAdmin, UserID: eve.UserID, AppHost: "*"}), errs.Forbidden)
	w.want("routes", w.SavePermits(w.ctx, eve, []service.NewPermit{{Permission: "proxy-svc:route:edit", Slugs: []string{"eve"}}}), errs.Forbidden)
	err := w.RevokeTokens(w.ctx, eve, service.Revocation{UserID: vic.UserID})
	w.want("sessions of others", err, errs.Forbidden)
}
