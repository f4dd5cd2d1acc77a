package storetest

import (
	"errors"
	"time"

	"micromesh/user/service"
)

func (s *suite) enrolls() {
	s.insert(account(1), account(2))
	mine := service.Enroll{ID: "1", AppID: "app", Role: "pet-svc:pet:manager", UserID: "usr_1", CreatedBy: "usr_2", CreatedAt: start, UpdatedAt: start}
	wild := service.Enroll{ID: "2", AppID: service.AnyApp, Role: "pet_svc:x", UserID: "usr_1", CreatedAt: start.Add(1000), UpdatedAt: start}
	waits := service.Enroll{ID: "3", AppID: "app", Role: "pet-svc:pet:viewer", ContactID: "a@x.example", CreatedAt: start.Add(2000), UpdatedAt: start}
	elsewhere := service.Enroll{ID: "4", AppID: "other", Role: "pets:x", UserID: "usr_1", CreatedAt: start.Add(3000), UpdatedAt: start}
	s.do(func(tx service.Tx) error {
		var err error
		for _, e := range []service.Enroll{mine, wild, waits, elsewhere} {
			err = errors.Join(err, tx.InsertEnroll(s.ctx, e))
		}
		return err
	})
	list := func(q service.EnrollQuery) []service.Enroll {
		return ok[[]service.Enroll](s)(s.store.Enrolls(s.ctx, q))
	}
	equal(s, "in an app", list(service.EnrollQuery{UserIDs: []string{"usr_1"}, AppID: "app"}), []service.Enroll{mine, wild})
	equal(s, "by role", list(service.EnrollQuery{Role: mine.Role}), []service.Enroll{mine})
	equal(s, "by prefix", list(service.EnrollQuery{Prefixes: []string{"pet-svc", "none"}}), []service.Enroll{mine, waits})
	equal(s, "by prefix with a wildcard", list(service.EnrollQuery{Prefixes: []string{"pet_svc"}}), []service.Enroll{wild})
	equal(s, "by contact", list(service.EnrollQuery{ContactID: "a@x.example"}), []service.Enroll{waits})
	equal(s, "limited", len(list(service.EnrollQuery{Limit: 2})), 2)
	err := s.store.Update(s.ctx, func(tx service.Tx) error { return tx.InsertEnroll(s.ctx, mine) })
	if !errors.Is(err, service.ErrTaken) {
		s.Errorf("a second enroll of an id: %v", err)
	}
	s.do(func(tx service.Tx) error {
		return tx.AssignEnroll(s.ctx, waits.ID, "usr_2", start.Add(time.Hour))
	})
	waits.UserID, waits.UpdatedAt = "usr_2", start.Add(time.Hour)
	equal(s, "by id", list(service.EnrollQuery{IDs: []string{"3", "none"}}), []service.Enroll{waits})
	equal(s, "assigned", list(service.EnrollQuery{UserIDs: []string{"usr_2"}}), []service.Enroll{waits})
	s.do(func(tx service.Tx) error { return tx.DeleteEnrollsOf(s.ctx, "usr_1") })
	equal(s, "left", list(service.EnrollQuery{}), []service.Enroll{waits})
	s.do(func(tx service.Tx) error { return tx.AssignEnroll(s.ctx, waits.ID, "", start) })
	waits.UserID, waits.UpdatedAt = "", start
	equal(s, "waits again", list(service.EnrollQuery{ContactID: waits.ContactID}), []service.Enroll{waits})
	s.do(func(tx service.Tx) error { return tx.DeleteEnroll(s.ctx, waits.ID) })
	equal(s, "deleted", list(service.EnrollQuery{}), nil)
}

func (s *suite) lostRoles() {
	lost := func(user, app, role string, at time.Time) service.LostRole {
		return service.LostRole{UserID: user, AppID: app, Role: role, At: at}
	}
	back := lost("1", "app", "b", start)
	back.Back = true
	s.do(func(tx service.Tx) error {
		return errors.Join(tx.LoseRole(s.ctx, lost("1", "app", "a", start)), tx.LoseRole(s.ctx, lost("1", "app", "a", start.Add(time.Second))),
			tx.LoseRole(s.ctx, lost("1", "other", "a", start)), tx.LoseRole(s.ctx, lost("1", "app", "b", start)), tx.LoseRole(s.ctx, back),
			tx.LoseRole(s.ctx, lost("2", service.AnyApp, "a", start)), tx.LoseRole(s.ctx, lost("2", "app", "c", start)), tx.DropLost(s.ctx, lost("2", "app", "c", start)))
	})
	get := ok[[]service.LostRole](s)
	mine := []service.LostRole{lost("1", "app", "a", start.Add(time.Second)), lost("1", "other", "a", start), back}
	equal(s, "of one", get(s.store.RolesLost(s.ctx, "1")), mine)
	equal(s, "of all", get(s.store.RolesLost(s.ctx, "")), append(mine, lost("2", service.AnyApp, "a", start)))
}

