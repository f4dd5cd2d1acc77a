package cluster

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"micromesh/internal/provision"
	"micromesh/pkg/host"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/secret"
)

// StopAll ends all processes in order, as `docker compose down` does: the gateways first, NATS last.
func (c *Cluster) StopAll() {
	c.tb.Helper()
	for _, name := range slices.Backward(c.names) {
		for _, p := range c.Services[name] {
			if p.Running() {
				p.Stop()
			}
		}
	}
	c.NATS.Stop()
}

// StartAll starts all processes that don't run, and waits until they are ready and the gateways reach the services.
func (c *Cluster) StartAll() {
	c.tb.Helper()
	if !c.NATS.Running() {
		c.NATS.Start()
	}
	for _, name := range c.names {
		for _, p := range c.Services[name] {
			if !p.Running() {
				p.Start()
			}
		}
	}
	c.AwaitReady()
	for _, gateway := range c.Services["gateway"] {
		for _, path := range []string{"/user-svc/public-key", "/registry-svc/echo"} { // gateways hear of services a moment after those are ready
			gateway.await("leading to "+path, func() bool { return get("http://"+gateway.address+path) == nil })
		}
	}
}

// Configure changes settings of services, for processes that are started from now on.
func (c *Cluster) Configure(of map[string]map[string]string) {
	for name, env := range of {
		for _, p := range c.Services[name] {
			maps.Copy(p.env, env)
			if p.env["MICRO_LISTEN"] != "" {
				p.address = p.env["MICRO_LISTEN"]
			}
		}
	}
}

// WipeNATS deletes all that NATS has stored. It must not run.
func (c *Cluster) WipeNATS() {
	c.tb.Helper()
	if c.NATS.Running() {
		c.tb.Fatal("NATS runs")
	}
	if err := os.RemoveAll(c.store); err != nil {
		c.tb.Fatal(err)
	}
}

// Identity makes what another service shows and trusts on RPC.
func (c *Cluster) Identity(slug string) *identity.Identity {
	c.tb.Helper()
	if _, err := provision.Certs(provision.Config{Dir: c.secret(), Services: []provision.Service{provision.Other(slug)}}); err != nil {
		c.tb.Fatal(err)
	}
	return c.identity(slug)
}

func (c *Cluster) identity(slug string) *identity.Identity {
	c.tb.Helper()
	id, err := identity.Load(identity.Files{Cert: c.secret(slug, "cert.pem"), Key: c.secret(slug, "key.pem"), CA: c.secret(slug, "ca.pem")})
	if err != nil {
		c.tb.Fatal(err)
	}
	return id
}

// Host connects to the cluster as an operator's process would: with the login that may do everything. It ends with the test.
func (c *Cluster) Host(ctx context.Context) *host.Host {
	c.tb.Helper()
	box, err := secret.Open(c.secret("user-svc", "secret.key"))
	if err != nil {
		c.tb.Fatal(err)
	}
	id := c.identity("gateway-svc")
	password, err := os.ReadFile(c.secret("admin", "nats.password"))
	if err != nil {
		c.tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler) // it outlives the test's output
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: c.env["MICRO_REGISTRY_ADDRESS"], Name: "test", Logger: log, Extra: []nats.Option{
		nats.UserInfo("admin", strings.TrimSpace(string(password))), nats.Secure(id.TLS()),
	}})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(nc.Close)
	h, err := host.New(ctx, host.Config{NATS: nc, Secrets: box, Logger: log, Identity: id})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() { _ = h.Close() })
	if err := h.Nodes.Ready(ctx); err != nil {
		c.tb.Fatal(err)
	}
	return h
}
