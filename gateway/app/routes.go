package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/gateway/routes"
	"micromesh/gateway/service"
)

// look is how often routes.yaml is read. It is small; and it may be on a file system that tells nobody of changes, or be replaced by a
// link to another file, as in Kubernetes.
const look = time.Second

// readRoutes puts what routes.yaml says in force, unless it is what was read before, and gives what was read.
func (a *App) readRoutes(before []byte) ([]byte, error) {
	if a.cfg.Routes == "" {
		return nil, nil
	}
	content, err := os.ReadFile(a.cfg.Routes)
	if err != nil {
		return before, fmt.Errorf("read MICRO_ROUTES: %w", err)
	}
	if before != nil && bytes.Equal(content, before) {
		return before, nil
	}
	table, err := routes.Parse(a.cfg.Routes, content, os.LookupEnv)
	if err != nil {
		return content, err
	}
	closed := table.Closed()
	if err := a.routes.Replace(table); err != nil {
		return content, err
	}
	a.table.Close(service.Closing{Slugs: closed.Instances, URLs: closed.URLs})
	return content, nil
}

// watchRoutes takes up changes of routes.yaml until ctx ends. One with mistakes is logged once, and the last good one stays.
func (a *App) watchRoutes(ctx context.Context) {
	refused := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mesh_gateway_routes_refused", Help: "1 while routes.yaml has mistakes, and what it said before is in force.",
	})
	a.host.Metrics.MustRegister(refused)
	defer a.host.Metrics.Unregister(refused)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	var last string
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		content, err := a.readRoutes(a.file)
		switch {
		case err == nil && !bytes.Equal(content, a.file):
			a.log.Info("routes_replaced", "file", a.cfg.Routes)
			last = ""
			refused.Set(0)
		case err != nil && err.Error() != last:
			a.log.Error("routes_kept", "file", a.cfg.Routes, "error", err)
			last = err.Error()
			refused.Set(1)
		}
		a.file = content
	}
}
