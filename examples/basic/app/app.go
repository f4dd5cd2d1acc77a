// Package app wires the service, so that main and tests run the same thing.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"micromesh/examples/basic/handler"
	"micromesh/examples/basic/service"
	"micromesh/examples/basic/store"
	sdk "micromesh/sdk/go"
	"micromesh/sdk/go/datastore"
	"micromesh/sdk/go/middleware"
)

// linesPerSecond bounds the log of requests.
const linesPerSecond = 20

// Run runs the service until ctx ends.
func Run(ctx context.Context, log *slog.Logger, cfg Config) (err error) {
	db, err := datastore.Open(ctx, cfg.DatabaseURL)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	pets, err := store.New(ctx, db)
	if err != nil {
		return err
	}
	mesh, err := sdk.Open(ctx, sdk.Config{
		Slug:        service.Slug,
		Name:        "Basic",
		ServerURL:   cfg.ServerURL,
		SelfURL:     cfg.SelfURL,
		Credentials: filepath.Join(cfg.Data, service.Slug+".credentials.json"),
		Logger:      log,
	})
	if err != nil {
		return fmt.Errorf("join the mesh: %w", err)
	}
	return mesh.Run(ctx, middleware.Chain(handler.New(service.New(pets), mesh, log),
		middleware.LogThrottled(log, linesPerSecond),
		middleware.Recover(log),
		middleware.CORS(middleware.Options{Origins: cfg.Origins}),
		middleware.Gzip,
	))
}
