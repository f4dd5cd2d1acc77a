// Package first_test runs the first services of other languages against a whole mesh, as their authors would.
package first_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// start runs a program in a folder of its own until the test ends, and waits for its line "serving …".
func start(t *testing.T, dir, server string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MICRO_SERVER="+server)
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended, as hello.sh does
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "serving ") {
		_ = cmd.Wait() // for all that it said
		t.Fatalf("%s said %q, %v: %s", argv, line, err, stderr.String())
	}
}

func script(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFirstServices(t *testing.T) {
	m := meshtest.Start(t)
	joe := m.Register(t, "joe")
	rows := []struct {
		slug string
		argv []string
	}{
		{"hello-py", []string{"python3", script(t, "hello.py")}},
		{"hello-node", []string{"node", script(t, "hello.mjs")}},
	}
	for _, r := range rows {
		t.Run(r.slug, func(t *testing.T) {
			dir := t.TempDir()
			start(t, dir, m.URL, r.argv...)
			if a := m.Do(t, "GET", "/"+r.slug+"/hello", "", nil).Must(t, 200); a.Text("hello") != "world" {
				t.Errorf("hello is %s", a.Body)
			}
			if a := m.Do(t, "GET", "/"+r.slug+"/hello", joe, nil).Must(t, 200); a.Text("hello") != "joe" {
				t.Errorf("hello to joe is %s", a.Body)
			}
			m.Do(t, "GET", "/"+r.slug+"/other", "", nil).Must(t, 404)
			start(t, dir, m.URL, r.argv...) // again: with the stored password, as a second instance
			m.Do(t, "GET", "/"+r.slug+"/hello", "", nil).Must(t, 200)
			m.MustProve(t, r.slug)
		})
	}
}

// TestBodiesAreNoRequests hides requests in the bodies of other requests while signed-in callers ask. It checks that each caller
// gets the answer to its request.
func TestBodiesAreNoRequests(t *testing.T) {
	m := meshtest.Start(t)
	joe := m.Register(t, "joe")
	for slug, argv := range map[string][]string{
		"hello-py":   {"python3", script(t, "hello.py")},
		"hello-node": {"node", script(t, "hello.mjs")},
	} {
		t.Run(slug, func(t *testing.T) {
			start(t, t.TempDir(), m.URL, argv...)
			url := m.URL + "/" + slug + "/hello"
			hidden := "GET /" + slug + "/other HTTP/1.1\r\nHost: x\r\n"
			var asking sync.WaitGroup
			defer asking.Wait()
			for _, body := range []string{hidden + "\r\n", hidden + "X: ", hidden + "\r\n" + hidden + "\r\n" + hidden + "X: "} {
				asking.Go(func() {
					for range 20 {
						if got := hear(t, url, "", body); strings.Contains(got, "joe") {
							t.Errorf("the attacker got %s", got)
						}
					}
				})
				asking.Go(func() {
					for range 20 {
						if got := hear(t, url, joe, ""); got != `{"hello":"joe"}` {
							t.Errorf("joe got %s", got)
						}
					}
				})
			}
		})
	}
}

// hear sends a GET, and returns the answer's body without spaces.
func hear(t *testing.T, url, token, body string) string {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return ""
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Error(err)
	}
	return strings.ReplaceAll(string(b), " ", "")
}

func TestShellPutsAnyServerBehindTheMesh(t *testing.T) {
	m := meshtest.Start(t)
	web := upstream.Start(t)
	dir := t.TempDir()
	for range 2 { // the second time with the stored password
		start(t, dir, m.URL, "sh", script(t, "hello.sh"), "files-svc", web.URL)
		m.Do(t, "GET", "/files-svc/", "", nil).Must(t, 200)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	m := meshtest.Start(t)
	m.Register(t, "hello-py")
	m.Register(t, "hello-node")
	m.Register(t, "files-svc")
	rows := []struct {
		name, server, want string
		argv               []string
	}{
		{"python, no mesh", "http://127.0.0.1:1", "micro up", []string{"python3", script(t, "hello.py")}},
		{"node, no mesh", "http://127.0.0.1:1", "micro up", []string{"node", script(t, "hello.mjs")}},
		{"shell, no mesh", "http://127.0.0.1:1", "micro up", []string{"sh", script(t, "hello.sh"), "files-svc", "http://127.0.0.1:9"}},
		{"python, slug taken", m.URL, "taken", []string{"python3", script(t, "hello.py")}},
		{"node, slug taken", m.URL, "taken", []string{"node", script(t, "hello.mjs")}},
		{"shell, slug taken", m.URL, "taken", []string{"sh", script(t, "hello.sh"), "files-svc", "http://127.0.0.1:9"}},
		{"shell, no arguments", m.URL, "usage", []string{"sh", script(t, "hello.sh")}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), r.argv[0], r.argv[1:]...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "MICRO_SERVER="+r.server)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), r.want) {
				t.Errorf("ended with %v and said %q, want %q", err, out, r.want)
			}
		})
	}
}
