package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"micromesh/gateway/app"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/host"
	"micromesh/pkg/logtest"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/secret"
)

// routed is a gateway with a routes.yaml that never settles by itself.
type routed struct {
	t    *testing.T
	app  *app.App
	url  string
	file string
	log  *logtest.Buffer
}

func startRouted(t *testing.T, content string) *routed {
	t.Helper()
	r := &routed{t: t, file: filepath.Join(t.TempDir(), "routes.yaml"), log: &logtest.Buffer{}}
	r.write(content)
	nc, _ := natstest.Start(t).Connect()
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: slog.New(slog.NewJSONHandler(r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r.app, err = app.New(t.Context(), h, app.Config{
		Listen: "127.0.0.1:0", Routes: r.file, RoutesSettle: time.Hour, MaxMessage: 4 << 20, MaxBody: 1 << 30,
		CallTimeout: 5 * time.Second, HeadersTimeout: 5 * time.Second, DrainTimeout: time.Second, TunnelCheck: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for _, err := range []error{<-done, r.app.Close(), h.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	r.url = "http://" + r.app.Addr().String()
	return r
}

// write writes the file in place.
func (r *routed) write(content string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// rename replaces the file.
func (r *routed) rename(content string) {
	r.t.Helper()
	if err := os.WriteFile(r.file+".new", []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		r.t.Fatal(err)
	}
}

func (r *routed) status(path string) int { s, _ := get(r.t, r.url+path); return s }

func (r *routed) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not in time: %s; the log is %s", what, r.log)
		}
	}
}

func (r *routed) metric(line string) func() bool {
	return func() bool {
		_, body := get(r.t, r.url+"/metrics")
		return strings.Contains(body, line+"\n")
	}
}

// TestRoutesAreNotReadHalfWritten appends a route in two writes, of which the second one has its guard.
func TestRoutesAreNotReadHalfWritten(t *testing.T) {
	t.Parallel()
	web := upstream.Start(t)
	head := fmt.Sprintf("version: 1\nroutes:\n  - {path: /open, proxy_upstream: %q}\n", web.URL)
	half := fmt.Sprintf("  - path: /closed\n    proxy_upstream: %q\n", web.URL)
	r := startRouted(t, head)
	if s := r.status("/open"); s != http.StatusOK {
		t.Fatalf("the file is read when the gateway starts: %d", s)
	}
	for name, write := range map[string]func(){
		"in place":      func() { r.write(head + half) },
		"in a new file": func() { _ = os.Remove(r.file); r.write(head + half) },
	} {
		t.Run(name, func(t *testing.T) {
			write()
			r.eventually("the half is seen", r.metric("mesh_gateway_routes_pending 1"))
			if s := r.status("/closed"); s != http.StatusNotFound {
				t.Errorf("half of the file is in force: %d", s)
			}
			r.rename(head)
			r.eventually("it is taken back", r.metric("mesh_gateway_routes_pending 0"))
		})
	}
	r.write(head + half)
	r.eventually("the half is seen", r.metric("mesh_gateway_routes_pending 1"))
	r.write(head + half + "    auth_required: true\n")
	r.app.Reload()
	r.eventually("the whole file", func() bool { return r.status("/closed") == http.StatusUnauthorized })
	if strings.Contains(r.log.String(), "routes_guard_removed") {
		t.Error("a guard that was added is logged as removed")
	}
	r.rename(head + half)
	r.eventually("the guard is removed", func() bool { return r.status("/closed") == http.StatusOK })
	for _, want := range []string{`"level":"WARN"`, `"msg":"routes_guard_removed"`, `"path":"/closed"`, `"line":4`, `"before":"sign-in"`, `"now":"open"`} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, r.log)
		}
	}
}

// TestLastGoodRoutesStay breaks the file, and removes it.
func TestLastGoodRoutesStay(t *testing.T) {
	t.Parallel()
	web := upstream.Start(t)
	good := fmt.Sprintf("version: 1\nroutes:\n  - {path: /open, proxy_upstream: %q}\n", web.URL)
	r := startRouted(t, good)
	for name, spoil := range map[string]func(){
		"mistakes":   func() { r.rename("version: 1\nroutes: [{path: x}]") },
		"empty":      func() { r.rename("") },
		"no file":    func() { _ = os.Remove(r.file) },
		"a folder":   func() { _ = os.Remove(r.file); _ = os.Mkdir(r.file, 0o700) },
		"a bad link": func() { _ = os.Remove(r.file); _ = os.Symlink("nowhere", r.file) },
	} {
		t.Run(name, func(t *testing.T) {
			logged := strings.Count(r.log.String(), "routes_kept")
			spoil()
			r.eventually("it is refused", r.metric("mesh_gateway_routes_refused 1"))
			if s := r.status("/open"); s != http.StatusOK {
				t.Errorf("the last good routes are gone: %d", s)
			}
			r.app.Reload() // which changes nothing
			_ = os.Remove(r.file)
			r.rename(good)
			r.eventually("it is good again", r.metric("mesh_gateway_routes_refused 0"))
			if strings.Count(r.log.String(), "routes_kept") == logged {
				t.Error("nothing was logged")
			}
		})
	}
}
