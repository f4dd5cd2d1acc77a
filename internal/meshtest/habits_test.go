package meshtest_test

import (
	"net/http"
	"strings"
	"testing"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// asks is a call, and its answer's status.
type asks struct {
	method, path, token string
	in                  any
	status              int
}

func (a asks) ask(t *testing.T, m *meshtest.Mesh) meshtest.Answer {
	t.Helper()
	return m.Do(t, a.method, a.path, a.token, a.in).Must(t, a.status)
}

// loginAt returns a token for an app.
func loginAt(t *testing.T, m *meshtest.Mesh, host, slug, password string) meshtest.Answer {
	t.Helper()
	return m.Do(t, "POST", "/user-svc/login", "", obj{"appHost": host, "slug": slug, "password": password}).Must(t, 200)
}

// TestGrantsBelongToTheCallersApp grants without a host, as a caller of one tenant. Nothing is granted in another tenant.
func TestGrantsBelongToTheCallersApp(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	shop := m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "shop.example.com"}).Must(t, 200).Text("app", "id")
	m.Register(t, "owner")
	annID := m.Do(t, "POST", "/user-svc/self", m.Register(t, "ann"), nil).Must(t, 200).Text("user", "id")
	owner := loginAt(t, m, "shop.example.com", "owner", "password-of-owner").Text("token", "token")
	enroll := m.Do(t, "PUT", "/user-svc/enrolls", owner, obj{"enrolls": []obj{{"role": "owner:clerk", "userId": annID}}}).Must(t, 200)
	if got := enroll.Field("enrolls").([]any)[0].(obj)["appId"]; got != shop {
		t.Errorf("the enroll is of the app %v", got)
	}
	m.Do(t, "PUT", "/user-svc/permits", owner, obj{"permits": []obj{{"permission": "owner:pet:edit", "slugs": []string{"ann"}}}}).Must(t, 200)
	for host, granted := range map[string]bool{"shop.example.com": true, "unnamed": false} {
		ann := loginAt(t, m, host, "ann", "password-of-ann").Text("token", "token")
		if has := m.Do(t, "POST", "/user-svc/self/has/owner:pet:edit", ann, nil).Must(t, 200).Field("authorized"); has != granted {
			t.Errorf("in %s the permission is granted: %v", host, has)
		}
		if has := strings.Contains(string(m.Do(t, "POST", "/user-svc/self", ann, nil).Must(t, 200).Body), "owner:clerk"); has != granted {
			t.Errorf("in %s the role is held: %v", host, has)
		}
	}
	unnamed := m.Login(t, "owner", "password-of-owner")
	for host, app := range map[string]string{"": "unnamed", "shop.example.com": shop, "*": "*"} {
		a := m.Do(t, "PUT", "/user-svc/enrolls", unnamed, obj{"enrolls": []obj{{"role": "owner:x", "userId": annID, "appHost": host}}}).Must(t, 200)
		if got := a.Field("enrolls").([]any)[0].(obj)["appId"]; got != app {
			t.Errorf("the enroll of the host %q is of the app %v", host, got)
		}
	}
}

