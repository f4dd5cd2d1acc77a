package meshtest_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// register tries to make an account.
func register(t *testing.T, m *meshtest.Mesh, slug, password string) meshtest.Answer {
	t.Helper()
	return m.Do(t, "POST", "/user-svc/register", "", obj{"appHost": "unnamed", "slug": slug, "password": password})
}

// loginFrom tries to sign in as a client that says it came through a proxy, for address.
func loginFrom(t *testing.T, m *meshtest.Mesh, address, slug, password string) meshtest.Answer {
	t.Helper()
	body := fmt.Sprintf(`{"appHost":"unnamed","slug":%q,"password":%q}`, slug, password)
	req, err := http.NewRequestWithContext(t.Context(), "POST", m.URL+"/user-svc/login", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", address)
	return meshtest.Send(t, req)
}

// statuses makes n calls at once and counts what they answered.
func statuses(n int, call func(i int) int) map[int]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[int]int{}
	for i := range n {
		wg.Go(func() {
			status := call(i)
			mu.Lock()
			defer mu.Unlock()
			out[status]++
		})
	}
	wg.Wait()
	return out
}

func TestSlugsThatNobodyGets(t *testing.T) {
	m := meshtest.Start(t)
	m.Register(t, "joe")
	rows := []struct {
		name   string
		status int
		slugs  []string
	}{
		{"looks like another one", 400, []string{"аdmin", "ad\u200bmin", "adm\u202ein", "\uff4aoe", "joe\u00a0"}},
		{"a path", 400, []string{"..", "%2e", "a/b", "a.b", "a\\b", "joe?", "joe#"}},
		{"hyphens in the wrong place", 400, []string{"-x", "--", "a--b", "a-"}},
		{"another alphabet of characters", 400, []string{"a_b", "a b", " joe", "joe\n", "joe\x00", "jöe", "' OR 1=1--", "x;DROP TABLE account"}},
		{"the wrong length", 400, []string{"", "a", strings.Repeat("x", 64)}},
		{"of the mesh", 409, []string{
			"user-svc", "registry-svc", "proxy-svc", "gateway-svc", "deploy-svc", "config-svc", "secret-svc", "policy-svc",
			"admin", "api", "health", "console", ".well-known", "user", "registry", "1backend",
		}},
		{"taken", 409, []string{"joe"}},
		{"in upper case", 400, []string{"Admin", "USER-SVC", "Joe", "JOE"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			for _, slug := range r.slugs {
				if a := register(t, m, slug, "a good password"); a.Status != r.status || a.Text("error") == "" {
					t.Errorf("%q: %d, want %d: %s", slug, a.Status, r.status, a.Body)
				}
			}
		})
	}
	m.Do(t, "POST", "/user-svc/login", "", obj{"slug": "JOE", "password": "password-of-joe"}).Must(t, 400) // slugs are lower case, everywhere
}

func TestPasswordsAreNeverCutOff(t *testing.T) {
	m := meshtest.Start(t)
	for size, want := range map[int]int{0: 400, 7: 400, 8: 200, 64: 200, 1024: 200, 1025: 400, 10 << 20: 413} {
		if a := register(t, m, fmt.Sprintf("size-%d", size), strings.Repeat("x", size)); a.Status != want {
			t.Errorf("%d bytes: %d, want %d: %.200s", size, a.Status, want, a.Body)
		}
	}
	for size, guess := range map[int]string{64: strings.Repeat("x", 63) + "y", 1024: strings.Repeat("x", 1023) + "y"} {
		slug := fmt.Sprintf("size-%d", size)
		m.Do(t, "POST", "/user-svc/login", "", obj{"slug": slug, "password": guess}).Must(t, 401)
		m.Do(t, "POST", "/user-svc/login", "", obj{"slug": slug, "password": guess[:size-1]}).Must(t, 401)
		m.Login(t, slug, strings.Repeat("x", size))
	}
}

func TestSixteenRegistrationsOfOneSlugMakeOneAccount(t *testing.T) {
	m := meshtest.Start(t)
	got := statuses(16, func(int) int { return register(t, m, "joe", "password-of-joe").Status })
	if diff := cmp.Diff(map[int]int{200: 1, 409: 15}, got); diff != "" {
		t.Error(diff)
	}
	users := m.Do(t, "POST", "/user-svc/users", m.Admin(t), obj{"search": "joe", "count": true}).Must(t, 200)
	if users.Field("count") != 1.0 {
		t.Errorf("users are %s", users.Body)
	}
}

