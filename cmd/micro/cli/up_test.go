package cli_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/pkg/config"
)

const patience = 30 * time.Second

// process is a `micro up` that runs.
type process struct {
	cmd    *exec.Cmd
	url    string
	stdout *bytes.Buffer // until ready
	stderr *bytes.Buffer
	waited chan error
}

// up starts `micro up` and waits for its line "ready …".
func up(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	p := command(t, dir, env...)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		lines := bufio.NewScanner(io.TeeReader(out, p.stdout))
		for lines.Scan() {
			if u, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
				ready <- u
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
		p.waited <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	select {
	case u, ok := <-ready:
		if !ok {
			t.Fatalf("micro up ended: %s", p.stderr)
		}
		p.url = u
	case <-time.After(patience):
		t.Fatalf("micro up was not ready in time: %s", p.stderr)
	}
	return p
}

func command(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	p := &process{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, waited: make(chan error, 1)}
	p.cmd = exec.CommandContext(t.Context(), "micro", "up", "--data", dir, "--listen", "127.0.0.1:0")
	p.cmd.Env = append(os.Environ(), append([]string{"MICRO_ADMIN_PASSWORD=changeme"}, env...)...)
	p.cmd.Stderr = p.stderr
	return p
}

// kill ends the process as a power cut does, and waits until it has gone.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.waited
}

// ended waits until the process has ended by itself.
func (p *process) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.waited:
		return err
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines are in its output
		<-p.waited
		t.Fatalf("micro up did not end in time: %s", p.stderr.String())
		return nil
	}
}

func (p *process) call(method, path, token string, in any) (int, map[string]any, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequest(method, p.url+path, bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer rsp.Body.Close()
	var out map[string]any
	err = json.NewDecoder(rsp.Body).Decode(&out)
	return rsp.StatusCode, out, err
}

func (p *process) login(t *testing.T, slug, password string) string {
	t.Helper()
	status, out, err := p.call("POST", "/user-svc/login", "", map[string]string{"slug": slug, "password": password})
	if err != nil || status != 200 {
		t.Fatalf("login of %s: %d %v %v", slug, status, out, err)
	}
	return out["token"].(map[string]any)["token"].(string)
}

// TestWhatWasAcknowledgedOutlivesAKill writes from many clients, kills the process in the middle of it, and looks for
// everything that was answered with success. It does so for several rounds on one folder.
func TestWhatWasAcknowledgedOutlivesAKill(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for round := range 3 {
		p := up(t, dir)
		admin := p.login(t, "admin", "changeme")
		status, out, err := p.call("POST", "/user-svc/permits", admin, map[string]any{})
		if err != nil || status != 200 {
			t.Fatal(status, out, err)
		}
		missing(t, out, acknowledged)
		acknowledged = append(acknowledged, writeUntilKilled(t, p, admin, round)...)
	}
	if len(acknowledged) < 100 {
		t.Errorf("only %d writes were acknowledged: the test shows little", len(acknowledged))
	}
	p := up(t, dir)
	_, out, err := p.call("POST", "/user-svc/permits", p.login(t, "admin", "changeme"), map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	missing(t, out, acknowledged)
	t.Logf("%d acknowledged writes, none lost", len(acknowledged))
}

func missing(t *testing.T, answer map[string]any, want []string) {
	t.Helper()
	have := map[string]bool{}
	list, _ := answer["permits"].([]any)
	for _, p := range list {
		have[p.(map[string]any)["permission"].(string)] = true
	}
	for _, w := range want {
		if !have[w] {
			t.Errorf("%s was acknowledged and is lost", w)
		}
	}
}

func writeUntilKilled(t *testing.T, p *process, admin string, round int) []string {
	t.Helper()
	var (
		mu   sync.Mutex
		done []string
		wg   sync.WaitGroup
	)
	enough := make(chan struct{})
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("chaos:r%d-w%d:n%d", round, w, i)
				status, out, err := p.call("PUT", "/user-svc/permits", admin, map[string]any{"permits": []any{map[string]any{"permission": name, "slugs": []string{"shop-svc"}}}})
				if err != nil {
					return // killed
				}
				if status != 200 {
					t.Errorf("%s: %d %v", name, status, out)
					return
				}
				mu.Lock()
				if done = append(done, name); len(done) == 100 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Error("100 writes took too long")
	}
	p.kill(t)
	wg.Wait()
	return done
}

func TestInterruptDrainsAndEnds(t *testing.T) {
	p := up(t, t.TempDir())
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(t); err != nil {
		t.Errorf("micro up ended with %v: %s", err, p.stderr)
	}
	if s := p.stderr.String(); strings.Contains(s, "level=") || strings.Contains(s, "WARNING") {
		t.Errorf("a quiet start and stop logs nothing, but it said:\n%s", s)
	}
}

// TestSecondInterruptEndsAtOnce holds a request open, so that the first interrupt has something to wait for.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	p := up(t, t.TempDir(), "MICRO_DRAIN_TIMEOUT=10m")
	arrived := make(chan struct{})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived); <-release })}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	admin := p.login(t, "admin", "changeme")
	if status, out, err := p.call("PUT", "/registry-svc/instance", admin, map[string]any{"url": "http://" + ln.Addr().String(), "healthPath": ""}); err != nil || status != 201 {
		t.Fatal(status, out, err)
	}
	go func() {
		for status := http.StatusNotFound; status == http.StatusNotFound; { // the gateway learns of the instance within a moment
			status, _, _ = p.call("GET", "/admin/slow", "", nil)
		}
	}()
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatal("the request does not arrive")
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	// The first signal has arrived when new connections are refused.
	addr := strings.TrimPrefix(p.url, "http://")
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the gateway still takes connections")
		}
	}
	select {
	case err := <-p.waited:
		t.Fatalf("micro up ended although a request was under way: %v", err)
	default:
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = p.ended(t)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("ended with %v, want the signal", err)
	}
}

