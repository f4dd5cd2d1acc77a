// Command user runs the user service as a process of its own.
package main

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
	"micromesh/user/app"
)

func main() {
	var cfg app.Config
	process.Main(process.Service{
		Name: app.Name, Usage: "accounts, tokens, roles, permits and organizations of the mesh", Health: "127.0.0.1:9101", Config: &cfg,
		Open: func(ctx context.Context, h *host.Host) (process.App, error) { return app.New(ctx, h, cfg) },
	})
}
