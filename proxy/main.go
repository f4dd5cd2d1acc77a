// Command proxy runs the proxy service as a process of its own.
package main

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
	"micromesh/proxy/app"
)

func main() {
	var cfg app.Config
	process.Main(process.Service{
		Name: app.Name, Usage: "host routes, certificates and the routing table of the mesh", Health: "127.0.0.1:9103", Config: &cfg,
		Open: func(ctx context.Context, h *host.Host) (process.App, error) { return app.New(ctx, h, cfg) },
	})
}
