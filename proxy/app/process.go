package app

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
)

// Service is the proxy service as its own process runs it.
func Service() process.Service {
	var cfg Config
	return process.Service{
		Name: Name, Usage: "host routes, certificates and the routing table of the mesh", Health: "127.0.0.1:9103", Config: &cfg,
		Open: func(ctx context.Context, h *host.Host) (process.App, error) { return New(ctx, h, cfg) },
	}
}
