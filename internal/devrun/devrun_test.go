package devrun_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"micromesh/internal/devrun"
	"micromesh/internal/protogen"
	"micromesh/internal/scaffold"
	"micromesh/pkg/backend/backendtest"
)

func TestMain(m *testing.M) {
	protogen.Plugin()
	os.Exit(m.Run())
}

// said is what was told.
type said struct {
	mu  sync.Mutex
	all strings.Builder
}

func (s *said) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.all, format+"\n", args...)
}

func (s *said) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// until waits for what is to come.
func until(t *testing.T, what string, s *said, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) { // Go builds meanwhile
		if time.Now().After(deadline) {
			t.Fatalf("%s; it told:\n%s", what, s.text())
		}
	}
}

// service writes a service that keeps nothing.
func service(t *testing.T, language string) string {
	t.Helper()
	name, err := scaffold.ParseName("account")
	if err != nil {
		t.Fatal(err)
	}
	w, err := scaffold.New(t.Context(), scaffold.Spec{Name: name, Dir: t.TempDir(), NoDB: true, HTTP: language})
	if err != nil {
		t.Fatal(err)
	}
	return w.Dir
}

func replace(t *testing.T, file, from, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), from) {
		t.Fatalf("%s has no %q", file, from)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs a service until the test ends, with a mesh's data folder.
func start(t *testing.T, dir, data string) *said {
	t.Helper()
	p, err := devrun.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	environ := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		environ[name] = value
	}
	env, err := p.Environ(environ, []string{filepath.Join(data, "none"), data}, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &said{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- devrun.Run(ctx, devrun.Config{Dir: dir, Environ: append(env, "GOFLAGS=", "GOWORK=off"), Stdout: t.Output(), Stderr: t.Output(), Tell: s.tell})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

// A service that was just written runs beside a mesh, and follows what its author changes.
func TestAServiceFollowsItsSources(t *testing.T) {
	m := backendtest.Start(t)
	data := t.TempDir()
	// The server takes any login; which one it is, the mesh's own tests check.
	url := strings.Replace(m.NATS(), "nats://", "nats://service:secret@", 1)
	if err := os.WriteFile(filepath.Join(data, "nats.url"), []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := service(t, "")
	s := start(t, dir, data)
	answer := func() string {
		out, _, err := m.Host.RPC.Raw(t.Context(), "account-svc", "AccountService.Hello", "json", []byte("{}"), metadata.MD{})
		if err != nil {
			return err.Error()
		}
		return string(out)
	}
	says := func(want string) {
		t.Helper()
		until(t, "it never answers "+want, s, func() bool { return strings.Contains(answer(), want) })
	}
	told := func(want string) {
		t.Helper()
		until(t, "it never tells "+want, s, func() bool { return strings.Contains(s.text(), want) })
	}
	says("hello, world")

	handler := filepath.Join(dir, "handler", "handler.go")
	replace(t, handler, `"hello, "`, `"welcome, "`)
	says("welcome, world")

	replace(t, handler, `"welcome, "`, `"welcome, " +`) // which is no Go
	told("goes on as it was")
	says("welcome, world")
	replace(t, handler, `"welcome, " +`, `"good day, "`)
	says("good day, world")

	proto := filepath.Join(dir, "proto", "account", "v1", "account.proto")
	replace(t, proto, "string message = 1;", "string message = 1;\n  string greeter = 2;")
	told("generated: proto/account.pb.go")
	says("greeter")
	replace(t, proto, `{get: "/account-svc/hello"}`, `{get: "/other-svc/hello"}`)
	told("account/v1/account.proto:")
	says("greeter")
}

func TestAScriptIsRestarted(t *testing.T) {
	dir := service(t, scaffold.Python)
	s := start(t, dir, t.TempDir())
	until(t, "it never ends without a mesh", s, func() bool { return strings.Contains(s.text(), "the service has ended: exit status 1") })
	replace(t, filepath.Join(dir, "main.py"), "if __name__", "print('changed', flush=True)\n\n\nif __name__")
	until(t, "it is never restarted", s, func() bool { return strings.Count(s.text(), "started account") == 2 })
	if !strings.Contains(s.text(), "changed: main.py") {
		t.Errorf("it told %s", s.text())
	}
}

func TestWithoutAMeshItSaysWhatToDo(t *testing.T) {
	p, err := devrun.Find(service(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Environ(nil, []string{"nowhere"}, ""); err == nil || !strings.Contains(err.Error(), "no nats.url in nowhere. Start one with `micro up`") {
		t.Errorf("no mesh: %v", err)
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "nats.url"), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Environ(nil, []string{data}, ""); err == nil || !strings.Contains(err.Error(), "is not nats://login:password@host:port") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestSettingsOfTheEnvironmentCount(t *testing.T) {
	p, err := devrun.Find(service(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	env, err := p.Environ(map[string]string{"MICRO_REGISTRY_ADDRESS": "nats://other:1", "MICRO_SECRET_KEY": "k", "MICRO_DATABASE_URL_FILE": "f"}, nil, "http://gateway")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MICRO_REGISTRY_ADDRESS=nats://other:1", "MICRO_SECRET_KEY=k", "MICRO_DATABASE_URL_FILE=f", "MICRO_SERVER=http://gateway"} {
		if !slices.Contains(env, want) {
			t.Errorf("%v lacks %s", env, want)
		}
	}
	for _, e := range env {
		if strings.HasPrefix(e, "MICRO_SECRET_KEY_FILE=") || strings.HasPrefix(e, "MICRO_DATABASE_URL=") || strings.HasPrefix(e, "MICRO_NATS_") {
			t.Errorf("%s is set beside what says the same", e)
		}
	}
}

func TestFoldersWithoutAServiceAreTold(t *testing.T) {
	if _, err := devrun.Find(t.TempDir()); err == nil || !strings.Contains(err.Error(), "main.go, main.py or main.mjs") {
		t.Errorf("%v", err)
	}
}
