package meshtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// code asks for a one-time code as an admin, who sees it.
func code(t *testing.T, m *meshtest.Mesh, admin, mail string) obj {
	t.Helper()
	a := m.Do(t, "POST", "/user-svc/otp/send", admin, obj{"contactPlatform": "email", "contactHandle": mail}).Must(t, 200)
	return obj{"platform": "email", "id": mail, "otpId": a.Text("otpId"), "otpCode": a.Text("code")}
}

// TestAnAddressIsNobodysUntilItIsProved has a stranger type an address for which the admin role waits, with the settings' defaults.
func TestAnAddressIsNobodysUntilItIsProved(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": []obj{{"role": "user-svc:admin", "contactId": "boss@example.com", "appHost": "*"}}}).Must(t, 200)
	eve := m.Do(t, "POST", "/user-svc/register", "", obj{
		"slug": "eve", "password": "password-of-eve", "contact": obj{"id": "boss@example.com", "platform": "email"},
	}).Must(t, 200).Text("token", "token")
	if roles := rolesOf(t, m, eve); !slices.Equal(roles, []string{"user-svc:user"}) {
		t.Errorf("a stranger has %v", roles)
	}
	m.Do(t, "POST", "/user-svc/users", eve, nil).Must(t, 403)
	boss := m.Do(t, "POST", "/user-svc/login", "", obj{"contact": code(t, m, admin, "Boss@Example.com")}).Must(t, 200)
	if boss.Text("token", "userId") == m.Do(t, "POST", "/user-svc/login", "", obj{"slug": "eve", "password": "password-of-eve"}).Must(t, 200).Text("token", "userId") {
		t.Fatal("the code of an address signs in to the account that merely named it")
	}
	m.Do(t, "POST", "/user-svc/users", boss.Text("token", "token"), nil).Must(t, 200)
	m.Do(t, "POST", "/user-svc/self", eve, nil).Must(t, 401) // the session began with the address
	m.Do(t, "POST", "/user-svc/register", "", obj{"slug": "eve-2", "password": "password-of-eve", "contact": code(t, m, admin, "boss@example.com")}).Must(t, 409)
	for _, handle := range []string{"info@example.com.", "info@example", "\u0130nfo@example.com", "in fo@example.com", "info@1.2.3.4"} {
		m.Do(t, "POST", "/user-svc/otp/send", "", obj{"contactPlatform": "email", "contactHandle": handle}).Must(t, 400)
	}
}

// TestStrangersCantLockAnybodyOut has an account give the admin, and another account, all that it may.
func TestStrangersCantLockAnybodyOut(t *testing.T) {
	m := meshtest.Start(t)
	eve := m.Register(t, "eve")
	joe := m.Do(t, "POST", "/user-svc/self", m.Register(t, "joe"), nil).Must(t, 200).Text("user", "id")
	boss := m.Do(t, "POST", "/user-svc/self", m.Admin(t), nil).Must(t, 200).Text("user", "id")
	for _, victim := range []string{joe, boss} {
		for i := range 20 {
			for _, size := range []int{1000, 110} {
				a := m.Do(t, "PUT", "/user-svc/enrolls", eve, obj{"enrolls": []obj{{"role": fmt.Sprintf("eve:%d%s", i, strings.Repeat("x", size)), "userId": victim}}})
				if a.Status != 200 && a.Status != 400 && a.Status != 409 {
					t.Fatalf("a grant: %d %s", a.Status, a.Body)
				}
			}
		}
		for i := range 45 {
			o := m.Do(t, "PUT", "/user-svc/organization", m.Login(t, "eve", "password-of-eve"), obj{"slug": fmt.Sprintf("o-%d-%.8s", i, victim[4:]), "id": fmt.Sprintf("o%d-%s-%s", i, victim[4:], strings.Repeat("y", 30))})
			if o.Status == 409 {
				break
			}
			a := m.Do(t, "PUT", "/user-svc/organization/"+o.Must(t, 200).Text("organization", "id")+"/user/"+victim, o.Text("token", "token"), obj{})
			if a.Status != 200 && a.Status != 409 {
				t.Fatalf("a membership: %d %s", a.Status, a.Body)
			}
		}
	}
	m.Do(t, "POST", "/user-svc/users", m.Admin(t), nil).Must(t, 200)
	token := m.Login(t, "joe", "password-of-joe")
	m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200)
	// The receiver deletes the roles that it was given.
	list := m.Do(t, "POST", "/user-svc/enrolls", token, obj{"userId": joe}).Must(t, 200).Field("enrolls").([]any)
	for _, e := range list {
		m.Do(t, "DELETE", "/user-svc/enrolls", token, obj{"ids": []any{e.(obj)["id"]}}).Must(t, 200)
	}
	if roles := rolesOf(t, m, m.Login(t, "joe", "password-of-joe")); slices.ContainsFunc(roles, func(r string) bool { return strings.HasPrefix(r, "eve:") }) {
		t.Errorf("joe still has %v", roles)
	}
}