// TestAppsAreMadeOnDemand names new apps in each call that takes a host.
func TestAppsAreMadeOnDemand(t *testing.T) {
	calls := func(t *testing.T, m *meshtest.Mesh, status int) {
		joe := m.Register(t, "joe")
		for name, a := range map[string]asks{
			"register": {"POST", "/user-svc/register", "", obj{"appHost": "a.example.com", "slug": "new", "password": "password-of-new"}, status},
			"login":    {"POST", "/user-svc/login", "", obj{"appHost": "b.example.com", "slug": "joe", "password": "password-of-joe"}, status},
			"otp":      {"POST", "/user-svc/otp/send", "", obj{"appHost": "c.example.com", "contactId": "a@example.com", "contactPlatform": "email"}, status},
			"exchange": {"PUT", "/user-svc/token/exchange", joe, obj{"newAppHost": "d.example.com"}, status},
			"enrolls":  {"PUT", "/user-svc/enrolls", joe, obj{"enrolls": []obj{{"appHost": "e.example.com", "role": "joe:x", "contactId": "a@example.com"}}}, status},
			"permits":  {"PUT", "/user-svc/permits", joe, obj{"permits": []obj{{"appHost": "f.example.com", "permission": "joe:x:y", "slugs": []string{"joe"}}}}, status},
			"readApp":  {"POST", "/user-svc/app", "", obj{"host": "g.example.com"}, status},
			"createUser": {"POST", "/user-svc/user", m.Admin(t), obj{
				"appHost": "h.example.com", "user": obj{"id": "", "slug": "made"}, "password": "password-of-made", "roleIds": []string{"made:x"},
			}, status},
		} {
			t.Run(name, func(t *testing.T) { a.ask(t, m) })
		}
		all := m.Do(t, "POST", "/user-svc/apps", m.Admin(t), obj{}).Must(t, 200).Field("apps").([]any)
		if want := map[int]int{200: 9, 404: 1}[status]; len(all) != want {
			t.Errorf("there are %d apps: %v", len(all), all)
		}
	}
	t.Run("on", func(t *testing.T) {
		m := meshtest.Start(t, func(c *mesh.Config) { c.User.AppsOnDemand = true })
		calls(t, m, 200)
		m.Do(t, "POST", "/user-svc/app", "", obj{"host": "no host"}).Must(t, 400)
		m.Do(t, "POST", "/user-svc/login", "", obj{"appHost": "*", "slug": "joe", "password": "password-of-joe"}).Must(t, 400)
	})
	t.Run("off", func(t *testing.T) { calls(t, meshtest.Start(t), 404) })
}

// TestPasswordsHaveTheConfiguredLength sets other minimums than the usual one.
func TestPasswordsHaveTheConfiguredLength(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.User.MinPassword = 4 })
	m.Do(t, "POST", "/user-svc/register", "", obj{"slug": "joe", "password": "abc"}).Must(t, 400)
	joe := m.Do(t, "POST", "/user-svc/register", "", obj{"slug": "joe", "password": "abcd"}).Must(t, 200).Text("token", "token")
	m.Do(t, "POST", "/user-svc/change-password", joe, obj{"currentPassword": "abcd", "newPassword": "xyz"}).Must(t, 400)
	m.Do(t, "POST", "/user-svc/change-password", joe, obj{"currentPassword": "abcd", "newPassword": "wxyz"}).Must(t, 200)
	longer := meshtest.Start(t, func(c *mesh.Config) { c.User.MinPassword, c.User.AdminPassword = 12, "password-of-the-admin" })
	a := longer.Do(t, "POST", "/user-svc/register", "", obj{"slug": "joe", "password": "eleven-long"}).Must(t, 400)
	if !strings.Contains(a.Text("error"), "12 to 1024") {
		t.Errorf("the answer is %s", a.Body)
	}
}

