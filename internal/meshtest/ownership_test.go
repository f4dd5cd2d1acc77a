package meshtest_test

import (
	"slices"
	"testing"

	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// TestNobodyHandsOnWhatOthersOwn has accounts whose slugs are the beginnings of the mesh's own, or that name its parts,
// try to give themselves rights.
func TestNobodyHandsOnWhatOthersOwn(t *testing.T) {
	m := meshtest.Start(t)
	register(t, m, "user", "a good password").Must(t, 409)
	for _, slug := range []string{"use", "reg", "us", "user-sv", "user-svc-2"} {
		t.Run(slug, func(t *testing.T) {
			token := m.Register(t, slug)
			id := m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200).Text("user", "id")
			for _, role := range []string{"user-svc:admin", "registry-svc:admin", "user-svc:org:{org_1}:admin", slug + "-svc:admin", slug + "x:admin"} {
				m.Do(t, "PUT", "/user-svc/enrolls", token, obj{"enrolls": []obj{{"role": role, "userId": id}}}).Must(t, 403)
			}
			// One that is theirs does not carry along one that is not.
			m.Do(t, "PUT", "/user-svc/enrolls", token, obj{"enrolls": []obj{{"role": slug + ":clerk", "userId": id}, {"role": "user-svc:admin", "userId": id}}}).Must(t, 403)
			for _, permission := range []string{"user-svc:user:view", "registry-svc:node:view", slug + "-svc:node:view"} {
				m.Do(t, "PUT", "/user-svc/permits", token, obj{"permits": []obj{{"permission": permission, "slugs": []string{slug}}}}).Must(t, 403)
				if a := m.Do(t, "POST", "/user-svc/self/has/"+permission, token, nil).Must(t, 200); a.Field("authorized") != false {
					t.Errorf("%s has %s", slug, permission)
				}
			}
			if roles := rolesOf(t, m, m.Login(t, slug, "password-of-"+slug)); !slices.Equal(roles, []string{"user-svc:user"}) {
				t.Errorf("the roles are %v", roles)
			}
		})
	}
}

func rolesOf(t *testing.T, m *meshtest.Mesh, token string) []string {
	t.Helper()
	var out []string
	roles, _ := m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200).Field("roles").([]any)
	for _, r := range roles {
		out = append(out, r.(string))
	}
	return out
}

func TestEnrollAndPermitOfAnotherAreNotTakenOver(t *testing.T) {
	m := meshtest.Start(t)
	joe, ann := m.Register(t, "joe"), m.Register(t, "ann")
	annID := m.Do(t, "POST", "/user-svc/self", ann, nil).Must(t, 200).Text("user", "id")
	enroll := m.Do(t, "PUT", "/user-svc/enrolls", joe, obj{"enrolls": []obj{{"id": "enr_1", "role": "joe:clerk", "userId": annID}}}).Must(t, 200)
	id := enroll.Field("enrolls").([]any)[0].(obj)["id"]
	m.Do(t, "PUT", "/user-svc/enrolls", ann, obj{"enrolls": []obj{{"id": id, "role": "ann:chief", "userId": annID}}}).Must(t, 409)
	m.Do(t, "PUT", "/user-svc/permits", joe, obj{"permits": []obj{{"id": "per_1", "permission": "joe:pet:edit", "slugs": []string{"joe"}}}}).Must(t, 200)
	m.Do(t, "PUT", "/user-svc/permits", ann, obj{"permits": []obj{{"id": "per_1", "permission": "ann:pet:edit", "slugs": []string{"ann"}}}}).Must(t, 403)
	if got := m.Do(t, "POST", "/user-svc/enrolls", joe, obj{"role": "joe:clerk"}).Must(t, 200).Field("enrolls").([]any); len(got) != 1 {
		t.Errorf("the enrolls are %v", got)
	}
	if a := m.Do(t, "POST", "/user-svc/self/has/joe:pet:edit", joe, nil).Must(t, 200); a.Field("authorized") != true {
		t.Errorf("the permit is gone: %s", a.Body)
	}
}