// TestRevokedGrantsAreObeyed takes each kind of grant back, and has requests obey within five seconds.
func TestRevokedGrantsAreObeyed(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	joe := m.Register(t, "joe")
	id := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	enrolls := m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": []obj{{"role": "user-svc:admin", "userId": id, "appHost": "*"}}}).Must(t, 200).Field("enrolls").([]any)
	joe = m.Login(t, "joe", "password-of-joe")
	m.Do(t, "POST", "/user-svc/users", joe, nil).Must(t, 200)
	m.Do(t, "DELETE", "/user-svc/enrolls", admin, obj{"ids": []any{enrolls[0].(obj)["id"]}}).Must(t, 200)
	meshtest.Soon(t, "an admin who is none any more is refused", func() bool { return m.Do(t, "POST", "/user-svc/users", joe, nil).Status == 403 })

	m.Do(t, "PUT", "/user-svc/permits", admin, obj{"permits": []obj{{"id": "per_1", "permission": "registry-svc:node:view", "slugs": []string{"joe"}}}}).Must(t, 200)
	meshtest.Soon(t, "a permit counts", func() bool { return m.Do(t, "POST", "/registry-svc/nodes", joe, nil).Status == 200 })
	m.Do(t, "DELETE", "/user-svc/permits", admin, obj{"ids": []string{"per_1"}}).Must(t, 200)
	meshtest.Soon(t, "a permit that was deleted doesn't", func() bool { return m.Do(t, "POST", "/registry-svc/nodes", joe, nil).Status == 403 })

	sessions := m.Do(t, "POST", "/user-svc/sessions", joe, nil).Must(t, 200).Field("sessions").([]any)
	for _, s := range sessions {
		m.Do(t, "DELETE", "/user-svc/session/"+s.(obj)["id"].(string), admin, nil).Must(t, 200)
	}
	meshtest.Soon(t, "a session that was ended", func() bool { return m.Do(t, "POST", "/user-svc/self", joe, nil).Status == 401 })

	m.Do(t, "POST", "/user-svc/app", admin, obj{"host": "shop.example"}).Must(t, 200)
	in := m.Do(t, "POST", "/user-svc/login", "", obj{"appHost": "shop.example", "slug": "joe", "password": "password-of-joe"}).Must(t, 200)
	m.Do(t, "DELETE", "/user-svc/app/"+in.Text("token", "appId"), admin, nil).Must(t, 200)
	meshtest.Soon(t, "a token of an app that is gone", func() bool { return m.Do(t, "POST", "/user-svc/self", in.Text("token", "token"), nil).Status == 401 })

	joe = m.Login(t, "joe", "password-of-joe")
	m.Do(t, "POST", "/user-svc/keys/rotate", joe, obj{"revoke": true}).Must(t, 403)
	m.Do(t, "POST", "/user-svc/keys/rotate", admin, obj{"revoke": true}).Must(t, 200)
	meshtest.Soon(t, "a token of a key that was revoked", func() bool { return m.Do(t, "POST", "/user-svc/self", joe, nil).Status == 401 })
	meshtest.Soon(t, "a token of the new key", func() bool {
		return m.Do(t, "POST", "/user-svc/self", m.Login(t, "joe", "password-of-joe"), nil).Status == 200
	})
}

