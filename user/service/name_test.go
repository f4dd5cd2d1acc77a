package service_test

import (
	"strings"
	"testing"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/user/service"
)

// programs are names under which programs run, with what each claims.
type programs map[string][]string

func (p programs) Used(slug string) (bool, error) {
	if p == nil {
		return false, errs.New(errs.Unavailable, "NOT_READY", "not yet")
	}
	_, ok := p[slug]
	return ok, nil
}

func (p programs) Claims(slug string) []string { return p[slug] }

func (programs) Claimed(claim, slug, password string) bool {
	return auth.Claimed(claim, slug, password)
}

// TestNamesOfPrograms takes the names of running programs, by each call that sets a slug.
func TestNamesOfPrograms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eve := w.register("eve")
	own, _ := w.saveOrg(eve, service.NewOrganization{Slug: "own"})
	w.fine("a permit to create accounts", w.SavePermits(w.ctx, w.admin, []service.NewPermit{{Permission: "user-svc:user:create", Slugs: []string{"eve"}}}))
	claim := auth.Claim("claimed", password("claimed"))
	s := w.serviceWith(programs{"greeter": nil, "claimed": {"other", claim}})
	register := func(slug, password string) error {
		_, err := s.Register(w.ctx, "7.7.7.7", service.Registration{Slug: slug, Password: password})
		return err
	}
	organization := func(c service.Caller, n service.NewOrganization) error {
		_, _, err := s.SaveOrganization(w.ctx, c, n)
		return err
	}
	create := func(c service.Caller, slug string) error {
		_, err := s.CreateUser(w.ctx, c, service.NewAccount{Slug: slug})
		return err
	}
	_, byCode := s.Login(w.ctx, "7.7.7.7", service.Credentials{Slug: "greeter", Contact: w.send("new@x.example")})
	for what, err := range map[string]error{
		"an account":                      register("greeter", password("greeter")),
		"an account, by a code":           byCode,
		"an organization":                 organization(eve, service.NewOrganization{Slug: "greeter"}),
		"an organization that is renamed": organization(eve, service.NewOrganization{ID: own.ID, Slug: "greeter"}),
		"an account that is created":      create(eve, "greeter"),
		"by another password":             register("claimed", password("eve")),
		"without one":                     organization(eve, service.NewOrganization{Slug: "claimed"}),
	} {
		w.want(what, err, errs.Conflict, "SLUG_TAKEN")
	}
	w.fine("an organization keeps its slug", organization(eve, service.NewOrganization{ID: own.ID, Slug: "own", Name: "Own"}))
	w.fine("the program registers its account", register("claimed", password("claimed")))
	w.fine("an admin creates the account", create(w.admin, "greeter"))
	s = w.serviceWith(programs(nil))
	w.want("while names aren't known", register("other", password("other")), errs.Unavailable)
	w.want("a taken slug, meanwhile", register("eve", password("eve")), errs.Conflict, "SLUG_TAKEN")
}

// TestMadeUpIdsOfPermits takes the id that a permit of another account would get.
func TestMadeUpIdsOfPermits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	vic, eve := w.register("vic"), w.register("eve")
	grant := service.NewPermit{Permission: "vic:doc:read", Slugs: []string{"joe"}}
	saved := func() []service.Permit {
		t.Helper()
		all, err := w.ListPermits(w.ctx, vic, "", "")
		w.fine("list", err)
		return all
	}
	w.fine("save", w.SavePermits(w.ctx, vic, []service.NewPermit{grant}))
	id := saved()[0].ID
	w.fine("delete", w.DeletePermits(w.ctx, vic, []string{id}))
	mine := service.NewPermit{ID: id, Permission: "eve:a:b", Slugs: []string{"eve"}}
	w.want("the id of another's grant", w.SavePermits(w.ctx, eve, []service.NewPermit{mine}), errs.Invalid)
	mine.ID = "prm_0123456789abcdef01234567"
	w.want("an id like those that are made up", w.SavePermits(w.ctx, eve, []service.NewPermit{mine}), errs.Invalid)
	mine.ID = "prm_mine"
	w.fine("another id", w.SavePermits(w.ctx, eve, []service.NewPermit{mine}))
	for range 2 {
		w.fine("save again", w.SavePermits(w.ctx, vic, []service.NewPermit{grant}))
	}
	grant.ID = id
	w.fine("by the id that it has", w.SavePermits(w.ctx, vic, []service.NewPermit{grant}))
	grant.Slugs = []string{"ann"}
	w.fine("change it, by its id", w.SavePermits(w.ctx, vic, []service.NewPermit{grant}))
	if all := saved(); len(all) != 1 || all[0].ID != id || all[0].Slugs[0] != "ann" {
		t.Errorf("permits: %+v", all)
	}
	for range 2 {
		w.fine("grant what it said before", w.SavePermits(w.ctx, vic, []service.NewPermit{{Permission: "vic:doc:read", Slugs: []string{"joe"}}}))
	}
	all := saved()
	if len(all) != 2 || all[0].Slugs[0] == all[1].Slugs[0] || !strings.HasPrefix(all[1].ID, "prm_") {
		t.Errorf("permits: %+v", all)
	}
	// An earlier version let another account take the id.
	other := service.Permit{Permission: "eve:a:b", Slugs: []string{"eve"}, AppID: service.DefaultApp, ID: all[0].ID, CreatedAt: w.now(), UpdatedAt: w.now()}
	w.fine("take it", w.store.Update(w.ctx, func(tx service.Tx) error { return tx.SavePermit(w.ctx, other) }))
	grant.ID = ""
	w.fine("grant again", w.SavePermits(w.ctx, vic, []service.NewPermit{grant}))
}

// TestNobodyMakesAnOrganizationActiveForOthers adds an account to an organization of another account.
func TestNobodyMakesAnOrganizationActiveForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eve, joe := w.register("eve"), w.register("joe")
	evil, boss := w.saveOrg(eve, service.NewOrganization{Slug: "evil"})
	w.fine("add", w.SaveMembership(w.ctx, boss, evil.ID, joe.UserID))
	w.granted(boss, service.NewEnroll{Role: role(evil, "admin"), UserID: joe.UserID})
	for what, c := range map[string]service.Caller{"refreshed": w.as(w.must(w.RefreshToken(w.ctx, joe))), "signed in": w.login("joe")} {
		if c.ActiveOrg != "" || !c.HasRole(role(evil, "user")) {
			t.Errorf("%s: the token is of %q, with %v", what, c.ActiveOrg, c.Roles)
		}
	}
	mine, joe := w.saveOrg(joe, service.NewOrganization{Slug: "mine"})
	for what, c := range map[string]service.Caller{"the answer": joe, "refreshed": w.as(w.must(w.RefreshToken(w.ctx, joe))), "signed in": w.login("joe")} {
		if c.ActiveOrg != mine.ID {
			t.Errorf("%s: the token is of %q, want the organization that it has made", what, c.ActiveOrg)
		}
	}
	if evil, joe := w.saveOrg(joe, service.NewOrganization{ID: evil.ID, Slug: "evil"}); joe.ActiveOrg != evil.ID {
		t.Errorf("saved by itself, the organization isn't active: %q", joe.ActiveOrg)
	}
}
