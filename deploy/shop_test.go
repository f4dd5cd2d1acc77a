package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"micromesh/internal/provision"
)

// composition is what a file for docker compose says, as far as it is looked at here.
type composition struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Target string }
		User        string
		Command     []string
		MemLimit    string   `yaml:"mem_limit"`
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		Restart     string
		Networks    []string
		NetworkMode string `yaml:"network_mode"`
		Environment map[string]string
		Volumes     []string
		DependsOn   map[string]any `yaml:"depends_on"`
	}
	Networks, Volumes map[string]any
}

func compose(t *testing.T, file string) (c composition) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return c
}

// TestShopFitsTheMesh holds the overlay of the shop against the files beside it, without Docker: what it names is there.
func TestShopFitsTheMesh(t *testing.T) {
	mesh, shop := compose(t, "../docker-compose.yml"), compose(t, "compose/shop.yml")
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range shop.Services {
		if _, changed := mesh.Services[name]; !changed {
			if s.MemLimit == "" || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Restart == "" {
				t.Errorf("%s has no limits", name)
			}
			if !s.ReadOnly && !strings.HasPrefix(s.Image, "postgres:") {
				t.Errorf("%s may write to its image", name)
			}
			if slices.Contains(s.Networks, "mesh") {
				t.Errorf("%s reaches the mesh's databases and RPC", name)
			}
		}
		if strings.HasPrefix(s.Image, "micromesh/") && !regexp.MustCompile(`(?m)^FROM (gcr.io/distroless/\S+:nonroot|micro) AS `+s.Build.Target+"$").Match(dockerfile) {
			t.Errorf("%s: the Dockerfile has no target %q that isn't root", name, s.Build.Target)
		}
		for k, v := range s.Environment {
			if strings.Contains(v, "://") || strings.Contains(strings.ToLower(k), "password") && !strings.HasSuffix(k, "_FILE") {
				t.Errorf("%s has a secret in %s: they are files", name, k)
			}
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, "./") {
				if _, err := os.Stat(filepath.Join("..", source)); err != nil {
					t.Errorf("%s mounts %v", name, err)
				}
			} else if _, ok := shop.Volumes[source]; !ok {
				t.Errorf("%s mounts the volume %q, which is not declared", name, source)
			}
		}
		for _, n := range s.Networks {
			_, own := shop.Networks[n]
			if _, of := mesh.Networks[n]; !own && !of {
				t.Errorf("%s is in the network %q, which is not declared", name, n)
			}
		}
		for other := range s.DependsOn {
			_, own := shop.Services[other]
			if _, of := mesh.Services[other]; !own && !of {
				t.Errorf("%s waits for %q, which there is not", name, other)
			}
		}
	}
}

// TestShopsSecretsAreWhereTheyAreLookedFor makes the secrets by the commands of the overlay, and looks for each file that it names.
func TestShopsSecretsAreWhereTheyAreLookedFor(t *testing.T) {
	shop := compose(t, "compose/shop.yml")
	dir := t.TempDir()
	argument := func(service, flag string) string {
		c := shop.Services[service].Command
		i := slices.Index(c, flag)
		if i < 0 || i+1 == len(c) {
			t.Fatalf("%s is not told %s", service, flag)
		}
		return c[i+1]
	}
	guests, postgres := argument("init", "--guests"), argument("shop-init", "--postgres")
	var programs []provision.Service
	for _, name := range []string{"users", "products", "orders"} {
		programs = append(programs, provision.Service{Slug: name, Database: true})
		if !slices.Contains(shop.Services["shop-init"].Command, name) {
			t.Errorf("%s has no database", name)
		}
	}
	if _, err := provision.Secrets(provision.Config{Dir: filepath.Join(dir, "secrets"), Guests: guests}); err != nil {
		t.Fatal(err)
	}
	if _, err := provision.Databases(provision.Config{Dir: filepath.Join(dir, "shop"), Services: programs, Postgres: postgres}); err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{"registry": "secrets/registry-svc", "gateway": "secrets/gateway-svc"} // that volumes hold, by what they are named
	for _, service := range []string{"init", "shop-init"} {
		for _, v := range shop.Services[service].Volumes {
			name, folder, _ := strings.Cut(v, ":")
			folders[name] = folder
		}
	}
	for name, s := range shop.Services {
		mounts := map[string]string{}
		for _, v := range s.Volumes {
			parts := strings.Split(v, ":")
			if len(parts) == 3 {
				mounts[parts[1]] = folders[parts[0]]
			}
		}
		if name == "registry" || name == "gateway" {
			mounts["/secrets"] = folders[name]
		}
		for k, v := range s.Environment {
			if !strings.HasSuffix(k, "_FILE") {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, mounts[filepath.Dir(v)], filepath.Base(v))); err != nil {
				t.Errorf("%s: %s is %s: %v", name, k, v, err)
			}
		}
	}
	for _, address := range []string{guests, postgres} {
		host, _, _ := strings.Cut(address, ":")
		if _, ok := shop.Services[host]; !ok {
			t.Errorf("%s is no service", host)
		}
	}
}

// TestGuestsNetworkFitsTheMesh checks the overlay for go-micro's own compose files: on the guests' network nats is the guests' server, and
// the mesh's services name theirs otherwise.
func TestGuestsNetworkFitsTheMesh(t *testing.T) {
	b, err := os.ReadFile("compose/guests.yml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Services map[string]struct {
			Command     []string
			Networks    any
			Environment map[string]string
			Volumes     []string
		}
		Networks, Volumes map[string]any
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"nats": "map[mesh:map[aliases:[mesh-nats]]]", "nats-guests": "map[guests:map[aliases:[nats]]]", "registry": "[mesh services guests]", "gateway": "[mesh services guests]"} {
		if got := fmt.Sprint(c.Services[name].Networks); got != want {
			t.Errorf("%s is on %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"registry", "gateway"} {
		if got := c.Services[name].Environment["MICRO_REGISTRY_ADDRESS"]; got != "tls://mesh-nats:4222" {
			t.Errorf("%s connects to %s, which may be the guests' server", name, got)
		}
	}
	if !slices.Contains(c.Services["init"].Command, "mesh-nats") {
		t.Error("the certificate of NATS lacks the name mesh-nats")
	}
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if _, declared := c.Volumes[source]; strings.HasPrefix(source, "./") {
				if _, err := os.Stat(filepath.Join("..", source)); err != nil {
					t.Errorf("%s mounts %v", name, err)
				}
			} else if !declared {
				t.Errorf("%s mounts the volume %q, which is not declared", name, source)
			}
		}
	}
}
