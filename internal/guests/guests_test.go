// Package guests_test runs programs in plain go-micro beside a mesh: in one process, and in processes of its own.
package guests_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/logtest"
)

func TestMain(m *testing.M) { cluster.Main(m) }

const patience = 30 * time.Second

// place is a mesh that programs run beside.
type place struct {
	*meshtest.Mesh
	stop func() // nil where there are processes
	bin  string
	env  map[string]string // of each program
	log  func() string     // of the registry
}

// oneProcess is the mesh of `micro up`.
func oneProcess(t *testing.T, change func(*mesh.Config)) *place {
	t.Helper()
	log := &logtest.Buffer{}
	cfg, err := meshtest.Config(t.TempDir(), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	cfg.NATSListen, cfg.Gateway.ExposeStock = "127.0.0.1:0", true
	if change != nil {
		change(&cfg)
	}
	m, err := mesh.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return &place{
		stop: m.Stop,
		Mesh: &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}, bin: program(t), log: log.String,
		env: map[string]string{
			"MICRO_REGISTRY": "nats", "MICRO_REGISTRY_ADDRESS": m.NATSAddr().String(), "MICRO_TRANSPORT_ADDRESS": m.NATSAddr().String(),
			"MICRO_NATS_ADDRESS": m.NATSAddr().String(), "MICRO_BROKER_ADDRESS": "127.0.0.1:0",
		},
	}
}

// processes is a mesh each of whose services is a process of its own.
func processes(t *testing.T) *place {
	t.Helper()
	c := cluster.Start(t, cluster.Config{Guests: true, GuestsOpen: true, Of: map[string]map[string]string{
		"user": {"MICRO_ADMIN_SLUG": meshtest.AdminSlug, "MICRO_ADMIN_PASSWORD": meshtest.AdminPassword},
	}})
	env := c.GuestEnv()
	delete(env, "MICRO_SERVER_ADDRESS")
	env["MICRO_TRANSPORT_ADDRESS"], env["MICRO_NATS_ADDRESS"] = env["MICRO_REGISTRY_ADDRESS"], env["MICRO_REGISTRY_ADDRESS"]
	return &place{Mesh: &meshtest.Mesh{URL: c.Gateway(0)}, bin: program(t), env: env, log: func() string { return c.Services["registry"][0].Log() }}
}

// program builds the program.
func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plain")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/plain").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return file
}

// run starts a program under a name, with settings beside those of all. kill ends it as kill -9 does.
func (p *place) run(t *testing.T, name string, settings ...string) (kill func()) {
	t.Helper()
	cmd := exec.Command(p.bin)
	env := maps.Clone(p.env)
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		env[k] = v
	}
	cmd.Env = append(os.Environ(), "PLAIN_NAME="+name)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out := &logtest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			t.Logf("%s: %s", name, out)
			t.Logf("registry: %s", p.log())
		}
	})
	return kill
}

func (p *place) hello(t *testing.T, name string) meshtest.Answer {
	t.Helper()
	return p.Do(t, "POST", "/"+name+"/Greeter.Hello", "abc", `{"name":"joe"}`)
}

// ask has one program call a method of another service, by go-micro's client.
func (p *place) ask(t *testing.T, by, service, endpoint, token, body string) (answer, fault string) {
	t.Helper()
	a := p.Do(t, "POST", "/"+by+"/Greeter.Ask", "", map[string]any{
		"service": service, "endpoint": endpoint, "token": token, "body": map[string]string{"name": body},
	})
	if a.Status != 200 {
		return "", string(a.Body)
	}
	return a.Text("answer"), a.Text("error")
}

func TestGuestsBesideOneProcess(t *testing.T) {
	t.Parallel()
	all(t, oneProcess(t, nil))
}

func TestGuestsBesideProcesses(t *testing.T) {
	t.Parallel()
	all(t, processes(t))
}

