package app

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
)

// Service is the forwarder service as its own process runs it.
func Service() process.Service {
	var cfg Config
	return process.Service{
		Name: Name, Usage: "sends events to an analytics service", Health: "127.0.0.1:9105", Config: &cfg,
		Open: func(_ context.Context, h *host.Host) (process.App, error) { return New(h, cfg) },
	}
}