// TestIDsNameTheGrantsToChange saves enrolls and permits by their ids.
func TestIDsNameTheGrantsToChange(t *testing.T) {
	m := meshtest.Start(t)
	admin, joe, eve := m.Admin(t), m.Register(t, "joe"), m.Register(t, "eve")
	annID := m.Do(t, "POST", "/user-svc/self", m.Register(t, "ann"), nil).Must(t, 200).Text("user", "id")
	save := func(token string, e obj, status int) meshtest.Answer {
		t.Helper()
		return m.Do(t, "PUT", "/user-svc/enrolls", token, obj{"enrolls": []obj{e}}).Must(t, status)
	}
	was := first(t, save(joe, obj{"id": "enr_1", "role": "joe:clerk", "userId": annID}, 200), "enrolls").(obj)
	if same := first(t, save(joe, obj{"id": "enr_1", "role": "joe:clerk", "userId": annID}, 200), "enrolls").(obj); same["updatedAt"] != was["updatedAt"] {
		t.Errorf("saving the same again changes %v to %v", was, same)
	}
	now := first(t, save(joe, obj{"id": "enr_1", "role": "joe:chief", "userId": annID}, 200), "enrolls").(obj)
	if now["id"] != "enr_1" || now["role"] != "joe:chief" || now["createdAt"] != was["createdAt"] {
		t.Errorf("the enroll is %v; it was %v", now, was)
	}
	self := string(m.Do(t, "POST", "/user-svc/self", m.Login(t, "ann", "password-of-ann"), nil).Must(t, 200).Body)
	if strings.Contains(self, "joe:clerk") || !strings.Contains(self, "joe:chief") {
		t.Errorf("the account is %s", self)
	}
	save(eve, obj{"id": "enr_1", "role": "eve:x", "userId": annID}, 409) // another owner's
	save(eve, obj{"id": "enr_1", "role": "joe:chief", "userId": annID}, 403)
	save(joe, obj{"id": "enr_2", "role": "joe:chief", "userId": annID}, 409) // it has an id already
	adminEnroll := first(t, m.Do(t, "POST", "/user-svc/enrolls", admin, obj{"role": "user-svc:admin"}), "enrolls").(obj)
	save(admin, obj{"id": adminEnroll["id"], "role": "admin:x", "userId": annID}, 409) // the last admin stays
	permit := func(token string, p obj, status int) {
		t.Helper()
		m.Do(t, "PUT", "/user-svc/permits", token, obj{"permits": []obj{p}}).Must(t, status)
	}
	permit(joe, obj{"id": "prm_1", "permission": "joe:pet:edit", "slugs": []string{"ann"}}, 200)
	permit(joe, obj{"id": "prm_1", "permission": "joe:pet:view", "slugs": []string{"eve"}}, 200)
	if all := m.Do(t, "POST", "/user-svc/permits", joe, obj{}).Must(t, 200).Field("permits").([]any); len(all) != 1 || all[0].(obj)["permission"] != "joe:pet:view" {
		t.Errorf("permits are %v", all)
	}
	permit(eve, obj{"id": "prm_1", "permission": "eve:x:y", "slugs": []string{"eve"}}, 403)
}

// TestTheDefaultAppMayHaveAnotherHost renames the app that is meant where no app is named.
func TestTheDefaultAppMayHaveAnotherHost(t *testing.T) {
	dir := t.TempDir()
	m := meshtest.Start(t, meshtest.InDir(dir))
	admin := m.Admin(t)
	m.Register(t, "joe")
	id := m.Do(t, "POST", "/user-svc/app", "", obj{"host": "unnamed"}).Must(t, 200).Text("app", "id")
	m.Do(t, "PUT", "/user-svc/app", admin, obj{"id": id, "newHost": "main.example.com"}).Must(t, 200)
	for _, host := range []string{"unnamed", "", "main.example.com", "MAIN.example.com"} {
		if a := loginAt(t, m, host, "joe", "password-of-joe"); a.Text("token", "appId") != id || a.Text("token", "app", "host") != "main.example.com" {
			t.Errorf("%q is the app of %s", host, a.Body)
		}
	}
	for _, host := range []string{"unnamed", "main.example.com"} { // anyone finds it by both names
		if a := m.Do(t, "POST", "/user-svc/apps", "", obj{"host": []string{host}}).Must(t, 200); len(a.Field("apps").([]any)) != 1 {
			t.Errorf("apps with the host %s are %s", host, a.Body)
		}
	}
	other := m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "other.example.com"}).Must(t, 200).Text("app", "id")
	m.Do(t, "PUT", "/user-svc/app", admin, obj{"id": other, "newHost": "unnamed"}).Must(t, 409)
	m.Do(t, "PUT", "/user-svc/app", admin, obj{"id": other, "newHost": "main.example.com"}).Must(t, 409)
	m.Do(t, "DELETE", "/user-svc/app/"+id, admin, nil).Must(t, 409)
	m.Stop()
	m = meshtest.Start(t, meshtest.InDir(dir)) // which makes no second one
	if a := loginAt(t, m, "unnamed", "joe", "password-of-joe"); a.Text("token", "app", "host") != "main.example.com" {
		t.Errorf("after a restart it is %s", a.Body)
	}
	m.Do(t, "PUT", "/user-svc/app", m.Admin(t), obj{"id": id, "newHost": "unnamed"}).Must(t, 200)
}

