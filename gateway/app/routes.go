package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/gateway/routes"
	"micromesh/gateway/service"
	"micromesh/internal/settled"
)

const (
	look       = time.Second // how often routes.yaml is read: it may be on a file system that reports no changes
	routesSize = 2 << 20     // bytes that are read of it
)

// openRoutes puts the content of routes.yaml in force, and follows the file from then on.
func (a *App) openRoutes() error {
	if a.cfg.Routes == "" {
		return nil
	}
	file, content, err := settled.Open(a.cfg.Routes, a.cfg.RoutesSettle, routesSize)
	if err != nil {
		return fmt.Errorf("read MICRO_ROUTES: %w", err)
	}
	a.file = file
	return a.replaceRoutes(content)
}

// replaceRoutes puts a file's content in force. What was in force stays where there is an error.
func (a *App) replaceRoutes(content []byte) error {
	table, err := routes.Parse(a.cfg.Routes, content, os.LookupEnv)
	if err != nil {
		return err
	}
	if err := a.routes.Replace(table); err != nil {
		return err
	}
	closed := table.Closed()
	a.table.Close(service.Closing{Slugs: closed.Instances, URLs: closed.URLs, Edge: a.cfg.EdgeListen != ""})
	if before := a.inForce; before != nil {
		for _, r := range before.RemovedBy(table) {
			a.log.Warn("routes_guard_removed", "file", a.cfg.Routes, "path", r.Path, "line", r.Line, "method", r.Method, "before", r.Before, "now", r.Now)
		}
	}
	a.inForce = table
	return nil
}

// Reload reads routes.yaml now, also if it was written in place a moment ago. It returns before that is done.
func (a *App) Reload() {
	select {
	case a.reload <- struct{}{}:
	default: // it is about to be read
	}
}

// watchRoutes takes up changes of routes.yaml until ctx ends. A problem is logged once, and the last good content stays in force.
func (a *App) watchRoutes(ctx context.Context) {
	refused := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mesh_gateway_routes_refused", Help: "1 while routes.yaml has mistakes or can't be read, and its last good content is in force.",
	})
	pending := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mesh_gateway_routes_pending", Help: "1 while routes.yaml was written in place and has not settled yet.",
	})
	for _, m := range []prometheus.Collector{refused, pending} {
		a.host.Metrics.MustRegister(m)
		defer a.host.Metrics.Unregister(m)
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	var unread, mistakes error
	for {
		force := false
		select {
		case <-ticker.C:
		case <-a.reload:
			force = true
		case <-ctx.Done():
			return
		}
		content, err := a.file.Look(time.Now(), force)
		if err != nil && (unread == nil || unread.Error() != err.Error()) {
			a.log.Error("routes_kept", "file", a.cfg.Routes, "error", err)
		}
		unread = err
		if content != nil {
			if mistakes = a.replaceRoutes(content); mistakes != nil {
				a.log.Error("routes_kept", "file", a.cfg.Routes, "error", mistakes)
			} else {
				a.log.Info("routes_replaced", "file", a.cfg.Routes)
			}
		}
		refused.Set(truth(errors.Join(unread, mistakes) != nil))
		pending.Set(truth(a.file.Pending()))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