func all(t *testing.T, p *place) {
	t.Helper()
	p.called(t)
	t.Run("sites", func(t *testing.T) { t.Parallel(); p.sites(t) })
	t.Run("refused", func(t *testing.T) { t.Parallel(); p.refused(t) })
	t.Run("calls the mesh", func(t *testing.T) { t.Parallel(); p.callsTheMesh(t) })
	t.Run("without a login", func(t *testing.T) { t.Parallel(); p.withoutLogin(t) })
	t.Run("brokers", func(t *testing.T) { t.Parallel(); p.brokers(t) })
	t.Run("between", func(t *testing.T) { t.Parallel(); p.between(t) })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// called calls programs on each of go-micro's servers and transports.
func (p *place) called(t *testing.T) {
	t.Helper()
	for name, settings := range map[string][]string{
		"by-http":    nil,
		"by-grpc":    {"PLAIN_SPEAKS=grpc"},
		"by-nats":    {"MICRO_TRANSPORT=nats"},
		"by-profile": {"MICRO_PROFILE=nats", "MICRO_REGISTRY=", "MICRO_BROKER_ADDRESS=" + p.env["MICRO_NATS_ADDRESS"]},
	} {
		p.run(t, name, settings...)
		eventually(t, name+" answers", func() bool { return p.hello(t, name).Status != 404 })
		if a := p.hello(t, name).Must(t, 200); a.Text("text") != "hello joe" || a.Text("token") != "Bearer abc" {
			t.Errorf("%s: answer is %s", name, a.Body)
		}
		if a := p.Do(t, "POST", "/"+name+"/Greeter/Hello", "", `{}`).Must(t, 400); a.Text("error") != "say a name" {
			t.Errorf("%s: error is %s", name, a.Body)
		}
		scheme := map[string]string{"by-http": "http:", "by-grpc": "grpc:", "by-nats": "nats:", "by-profile": "nats:"}[name]
		if urls := p.listed(t, name); len(urls) != 1 || !strings.HasPrefix(urls[0], scheme) {
			t.Errorf("%s is listed at %v, want %s", name, urls, scheme)
		}
	}
}

// listed returns the URLs of a slug's instances.
func (p *place) listed(t *testing.T, slug string) (urls []string) {
	t.Helper()
	var list struct {
		Instances []struct{ Slug, URL string }
	}
	if err := json.Unmarshal(p.Do(t, "GET", "/registry-svc/instances", p.Admin(t), nil).Must(t, 200).Body, &list); err != nil {
		t.Fatal(err)
	}
	for _, i := range list.Instances {
		if i.Slug == slug {
			urls = append(urls, i.URL)
		}
	}
	return urls
}

// sites forwards requests to a program on go-micro's package web, as to an instance.
func (p *place) sites(t *testing.T) {
	end := p.run(t, "site", "PLAIN_WEB=true", "MICRO_SERVER_ADDRESS=127.0.0.1:0")
	eventually(t, "the site is reachable", func() bool { return p.Do(t, "GET", "/site/hello", "", nil).Status == 200 })
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		a := p.Do(t, method, "/site/hello?a=1", "", `{"x":1}`).Must(t, 200)
		if want := method + ` /site/hello?a=1 {"x":1}`; string(a.Body) != want || a.Header.Get("X-Site") != "site" {
			t.Errorf("answer is %q, want %q", a.Body, want)
		}
	}
	p.Do(t, "GET", "/site/other", "", nil).Must(t, 404)
	if urls := p.listed(t, "site"); len(urls) != 1 || !strings.HasPrefix(urls[0], "http://127.0.0.1:") {
		t.Errorf("the site is listed at %v", urls)
	}
	end()
	eventually(t, "the site has left", func() bool { return p.Do(t, "GET", "/site/hello", "", nil).Status >= 404 })
}

// between has one program call another, whose process is killed and started again.
func (p *place) between(t *testing.T) {
	p.run(t, "asker", "MICRO_CLIENT_RETRIES=0")
	kill := p.run(t, "answerer")
	answers := func() bool {
		for range 20 { // go-micro's client chooses among the nodes that it knows
			if answer, _ := p.ask(t, "asker", "answerer", "Greeter.Hello", "", "ann"); !strings.Contains(answer, "hello ann") {
				return false
			}
		}
		return true
	}
	eventually(t, "the program is called", answers)
	kill()
	p.run(t, "answerer")
	began := time.Now()
	eventually(t, "the program is called again", answers)
	t.Logf("after %v", time.Since(began).Round(time.Millisecond))
}

// TestGuestsCallTheMeshAgainOnceItRunsAgain has a program call the mesh before and after a restart.
func TestGuestsCallTheMeshAgainOnceItRunsAgain(t *testing.T) { //nolint:paralleltest // a process that is started meanwhile would hold the folder's lock for a moment
	dir, nats := t.TempDir(), cluster.FreeAddress(t)
	start := func() *place {
		return oneProcess(t, func(c *mesh.Config) { c.Dir, c.NATSListen = dir, nats })
	}
	p := start()
	p.run(t, "asker")
	called := func() bool {
		_, fault := p.ask(t, "asker", "user-svc", "UserService.ReadSelf", p.Admin(t), "")
		return fault == "" && p.Do(t, "POST", "/asker/Greeter.Hello", "", `{"name":"x"}`).Status == 200
	}
	eventually(t, "user-svc is called", called)
	p.stop()
	p = start()
	began := time.Now()
	eventually(t, "user-svc is called again", called)
	t.Logf("after %v", time.Since(began).Round(time.Millisecond))
}