func (s *suite) permits() {
	p := service.Permit{ID: "1", AppID: "app", Permission: "pet-svc:pet:edit", Roles: []string{"a:b"}, Slugs: []string{"cat-svc", "dog"}, CreatedAt: start, UpdatedAt: start}
	q := service.Permit{ID: "2", AppID: service.AnyApp, Permission: "pet-svc:pet:view", Slugs: []string{"dog-svc"}, CreatedAt: start.Add(1000), UpdatedAt: start}
	s.do(func(tx service.Tx) error { return errors.Join(tx.SavePermit(s.ctx, p), tx.SavePermit(s.ctx, q)) })
	equal(s, "permit", ok[service.Permit](s)(s.store.Permit(s.ctx, "1")), p)
	_, err := s.store.Permit(s.ctx, "9")
	s.missing("unknown", err)
	list := ok[[]service.Permit](s)
	equal(s, "all", list(s.store.Permits(s.ctx, "", "")), []service.Permit{p, q})
	equal(s, "by permission", list(s.store.Permits(s.ctx, q.Permission, "")), []service.Permit{q})
	equal(s, "by slug, whole", list(s.store.Permits(s.ctx, "", "dog")), []service.Permit{p})
	p.Slugs, p.Roles, p.UpdatedAt = []string{"x"}, nil, start.Add(time.Hour)
	s.do(func(tx service.Tx) error { return tx.SavePermit(s.ctx, p) })
	equal(s, "replaced", ok[service.Permit](s)(s.store.Permit(s.ctx, "1")), p)
	s.do(func(tx service.Tx) error { return tx.DeletePermit(s.ctx, "1") })
	equal(s, "left", list(s.store.Permits(s.ctx, "", "")), []service.Permit{q})
}

func organization(id string, at time.Duration) service.Organization {
	return service.Organization{ID: id, AppID: "app", Slug: "org-" + id, Name: "Org", Thumbnail: "file", CreatedAt: start.Add(at), UpdatedAt: start}
}

func (s *suite) organizations() {
	s.insert(account(1))
	a, b := organization("1", 0), organization("2", time.Second)
	s.do(func(tx service.Tx) error {
		return errors.Join(tx.SaveOrganization(s.ctx, b), tx.SaveOrganization(s.ctx, a),
			tx.InsertMembership(s.ctx, service.Membership{OrganizationID: "2", UserID: "usr_1", Role: service.OrgUser, CreatedAt: start}))
	})
	equal(s, "organization", ok[service.Organization](s)(s.store.Organization(s.ctx, "1")), a)
	_, err := s.store.Organization(s.ctx, "9")
	s.missing("unknown", err)
	list := func(q service.OrganizationQuery) []service.Organization {
		q.Limit = max(q.Limit, 1)
		return ok[[]service.Organization](s)(s.store.Organizations(s.ctx, q))
	}
	equal(s, "the first", list(service.OrganizationQuery{}), []service.Organization{a})
	equal(s, "the next", list(service.OrganizationQuery{After: a.CreatedAt, Limit: 9}), []service.Organization{b})
	equal(s, "of a member", list(service.OrganizationQuery{MemberID: "usr_1", AppID: "app", Limit: 9}), []service.Organization{b})
	equal(s, "of a member elsewhere", len(list(service.OrganizationQuery{MemberID: "usr_1", AppID: "other", Limit: 9})), 0)
	equal(s, "by id", list(service.OrganizationQuery{IDs: []string{"2"}, Limit: 9}), []service.Organization{b})
	a.Slug, a.Name, a.Thumbnail, a.UpdatedAt = "org-3", "New", "", start.Add(time.Hour)
	s.do(func(tx service.Tx) error { return tx.SaveOrganization(s.ctx, a) })
	equal(s, "replaced", ok[service.Organization](s)(s.store.Organization(s.ctx, "1")), a)
}

func (s *suite) memberships() {
	s.insert(account(1), account(2))
	m := service.Membership{OrganizationID: "1", UserID: "usr_1", Role: service.OrgAdmin, CreatedAt: start}
	s.do(func(tx service.Tx) error {
		again := m
		again.Role = service.OrgUser
		return errors.Join(tx.SaveOrganization(s.ctx, organization("1", 0)), tx.InsertMembership(s.ctx, m), tx.InsertMembership(s.ctx, again),
			tx.InsertMembership(s.ctx, service.Membership{OrganizationID: "1", UserID: "usr_2", Role: service.OrgUser, CreatedAt: start}))
	})
	equal(s, "membership", ok[service.Membership](s)(s.store.Membership(s.ctx, "1", "usr_1")), m)
	equal(s, "of an account", ok[[]service.Membership](s)(s.store.Memberships(s.ctx, "usr_1", "app")), []service.Membership{m})
	equal(s, "in any app", ok[[]service.Membership](s)(s.store.Memberships(s.ctx, "usr_1", "")), []service.Membership{m})
	equal(s, "in another app", len(ok[[]service.Membership](s)(s.store.Memberships(s.ctx, "usr_1", "other"))), 0)
	equal(s, "admins", ok[int](s)(s.store.CountOrgAdmins(s.ctx, "1")), 1)
	s.do(func(tx service.Tx) error { return tx.DeleteMembership(s.ctx, "1", "usr_1") })
	_, err := s.store.Membership(s.ctx, "1", "usr_1")
	s.missing("deleted", err)
}
