//go:build compose

// Package compose_test brings up docker-compose.yml for real, in projects of its own: `make test-compose`.
package compose_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/meshtest"
)

type obj = map[string]any

const adminPassword = "password-of-admin"

// project is a mesh in containers.
type project struct {
	name  string
	dir   string // in which docker compose runs
	files []string
	env   []string
	ports []int // of the gateways
}

// newProject is one without anything yet, as from a clean clone. All of it goes with the test.
func newProject(t *testing.T, name string, files ...string) *project {
	t.Helper()
	port := freePorts(t)
	p := &project{name: fmt.Sprintf("micromesh-test-%s-%d", name, os.Getpid()), dir: "../..", files: files, ports: []int{port, port + 1}}
	p.env = append(os.Environ(),
		"COMPOSE_PROJECT_NAME="+p.name,
		fmt.Sprintf("MICRO_PORT=%d", port), fmt.Sprintf("MICRO_PORTS=%d-%d", port, port+1),
		"MICRO_ADMIN_PASSWORD="+adminPassword,
	)
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = io.WriteString(t.Output(), p.compose(t, "logs", "--no-color", "--tail=50"))
		}
		p.compose(t, "down", "--volumes", "--timeout=5")
	})
	return p
}

// freePorts gives a port that is free, and so is the next. Containers take them much later: so they are below those that the system
// gives to connections (32768 and up on Linux).
func freePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		first, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		second, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
		_ = first.Close()
		if err == nil {
			_ = second.Close()
			return port
		}
	}
	t.Fatal("no two ports beside each other are free")
	return 0
}

// compose runs docker compose, and gives what it prints.
func (p *project) compose(t *testing.T, args ...string) string {
	t.Helper()
	var all []string
	for _, f := range p.files {
		all = append(all, "-f", f)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", append(append([]string{"compose"}, all...), args...)...)
	cmd.Dir, cmd.Env = p.dir, p.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker compose %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// up brings everything up, and waits until a gateway leads to the example.
func (p *project) up(t *testing.T) {
	t.Helper()
	p.compose(t, "up", "--detach", "--build")
	for i := range p.gateways(t) {
		p.await(t, i)
	}
}

// rebuild builds a service anew and restarts it.
func (p *project) rebuild(t *testing.T, service string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "docker-rebuild-"+service)
	cmd.Dir, cmd.Env = "../..", p.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rebuild %s: %v\n%s", service, err, out)
	}
}

// gateways gives the gateways' containers.
func (p *project) gateways(t *testing.T) []string {
	t.Helper()
	return strings.Fields(p.compose(t, "ps", "--quiet", "gateway"))
}

func (p *project) await(t *testing.T, gateway int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); p.gateway(gateway).Do(t, "GET", "/basic-svc/hello", "", nil).Status != 200; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gateway %d does not lead to the example", gateway)
		}
	}
}

func (p *project) gateway(i int) *meshtest.Mesh {
	return &meshtest.Mesh{URL: fmt.Sprintf("http://127.0.0.1:%d", p.ports[i])}
}

func TestDownAndUpAgainLosesNothing(t *testing.T) {
	p := newProject(t, "plain", "docker-compose.yml")
	p.up(t)
	m := p.gateway(0)
	admin := m.Login(t, "admin", adminPassword)
	id := m.Do(t, "POST", "/user-svc/self", m.Register(t, "joe"), nil).Must(t, 200).Text("user", "id")
	m.Do(t, "PUT", "/user-svc/enrolls", admin, obj{"enrolls": []obj{{"role": "basic-svc:pet:manager", "userId": id}}}).Must(t, 200)
	joe := m.Login(t, "joe", "password-of-joe")
	rex := obj{"id": "rex", "name": "Rex", "kind": "dog", "age": 3.0}
	m.Do(t, "PUT", "/basic-svc/pet", joe, obj{"pet": rex}).Must(t, 200)
	m.Do(t, "PUT", "/registry-svc/instance", joe, obj{"url": "http://basic:9000/joe"}).Must(t, 201)
	m.Do(t, "PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "joe.example.com", "target": "http://basic:9000"}}}).Must(t, 200)

	p.compose(t, "down")
	p.up(t)
	p.rebuild(t, "basic")
	p.await(t, 0)

	if got := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id"); got != id {
		t.Errorf("joe's token, signed before, is of %q, was of %q", got, id)
	}
	joe = m.Login(t, "joe", "password-of-joe")
	pets := m.Do(t, "POST", "/basic-svc/pets", joe, obj{}).Must(t, 200).Field("pets").([]any)
	rex["savedBy"] = "joe"
	if diff := cmp.Diff([]any{rex}, pets); diff != "" {
		t.Errorf("pets (-want +got):\n%s", diff)
	}
	if got := m.Do(t, "GET", "/registry-svc/instances", joe, nil).Must(t, 200).Field("instances").([]any); len(got) != 1 {
		t.Errorf("joe's instances are %v", got)
	}
	if got := m.Do(t, "POST", "/proxy-svc/routes", admin, obj{}).Must(t, 200).Field("routes").([]any); len(got) != 1 {
		t.Errorf("routes are %v", got)
	}
}

