package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"micromesh/internal/meshtest"
)

// TestVerifierOfTheDocs runs the program by which accounts.md shows how to verify tokens, with tokens of a mesh.
func TestVerifierOfTheDocs(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no node: .ci/run installs it")
		}
		t.Skip("there is no node: the verifier is left out")
	}
	found := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(read(t, "accounts.md"), -1)
	if len(found) != 1 {
		t.Fatalf("accounts.md has %d programs", len(found))
	}
	file := filepath.Join(t.TempDir(), "verifier.mjs")
	if err := os.WriteFile(file, []byte(found[0][1]), 0o600); err != nil {
		t.Fatal(err)
	}
	m := meshtest.Start(t)
	says := func(token, slug string) string {
		cmd := exec.CommandContext(t.Context(), "node", file)
		cmd.Env = append(os.Environ(), "MESH="+m.URL, "TOKEN="+token, "SLUG="+slug)
		out, _ := cmd.CombinedOutput() // a token that is refused ends it with an error
		return string(out)
	}
	check := func(what, token, slug, want string) {
		t.Helper()
		if out := says(token, slug); !strings.Contains(out, want) {
			t.Errorf("%s: the program says %q, want %q", what, out, want)
		}
	}
	type obj = map[string]any
	joe, admin := m.Register(t, "joe"), m.Admin(t)
	m.Do(t, "PUT", "/user-svc/enrolls", joe, obj{"enrolls": []obj{{"id": "enr-1", "role": "joe:clerk", "userId": m.Do(t, "POST", "/user-svc/self", joe, nil).Text("user", "id")}}}).Must(t, 200)
	joe = m.Login(t, "joe", "password-of-joe")
	check("the mesh's token", joe, "shop-svc", "joe joe:clerk user-svc:user\n")
	m.Register(t, "shop-svc")
	one := m.Do(t, "POST", "/user-svc/token/issue", joe, obj{"slug": "shop-svc"}).Must(t, 200).Text("token")
	check("a token for the service", one, "shop-svc", "joe joe:clerk user-svc:user\n")
	check("a token for another service", one, "other-svc", "the token is for another service")
	check("a changed token", joe[:len(joe)-12]+"AAAA"+joe[len(joe)-8:], "shop-svc", "the signature is wrong")

	m.Do(t, "DELETE", "/user-svc/enrolls", joe, obj{"ids": []string{"enr-1"}}).Must(t, 200)
	meshtest.Eventually(t, "the role is lost", func() bool { return says(joe, "shop-svc") == "joe user-svc:user\n" })
	id := m.Do(t, "POST", "/user-svc/self", joe, nil).Text("user", "id")
	m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": []obj{{"role": "shop-svc:clerk", "userId": id}, {"role": "hotel:guest", "userId": id}}}).Must(t, 200)
	joe = m.LoseMany(t, "shop-svc", id, m.Login(t, "joe", "password-of-joe"))
	meshtest.Eventually(t, "all roles of an owner are lost", func() bool { return says(joe, "shop-svc") == "joe hotel:guest user-svc:user\n" })
	m.Do(t, "DELETE", "/user-svc/tokens", joe, obj{}).Must(t, 200)
	meshtest.Eventually(t, "the token is revoked", func() bool { return strings.Contains(says(joe, "shop-svc"), "the token was revoked") })
	m.Do(t, "POST", "/user-svc/keys/rotate", admin, obj{"revoke": true}).Must(t, 200)
	meshtest.Eventually(t, "the key is gone", func() bool { return strings.Contains(says(admin, "shop-svc"), "the key is not known") })
}
