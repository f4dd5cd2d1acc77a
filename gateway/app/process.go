package app

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
)

// Service is the gateway service as its own process runs it.
func Service() process.Service {
	var cfg Config
	return process.Service{
		Name: Name, Usage: "the HTTP gateway of the mesh", Health: "127.0.0.1:9104", Config: &cfg,
		Alone: true, // it serves from its snapshot
		Open:  func(ctx context.Context, h *host.Host) (process.App, error) { return New(ctx, h, cfg) },
	}
}
