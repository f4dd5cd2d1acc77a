package handler_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"micromesh/pkg/logtest"
	"micromesh/pkg/porttest"
)

// servers start real servers, which have the same resources each and answer with "guarded" or "open" and the target as it came.
var servers = map[string]func(t *testing.T) (address string){
	"net/http": netHTTP,
	"Flask":    flask,
	"nginx":    nginx,
	"Express":  express,
}

func netHTTP(t *testing.T) string {
	answer := func(kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, kind+" "+r.RequestURI) }
	}
	mux := http.NewServeMux()
	for _, p := range []string{"/admin/users", "/users/{user}/secret", "/files/private/", "/widgets/{widget}"} {
		mux.Handle(p, answer("guarded"))
	}
	mux.Handle("/widgets/open", answer("open"))
	mux.Handle("/", answer("open"))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func flask(t *testing.T) string {
	const python = "/usr/bin/python3" // Debian's, which has Debian's packages
	if err := exec.CommandContext(t.Context(), python, "-c", "import flask").Run(); err != nil {
		missing(t, "Flask")
	}
	return program(t, t.TempDir(), python, servingFile(t, "flask_app.py"), "PORT")
}

func express(t *testing.T) string {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool)
		}
	}
	return program(t, modules(t), "node", "app.cjs", "PORT")
}

// modules installs Express from its lock file, in a folder that later runs find again.
func modules(t *testing.T) string {
	t.Helper()
	files := []string{"package.json", "package-lock.json", "app.cjs"}
	sum := sha256.New()
	for _, name := range files {
		content, err := os.ReadFile(servingFile(t, "express/"+name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(content)
	}
	dir := filepath.Join(os.TempDir(), "micromesh-express-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	fresh, err := os.MkdirTemp("", "micromesh-express-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(fresh, os.DirFS(servingFile(t, "express"))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if err := os.Rename(fresh, dir); err != nil { // another run was faster
		t.Cleanup(func() { _ = os.RemoveAll(fresh) })
		return fresh
	}
	return dir
}

func nginx(t *testing.T) string {
	path, err := exec.LookPath("nginx")
	if err != nil {
		if path = "/usr/sbin/nginx"; exec.CommandContext(t.Context(), path, "-v").Run() != nil {
			missing(t, "nginx")
		}
	}
	dir, address := t.TempDir(), porttest.Free(t)
	config, err := os.ReadFile(servingFile(t, "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), bytes.ReplaceAll(config, []byte("ADDRESS"), []byte(address)), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, address, path, "-p", dir, "-c", "nginx.conf")
	return address
}

func servingFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", "servers", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// missing ends a test for which a program is not installed.
func missing(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s: .ci/run installs it", name)
	}
	t.Skipf("there is no %s: its half of the test is left out", name)
}

// program runs a server in a folder; PORT among its arguments is the one where it listens.
func program(t *testing.T, dir string, argv ...string) (address string) {
	t.Helper()
	address = porttest.Free(t)
	_, port, _ := strings.Cut(address, ":")
	for i, a := range argv {
		if a == "PORT" {
			argv[i] = port
		}
	}
	run(t, dir, address, argv...)
	return address
}

// run runs a server until the test ends, and waits until it listens.
func run(t *testing.T, dir, address string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	out := &logtest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%q ended: %s", argv, out)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q doesn't listen at %s: %s", argv, address, out)
		}
	}
}

// wire is a client that sends targets as they are, over one connection as far as the server keeps it.
type wire struct {
	t       *testing.T
	address string
	conn    net.Conn
	in      *bufio.Reader
}

func (w *wire) get(target, token string) (status int, body string) {
	w.t.Helper()
	for range 2 {
		if status, body, err := w.try(target, token); err == nil {
			return status, body
		}
		_ = w.conn.Close()
		w.conn = nil // the server has closed it
	}
	w.t.Fatalf("%s: no answer", target)
	return 0, ""
}

func (w *wire) try(target, token string) (int, string, error) {
	if w.conn == nil {
		var err error
		if w.conn, err = net.Dial("tcp", w.address); err != nil {
			w.t.Fatal(err)
		}
		w.in = bufio.NewReader(w.conn)
	}
	head := "GET " + target + " HTTP/1.1\r\nHost: mesh.test\r\n"
	if token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	err1 := w.conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err2 := io.WriteString(w.conn, head+"\r\n")
	if err := errors.Join(err1, err2); err != nil {
		return 0, "", err
	}
	rsp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(rsp.Body)
	if rsp.Close {
		_ = w.conn.Close()
		w.conn = nil
	}
	return rsp.StatusCode, string(body), err
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

// serverRoutes guard the resources that the servers call guarded.
func serverRoutes(address string) string {
	return fmt.Sprintf(`version: 1
public_paths: [/files/private/readme]
routes:
  - {path: /admin/users, method: GET, auth_required: true, proxy_upstream: %[1]q}
  - {path: "/users/{id}/secret", auth_required: true, proxy_upstream: %[1]q}
  - {path: "/files/private/*", auth_required: true, proxy_upstream: %[1]q}
  - {path: "/widgets/{id}", auth_required: true, proxy_upstream: %[1]q}
  - {path: /widgets/open, proxy_upstream: %[1]q}
  - {path: "/*", proxy_upstream: %[1]q}
`, "http://"+address)
}