func TestContainersAreNotRootAndHaveLimits(t *testing.T) {
	p := newProject(t, "limits", "docker-compose.yml", "deploy/compose/shop.yml")
	p.up(t)
	for _, id := range strings.Fields(p.compose(t, "ps", "--all", "--quiet")) {
		var containers []struct {
			Name   string
			Config struct {
				User, Image string
				Healthcheck *struct{ Test []string }
			}
			HostConfig struct {
				Memory         int64
				ReadonlyRootfs bool
				RestartPolicy  struct{ Name string }
				CapDrop        []string
			}
		}
		out, err := exec.Command("docker", "inspect", id).Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &containers); err != nil {
			t.Fatal(err)
		}
		c := containers[0]
		ours := strings.HasPrefix(c.Config.Image, "micromesh/")
		oneShot := strings.Contains(c.Name, "-init-")
		switch {
		case ours && c.Config.User != "65532":
			t.Errorf("%s runs as %q", c.Name, c.Config.User)
		case c.HostConfig.Memory == 0 || len(c.HostConfig.CapDrop) == 0:
			t.Errorf("%s has no limits", c.Name)
		case ours && !c.HostConfig.ReadonlyRootfs:
			t.Errorf("%s may write to its image", c.Name)
		case !oneShot && c.HostConfig.RestartPolicy.Name != "unless-stopped":
			t.Errorf("%s is not restarted: %q", c.Name, c.HostConfig.RestartPolicy.Name)
		case strings.Contains(string(out), adminPassword) != strings.Contains(c.Name, "-user-"):
			t.Errorf("%s: the admin's password is in another's environment, or not in the user service's", c.Name)
		case strings.Contains(string(out), "postgres://") || strings.Contains(string(out), "nats://"):
			t.Errorf("%s has a login in its environment", c.Name)
		}
	}
}

// Three services in plain go-micro join, each with a database of its own. What they hold outlives all containers, and one that is killed is
// no instance any more.
func TestShopBesideTheMesh(t *testing.T) {
	p := newProject(t, "shop", "docker-compose.yml", "deploy/compose/shop.yml")
	p.up(t)
	m := p.gateway(0)
	answers := func(path, holds string) {
		t.Helper()
		meshtest.Eventually(t, path+" gives "+holds, func() bool {
			a := m.Do(t, "GET", path, "", nil)
			return a.Status == 200 && strings.Contains(string(a.Body), holds)
		})
	}
	answers("/products?available=true", `"products":[]`)
	meshtest.Eventually(t, "users takes a user", func() bool {
		return m.Do(t, "POST", "/users", "", obj{"name": "Joe", "email": "joe@example.com"}).Status == 200
	})
	m.Do(t, "POST", "/products", "", obj{"name": "Cup", "price": 750, "stock": 3}).Must(t, 200)
	meshtest.Eventually(t, "orders is found", func() bool { return m.Do(t, "GET", "/users/1/orders", "", nil).Status == 200 })
	m.Do(t, "POST", "/orders", "", obj{"user_id": 1, "product_id": 1, "quantity": 2}).Must(t, 200)
	answers("/users?id=1", `"name":"Joe"`)

	p.compose(t, "down")
	p.up(t)
	answers("/users?id=1", `"name":"Joe"`)
	answers("/products?available=true", `"stock":1`)
	answers("/orders/1", `"total":1500`)

	instances := func() string {
		return string(m.Do(t, "GET", "/registry-svc/instances", m.Login(t, "admin", adminPassword), nil).Must(t, 200).Body)
	}
	for _, program := range []string{"users", "products", "orders"} {
		if !strings.Contains(instances(), `"`+program+`"`) {
			t.Errorf("%s is no instance", program)
		}
	}
	kill(t, p, "products", 0)
	meshtest.Eventually(t, "products is no instance", func() bool { return !strings.Contains(instances(), `"products"`) })
}