func TestUpSaysInOneLineWhatIsWrong(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inUse := up(t, t.TempDir())
	rows := []struct {
		name string
		args []string
		env  []string
		want []string
		code int
	}{
		{"port in use", []string{"--listen", busy.Addr().String()}, nil, []string{busy.Addr().String() + " is in use by another program", "--listen"}, 1},
		{"address of another machine", []string{"--listen", "192.0.2.1:8080"}, nil, []string{"192.0.2.1:8080 is no address of this machine"}, 1},
		{"address that is none", []string{"--listen", "nowhere"}, nil, []string{"host:port"}, 2},
		{"folder that can't be made", []string{"--data", filepath.Join(file, "data")}, nil, []string{"data folder", "can't be made"}, 1},
		{"folder in use", []string{"--data", inUse.dir()}, nil, []string{"in use by another mesh"}, 1},
		{
			"several broken settings", nil,
			[]string{"MICRO_TOKEN_EXPIRATION=soon", "MICRO_VERIFY_CONTACTS=perhaps", "MICRO_ADMIN_PASSWORD=short", "MICRO_CORS_ORIGINS=evil"},
			[]string{`MICRO_TOKEN_EXPIRATION is "soon"; it must be a duration`, `MICRO_VERIFY_CONTACTS is "perhaps"; it must be true or false`, "MICRO_ADMIN_PASSWORD has 5 bytes", "MICRO_CORS_ORIGINS"}, 2,
		},
		{"argument too many", []string{"now"}, nil, []string{"micro up"}, 2},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			args := append([]string{"up"}, r.args...)
			if !strings.Contains(strings.Join(args, " "), "--listen") {
				args = append(args[:1:1], append([]string{"--listen", "127.0.0.1:0"}, args[1:]...)...)
			}
			if !strings.Contains(strings.Join(args, " "), "--data") {
				args = append(args[:1:1], append([]string{"--data", t.TempDir()}, args[1:]...)...)
			}
			cmd := exec.CommandContext(t.Context(), "micro", args...)
			cmd.Env = append(os.Environ(), r.env...)
			out, err := cmd.CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != r.code {
				t.Errorf("ended with %v, want exit code %d", err, r.code)
			}
			for _, w := range r.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("said %q, which lacks %q", out, w)
				}
			}
			if n := strings.Count(strings.TrimSpace(string(out)), "\n"); n > len(r.want) {
				t.Errorf("said more than a line for each mistake:\n%s", out)
			}
		})
	}
}

// dir is the data folder, as the process printed it.
func TestUpWarnsOfMisspeltSettings(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "micro", "up", "--data", t.TempDir(), "--listen", "nowhere")
	cmd.Env = append(os.Environ(), "MICRO_CALLER_TOKENS=identity", "MICRO_TOKEN_EXPIRATON=soon", "MICRO_CALLER_TOKEN=audience", "MICRO_SERVER_NAME=x")
	out, _ := cmd.CombinedOutput() // it fails, since the address is wrong
	want := "warning: MICRO_CALLER_TOKENS is no setting: did you mean MICRO_CALLER_TOKEN?\nwarning: MICRO_TOKEN_EXPIRATON is no setting: did you mean MICRO_TOKEN_EXPIRATION?\nmicro: "
	if !strings.HasPrefix(string(out), want) {
		t.Errorf("said %q, want it to begin with %q", out, want)
	}
}

// TestUpListsItsSettings holds the help of `micro up` against the settings of the services: each is listed, or left to their own help here.
func TestUpListsItsSettings(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "micro", "up", "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var cfg mesh.Config
	var left []string
	for _, s := range config.Settings(&cfg.User, &cfg.Registry, &cfg.Proxy, &cfg.Gateway) {
		if !regexp.MustCompile(`\b` + s.Env + `\b`).Match(out) {
			left = append(left, strings.TrimPrefix(s.Env, "MICRO_"))
		}
	}
	slices.Sort(left)
	want := "CALL_TIMEOUT CHECK_INTERVAL CHECK_TIMEOUT DATABASE_URL DRAIN_TIMEOUT GATEWAY_DATA GUESTS_ADVERTISE MAIL_DIR MAIL_FROM MAX_BODY MAX_MESSAGE " +
		"NODE_REGION NODE_URL NODE_ZONE SMTP_INSECURE SMTP_PASSWORD SMTP_USER STOCK_NATS TUNNEL_CHECK UPSTREAM_TIMEOUT"
	if got := strings.Join(left, " "); got != want {
		t.Errorf("the help doesn't list %s, want %s", got, want)
	}
}

func (p *process) dir() string {
	for line := range strings.Lines(p.stdout.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == "data" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestHangupReadsRoutesAgain sends SIGHUP to a mesh with a routes.yaml that was edited in place, and to one without.
func TestHangupReadsRoutesAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(path string) {
		if err := os.WriteFile(file, []byte("version: 1\nroutes: [{path: "+path+", method: PUT, proxy_upstream: x-svc}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("/one")
	p := up(t, t.TempDir(), "MICRO_ROUTES="+file, "MICRO_ROUTES_SETTLE=1h")
	is := func(path string) bool { // a route describes it
		status, _, err := p.call("GET", path, "", nil)
		if err != nil {
			t.Fatalf("the mesh doesn't answer: %v: %s", err, p.stderr)
		}
		return status == http.StatusMethodNotAllowed
	}
	if !is("/one") {
		t.Fatal("the file is not in force")
	}
	write("/two")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !is("/two") || is("/one"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the file was not read again: %s", p.stderr)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(t); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
