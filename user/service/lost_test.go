package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"micromesh/pkg/auth"
	"micromesh/pkg/sqldb"
	"micromesh/user/service"
)

// has reports whether a token still has a role, by the replicated revocations.
func (w *world) has(c service.Caller, role string) bool {
	w.Helper()
	_, lost, err := w.Revocations(w.ctx)
	w.fine("revocations", err)
	var r auth.Revocation
	for _, l := range lost {
		if l.UserID == c.UserID {
			r.Lose(l.Role, l.AppID, l.At)
		}
	}
	revoked := auth.Revoked{Lost: map[string]map[string]time.Time{c.UserID: r.Lost}, Apps: map[string]map[string][]string{c.UserID: r.Apps}}
	_, gone := revoked.Void(&auth.Claims{
		UserID: c.UserID, Roles: c.Roles, AppID: c.AppID, RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(c.IssuedAt)},
	})
	return c.HasRole(role) && !slices.Contains(gone, role)
}

// granted enrolls an account and returns the enroll's id.
func (w *world) granted(by service.Caller, n service.NewEnroll) string {
	w.Helper()
	saved, err := w.SaveEnrolls(w.ctx, by, []service.NewEnroll{n})
	if err != nil {
		w.Fatal(err)
	}
	return saved[0].ID
}

// TestRolesAreLostInTheirApp takes a role in one app, and grants it in another.
func TestRolesAreLostInTheirApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *service.Config) { c.AppsOnDemand = true })
	pet := w.register("pet-svc")
	vip := service.NewEnroll{Role: "pet-svc:vip", UserID: w.register("joe").UserID}
	there, everywhere := vip, vip
	there.AppHost, everywhere.AppHost = "ten.example", "*"
	check := func(what string, c service.Caller, want bool) {
		t.Helper()
		if got := w.has(c, vip.Role); got != want {
			t.Errorf("%s: the token has the role: %v, want %v", what, got, want)
		}
	}
	first := w.granted(pet, vip)
	second := w.granted(pet, there)
	here, elsewhere := w.login("joe"), w.in("ten.example", "joe")
	w.fine("take it here", w.DeleteEnrolls(w.ctx, pet, []string{first}))
	check("taken", here, false)
	check("taken in another app", elsewhere, true)
	w.fine("take it there", w.DeleteEnrolls(w.ctx, pet, []string{second}))
	second = w.granted(pet, there)
	check("granted in another app", here, false)
	check("granted again", elsewhere, true)
	w.fine("take it there again: the grant is younger than the token", w.DeleteEnrolls(w.ctx, pet, []string{second}))
	check("taken again", elsewhere, false)

	all := w.granted(pet, everywhere)
	check("granted in every app", here, true)
	first = w.granted(pet, vip)
	w.fine("take it in every app", w.DeleteEnrolls(w.ctx, pet, []string{all}))
	check("granted here as well", here, true)
	check("granted in every app alone", elsewhere, false)
	w.fine("take the last", w.DeleteEnrolls(w.ctx, pet, []string{first}))
	check("the last is taken", here, false)
}

// TestRolesOfEarlierVersionsStayLost has a role that was lost when apps were not known yet.
func TestRolesOfEarlierVersionsStayLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *service.Config) { c.AppsOnDemand = true })
	pet := w.register("pet-svc")
	vip := service.NewEnroll{Role: "pet-svc:vip", UserID: w.register("joe").UserID, AppHost: "*"}
	id := w.granted(pet, vip)
	here, elsewhere := w.login("joe"), w.in("ten.example", "joe")
	w.fine("take it", w.DeleteEnrolls(w.ctx, pet, []string{id}))
	w.fine("make it of an earlier version", w.db.Write(w.ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.ctx, "DELETE FROM roles_lost")
		if err == nil {
			_, err = tx.Exec(w.ctx, "INSERT INTO lost_roles (user_id, role, lost_at) VALUES (?, 'pet-svc:vip', ?)", here.UserID, sqldb.Time(w.now().Add(time.Second)))
		}
		return err
	}))
	if w.has(here, vip.Role) || w.has(elsewhere, vip.Role) {
		t.Error("a token has the role again")
	}
	vip.AppHost = "ten.example"
	w.granted(pet, vip)
	if w.has(here, vip.Role) || !w.has(elsewhere, vip.Role) {
		t.Error("granted in one app, the role doesn't count in the tokens of that app alone")
	}
}

