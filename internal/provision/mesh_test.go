package provision_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	gateway "micromesh/gateway/app"
	"micromesh/internal/meshtest/upstream"
	"micromesh/internal/provision"
	"micromesh/pkg/config"
	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/instances"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/logtest"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/secret"
	proxy "micromesh/proxy/app"
	registry "micromesh/registry/app"
	user "micromesh/user/app"
)

type obj = map[string]any

// app is a service that was opened.
type app interface {
	Run(ctx context.Context) error
	Close() error
}

// runMesh runs the four services, each with a host, a login and a certificate of its own, and gives the gateway's URL.
func runMesh(t *testing.T, s natsServer, log *slog.Logger) string {
	t.Helper()
	dir := t.TempDir()
	database := func(name string) string { return "sqlite:" + filepath.Join(dir, name) }
	var u user.Config
	var r registry.Config
	var p proxy.Config
	var g gateway.Config
	if err := config.Parse(map[string]string{"MICRO_ADMIN_PASSWORD": "changeme", "MICRO_INSTANCE_NETWORKS": "127.0.0.0/8"}, &u, &r, &p, &g); err != nil {
		t.Fatal(err)
	}
	u.DatabaseURL, u.MailDir, r.DatabaseURL, p.DatabaseURL, g.Listen = database("user.db"), dir, database("registry.db"), database("proxy.db"), "127.0.0.1:0"
	gate, err := gateway.New(t.Context(), s.host(t, gateway.Name, log), g)
	if err != nil {
		t.Fatal(err)
	}
	run(t, gate)
	runOf(t, func() (app, error) { return user.New(t.Context(), s.host(t, user.Name, log), u) })
	runOf(t, func() (app, error) { return registry.New(t.Context(), s.host(t, registry.Name, log), r) })
	runOf(t, func() (app, error) { return proxy.New(t.Context(), s.host(t, proxy.Name, log), p) })
	return "http://" + gate.Addr().String()
}

func runOf(t *testing.T, open func() (app, error)) {
	t.Helper()
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	run(t, a)
}

// run runs a service until the test ends.
func run(t *testing.T, a app) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// host is what a service's own process would give it.
func (s natsServer) host(t *testing.T, service string, log *slog.Logger) *host.Host {
	t.Helper()
	folder := filepath.Join(s.secrets, service)
	id, err := identity.Load(identity.Files{Cert: filepath.Join(folder, "cert.pem"), Key: filepath.Join(folder, "key.pem"), CA: filepath.Join(folder, "ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	box, err := secret.Parse(read(t, folder, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsconn.Connect(t.Context(), natsconn.Config{URL: s.url, Name: service, Logger: log, Extra: s.options(t, service)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	h, err := host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: log, Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// call calls the gateway until it answers with a status: what was written elsewhere takes a moment to get there.
func call(t *testing.T, status int, method, url, token string, in any) obj {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if rsp.StatusCode == status {
			var out obj
			_ = json.Unmarshal(body, &out)
			return out
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %s: %d %s, want %d", method, url, rsp.StatusCode, body, status)
		}
	}
}

func token(answer obj) string {
	s, _ := answer["token"].(obj)["token"].(string)
	return s
}

// The permissions are enough for all that the services do.
func TestMeshWorksWithTheseSecrets(t *testing.T) {
	s := startNATS(t)
	log := &logtest.Buffer{}
	url := runMesh(t, s, slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), &slog.HandlerOptions{Level: slog.LevelWarn})))
	web := upstream.Start(t)
	admin := token(call(t, 200, "POST", url+"/user-svc/login", "", obj{"slug": "admin", "password": "changeme"}))
	call(t, 200, "POST", url+"/user-svc/self", admin, obj{}) // from then on the gateway knows the key that signed the token
	next := tail(t, url+"/gateway-svc/events?since=1h&topics=accounts,instances,routes", admin)
	joe := token(call(t, 200, "POST", url+"/user-svc/register", "", obj{"slug": "joe", "name": "Joe", "password": "password-of-joe"}))
	call(t, 201, "PUT", url+"/registry-svc/instance", joe, obj{"url": web.URL})
	call(t, 200, "GET", url+"/joe/hello", joe, nil)
	call(t, 200, "DELETE", url+"/user-svc/tokens", joe, obj{})
	call(t, 401, "POST", url+"/user-svc/self", joe, obj{})
	call(t, 200, "PUT", url+"/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "joe.example.com", "target": web.URL}}})
	for _, want := range []string{"ACCOUNT_REGISTERED", "INSTANCE_REGISTERED", "ROUTE"} {
		for !strings.Contains(next(), want) { // the test's timeout ends a stream without it
		}
	}
	if strings.Contains(strings.ToLower(log.String()), "permissions violation") {
		t.Errorf("a service was refused something:\n%s", log)
	}
}

// TestForgedEventsReachNobody has somebody who may do everything on NATS, and has no service's certificate: an event of the
// registry, signed by a key that the bucket of keys calls the registry's.
func TestForgedEventsReachNobody(t *testing.T) {
	s := startNATS(t)
	log := &logtest.Buffer{}
	url := runMesh(t, s, slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), &slog.HandlerOptions{Level: slog.LevelWarn})))
	admin := token(call(t, 200, "POST", url+"/user-svc/login", "", obj{"slug": "admin", "password": "changeme"}))
	call(t, 201, "PUT", url+"/registry-svc/instance", admin, obj{"id": "before", "url": upstream.Start(t).URL})
	next := tail(t, url+"/gateway-svc/events?since=1h&topics=instances", admin)
	awaitEvent(next, "before")
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(s.connect(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	forger := events.NewSigner(registry.Name, box, nil)
	if err := forger.Announce(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: events.Subject(instances.Topic), Header: nats.Header{"ce-id": {"forged"}, "ce-source": {"/" + registry.Name}, "ce-specversion": {"1.0"}}}
	forger.Sign(m)
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	call(t, 201, "PUT", url+"/registry-svc/instance", admin, obj{"id": "after", "url": upstream.Start(t).URL})
	if got := awaitEvent(next, "after"); strings.Contains(got, "forged") {
		t.Errorf("delivered %s", got)
	}
	if !strings.Contains(log.String(), "event_dropped") {
		t.Error("nothing was said of it")
	}
}

// awaitEvent gives what comes up to an event that says something. The test's timeout ends a stream without it.
func awaitEvent(next func() string, says string) string {
	var all strings.Builder
	for !strings.Contains(all.String(), says) {
		all.WriteString(next())
	}
	return all.String()
}

// tail gives the events of the gateway's stream one by one.
func tail(t *testing.T, url, token string) (next func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rsp.Body.Close() })
	if rsp.StatusCode != http.StatusOK {
		t.Fatalf("events: %s", rsp.Status)
	}
	lines := bufio.NewReader(rsp.Body)
	return func() string {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(fmt.Errorf("read event: %w", err))
		}
		return line
	}
}

