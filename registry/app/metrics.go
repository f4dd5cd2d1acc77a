package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

// metrics collects how many instances there are, by their status. Each registry counts all of them.
type metrics struct {
	svc       *service.Service
	instances *prometheus.Desc
}

var _ prometheus.Collector = (*metrics)(nil)

func newMetrics(svc *service.Service) *metrics {
	return &metrics{svc, prometheus.NewDesc("mesh_registry_instances", "Instances that are registered, by their status.", []string{"status"}, nil)}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.instances }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	counts := m.svc.Count()
	for _, s := range []routing.Status{routing.Unknown, routing.Healthy, routing.Degraded, routing.Unreachable, routing.Error} {
		ch <- prometheus.MustNewConstMetric(m.instances, prometheus.GaugeValue, float64(counts[s]), string(s))
	}
}
