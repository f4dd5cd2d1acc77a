package service_test

import (
	"fmt"
	"slices"
	"testing"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

func inTestMode(c *service.Config) { c.Test = true }

// provedWithPassword signs in by a code and the password of an account that merely named the address.
func (w *world) provedWithPassword(slug, mail string) service.Caller {
	w.Helper()
	return w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Contact: w.send(mail), Password: password(slug)})))
}

func address(mail string) *service.ContactProof {
	return &service.ContactProof{Platform: "email", Handle: mail}
}

// TestRolesWaitForAProof has roles wait for an address, and somebody else type that address.
func TestRolesWaitForAProof(t *testing.T) {
	t.Parallel()
	waiting := []string{"user-svc:admin", "user-svc:org:{acme}:admin", "pet-svc:vip", "registry-svc:admin"}
	for name, c := range map[string]struct {
		change func(*service.Config)
		claim  func(w *world) service.Caller
		want   []string
	}{
		"at registration": {func(*service.Config) {}, func(w *world) service.Caller { return w.registerWith("eve", "boss@x.example") }, nil},
		"at a later sign-in": {func(*service.Config) {}, func(w *world) service.Caller {
			w.registerWith("eve", "BOSS@x.example")
			return w.login("eve")
		}, nil},
		"by a refresh": {func(*service.Config) {}, func(w *world) service.Caller {
			return w.as(w.must(w.RefreshToken(w.ctx, w.registerWith("eve", "boss@x.example"))))
		}, nil},
		"by an exchange": {func(*service.Config) {}, func(w *world) service.Caller {
			return w.as(w.must(w.ExchangeToken(w.ctx, w.registerWith("eve", "boss@x.example"), service.Exchange{Device: "x"})))
		}, nil},
		"by signing in with the address": {func(*service.Config) {}, func(w *world) service.Caller {
			w.registerWith("eve", "boss@x.example")
			return w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Contact: address("boss@x.example"), Password: password("eve")})))
		}, nil},
		"as an admin has typed it": {func(*service.Config) {}, func(w *world) service.Caller {
			_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{
				Slug: "eve", Password: password("eve"), Contacts: []service.Contact{{Platform: "email", Handle: "boss@x.example"}},
			})
			w.fine("create", err)
			return w.login("eve")
		}, nil},
		"in test mode": {inTestMode, func(w *world) service.Caller { return w.registerWith("eve", "boss@x.example") }, []string{"pet-svc:vip"}},
		"with a code": {func(*service.Config) {}, func(w *world) service.Caller {
			return w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "eve", Contact: w.send("boss@x.example")})))
		}, waiting},
		"by an admin's word": {func(*service.Config) {}, func(w *world) service.Caller {
			_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{
				Slug: "eve", Password: password("eve"), Contacts: []service.Contact{{Platform: "email", Handle: "boss@x.example", Verified: true}},
			})
			w.fine("create", err)
			return w.login("eve")
		}, waiting},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.change)
			for _, role := range waiting {
				w.fine("enroll", w.enroll(w.admin, service.NewEnroll{Role: role, ContactID: "Boss@x.example"}))
			}
			got := c.claim(w)
			if want := append([]string{"user-svc:user"}, c.want...); !sameSet(got.Roles, want) {
				t.Errorf("it has %v, want %v", got.Roles, want)
			}
			// Roles that come later are no different.
			w.fine("enroll", w.enroll(w.admin, service.NewEnroll{Role: "user-svc:admin", ContactID: "boss@x.example", AppHost: "*"}))
			if again := w.as(w.must(w.RefreshToken(w.ctx, got))); again.IsAdmin() != (len(c.want) > 1) {
				t.Errorf("later it has %v", again.Roles)
			}
		})
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// TestRolesOfEarlierVersions has an enroll that an unproved address was given before a proof was needed.
func TestRolesOfEarlierVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eve := w.registerWith("eve", "boss@x.example")
	err := w.store.Update(w.ctx, func(tx service.Tx) error {
		return tx.InsertEnroll(w.ctx, service.Enroll{
			ID: "old", AppID: service.AnyApp, Role: service.RoleAdmin, UserID: eve.UserID, ContactID: "boss@x.example", CreatedAt: w.now(), UpdatedAt: w.now(),
		})
	})
	w.fine("insert", err)
	if got := w.login("eve"); got.IsAdmin() {
		t.Error("an unproved address keeps a role that it was given")
	}
	w.want("delete the only real admin", w.DeleteUser(w.ctx, w.admin, w.admin.UserID), errs.Conflict, "LAST_ADMIN")
	if boss := w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "boss", Contact: w.send("boss@x.example")}))); !boss.IsAdmin() {
		t.Errorf("the address that was proved has %v", boss.Roles)
	}
}