// TestExchangeGainsNothing tries to get more than an access token out of an access token.
func TestExchangeGainsNothing(t *testing.T) {
	m := meshtest.Start(t).Version2()
	in := register(t, m, "joe", "password-of-joe").Must(t, 200)
	token := in.Text("token", "token")
	x := m.Do(t, "PUT", "/user-svc/token/exchange", token, obj{"newDevice": "thief"}).Must(t, 200)
	again := m.Do(t, "PUT", "/user-svc/token/exchange", x.Text("token", "token"), obj{"newDevice": "thief-2"}).Must(t, 200)
	fresh := m.Do(t, "POST", "/user-svc/refresh-token", token, nil).Must(t, 200)
	for what, a := range map[string]meshtest.Answer{"an exchange": x, "an exchange of an exchange": again, "a refresh by an access token": fresh} {
		if a.Field("token", "refreshToken") != nil {
			t.Errorf("%s answers a refresh token", what)
		}
	}
	if in.Text("token", "refreshToken") == "" {
		t.Error("a sign-in answers no refresh token")
	}
	m.Do(t, "DELETE", "/user-svc/tokens", token, obj{}).Must(t, 200)
	for what, a := range map[string]meshtest.Answer{"an exchange": x, "an exchange of an exchange": again, "a refresh": fresh} {
		meshtest.Soon(t, what+" ends with its session", func() bool { return m.Do(t, "POST", "/user-svc/self", a.Text("token", "token"), nil).Status == 401 })
		m.Do(t, "POST", "/user-svc/refresh-token", a.Text("token", "token"), nil).Must(t, 401)
	}
}