// TestServiceOfItsOwnFolderJoins has what `micro new` writes into a folder of its own join, by the commands of its README. It sees
// its own secrets alone, and comes up again with them.
func TestServiceOfItsOwnFolderJoins(t *testing.T) {
	p := newProject(t, "own", "docker-compose.yml")
	p.up(t)
	dir := t.TempDir()
	micro, err := filepath.Abs(filepath.Join(dir, "micro"))
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"go", "build", "-o", micro, "micromesh/cmd/micro"}, {micro, "new", "account", "--crud", "Widget", "name:string", "--dir", dir}} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	file := filepath.Join(dir, "account", "docker-compose.yml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "name: micromesh_", "name: "+p.name+"_")), 0o600); err != nil {
		t.Fatal(err)
	}
	own := &project{name: p.name + "-account", dir: filepath.Dir(file), env: append(slices.Clone(p.env), "COMPOSE_PROJECT_NAME="+p.name+"-account")}
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = io.WriteString(t.Output(), own.compose(t, "logs", "--no-color", "--tail=50"))
		}
		own.compose(t, "down", "--volumes", "--timeout=5")
	})
	own.compose(t, "up", "--detach", "--build")
	p.compose(t, "exec", "-T", "postgres", "sh", "/docker-entrypoint-initdb.d/init.sh")
	p.compose(t, "kill", "--signal", "HUP", "nats")
	m := p.gateway(0)
	joins := func() {
		t.Helper()
		meshtest.Eventually(t, "account-svc answers", func() bool {
			return m.Do(t, "GET", "/account-svc/widgets", m.Login(t, "admin", adminPassword), nil).Status == 200
		})
	}
	joins()
	container := strings.TrimSpace(own.compose(t, "ps", "--quiet", "account"))
	files, err := exec.CommandContext(t.Context(), "docker", "cp", container+":/secrets", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(bytes.NewReader(files)); ; {
		h, err := archive.Next()
		if err != nil {
			break
		}
		if h.Typeflag == tar.TypeReg {
			names = append(names, path.Base(h.Name))
		}
	}
	slices.Sort(names)
	if want := []string{"ca.pem", "cert.pem", "database.url", "key.pem", "nats.password", "secret.key"}; !slices.Equal(names, want) {
		t.Errorf("it sees %v, want %v", names, want)
	}
	own.compose(t, "down")
	meshtest.Eventually(t, "account-svc is away", func() bool {
		return m.Do(t, "GET", "/account-svc/widgets", m.Login(t, "admin", adminPassword), nil).Status != 200
	})
	own.compose(t, "up", "--detach")
	joins()
}

// One process of each kind is killed: the others answer.
func TestTwoOfEachOutliveTheLossOfOne(t *testing.T) {
	p := newProject(t, "ha", "docker-compose.yml", "deploy/compose/ha.yml")
	p.up(t)
	p.replicated(t)
	left := p.gateway(0)
	for i, c := range p.gateways(t) {
		out, err := exec.Command("docker", "port", c, "8080").Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), strconv.Itoa(p.ports[1])) {
			kill(t, p, "gateway", i)
		}
	}
	for _, service := range []string{"nats-2", "user", "registry", "proxy"} {
		kill(t, p, service, 0)
	}
	for i := range 20 {
		slug := fmt.Sprintf("joe-%d", i)
		token := left.Register(t, slug)
		left.Do(t, "PUT", "/registry-svc/instance", token, obj{"url": "http://basic:9000/" + slug}).Must(t, 201)
		left.Do(t, "GET", "/basic-svc/hello", token, nil).Must(t, 200)
		left.Do(t, "POST", "/proxy-svc/routes", token, obj{}).Must(t, 403)
	}
}

// replicated checks that each stream has three copies.
func (p *project) replicated(t *testing.T) {
	t.Helper()
	var server struct {
		Accounts []struct {
			Streams []struct {
				Name   string
				Config struct {
					Replicas int `json:"num_replicas"`
				}
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	out := p.compose(t, "exec", "-T", "nats", "wget", "-qO-", "http://127.0.0.1:8222/jsz?streams=1&config=1")
	if err := json.Unmarshal([]byte(out), &server); err != nil || len(server.Accounts) != 1 || len(server.Accounts[0].Streams) != 9 {
		t.Fatalf("streams of NATS are %s, %v", out, err)
	}
	for _, s := range server.Accounts[0].Streams {
		if s.Config.Replicas != 3 {
			t.Errorf("%s has %d copies", s.Name, s.Config.Replicas)
		}
	}
}

func kill(t *testing.T, p *project, service string, i int) {
	t.Helper()
	containers := strings.Fields(p.compose(t, "ps", "--quiet", service))
	if out, err := exec.Command("docker", "kill", containers[i]).CombinedOutput(); err != nil {
		t.Fatalf("kill %s: %v %s", service, err, out)
	}
}