// TestProofTakesAnAddress has an account name an address of somebody else, who proves it later.
func TestProofTakesAnAddress(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(w *world) service.Caller{
		"signs in by a code": func(w *world) service.Caller { return w.as(w.must(w.byCode(w.send("victim@x.example")))) },
		"registers with a code": func(w *world) service.Caller {
			return w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "victim", Contact: w.send("victim@x.example")})))
		},
		"signs in by a code, at first with a password of their own": func(w *world) service.Caller {
			proof := w.send("Victim@x.example")
			_, err := w.Login(w.ctx, "1.1.1.1", service.Credentials{Contact: proof, Password: "not that of eve"})
			w.want("a password that is not that of the account", err, errs.Unauthenticated, "INVALID_CREDENTIALS")
			return w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Contact: proof})))
		},
		"is created by an admin": func(w *world) service.Caller {
			_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{
				Slug: "victim", Password: password("victim"), Contacts: []service.Contact{{Platform: "email", Handle: "victim@x.example", Verified: true}},
			})
			w.fine("create", err)
			return w.login("victim")
		},
	} {
		for _, verify := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", verify=", verify), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				eve := w.registerWith("eve", "victim@x.example")
				bySlug := w.login("eve")
				byMail := w.as(w.must(w.Login(w.ctx, "1.1.1.1", service.Credentials{Contact: address("victim@x.example"), Password: password("eve")})))
				child := w.as(w.must(w.ExchangeToken(w.ctx, byMail, service.Exchange{Device: "till"})))
				if verify {
					w.proving(true)
				}
				victim := prove(w)
				if victim.UserID == eve.UserID {
					t.Fatal("the proof signs in to the account of another")
				}
				for what, c := range map[string]service.Caller{"registration": eve, "sign-in with the address": byMail, "exchange": child} {
					_, err := w.RefreshToken(w.ctx, c)
					w.want("the session that began with a "+what, err, errs.Unauthenticated, "TOKEN_REVOKED")
					if !w.revoked(c.SessionID) {
						t.Errorf("the end of the session that began with a %s was not replicated", what)
					}
				}
				w.must(w.RefreshToken(w.ctx, bySlug)) // it didn't come from the address
				_, err := w.Login(w.ctx, "1.1.1.2", service.Credentials{Contact: address("victim@x.example"), Password: password("eve")})
				w.want("the password of the other account", err, errs.Unauthenticated)
				if again := w.must(w.byCode(w.send("victim@x.example"))); again.UserID != victim.UserID {
					t.Error("the next code signs in to a third account")
				}
				w.want("registering with the address that was proved", w.registering("eve-2", w.send("victim@x.example")), errs.Conflict, "CONTACT_TAKEN")
				w.fine("registering with it without a code", w.registering("eve-3", address("victim@x.example")))
				if me, err := w.ReadSelf(w.ctx, w.login("eve-3"), false); err != nil || len(me.Contacts) != 0 {
					t.Errorf("without a code it holds %+v, %v", me.Contacts, err)
				}
			})
		}
	}
}