// TestACodeComesWithASlug signs in by a contact and its code, and names the slug too.
func TestACodeComesWithASlug(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	in := func(slug, mail string, status int) meshtest.Answer {
		t.Helper()
		return m.Do(t, "POST", "/user-svc/login", "", obj{"appHost": "unnamed", "slug": slug, "contact": code(t, m, admin, mail)}).Must(t, status)
	}
	slugOf := func(a meshtest.Answer) string {
		return m.Do(t, "POST", "/user-svc/self", a.Text("token", "token"), nil).Must(t, 200).Text("user", "slug")
	}
	if got := slugOf(in("zoe", "zoe@example.com", 200)); got != "zoe" {
		t.Errorf("the account is %s", got)
	}
	if got := slugOf(in("zoe", "zoe@example.com", 200)); got != "zoe" {
		t.Errorf("the account is %s", got)
	}
	in("joe", "zoe@example.com", 401) // who is zoe
	in("zoe", "eve@example.com", 409)
	in("user-svc", "eve@example.com", 409)
	in("Eve", "eve@example.com", 400)
	m.Do(t, "POST", "/user-svc/login", "", obj{"slug": "zoe", "password": "x", "contact": obj{"id": "zoe@example.com", "platform": "email"}}).Must(t, 400)
	blank := code(t, m, admin, "ivy@example.com")
	blank["platform"] = ""
	m.Do(t, "POST", "/user-svc/login", "", obj{"contact": blank}).Must(t, 200) // an e-mail address
}

// TestSmallHabitsOfExistingClients has the calls that existing clients make and that other APIs refuse.
func TestSmallHabitsOfExistingClients(t *testing.T) {
	m := meshtest.Start(t)
	admin, joe := m.Admin(t), m.Register(t, "joe")
	app := m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "shop.example.com"}).Must(t, 200).Text("app", "id")
	for name, a := range map[string]asks{
		"apps by id":                  {"POST", "/user-svc/apps", "", obj{"ids": []string{app}}, 200},
		"apps by host":                {"POST", "/user-svc/apps", joe, obj{"host": []string{"Shop.example.com"}}, 200},
		"all apps":                    {"POST", "/user-svc/apps", joe, obj{}, 403},
		"all apps, anonymously":       {"POST", "/user-svc/apps", "", obj{}, 401},
		"has anything":                {"POST", "/user-svc/self/has/anything", joe, nil, 200},
		"has an odd permission":       {"POST", "/user-svc/self/has/a%20b%2Fc", joe, nil, 200},
		"has, anonymously":            {"POST", "/user-svc/self/has/anything", "", nil, 401},
		"a target without a scheme":   {"PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "a.example.com", "target": "127.0.0.1:9001"}}}, 200},
		"a target of another scheme":  {"PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "a.example.com", "target": "ftp://127.0.0.1"}}}, 400},
		"a target that is a script":   {"PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "a.example.com", "target": "javascript:alert(1)"}}}, 400},
		"a target with a user":        {"PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "a.example.com", "target": "mailto:joe@example.com"}}}, 400},
		"a slug in upper case":        {"POST", "/user-svc/register", "", obj{"slug": "Zoe", "password": "password-of-zoe"}, 400},
		"a code of no platform":       {"POST", "/user-svc/otp/send", "", obj{"appHost": "unnamed", "contactId": "a@example.com", "contactPlatform": ""}, 200},
		"a contact of no platform":    {"POST", "/user-svc/register", "", obj{"slug": "zoe", "password": "password-of-zoe", "contact": obj{"id": "zoe@example.com", "platform": ""}}, 200},
		"a contact that is no e-mail": {"POST", "/user-svc/otp/send", "", obj{"appHost": "unnamed", "contactId": "nobody", "contactPlatform": ""}, 400},
	} {
		t.Run(name, func(t *testing.T) { a.ask(t, m) })
	}
	if got := first(t, m.Do(t, "POST", "/proxy-svc/routes", admin, nil), "routes").(obj)["target"]; got != "http://127.0.0.1:9001" {
		t.Errorf("the target is %v", got)
	}
	if a := m.Do(t, "POST", "/user-svc/self/has/anything", joe, nil); a.Field("authorized") != false {
		t.Errorf("the answer is %s", a.Body)
	}
	label := func(change, want obj) {
		t.Helper()
		m.Do(t, "PUT", "/user-svc/self", joe, obj{"labels": change}).Must(t, 200)
		got, _ := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Field("user", "labels").(obj)
		if len(got) != len(want) {
			t.Errorf("labels are %v, not %v", got, want)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("labels are %v, not %v", got, want)
			}
		}
	}
	label(obj{"a": "1", "b": "2"}, obj{"a": "1", "b": "2"})
	label(obj{"c": "3", "a": "4"}, obj{"a": "4", "b": "2", "c": "3"})
	label(obj{"b": "", "none": ""}, obj{"a": "4", "c": "3"})
	label(obj{}, obj{"a": "4", "c": "3"})
	many := obj{}
	for i := range 63 {
		many["k"+strings.Repeat("x", i)] = "v"
	}
	m.Do(t, "PUT", "/user-svc/self", joe, obj{"labels": many}).Must(t, http.StatusBadRequest) // 65 in all
}

// TestRoutesAreShownAsSaved compares ids of routes in their canonical form.
func TestRoutesAreShownAsSaved(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	for _, id := range []string{"Shop.Example.com/API/", "shop.example.com/API"} { // the same route
		saved := first(t, m.Do(t, "PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": id, "target": "http://127.0.0.1:9001"}}}), "routes").(obj)
		listed := m.Do(t, "POST", "/proxy-svc/routes", admin, obj{"ids": []string{"SHOP.example.com/API"}}).Must(t, 200).Field("routes").([]any)
		if len(listed) != 1 || saved["id"] != id || listed[0].(obj)["id"] != id {
			t.Errorf("%s is saved as %v and listed as %v", id, saved, listed)
		}
	}
	m.Do(t, "DELETE", "/proxy-svc/routes", admin, obj{"ids": []string{"shop.EXAMPLE.com/API"}}).Must(t, 200)
	if left := m.Do(t, "POST", "/proxy-svc/routes", admin, nil).Must(t, 200).Field("routes").([]any); len(left) != 0 {
		t.Errorf("routes are %v", left)
	}
}