// refused starts programs that can't join: the gateway's answer and its list for admins have the reasons.
func (p *place) refused(t *testing.T) {
	admin := p.Admin(t)
	p.Register(t, "jill")
	reasons := map[string]string{"jill": "the name is an account's", "nowhere": "its address is not HOST:PORT", "subject": "no subject of its own"}
	for name, settings := range map[string][]string{
		"jill": nil, "nowhere": {"MICRO_SERVER_ADVERTISE=:0"}, "subject": {"MICRO_TRANSPORT=nats", "MICRO_SERVER_ADDRESS=127.0.0.1:0"},
	} {
		kill := p.run(t, name, settings...)
		why := reasons[name]
		eventually(t, "the answer for "+name+" has the reason", func() bool {
			a := p.hello(t, name)
			return a.Status == 404 && strings.Contains(string(a.Body), why)
		})
		if list := string(p.Do(t, "GET", "/gateway-svc/guests", admin, nil).Must(t, 200).Body); !strings.Contains(list, why) {
			t.Errorf("%s is not in the list with its reason: %s", name, list)
		}
		if urls := p.listed(t, name); len(urls) != 0 {
			t.Errorf("%s is an instance at %v", name, urls)
		}
		kill()
	}
	p.Do(t, "GET", "/gateway-svc/guests", "", nil).Must(t, 401)
	if a := p.Do(t, "GET", "/$refused/jill", "", nil); a.Status != 404 {
		t.Errorf("refused programs are a service: %s", a.Body)
	}
	eventually(t, "the reason goes with the program", func() bool { return !strings.Contains(string(p.hello(t, "nowhere").Body), "can't join") })
}

// TestGuestsThatAreNotExposedAreSaidToBe calls a program where the setting that exposes it is off.
func TestGuestsThatAreNotExposedAreSaidToBe(t *testing.T) {
	t.Parallel()
	p := oneProcess(t, func(c *mesh.Config) { c.Gateway.ExposeStock = false })
	p.run(t, "greeter")
	eventually(t, "the answer names the setting", func() bool {
		a := p.hello(t, "greeter")
		return a.Status == 404 && strings.Contains(string(a.Body), "MICRO_EXPOSE_STOCK")
	})
}

// callsTheMesh has programs on each of go-micro's clients call a service of the mesh.
func (p *place) callsTheMesh(t *testing.T) {
	jack := p.Register(t, "jack")
	for name, settings := range map[string][]string{"calls-by-http": nil, "calls-by-grpc": {"PLAIN_SPEAKS=grpc"}} {
		p.run(t, name, settings...)
		eventually(t, name+" calls", func() bool {
			answer, _ := p.ask(t, name, "user-svc", "UserService.ReadSelf", jack, "")
			return strings.Contains(answer, `"jack"`)
		})
		for _, row := range []struct{ endpoint, token, fault string }{
			{"UserService.ReadSelf", "", `"code":401`},
			{"UserService.ReadSelf", jack[:len(jack)-8] + "AAAAAAAA", `"code":401`},
			{"UserService.ListUsers", jack, `"code":403`},
			{"UserService.Drop", jack, `"code":404`},
		} {
			answer, fault := p.ask(t, name, "user-svc", row.endpoint, row.token, "")
			if answer != "" || !strings.Contains(strings.ReplaceAll(fault, " ", ""), row.fault) {
				t.Errorf("%s: %s: answer %s, error %s, want %s", name, row.endpoint, answer, fault, row.fault)
			}
		}
	}
}

// withoutLogin starts a program as go-micro's compose files do: with an address of NATS alone.
func (p *place) withoutLogin(t *testing.T) {
	_, address, found := strings.Cut(p.env["MICRO_REGISTRY_ADDRESS"], "@")
	if !found {
		address = p.env["MICRO_REGISTRY_ADDRESS"]
	}
	p.run(t, "anonymous", "MICRO_REGISTRY_ADDRESS=nats://"+strings.TrimPrefix(address, "nats://"), "SSL_CERT_FILE=/dev/null")
	eventually(t, "the program is called", func() bool { return p.hello(t, "anonymous").Status == 200 })
}

// brokers has programs publish and hear messages by go-micro's brokers, of which the mesh shows nothing.
func (p *place) brokers(t *testing.T) {
	for kind, settings := range map[string][]string{"http": nil, "nats": {"MICRO_BROKER=nats", "MICRO_BROKER_ADDRESS=" + p.env["MICRO_NATS_ADDRESS"]}} {
		p.run(t, "tells-"+kind, settings...)
		p.run(t, "hears-"+kind, append(settings, "PLAIN_LISTENS=true")...)
		eventually(t, "a message arrives by "+kind, func() bool {
			p.Do(t, "POST", "/tells-"+kind+"/Greeter.Tell", "", `{"name":"bob"}`)
			return strings.Contains(string(p.Do(t, "POST", "/hears-"+kind+"/Greeter.Heard", "", `{}`).Body), `"bob"`)
		})
	}
	if a := p.Do(t, "POST", "/micro.http.broker/", "", `{}`); a.Status != 404 || len(p.listed(t, "micro.http.broker")) != 0 {
		t.Errorf("the brokers of programs are reachable: %d %s", a.Status, a.Body)
	}
}