func TestInstanceOfAnotherStaysAsItIs(t *testing.T) {
	s := newShop(t)
	other := upstream.Start(t)
	thief := s.Register(t, "thief")
	find := func() obj {
		got, _ := s.Do(t, "GET", "/registry-svc/instances?slug=shop-svc", s.token, nil).Must(t, 200).Field("instances").([]any)
		if len(got) != 1 {
			t.Fatalf("instances are %v", got)
		}
		return got[0].(obj)
	}
	before := find()
	id, _ := before["id"].(string)
	rows := []struct {
		name   string
		in     obj
		status int
	}{
		{"its id with a new URL", obj{"id": id, "url": other.URL}, 403},
		{"its heartbeat", obj{"id": id, "url": s.web.URL}, 403},
		{"its URL", obj{"url": s.web.URL}, 409},
		{"its URL in capitals", obj{"url": "HTTP" + s.web.URL[4:] + "/"}, 409},
		{"its slug", obj{"url": other.URL, "slug": "shop-svc"}, 403},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { s.Do(t, "PUT", "/registry-svc/instance", thief, r.in).Must(t, r.status) })
	}
	s.Do(t, "DELETE", "/registry-svc/instance/"+id, thief, nil).Must(t, 403)
	if got := s.Do(t, "GET", "/registry-svc/instances", thief, nil).Must(t, 200).Field("instances").([]any); len(got) != 0 {
		t.Errorf("a stranger sees %v", got)
	}
	after := find()
	for _, f := range []string{"id", "url", "slug"} {
		if before[f] != after[f] {
			t.Errorf("%s was %v and is %v", f, before[f], after[f])
		}
	}
	s.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 200)
	if other.Requests() != 0 {
		t.Error("the thief's service was asked")
	}
}

func TestOrganizationOfAnotherStaysAsItIs(t *testing.T) {
	m := meshtest.Start(t)
	joe, ann := m.Register(t, "joe"), m.Register(t, "ann")
	joeID := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	a := m.Do(t, "PUT", "/user-svc/organization", joe, obj{"slug": "acme", "name": "Acme"}).Must(t, 200)
	org, joe := a.Text("organization", "id"), a.Text("token", "token")
	m.Do(t, "PUT", "/user-svc/organization", ann, obj{"id": org, "slug": "acme", "name": "Mine"}).Must(t, 403)
	m.Do(t, "PUT", "/user-svc/organization", ann, obj{"slug": "acme", "name": "Mine"}).Must(t, 409)
	m.Do(t, "DELETE", "/user-svc/organization/"+org+"/user/"+joeID, ann, nil).Must(t, 403)
	got := m.Do(t, "POST", "/user-svc/organizations", joe, nil).Must(t, 200).Field("organizations").([]any)
	if len(got) != 1 || got[0].(obj)["name"] != "Acme" {
		t.Errorf("organizations are %v", got)
	}
}

func TestRemovedMemberIsGone(t *testing.T) {
	m := meshtest.Start(t)
	joe, ann := m.Register(t, "joe"), m.Register(t, "ann")
	annID := m.Do(t, "POST", "/user-svc/self", ann, nil).Must(t, 200).Text("user", "id")
	a := m.Do(t, "PUT", "/user-svc/organization", joe, obj{"slug": "acme", "name": "Acme"}).Must(t, 200)
	org, joe := a.Text("organization", "id"), a.Text("token", "token")
	role, path := "user-svc:org:{"+org+"}:user", "/user-svc/organization/"+org+"/user/"+annID
	m.Do(t, "PUT", path, joe, nil).Must(t, 200)
	ann = m.Login(t, "ann", "password-of-ann")
	if roles := rolesOf(t, m, ann); !slices.Contains(roles, role) {
		t.Fatalf("the member's roles are %v", roles)
	}
	m.Do(t, "DELETE", path, joe, nil).Must(t, 200)
	for name, token := range map[string]string{"token of before": ann, "next token": m.Login(t, "ann", "password-of-ann")} {
		if roles := rolesOf(t, m, token); slices.Contains(roles, role) {
			t.Errorf("%s: the roles are %v", name, roles)
		}
		if got, _ := m.Do(t, "POST", "/user-svc/organizations", token, nil).Must(t, 200).Field("organizations").([]any); len(got) != 0 {
			t.Errorf("%s: organizations are %v", name, got)
		}
	}
}
