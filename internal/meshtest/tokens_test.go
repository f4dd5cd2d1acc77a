package meshtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"testing"

	"micromesh/internal/meshtest"
)

// parts of a JWT that a forger changes.
type parts struct {
	header, claims obj
	signature      string
}

func split(t *testing.T, token string) parts {
	t.Helper()
	p := strings.Split(token, ".")
	out := parts{signature: p[2]}
	for i, to := range []*obj{&out.header, &out.claims} {
		b, err := base64.RawURLEncoding.DecodeString(p[i])
		if err == nil {
			err = json.Unmarshal(b, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// with gives the token with some fields of its header and its claims replaced, under the signature that it had.
func (p parts) with(t *testing.T, header, claims obj) string {
	t.Helper()
	return p.signed(t, header, claims) + "." + p.signature
}

func (p parts) signed(t *testing.T, header, claims obj) string {
	t.Helper()
	encode := func(base, change obj) string {
		all := maps.Clone(base)
		maps.Copy(all, change)
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return encode(p.header, header) + "." + encode(p.claims, claims)
}

func TestForgedTokensAreNobodys(t *testing.T) {
	m := meshtest.Start(t)
	a := m.Version2().Do(t, "POST", "/user-svc/register", "", obj{"slug": "joe", "password": "password-of-joe"}).Must(t, 200)
	token := a.Text("token", "token")
	p := split(t, token)
	pem := m.Do(t, "GET", "/user-svc/public-key", "", nil).Must(t, 200).Text("publicKey")
	hs256 := p.signed(t, obj{"alg": "HS256"}, nil)
	mac := hmac.New(sha256.New, []byte(pem))
	mac.Write([]byte(hs256))
	for name, forged := range map[string]string{
		"alg none":                     p.with(t, obj{"alg": "none"}, nil),
		"alg None, unsigned":           p.signed(t, obj{"alg": "None"}, nil) + ".",
		"alg nOnE, unsigned":           p.signed(t, obj{"alg": "nOnE"}, nil) + ".",
		"HS256 by the public key":      hs256 + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"an alg that is not the key's": p.with(t, obj{"alg": "PS256"}, nil),
		"SQL as the key's id":          p.with(t, obj{"kid": "' OR 1=1--"}, nil),
		"a path as the key's id":       p.with(t, obj{"kid": "../../secret.key"}, nil),
		"a number as the key's id":     p.with(t, obj{"kid": 7}, nil),
		"a header that is critical":    p.with(t, obj{"crit": []string{"x"}}, nil),
		"roles of an admin":            p.with(t, nil, obj{"1ro": []string{"user-svc:admin"}}),
		"somebody else":                p.with(t, nil, obj{"1ui": "usr_1", "sub": "usr_1"}),
		"a longer life":                p.with(t, nil, obj{"exp": 4102444800}),
		"more than 8 KiB":              strings.Repeat("a", 9000),
		"many dots":                    strings.Repeat(".", 8000),
		"the refresh token":            a.Text("token", "refreshToken"),
		"no token":                     "x",
	} {
		t.Run(name, func(t *testing.T) {
			got := m.Do(t, "POST", "/user-svc/self", forged, nil).Must(t, 401)
			if strings.Contains(string(got.Body), forged) {
				t.Errorf("the answer repeats the token: %.200s", got.Body)
			}
			m.Do(t, "POST", "/user-svc/refresh-token", forgedAccess(forged), nil).Must(t, 401)
		})
	}
	m.Do(t, "POST", "/user-svc/self?token="+token+"&access_token="+token, "", nil).Must(t, 401)
	m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200)
}

// forgedAccess gives what is not a refresh token, which a refresh takes rightly, as it is.
func forgedAccess(token string) string {
	if strings.HasPrefix(token, "mrt_") {
		return token[:len(token)-1] + "!"
	}
	return token
}

func TestBrokenSignatureWhileTheRefreshIsWarm(t *testing.T) {
	m := meshtest.Start(t)
	token := m.Register(t, "joe")
	for range 3 {
		token = m.Do(t, "POST", "/user-svc/refresh-token", token, nil).Must(t, 200).Text("token", "token")
		p := split(t, token)
		other := "A"
		if p.signature[20] == 'A' {
			other = "B"
		}
		p.signature = p.signature[:20] + other + p.signature[21:]
		broken := token[:strings.LastIndexByte(token, '.')+1] + p.signature
		m.Do(t, "POST", "/user-svc/refresh-token", broken, nil).Must(t, 401)
		m.Do(t, "POST", "/user-svc/self", broken, nil).Must(t, 401)
		m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200)
	}
}

// TestARefreshTokenIsUsedOnce presents one again within the grace, which answers what has followed it. What happens later, the tests of the
// service say, on a clock of their own.
func TestARefreshTokenIsUsedOnce(t *testing.T) {
	m := meshtest.Start(t).Version2()
	first := register(t, m, "joe", "password-of-joe").Must(t, 200).Text("token", "refreshToken")
	second := m.Do(t, "POST", "/user-svc/refresh-token", first, nil).Must(t, 200)
	m.Do(t, "POST", "/user-svc/self", second.Text("token", "token"), nil).Must(t, 200)
	again := m.Do(t, "POST", "/user-svc/refresh-token", first, nil).Must(t, 200)
	if a, b := again.Text("token", "refreshToken"), second.Text("token", "refreshToken"); a != b || a == first {
		t.Errorf("the same refresh token answers %q and %q", a, b)
	}
	m.Do(t, "POST", "/user-svc/self", first, nil).Must(t, 401) // it is no access token
	m.Do(t, "DELETE", "/user-svc/tokens", second.Text("token", "token"), obj{}).Must(t, 200)
	m.Do(t, "POST", "/user-svc/refresh-token", second.Text("token", "refreshToken"), nil).Must(t, 401)
}

func TestFiftyParallelRefreshesHaveOneSuccessor(t *testing.T) {
	m := meshtest.Start(t)
	token := m.Register(t, "joe")
	var mu sync.Mutex
	successors := map[string]bool{}
	got := statuses(50, func(int) int {
		a := m.Do(t, "POST", "/user-svc/refresh-token", token, nil)
		if a.Status == 200 {
			mu.Lock()
			defer mu.Unlock()
			successors[a.Text("token", "token")] = true
		}
		return a.Status
	})
	if len(successors) != 1 || got[200]+got[401] != 50 {
		t.Fatalf("%d successors; the answers are %v", len(successors), got)
	}
	for next := range successors {
		self := m.Do(t, "POST", "/user-svc/self", next, obj{"countTokens": true}).Must(t, 200)
		if self.Field("tokenCount") != 1.0 {
			t.Errorf("self is %s", self.Body)
		}
	}
}

func TestEndedSessionsStayEnded(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	rows := []struct {
		name, slug string
		end        func(token, id string)
	}{
		{"sign out", "ann", func(token, _ string) { m.Do(t, "DELETE", "/user-svc/tokens", token, nil).Must(t, 200) }},
		{"sign out everywhere", "bob", func(token, _ string) {
			m.Do(t, "DELETE", "/user-svc/tokens", token, obj{"allTokens": true}).Must(t, 200)
		}},
		{"password changed elsewhere", "cat", func(_, _ string) {
			m.Do(t, "POST", "/user-svc/change-password", m.Login(t, "cat", "password-of-cat"),
				obj{"currentPassword": "password-of-cat", "newPassword": "another password"}).Must(t, 200)
		}},
		{"password reset", "dan", func(_, id string) {
			m.Do(t, "POST", "/user-svc/"+id+"/reset-password", admin, obj{"newPassword": "another password"}).Must(t, 200)
		}},
		{"account deleted", "eve", func(_, id string) { m.Do(t, "DELETE", "/user-svc/user/"+id, admin, nil).Must(t, 200) }},
		{"revoked by an admin", "fay", func(_, id string) {
			m.Do(t, "DELETE", "/user-svc/tokens", admin, obj{"userId": id, "allTokens": true}).Must(t, 200)
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a := m.Version2().Do(t, "POST", "/user-svc/register", "", obj{"slug": r.slug, "password": "password-of-" + r.slug}).Must(t, 200)
			token, refresh := a.Text("token", "token"), a.Text("token", "refreshToken")
			m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200)
			r.end(token, a.Text("token", "userId"))
			m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 401)
			m.Do(t, "POST", "/user-svc/refresh-token", token, nil).Must(t, 401)
			m.Do(t, "POST", "/user-svc/refresh-token", refresh, nil).Must(t, 401)
		})
	}
}
