// Command widgets is an HTTP service in layers (models, repositories, services, handlers, routes) behind a gateway that knows it by
// its routes.yaml alone: it has no account and is no instance.
//
//go:generate go tool tygo generate
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"micromesh/examples/widgets/handlers"
	"micromesh/examples/widgets/repositories"
	"micromesh/examples/widgets/routes"
	"micromesh/examples/widgets/services"
	"micromesh/sdk/go/datastore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, setting("WIDGETS_LISTEN", "127.0.0.1:9001"), setting("WIDGETS_DATABASE", "sqlite:widgets.db"))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "widgets:", err)
		os.Exit(1)
	}
}

func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func run(ctx context.Context, listen, database string) (err error) {
	db, err := datastore.Open(ctx, database)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	repository, err := repositories.NewWidgets(ctx, db)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Addr: listen, Handler: routes.New(&handlers.Widgets{Service: services.NewWidgets(repository, time.Now)}), ReadHeaderTimeout: 5 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return srv.Shutdown(drain)
}
