// Command gateway runs the gateway service as a process of its own.
package main

import (
	"context"

	"micromesh/gateway/app"
	"micromesh/pkg/host"
	"micromesh/pkg/process"
)

func main() {
	var cfg app.Config
	process.Main(process.Service{
		Name: app.Name, Usage: "the HTTP gateway of the mesh", Health: "127.0.0.1:9104", Config: &cfg,
		Open: func(ctx context.Context, h *host.Host) (process.App, error) { return app.New(ctx, h, cfg) },
	})
}