// TestWhichTokenAnInstanceReceives has one mesh with a mode for each slug.
func TestWhichTokenAnInstanceReceives(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.CallerToken = "identity,forward-svc=forward,audience-svc=audience" })
	for _, slug := range []string{"forward-svc", "identity-svc", "audience-svc"} {
		m.Do(t, "PUT", "/registry-svc/instance", m.Register(t, slug), obj{"url": upstream.Start(t).URL}).Must(t, 201)
	}
	in := register(t, m.Version2(), "joe", "password-of-joe").Must(t, 200)
	token := in.Text("token", "token")
	saw := func(slug string, credentials ...string) upstream.Seen {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+"/"+slug+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["authorization"] = credentials
		var s upstream.Seen
		if err := json.Unmarshal(meshtest.Send(t, req).Must(t, 200).Body, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := saw("forward-svc", "Bearer "+token); got.Header.Get("Authorization") != "Bearer "+token || got.Header.Get("X-User-Slug") != "joe" {
		t.Errorf("forward: %v", got.Header)
	}
	if got := saw("identity-svc", "bearer "+token); got.Header.Get("Authorization") != "" || got.Header.Get("X-User-Slug") != "joe" || got.Header.Get("X-Roles") != "user-svc:user" {
		t.Errorf("identity: %v", got.Header)
	}
	got := saw("audience-svc", "Bearer "+token)
	own, ok := strings.CutPrefix(got.Header.Get("Authorization"), "Bearer ")
	if !ok || own == token || got.Header.Get("X-User-Slug") != "joe" {
		t.Fatalf("audience: %v", got.Header)
	}
	claims := split(t, own).claims
	if fmt.Sprint(claims["aud"]) != "[audience-svc]" || claims["1sl"] != "joe" || claims["exp"].(float64)-claims["iat"].(float64) > 300 {
		t.Errorf("the token for the audience says %v", claims)
	}
	m.Do(t, "POST", "/user-svc/self", own, nil).Must(t, 401) // it is for nobody else
	m.Do(t, "POST", "/user-svc/refresh-token", own, nil).Must(t, 401)
	m.Do(t, "PUT", "/user-svc/token/exchange", own, obj{}).Must(t, 401)
	if again := saw("audience-svc", "Bearer "+token); again.Header.Get("Authorization") != got.Header.Get("Authorization") {
		t.Error("the token for the audience is not remembered")
	}
	// What is the mesh's never arrives; what is not passes.
	m.Do(t, "DELETE", "/user-svc/tokens", token, obj{}).Must(t, 200)
	for _, slug := range []string{"identity-svc", "audience-svc"} {
		meshtest.Soon(t, "a revoked token is no identity", func() bool { return saw(slug, "Bearer "+token).Header.Get("X-User-Slug") == "" })
		for _, c := range []string{
			"Bearer " + token, "BEARER " + token, "Bearer " + in.Text("token", "refreshToken"), "Bearer  " + token, token, "Bearer\t" + token, "Token " + token, "DPoP " + token,
			"Bearer " + token + "=", "Bearer " + token + ".", `Bearer "` + token + `"`, "Basic x, Bearer " + token, "Bearer " + token + ",x", "Bearer " + own, own,
		} {
			if got := saw(slug, c).Header.Get("Authorization"); got != "" {
				t.Errorf("%s received %q", slug, got)
			}
		}
		for _, c := range []string{"Basic am9lOnB3", "Bearer of-another-system", "Token x"} {
			if got := saw(slug, c).Header.Get("Authorization"); got != c {
				t.Errorf("%s received %q, not its own %q", slug, got, c)
			}
		}
	}
}

// TestTokensThatAreTooLong sends tokens that are refused unread.
func TestTokensThatAreTooLong(t *testing.T) {
	m := meshtest.Start(t)
	for _, token := range []string{strings.Repeat(".", 100_000), strings.Repeat("a.", 5000), strings.Repeat("x", 100_000)} {
		if a := m.Do(t, "POST", "/user-svc/self", token, nil); a.Status != 401 || a.Text("code") != "INVALID_TOKEN" {
			t.Errorf("%d bytes of %.2s: %d %s", len(token), token, a.Status, a.Body)
		}
	}
}

func TestTestModeIsForLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "shop:80", "10.0.0.1:8080"} {
		cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		cfg.User.Test, cfg.Gateway.Listen = true, address
		if _, err := mesh.Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "MICRO_TEST") {
			t.Errorf("on %s: %v", address, err)
		}
	}
	m := meshtest.Start(t, func(c *mesh.Config) { c.User.Test = true })
	m.Do(t, "POST", "/user-svc/register", "", obj{"slug": "joe", "password": "p"}).Must(t, 200)
	a := m.Do(t, "POST", "/user-svc/otp/send", "", obj{"contactPlatform": "email", "contactId": "joe@example.com", "appHost": "unnamed"}).Must(t, 200)
	if len(a.Text("code")) != 6 {
		t.Errorf("the answer is %s", a.Body)
	}
}

// TestManyProcessesRefreshOneToken has processes share the token of one sign-in, and keep the first one.
func TestManyProcessesRefreshOneToken(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) {
		c.User.TokenExpiration, c.User.TokenAutoRefresh = 2*time.Second, true
	})
	old := m.Register(t, "joe")
	for range 3 {
		for range 4 {
			m.Do(t, "POST", "/user-svc/self", old, nil).Must(t, 200)
			next := m.Do(t, "POST", "/user-svc/refresh-token", old, nil).Must(t, 200).Text("token", "token")
			m.Do(t, "POST", "/user-svc/self", next, nil).Must(t, 200)
		}
		expires := time.Now().Add(1500 * time.Millisecond)
		meshtest.Eventually(t, "time passes", func() bool { return time.Now().After(expires) })
	}
	m.Do(t, "DELETE", "/user-svc/tokens", old, obj{}).Must(t, 200)
	meshtest.Soon(t, "after a sign-out", func() bool { return m.Do(t, "POST", "/user-svc/self", old, nil).Status == 401 })
	m.Do(t, "POST", "/user-svc/refresh-token", old, nil).Must(t, 401)
}
