// Package python_test runs the Python SDK against a whole mesh.
package python_test

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/meshtest"
	"micromesh/pkg/logtest"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

type obj = map[string]any

// program is a Python program that runs until the test ends.
type program struct {
	cmd  *exec.Cmd
	line string // the first that it printed

	stderr logtest.Buffer
}

// start runs a program of testdata in a folder, and waits for its first line or its end.
func start(t *testing.T, dir, server string, env ...string) *program {
	t.Helper()
	script, err := filepath.Abs("testdata/pets.py")
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: exec.CommandContext(t.Context(), "python3", "-B", script)}
	p.cmd.Dir = dir
	p.cmd.Env = append(append(os.Environ(), "MICRO_SERVER="+server, "PYTHONPATH="+sdk), env...)
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.cmd.Wait()
	})
	p.line, _ = bufio.NewReader(out).ReadString('\n') // empty where it ended without one
	return p
}

func TestServiceInPython(t *testing.T) {
	m := meshtest.Start(t)
	dir := t.TempDir()
	p := start(t, dir, m.URL)
	if p.line != "serving "+m.URL+"/pets-py/\n" {
		t.Fatalf("it said %q: %s", p.line, p.stderr.String())
	}
	m.MustProve(t, "pets-py")
	joe, admin := m.Register(t, "joe"), m.Admin(t)
	m.Register(t, "cats-py")
	id := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")

	t.Run("callers", func(t *testing.T) {
		if a := m.Do(t, "GET", "/pets-py/hello?x=1", "", nil).Must(t, 200); a.Text("hello") != "world" {
			t.Errorf("%s", a.Body)
		}
		if a := m.Do(t, "GET", "/pets-py/hello", joe, nil).Must(t, 200); a.Text("hello") != "joe" {
			t.Errorf("%s", a.Body)
		}
		for name, token := range map[string]string{
			"another signature": joe[:len(joe)-6] + "AAAAAA", "no signature": joe[:strings.LastIndex(joe, ".")+1], "alg none": "eyJhbGciOiJub25lIn0." + strings.Split(joe, ".")[1] + ".",
			"no token at all": "x", "8 KB": strings.Repeat("a.", 5000),
		} {
			if a := m.Do(t, "GET", "/pets-py/mine", token, nil); a.Status != 401 || a.Text("code") == "" {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
		}
		m.Do(t, "GET", "/pets-py/mine", "", nil).Must(t, 401)
		for slug, want := range map[string]int{"pets-py": 200, "cats-py": 401} {
			token := m.Do(t, "POST", "/user-svc/token/issue", joe, obj{"slug": slug}).Must(t, 200).Text("token")
			if a := m.Do(t, "GET", "/pets-py/hello", token, nil); a.Status != want || want == 200 && a.Text("hello") != "joe" {
				t.Errorf("a token for %s: %d %s", slug, a.Status, a.Body)
			}
		}
	})
	t.Run("roles", func(t *testing.T) {
		rex := obj{"name": "Rex"}
		m.Do(t, "PUT", "/pets-py/pet/rex", "", rex).Must(t, 401)
		m.Do(t, "PUT", "/pets-py/pet/rex", joe, rex).Must(t, 403)
		m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": []obj{{"role": "pets-py:pet:manager", "userId": id}}}).Must(t, 200)
		manager := m.Login(t, "joe", "password-of-joe")
		if a := m.Do(t, "PUT", "/pets-py/pet/r%20x", manager, rex).Must(t, 201); a.Text("id") != "r x" || a.Text("name") != "Rex" {
			t.Errorf("%s", a.Body)
		}
		if a := m.Do(t, "PUT", "/pets-py/pet/rex", manager, obj{}).Must(t, 400); a.Text("code") != "VALIDATION_ERROR" || a.Field("details").([]any)[0].(obj)["field"] != "name" {
			t.Errorf("%s", a.Body)
		}
		m.Do(t, "PUT", "/pets-py/pet/rex", manager, "{").Must(t, 400)
		m.Do(t, "PUT", "/pets-py/pet/rex", manager, "[]").Must(t, 400)
		// Roles that are lost are lost here too, soon, one by one and all of an owner.
		lost := m.LoseMany(t, "pets-py", id, manager)
		meshtest.Eventually(t, "all roles of an owner are lost", func() bool { return m.Do(t, "PUT", "/pets-py/pet/rex", lost, rex).Status == 403 })
		meshtest.Eventually(t, "the next token has them", func() bool {
			return m.Do(t, "PUT", "/pets-py/pet/rex", m.Login(t, "joe", "password-of-joe"), rex).Status == 201
		})
		// A token that is revoked is refused here too, soon.
		m.Do(t, "DELETE", "/user-svc/tokens", manager, obj{}).Must(t, 200)
		meshtest.Eventually(t, "the revoked token is refused", func() bool { return m.Do(t, "PUT", "/pets-py/pet/rex", manager, rex).Status == 401 })
	})
	t.Run("permissions, and calls of other services", func(t *testing.T) {
		if a := m.Do(t, "GET", "/pets-py/mine", m.Login(t, "joe", "password-of-joe"), nil).Must(t, 200); a.Text("owner") != id || a.Field("may") != false {
			t.Errorf("%s", a.Body)
		}
		if a := m.Do(t, "POST", "/pets-py/relay", "", obj{"countToken": true}); a.Status != 400 || !strings.Contains(string(a.Body), "did you mean countTokens?") {
			t.Errorf("an unknown field of a call: %d %s", a.Status, a.Body)
		}
		if a := m.Do(t, "POST", "/pets-py/relay", "", nil).Must(t, 200); a.Text("user", "slug") != "pets-py" {
			t.Errorf("%s", a.Body)
		}
	})
	t.Run("what goes wrong", func(t *testing.T) {
		m.Do(t, "GET", "/pets-py/nothing", "", nil).Must(t, 404)
		m.Do(t, "DELETE", "/pets-py/hello", "", nil).Must(t, 405)
		if a := m.Do(t, "GET", "/pets-py/broken", "", nil).Must(t, 500); strings.Contains(string(a.Body), "secret") || a.Text("code") != "INTERNAL" {
			t.Errorf("%s", a.Body)
		}
	})
	t.Run("it leaves, and comes again as itself", func(t *testing.T) {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("it ended with %v: %s", err, p.stderr.String())
		}
		if a := m.Do(t, "GET", "/pets-py/hello", "", nil); a.Status != http.StatusServiceUnavailable {
			t.Errorf("after it left: %d", a.Status)
		}
		again := start(t, dir, m.URL)
		if a := m.Do(t, "GET", "/pets-py/hello", "", nil); a.Status != 200 {
			t.Errorf("again: %d %s", a.Status, again.stderr.String())
		}
	})
	t.Run("a slug of somebody else", func(t *testing.T) {
		other := start(t, t.TempDir(), m.URL)
		if other.line != "" || !strings.Contains(other.stderr.String(), "somebody else's") {
			t.Errorf("it said %q, %q", other.line, other.stderr.String())
		}
	})
}

func TestServiceInPythonOutlivesTheMesh(t *testing.T) {
	dir := t.TempDir()
	first := meshtest.Start(t, meshtest.InDir(filepath.Join(dir, "mesh")))
	p := start(t, dir, first.URL)
	first.Stop()
	meshtest.Eventually(t, "it notices", func() bool { return strings.Contains(p.stderr.String(), "no mesh answers") })
	again := meshtest.Start(t, meshtest.InDir(filepath.Join(dir, "mesh")), meshtest.At(first.Addr()))
	meshtest.Eventually(t, "it is back", func() bool { return again.Do(t, "GET", "/pets-py/hello", "", nil).Status == 200 })
}