// TestAnAdminEndsEverySession names all tokens and no account.
func TestAnAdminEndsEverySession(t *testing.T) {
	m := meshtest.Start(t)
	admin, joe, ann := m.Admin(t), m.Register(t, "joe"), m.Register(t, "ann")
	m.Do(t, "DELETE", "/user-svc/tokens", joe, obj{"allTokens": true}).Must(t, 200)
	m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 401)
	m.Do(t, "POST", "/user-svc/self", ann, nil).Must(t, 200) // joe is no admin
	m.Do(t, "DELETE", "/user-svc/tokens", admin, obj{"allTokens": true}).Must(t, 200)
	for name, token := range map[string]string{"ann": ann, "the admin": admin} {
		if a := m.Do(t, "POST", "/user-svc/self", token, nil); a.Status != 401 {
			t.Errorf("the session of %s lives: %d", name, a.Status)
		}
	}
	m.Admin(t)
}

// TestSelfShowsTheActiveOrganization reads the account with the token from before it has made an organization.
func TestSelfShowsTheActiveOrganization(t *testing.T) {
	m := meshtest.Start(t)
	joe := m.Register(t, "joe")
	for _, slug := range []string{"first", "second"} {
		id := m.Do(t, "PUT", "/user-svc/organization", joe, obj{"slug": slug, "name": slug, "assignCaller": true}).Must(t, 200).Text("organization", "id")
		if got := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("activeOrganizationId"); got != id {
			t.Errorf("after %s the active organization is %q, not %q", slug, got, id)
		}
	}
	if a := m.Do(t, "POST", "/user-svc/enrolls", m.Admin(t), obj{"role": "nocolon"}).Must(t, 200); strings.Contains(string(a.Body), "role") {
		t.Errorf("a role without a colon lists %s", a.Body)
	}
	m.Do(t, "PUT", "/user-svc/self", joe, obj{"name": strings.Repeat("é", 256)}).Must(t, 200)
	m.Do(t, "PUT", "/user-svc/self", joe, obj{"name": strings.Repeat("é", 257)}).Must(t, 400)
	a := m.Do(t, "PUT", "/user-svc/self", joe, obj{"name": 1}).Must(t, 400)
	if all, ok := a.Field("details").([]any); !ok || len(all) != 1 || all[0].(obj)["field"] != "name" {
		t.Errorf("a value of another type: %s", a.Body)
	}
}
