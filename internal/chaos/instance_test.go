package chaos_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/chaos"
	inone "micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// instanceEnv is set in processes that are an instance; its value is how long each answer takes.
const instanceEnv = "CHAOS_INSTANCE"

// byHeader tells which instance has answered.
const byHeader = "X-By"

// meshEnv is set in processes that are a whole mesh; its value is the folder of what it keeps.
const meshEnv = "CHAOS_MESH"

// playMesh is a whole mesh, and ends with its standard input, where this program was started as one; otherwise it does nothing.
func playMesh() {
	dir := os.Getenv(meshEnv)
	if dir == "" {
		return
	}
	cfg, err := meshtest.Config(dir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	m, err := inone.Start(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("http://" + m.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// playedMesh starts a mesh that is one process.
func playedMesh(t *testing.T, dir string) (*mesh, *exec.Cmd) {
	t.Helper()
	url, cmd := role(t, meshEnv+"="+dir)
	return &mesh{Mesh: &meshtest.Mesh{URL: url}}, cmd
}

// playInstance is an instance, and ends with its standard input, where this program was started as one; otherwise it does nothing.
func playInstance() {
	takes, err := time.ParseDuration(os.Getenv(instanceEnv))
	if err != nil {
		return
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	url := "http://" + ln.Addr().String()
	fmt.Println(url)
	go func() { _ = http.Serve(ln, answering(url, takes)) }() // no timeouts: the gateway alone calls it
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// answering answers each request after a time, as work would take, with its name.
func answering(name string, takes time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if takes > 0 {
			select {
			case <-time.After(takes):
			case <-r.Context().Done():
			}
		}
		w.Header().Set(byHeader, name)
	})
}

// role starts this program in a role that a variable names, until the test ends, and gives the URL that it serves.
func role(t *testing.T, env string) (url string, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Signal(syscall.SIGCONT) // it may be stopped, or have ended
		_ = cmd.Wait()                          // killed, or not
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %v", env, err)
	}
	return strings.TrimSpace(line), cmd
}

// instance is one of shop-svc, in a process of its own.
type instance struct {
	URL string
	ID  string // as the registry knows it

	cmd *exec.Cmd
}

// instance starts one and registers it.
func (m *mesh) instance(t *testing.T, takes time.Duration) *instance {
	t.Helper()
	url, cmd := role(t, instanceEnv+"="+takes.String())
	return &instance{URL: url, ID: m.enlist(t, url), cmd: cmd}
}

// signal sends a signal to the instance's process.
func (i *instance) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := i.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s to an instance: %v", s, err)
	}
}

// enlist registers an instance of shop-svc at a URL, or sends its heartbeat, and gives its id.
func (m *mesh) enlist(t *testing.T, url string) string {
	t.Helper()
	return m.Do(t, "PUT", "/registry-svc/instance", m.token, obj{"url": url}).Must(t, http.StatusCreated).Text("id")
}

// behind registers a proxy in front of an instance as the instance itself.
func (m *mesh) behind(t *testing.T, url string, delay time.Duration) (p *chaos.Proxy, at string) {
	t.Helper()
	p, err := chaos.NewProxy("tcp", strings.TrimPrefix(url, "http://"), delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	at = "http://" + p.Address()
	m.enlist(t, at)
	return p, at
}

// instances gives the ids of all instances that the registry knows of shop-svc.
func (m *mesh) instances(t *testing.T) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	a := m.Do(t, "GET", "/registry-svc/instances?slug=shop-svc", m.token, nil).Must(t, http.StatusOK)
	list, _ := a.Field("instances").([]any)
	for _, i := range list {
		id, _ := i.(obj)["id"].(string)
		ids[id] = true
	}
	return ids
}