func TestDeletedSlugStaysTakenAndLeavesNoInstance(t *testing.T) {
	s := newShop(t)
	admin := s.Admin(t)
	id := s.Do(t, "POST", "/user-svc/self", s.token, nil).Must(t, 200).Text("user", "id")
	s.Do(t, "DELETE", "/user-svc/user/"+id, admin, nil).Must(t, 200)
	register(t, s.Mesh, "shop-svc", "another password").Must(t, 409)
	register(t, s.Mesh, "SHOP-SVC", "another password").Must(t, 400)
	s.Do(t, "PUT", "/registry-svc/instance", s.token, obj{"url": s.web.URL}).Must(t, 401)
	s.Do(t, "POST", "/user-svc/login", "", obj{"slug": "shop-svc", "password": "password-of-shop-svc"}).Must(t, 401)
}

func TestGuessingOnesPasswordLocksTheGuesserOut(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.TrustedProxies = []string{"127.0.0.0/8"} })
	m.Register(t, "joe")
	for range 5 {
		loginFrom(t, m, "203.0.113.1", "joe", "a wrong guess").Must(t, 401)
	}
	a := loginFrom(t, m, "203.0.113.1", "joe", "password-of-joe").Must(t, 429)
	if s, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || s < 1 || s > int(time.Hour.Seconds()) {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	loginFrom(t, m, "203.0.113.2", "joe", "password-of-joe").Must(t, 200) // the owner, elsewhere
}

func TestForwardedForOfAStrangerDodgesNoLimit(t *testing.T) {
	m := meshtest.Start(t)
	m.Register(t, "joe")
	for i := range 5 {
		loginFrom(t, m, fmt.Sprintf("203.0.113.%d", i), "joe", "a wrong guess").Must(t, 401)
	}
	loginFrom(t, m, "203.0.113.200", "joe", "password-of-joe").Must(t, 429)
}

func TestOnePasswordSprayedOverAccounts(t *testing.T) {
	m := meshtest.Start(t)
	limited := 0
	for i := range 70 {
		a := m.Do(t, "POST", "/user-svc/login", "", obj{"slug": fmt.Sprintf("account-%d", i), "password": "Password123"})
		switch {
		case a.Status == 429 && a.Header.Get("Retry-After") != "":
			limited++
		case a.Status != 401 || limited > 0:
			t.Fatalf("try %d: %d: %s", i, a.Status, a.Body)
		}
	}
	if limited < 10 {
		t.Errorf("%d of 70 tries were limited", limited)
	}
}

// TestServicesThatStartAtOnceSignIn has programs sign in at the same moment that never try again.
func TestServicesThatStartAtOnceSignIn(t *testing.T) {
	m := meshtest.Start(t)
	const n = 8 // with the race detector a hash takes a fifth of a second
	for i := range n {
		m.Register(t, fmt.Sprint("svc-", i))
	}
	got := statuses(n, func(i int) int {
		slug := fmt.Sprint("svc-", i)
		return m.Do(t, "POST", "/user-svc/login", "", obj{"slug": slug, "password": "password-of-" + slug}).Status
	})
	if got[200] != n {
		t.Errorf("the answers are %v", got)
	}
}

func TestParallelLoginsAreBounded(t *testing.T) {
	m := meshtest.Start(t)
	m.Register(t, "joe")
	got := statuses(500, func(int) int {
		a := m.Do(t, "POST", "/user-svc/login", "", obj{"slug": "joe", "password": "password-of-joe"})
		if a.Status != 200 && a.Header.Get("Retry-After") == "" {
			t.Errorf("%d without Retry-After: %s", a.Status, a.Body)
		}
		return a.Status
	})
	if got[200] == 0 || got[503]+got[429] == 0 || got[200]+got[503]+got[429] != 500 {
		t.Errorf("the answers are %v", got)
	}
	m.Login(t, "joe", "password-of-joe")
}

func TestContactThatIsTakenIsNotTold(t *testing.T) {
	m := meshtest.Start(t)
	reg := func(slug string) meshtest.Answer {
		return m.Version2().Do(t, "POST", "/user-svc/register", "", obj{
			"slug": slug, "password": "password-of-" + slug, "contact": obj{"id": "joe@example.com", "platform": "email"},
		}).Must(t, 200)
	}
	shape := func(a meshtest.Answer) (names []string) {
		for _, f := range []string{"id", "appId", "createdAt", "device", "expiresAt", "token", "updatedAt", "userId", "refreshToken"} {
			if a.Text("token", f) != "" {
				names = append(names, f)
			}
		}
		return names
	}
	if diff := cmp.Diff(shape(reg("joe")), shape(reg("imitator"))); diff != "" {
		t.Error(diff)
	}
}
