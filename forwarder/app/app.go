package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/forwarder/service"
	"micromesh/forwarder/subscriber"
	"micromesh/forwarder/target"
	"micromesh/pkg/events"
	"micromesh/pkg/host"
)

// Name is the service's slug, and its consumer's name.
const Name = "forwarder-svc"

const (
	mixpanelURL = "https://api.mixpanel.com"
	firstRetry  = 100 * time.Millisecond
)

// App is a forwarder.
type App struct {
	host     *host.Host
	log      *slog.Logger
	consumer *events.Consumer
	measured []prometheus.Collector
}

// New makes a forwarder. Close it after Run has ended, or instead of it.
func New(h *host.Host, cfg Config) (*App, error) {
	a := &App{host: h, log: h.Logger.With("service", Name)}
	format, to := cfg.target()
	m := newMeter()
	topics := slices.Clone(cfg.Topics)
	if len(topics) == 0 {
		topics = []string{events.AllTopics}
	}
	var err error
	a.consumer, err = events.NewConsumer(h.Events, a.log, events.ConsumerOptions{
		Name: Name, Topics: topics, HandleBatch: subscriber.Handle(service.New(format, to, m)), Batch: cfg.Batch, BatchWait: cfg.Wait,
		Tries: -1, FirstRetry: min(firstRetry, cfg.MaxRetry), LastRetry: cfg.MaxRetry,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Name, err)
	}
	for _, c := range []prometheus.Collector{m.forwarded, m.failures, newBehind(a.consumer.Oldest)} {
		if err := h.Metrics.Register(c); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", Name, err), a.Close())
		}
		a.measured = append(a.measured, c)
	}
	return a, nil
}

// target is where events go, and how.
func (c *Config) target() (service.Format, service.Target) {
	cfg := target.Config{URL: c.URL, Gzip: c.Gzip, Timeout: c.Timeout}
	if c.Target == cloudEvents {
		cfg.Bearer = c.Token
		return service.CloudEvents{Single: c.Single}, target.NewCloudEvents(cfg, c.Single)
	}
	cfg.URL = cmp.Or(cfg.URL, mixpanelURL)
	if cfg.User, cfg.Password = c.User, c.Secret; c.Token != "" {
		cfg.User = c.Token
	}
	return service.Mixpanel{}, target.NewMixpanel(cfg, c.Project)
}

// Run sends events until ctx ends.
func (a *App) Run(ctx context.Context) error {
	a.consumer.Run(ctx)
	return nil
}

// Ready tells why the service can't do its work right now, or nil. A target that is away is no reason: events wait.
func (a *App) Ready(context.Context) error {
	if !a.host.NATS.IsConnected() {
		return errors.New("there is no connection to NATS")
	}
	return nil
}

// Close gives up the metrics.
func (a *App) Close() error {
	for _, c := range a.measured {
		a.host.Metrics.Unregister(c)
	}
	return nil
}
