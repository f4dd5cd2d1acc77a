package cluster

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"

	"micromesh/pkg/host"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/secret"
)

// StopAll ends all processes in order, as `docker compose down` does: the gateways first, NATS last.
func (c *Cluster) StopAll() {
	c.tb.Helper()
	for _, name := range slices.Backward(Services) {
		for _, p := range c.Services[name] {
			if p.Running() {
				p.Stop()
			}
		}
	}
	c.NATS.Stop()
}

// StartAll starts all processes that don't run, and waits until they are ready.
func (c *Cluster) StartAll() {
	c.tb.Helper()
	if !c.NATS.Running() {
		c.NATS.Start()
	}
	for _, name := range Services {
		for _, p := range c.Services[name] {
			if !p.Running() {
				p.Start()
			}
		}
	}
	c.AwaitReady()
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

// Host connects to the cluster as a process of its own would. It ends with the test.
func (c *Cluster) Host(ctx context.Context) *host.Host {
	c.tb.Helper()
	key, err := base64.StdEncoding.DecodeString(c.env["MICRO_SECRET_KEY"])
	if err != nil {
		c.tb.Fatal(err)
	}
	box, err := secret.New(key)
	if err != nil {
		c.tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler) // it outlives the test's output
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: c.env["MICRO_REGISTRY_ADDRESS"], Name: "test", Logger: log})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(nc.Close)
	h, err := host.New(ctx, host.Config{NATS: nc, Secrets: box, Logger: log})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() { _ = h.Close() })
	if err := h.Nodes.Ready(ctx); err != nil {
		c.tb.Fatal(err)
	}
	return h
}