// TestLostRolesAreBounded has a helper grant and take back many roles, so that the loss of one that matters can't be replicated.
func TestLostRolesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	helper, shop := w.register("helper"), w.register("shop")
	eve := w.register("eve")
	clerk := w.granted(shop, service.NewEnroll{Role: "shop:clerk", UserID: eve.UserID})
	boss := w.granted(w.admin, service.NewEnroll{Role: service.RoleAdmin, UserID: eve.UserID})
	w.granted(shop, service.NewEnroll{Role: "shop:guest", UserID: eve.UserID})
	cycle := func(i int) {
		var ids []string
		for j := range 7 {
			role := fmt.Sprintf("helper:%d-%d-", i, j)
			ids = append(ids, w.granted(helper, service.NewEnroll{Role: role + strings.Repeat("x", 128-len(role)), UserID: eve.UserID}))
		}
		eve = w.login("eve")
		w.fine("take them back", w.DeleteEnrolls(w.ctx, helper, ids))
	}
	for i := range 16 {
		cycle(i)
		_, lost, err := w.Revocations(w.ctx)
		w.fine("revocations", err)
		size := 0
		for _, l := range lost {
			size += len(l.Role) + len(l.AppID)
		}
		if size > 16<<10 {
			t.Fatalf("%d lost roles have %d bytes", len(lost), size)
		}
	}
	if !w.has(eve, service.RoleAdmin) || !w.has(eve, "shop:clerk") || w.has(eve, eve.Roles[slices.IndexFunc(eve.Roles, func(r string) bool { return strings.HasPrefix(r, "helper:") })]) {
		t.Error("roles of a stranger took others with them, or stayed")
	}
	w.fine("take the roles that matter", w.DeleteEnrolls(w.ctx, w.admin, []string{clerk, boss}))
	if w.has(eve, service.RoleAdmin) || w.has(eve, "shop:clerk") || !w.has(eve, "shop:guest") || !w.has(eve, service.RoleUser) {
		t.Error("roles that were taken back stayed, or others went with them")
	}
	if c := w.login("eve"); !w.has(c, "shop:guest") {
		t.Error("the next token has lost a role")
	}
}

// TestManyOwnersOfLostRoles loses roles of so many owners that every role is lost.
func TestManyOwnersOfLostRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eve := w.register("eve")
	w.granted(w.admin, service.NewEnroll{Role: service.RoleAdmin, UserID: eve.UserID})
	eve = w.login("eve")
	var ids []string
	for i := range 14 {
		ids = nil
		for j := range 20 {
			role := fmt.Sprintf("owner-%s-%d-%d:x", strings.Repeat("x", 40), i, j)
			ids = append(ids, w.granted(w.admin, service.NewEnroll{Role: role, UserID: eve.UserID}))
		}
		eve = w.login("eve")
		w.fine("take them back", w.DeleteEnrolls(w.ctx, w.admin, ids))
	}
	_, lost, err := w.Revocations(w.ctx)
	if err != nil || len(lost) > 120 || !slices.ContainsFunc(lost, func(l service.LostRole) bool { return l.Role == "*" }) {
		t.Errorf("%d lost roles, %v", len(lost), err)
	}
	if w.has(eve, service.RoleAdmin) || !w.has(eve, service.RoleUser) {
		t.Error("the token has the wrong roles")
	}
	w.pass(time.Second) // tokens know no shorter time
	if c := w.login("eve"); !w.has(c, service.RoleAdmin) {
		t.Error("the next token has lost a role")
	}
}

// TestRolesThatNoTokenCarriesAreNotRecorded grants a role after the newest token, and takes it back.
func TestRolesThatNoTokenCarriesAreNotRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shop, joe := w.register("shop"), w.register("joe")
	w.pass(time.Minute)
	id := w.granted(shop, service.NewEnroll{Role: "shop:clerk", UserID: joe.UserID})
	w.fine("take it", w.DeleteEnrolls(w.ctx, shop, []string{id}))
	if w.lost(joe.UserID, "shop:clerk") {
		t.Error("it was recorded")
	}
}

// TestRolesAreLostByTokensOfOtherClocks has a process whose clock is ahead issue a token before another one takes its role.
func TestRolesAreLostByTokensOfOtherClocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pass(time.Minute)
	shop, joe := w.register("shop"), w.register("joe")
	id := w.granted(shop, service.NewEnroll{Role: "shop:clerk", UserID: joe.UserID})
	w.pass(5 * time.Second)
	joe = w.login("joe")
	w.pass(-5 * time.Second)
	w.fine("take it", w.DeleteEnrolls(w.ctx, shop, []string{id}))
	if !joe.HasRole("shop:clerk") || w.has(joe, "shop:clerk") {
		t.Errorf("the token still has the role")
	}
	id = w.granted(shop, service.NewEnroll{Role: "shop:guest", UserID: joe.UserID})
	w.pass(-5 * time.Second)
	joe = w.login("joe")
	w.fine("take a role of a grant that is younger than the token", w.DeleteEnrolls(w.ctx, shop, []string{id}))
	if !joe.HasRole("shop:guest") || w.has(joe, "shop:guest") {
		t.Errorf("the token still has the role")
	}
}