// registering registers with a contact and a password.
func (w *world) registering(slug string, p *service.ContactProof) error {
	w.Helper()
	open := w.again(func(c *service.Config) { c.VerifyContacts = false })
	_, err := open.Register(w.ctx, "1.1.1.1", service.Registration{Slug: slug, Password: password(slug), Contact: p})
	return err
}

// proving sets whether contacts need a code, as a restart with another setting does.
func (w *world) proving(verify bool) {
	w.Helper()
	w.Service = w.again(func(c *service.Config) { c.VerifyContacts = verify })
}

// TestRolesFollowTheProof has roles that an unproved holder had in test mode go to the account that proves the address.
func TestRolesFollowTheProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inTestMode)
	pet := w.register("pet-svc")
	w.fine("enroll", w.enroll(pet, service.NewEnroll{Role: "pet-svc:vip", ContactID: "joe@x.example"}))
	eve := w.registerWith("eve", "joe@x.example")
	if !eve.HasRole("pet-svc:vip") {
		t.Fatalf("in test mode the address has %v", eve.Roles)
	}
	joe := w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Contact: w.send("joe@x.example")})))
	if !joe.HasRole("pet-svc:vip") {
		t.Errorf("the account that proved it has %v", joe.Roles)
	}
	if got := w.login("eve"); got.HasRole("pet-svc:vip") {
		t.Errorf("the account that did not still has %v", got.Roles)
	}
	if !w.lost(eve.UserID, "pet-svc:vip") && !w.revoked(eve.SessionID) {
		t.Error("the role is not taken from its tokens")
	}
}

// TestCodesAreMailedToTheAddressThatTheySignIn has addresses that look or fold like that of somebody else.
func TestCodesAreMailedToTheAddressThatTheySignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, verifying)
	owner := w.as(w.must(w.byCode(w.send("info@github.com"))))
	for handle, want := range map[string]string{
		"info@g\u0130thub.com": "info@xn--github-qyd.com", "INFO@GitHub.com": "info@github.com", "info@\uff47ithub.com": "info@github.com",
		"info@github\u3002com": "info@github.com", "INFO@github.com": "info@github.com",
		"info@github.com\u0307": "",
	} {
		p := w.send(handle)
		to := w.mails[len(w.mails)-1].To
		if to != want && want != "" {
			t.Errorf("the code of %q is mailed to %q, want %q", handle, to, want)
		}
		got := w.must(w.byCode(p))
		if (got.UserID == owner.UserID) != (to == "info@github.com") {
			t.Errorf("the code of %q was mailed to %q, and signs in to %s", handle, to, got.Slug)
		}
	}
	for _, handle := range []string{"\u0130nfo@github.com", "\u212Anfo@github.com", "info@github.com.", "info@github", "info@1.2.3.4", "info@@github.com", "in fo@github.com"} {
		_, err := w.SendCode(w.ctx, service.Caller{IP: "1.1.1.1"}, "", "email", handle)
		w.want(fmt.Sprintf("a code for %q", handle), err, errs.Invalid)
		w.want(fmt.Sprintf("an account with %q", handle), w.registering("someone", address(handle)), errs.Invalid)
		w.want(fmt.Sprintf("a role for %q", handle), w.enroll(w.admin, service.NewEnroll{Role: "admin:x", ContactID: handle}), errs.Invalid)
	}
	// One address, two spellings of Unicode.
	first := w.must(w.byCode(w.send("ann@b\u00fccher.example")))
	if again := w.must(w.byCode(w.send("ann@bu\u0308cher.example"))); again.UserID != first.UserID {
		t.Error("two spellings of a domain are two contacts")
	}
}

func TestTestMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, inTestMode)
	if _, err := w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: "a"}); err != nil {
		t.Errorf("a short password: %v", err)
	}
	sent, err := w.SendCode(w.ctx, service.Caller{IP: "1.1.1.1"}, "", "email", "joe@x.example")
	if err != nil || sent.Code != w.code() {
		t.Errorf("the code that was sent is %+v, %v", sent, err)
	}
}
