// Package cluster runs a mesh as it runs in production, in a test: each service as a process of its own, in any number of
// replicas, on a NATS server and on Postgres, with the certificates, logins and permissions that internal/provision makes. Its processes can be killed, stopped and started again.
//
// The processes are the test's own program in another role, which [Play] plays: so nothing is built, and what runs is what
// the services' mains run.
package cluster

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"micromesh/internal/provision"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/porttest"
	"micromesh/pkg/sqldb/sqldbtest"
)

// Services of a mesh, in the order in which they are started.
var Services = []string{"user", "registry", "proxy", "gateway"}

// forwarder is a service that a mesh may do without.
const forwarder = "forwarder"

// Config of a cluster. Its zero value is one process of each service.
type Config struct {
	Env        map[string]string            // settings of all services
	Of         map[string]map[string]string // settings of one service, by its name; a forwarder runs where it has any
	Replicas   map[string]int               // of each service; 1
	NATS       Place                        // where the NATS server runs; this machine's loopback
	Store      string                       // folder of what NATS keeps; one of the test's
	Guests     bool                         // services in plain go-micro may join, over a NATS server of their own
	GuestsOpen bool                         // they need no login there
	Logs       string                       // folder of what the processes log; one of the test's
}

// Place is another network than that of the test.
type Place struct {
	Host  string   // address by which the test reaches it
	Enter []string // command that runs there the program that follows it
}

// Cluster is a mesh that runs.
type Cluster struct {
	NATS     *Process
	Guests   *Process // the NATS server of services in plain go-micro; nil where they may not join
	Services map[string][]*Process

	tb    testing.TB
	names []string // of the services that it has
	dir   string
	store string // what NATS keeps
	logs  string
	env   map[string]string
}

// Start starts a cluster and waits until all of it is ready. It ends with the test. Where there is no Postgres, the
// test is failed in CI, and skipped elsewhere.
func Start(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, dir: tb.TempDir(), logs: cfg.Logs, Services: map[string][]*Process{}}
	if c.logs == "" {
		c.logs = c.dir
	}
	if c.store = cfg.Store; c.store == "" {
		c.store = filepath.Join(c.dir, "nats")
	}
	secrets := provision.Config{Dir: c.secret()}
	nats := FreeAddress(tb)
	if cfg.NATS.Host != "" {
		secrets.NATSHosts = []string{cfg.NATS.Host}
		nats = net.JoinHostPort(cfg.NATS.Host, "4222")
	}
	if cfg.Guests {
		secrets.Guests = FreeAddress(tb)
	}
	if _, err := provision.Secrets(secrets); err != nil {
		tb.Fatalf("make secrets: %v", err)
	}
	c.env = map[string]string{"MICRO_REGISTRY_ADDRESS": "tls://" + nats, "MICRO_LOG_FORMAT": "text"}
	maps.Copy(c.env, cfg.Env)
	monitor := FreeAddress(tb)
	c.NATS = c.process("nats", 0, map[string]string{"NATS_ADDRESS": nats, "NATS_MONITOR": monitor, "NATS_CONFIG": c.natsConfig(monitor)})
	c.NATS.address, c.NATS.enter = nats, cfg.NATS.Enter
	c.NATS.Start()
	if cfg.Guests {
		c.startGuests(secrets.Guests, cfg.GuestsOpen)
	}
	c.names = slices.Clone(Services)
	if len(cfg.Of[forwarder]) > 0 {
		c.names = append(c.names, forwarder)
	}
	for _, name := range c.names {
		env := c.settings(name)
		maps.Copy(env, cfg.Of[name])
		for i := range max(cfg.Replicas[name], 1) {
			c.Services[name] = append(c.Services[name], c.service(name, i, env))
		}
	}
	c.StartAll()
	return c
}

// InstanceNetworks returns the networks that instances of a cluster may be in: loopback, too.
func InstanceNetworks() []string { return slices.Concat(netpolicy.Networks, netpolicy.Loopback) }

// settings are those of one service that all its replicas share.
func (c *Cluster) settings(name string) map[string]string {
	env := maps.Clone(c.env)
	slug := name + "-svc"
	maps.Copy(env, map[string]string{
		"MICRO_SECRET_KEY_FILE": c.secret(slug, "secret.key"), "MICRO_NATS_USER": slug, "MICRO_NATS_PASSWORD_FILE": c.secret(slug, "nats.password"),
		"MICRO_TLS_CERT": c.secret(slug, "cert.pem"), "MICRO_TLS_KEY": c.secret(slug, "key.pem"), "MICRO_TLS_CA": c.secret(slug, "ca.pem"),
	})
	if name == "registry" || name == "gateway" {
		env["MICRO_INSTANCE_NETWORKS"] = strings.Join(InstanceNetworks(), ",")
	}
	if c.Guests != nil && (name == "registry" || name == "gateway") {
		env["MICRO_STOCK_NATS_FILE"] = c.secret(slug, "guests.url")
	}
	if name == "gateway" {
		env["MICRO_EXPOSE_STOCK"] = strconv.FormatBool(c.Guests != nil)
		if c.Guests != nil {
			env["MICRO_GUESTS_LISTEN"] = "127.0.0.1:0"
		}
		return env
	}
	if name == forwarder { // it has no database either
		return env
	}
	url, ok := sqldbtest.PostgresURL(c.tb)
	if !ok {
		c.tb.Skip("there is no Postgres")
	}
	env["MICRO_DATABASE_URL"] = url
	return env
}

func (c *Cluster) service(name string, i int, env map[string]string) *Process {
	env = maps.Clone(env)
	p := c.process(name, i, env)
	p.health = FreeAddress(c.tb)
	env["MICRO_HEALTH_ADDRESS"] = p.health
	env["MICRO_MAIL_DIR"] = c.dir
	if name == "gateway" {
		if env["MICRO_LISTEN"] == "" {
			env["MICRO_LISTEN"] = FreeAddress(c.tb)
		}
		p.address = env["MICRO_LISTEN"]
		env["MICRO_GATEWAY_DATA"] = c.tb.TempDir()
	}
	return p
}

// secret is the path of a file of the mesh's secrets, or of their folder.
func (c *Cluster) secret(path ...string) string {
	return filepath.Join(append([]string{c.dir, "secrets"}, path...)...)
}

// natsConfig writes the NATS server's configuration: that of deploy/nats, without what only a container has.
func (c *Cluster) natsConfig(monitor string) (file string) {
	c.tb.Helper()
	conf := fmt.Sprintf(`http: %q
max_payload: 8MB
jetstream { store_dir: %q, sync_interval: always }
tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }
include "secrets/nats/users.conf"
`, monitor, c.store, c.secret("nats", "cert.pem"), c.secret("nats", "key.pem"), c.secret("nats", "ca.pem"))
	file = filepath.Join(c.dir, "nats.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return file
}

// Gateway is the URL of a replica of the gateway.
func (c *Cluster) Gateway(i int) string { return "http://" + c.Services["gateway"][i].address }

// AwaitReady waits until every process that runs is ready.
func (c *Cluster) AwaitReady() {
	c.tb.Helper()
	for _, name := range c.names {
		for _, p := range c.Services[name] {
			p.AwaitReady()
		}
	}
}

// FreeAddress is one on which nobody listens right now.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	return porttest.Free(tb)
}

func (c *Cluster) process(name string, i int, env map[string]string) *Process {
	p := &Process{Name: fmt.Sprintf("%s-%d", name, i), tb: c.tb, role: name, env: env, log: filepath.Join(c.logs, fmt.Sprintf("%s-%d.log", name, i))}
	c.tb.Cleanup(p.end)
	return p
}