// A mesh of other secrets, or a client without any, is not served on RPC.
func TestServicesOfAnotherAuthorityAreStrangers(t *testing.T) {
	s := startNATS(t)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	url := runMesh(t, s, log)
	call(t, 200, "POST", url+"/user-svc/login", "", obj{"slug": "admin", "password": "changeme"})
	other := t.TempDir()
	secrets(t, provision.Config{Dir: other})
	for name, id := range map[string]*identity.Files{
		"plain text":        nil,
		"another authority": {Cert: other + "/gateway-svc/cert.pem", Key: other + "/gateway-svc/key.pem", CA: s.secrets + "/ca/ca.pem"},
	} {
		h := s.stranger(t, id, log)
		if err := h.Nodes.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.RPC.Raw(t.Context(), user.Name, "UserService.GetPublicKey", "json", []byte("{}"), nil); err == nil {
			t.Errorf("%s: the call was answered", name)
		}
	}
	known := s.host(t, gateway.Name, log)
	if err := known.Nodes.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := known.RPC.Raw(t.Context(), user.Name, "UserService.GetPublicKey", "json", []byte("{}"), nil); err != nil {
		t.Errorf("the gateway's certificate: %v", err)
	}
}

// stranger is a host that finds the mesh's nodes, and shows something else on RPC.
func (s natsServer) stranger(t *testing.T, files *identity.Files, log *slog.Logger) *host.Host {
	t.Helper()
	cfg := host.Config{NATS: s.connect(t, gateway.Name), Logger: log}
	if files != nil {
		id, err := identity.Load(*files)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Identity = id
	}
	h, err := host.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// A watch of much content is paced by flow control, which the watcher answers.
func TestBigBucketsAreRead(t *testing.T) {
	const entries = 100
	s := startNATS(t)
	js := func(login string) jetstream.JetStream {
		js, err := jetstream.New(s.connect(t, login))
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	b, err := kv.Open(t.Context(), js(user.Name), kv.Permits, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if _, err := b.Put(t.Context(), fmt.Sprint(i), make([]byte, 256<<10)); err != nil {
			t.Fatal(err)
		}
	}
	reader := js(gateway.Name)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m := kv.Watch(ctx, reader, kv.Permits, slog.New(slog.DiscardHandler), func(string, []byte) (int, error) { return 0, nil })
	if err := m.WaitFor(ctx, func(all map[string]int) bool { return len(all) == entries }); err != nil {
		t.Errorf("%d entries of %d were read: %v", len(m.Load()), entries, err)
	}
	if err := reader.Conn().LastError(); err != nil {
		t.Error(err)
	}
	cancel()
	m.Wait()
}
