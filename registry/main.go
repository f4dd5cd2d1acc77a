// Command registry runs the registry service as a process of its own.
package main

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
	"micromesh/registry/app"
)

func main() {
	var cfg app.Config
	process.Main(process.Service{
		Name: app.Name, Usage: "instances of the mesh: their owners, heartbeats and health", Health: "127.0.0.1:9102", Config: &cfg,
		Open: func(ctx context.Context, h *host.Host) (process.App, error) { return app.New(ctx, h, cfg) },
	})
}
