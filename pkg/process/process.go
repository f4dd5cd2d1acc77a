// Package process runs one service as a process of its own: it reads the settings, connects to NATS, runs the service
// until it is told to end, and says meanwhile how it is. What a service does there is what it does in `micro up`: its
// app on a host.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"micromesh/pkg/config"
	"micromesh/pkg/errs"
	"micromesh/pkg/host"
	"micromesh/pkg/interrupt"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/secret"
	"micromesh/pkg/telemetry"
	"micromesh/pkg/telemetry/otlp"
)

// App is a service that was opened.
type App interface {
	// Run serves until ctx ends.
	Run(ctx context.Context) error
	// Close gives up what was opened, after Run or instead of it.
	Close() error
	// Ready tells why the service can't do its work right now, or nil.
	Ready(ctx context.Context) error
}

// Reloader is an App that reads its files again on SIGHUP.
type Reloader interface {
	App
	// Reload returns before the files are read.
	Reload()
}

// Service is what a main runs.
type Service struct {
	Name   string           // the slug
	Usage  string           // one line
	Health string           // default of MICRO_HEALTH_ADDRESS
	Config config.Validator // a pointer to the service's own configuration
	Alone  bool             // it has work that it can do before there is a connection to NATS
	// Open is called once the configuration is read. Errors of kind Unavailable are waited out.
	Open func(context.Context, *host.Host) (App, error)
}

// Main runs a service as this process is told to by its arguments and environment, and ends the process.
func Main(s Service) {
	ctx, stop := interrupt.Context(context.Background())
	code := Run(ctx, s, os.Args, config.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// serve runs the service until ctx ends.
func (s Service) serve(ctx context.Context, cfg Config, stderr io.Writer) (err error) {
	log := newLogger(cfg, stderr).With("process", s.Name)
	flush, err := otlp.Export(ctx, s.Name, host.Version, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush()) }()
	h, closeHost, err := s.openHost(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeHost()) }()
	ops, err := listenOps(ctx, cfg.healthAddress(), h)
	if err != nil {
		return err
	}
	defer ops.close()
	app, err := s.open(ctx, h, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	ops.ready(app)
	log.Info("started", "version", host.Version, "id", h.ID)
	if r, ok := app.(Reloader); ok {
		ctx = reloading(ctx, r, log)
	}
	err = app.Run(ctx)
	log.Info("stopped")
	return err
}

// reloading has an app reload on SIGHUP until ctx ends. The context that it returns ends too when the terminal of the process has gone.
func reloading(ctx context.Context, r Reloader, log *slog.Logger) context.Context {
	out, cancel := context.WithCancel(ctx)
	reload, end, stop := interrupt.Hangups()
	go func() {
		defer stop()
		defer cancel()
		for {
			select {
			case <-reload:
				log.Info("reload_requested", "signal", "SIGHUP")
				r.Reload()
			case <-end:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// open opens the service, and waits for a database that is away.
func (s Service) open(ctx context.Context, h *host.Host, log *slog.Logger) (App, error) {
	const slowest = 2 * time.Second
	delay := 100 * time.Millisecond
	for {
		app, err := s.Open(ctx, h)
		if !errs.Is(err, errs.Unavailable) || ctx.Err() != nil {
			return app, err
		}
		log.Warn("start_waits", "error", err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, err
		}
		delay = min(2*delay, slowest)
	}
}

// openHost connects, and waits for a NATS server that is away, unless the service has work without it.
func (s Service) openHost(ctx context.Context, cfg Config, log *slog.Logger) (*host.Host, func() error, error) {
	id, err := cfg.identity(s.Name)
	if err != nil {
		return nil, nil, err
	}
	box, err := secret.Parse(cfg.SecretKey)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", cfg.keyName(), err)
	}
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: cfg.NATS, Name: s.Name, Logger: log, Extra: cfg.natsOptions(id), Later: s.Alone})
	if err != nil {
		return nil, nil, err
	}
	h, err := host.New(ctx, host.Config{
		NATS: nc, Secrets: box, SecretKey: host.SecretKey{Name: cfg.keyName()}, Logger: log, Address: cfg.Address, Advertise: cfg.Advertise, Identity: id, Linger: cfg.Linger,
		Replicas: cfg.Replicas, TokenSession: cfg.tokenSession(),
	})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return h, func() error {
		err := h.Close()
		nc.Close()
		return err
	}, nil
}

func newLogger(cfg Config, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // validated
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "text" {
		return slog.New(telemetry.Logs(slog.NewTextHandler(w, opts)))
	}
	return slog.New(telemetry.Logs(slog.NewJSONHandler(w, opts)))
}
