// Command basic is a service with pets, behind the gateway of a mesh: see README.md, or `basic --help`.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"micromesh/examples/basic/app"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, log, os.Args[1:]))
}

// run is main with an exit code: 2 is for settings that are wrong.
func run(ctx context.Context, log *slog.Logger, args []string) int {
	command := app.Run
	if len(args) == 1 && args[0] == "healthcheck" {
		command = func(ctx context.Context, _ *slog.Logger, cfg app.Config) error { return app.Healthcheck(ctx, cfg) }
	} else if len(args) > 0 {
		fmt.Print(app.Help)
		if args[0] == "--help" || args[0] == "-h" {
			return 0
		}
		return 2
	}
	cfg, err := app.Parse(os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return 2
	}
	if err := command(ctx, log, cfg); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return 1
	}
	return 0
}
