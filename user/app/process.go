package app

import (
	"context"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
)

// Service is the user service as its own process runs it.
func Service() process.Service {
	var cfg Config
	return process.Service{
		Name: Name, Usage: "accounts, tokens, roles, permits and organizations of the mesh", Health: "127.0.0.1:9101", Config: &cfg,
		Open: func(ctx context.Context, h *host.Host) (process.App, error) { return open(ctx, h, cfg) },
	}
}

// open tells the password that was made up for the admin, which is known to nobody else.
func open(ctx context.Context, h *host.Host, cfg Config) (*App, error) {
	a, err := New(ctx, h, cfg)
	if err == nil && a.AdminPassword() != "" {
		a.Log.Info("admin_created", "slug", cfg.AdminSlug, "password", a.AdminPassword())
	}
	return a, err
}
