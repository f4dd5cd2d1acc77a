package backend

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/pkg/events"
	"micromesh/pkg/sqldb"
)

// pool collects how the connections to a database are. The database isn't asked for it.
type pool struct {
	db                *sqldb.DB
	connections, most *prometheus.Desc
}

var _ prometheus.Collector = (*pool)(nil)

func newPool(service string, db *sqldb.DB) *pool {
	labels := prometheus.Labels{"service": service}
	return &pool{
		db:          db,
		connections: prometheus.NewDesc("mesh_database_connections", "Connections to the database, in use or idle; on SQLite those that read.", []string{"state"}, labels),
		most:        prometheus.NewDesc("mesh_database_connections_max", "Connections that there may be.", nil, labels),
	}
}

// Describe implements prometheus.Collector.
func (p *pool) Describe(ch chan<- *prometheus.Desc) {
	ch <- p.connections
	ch <- p.most
}

// Collect implements prometheus.Collector.
func (p *pool) Collect(ch chan<- prometheus.Metric) {
	s := p.db.Stats()
	ch <- prometheus.MustNewConstMetric(p.connections, prometheus.GaugeValue, float64(s.InUse), "in_use")
	ch <- prometheus.MustNewConstMetric(p.connections, prometheus.GaugeValue, float64(s.Idle), "idle")
	ch <- prometheus.MustNewConstMetric(p.most, prometheus.GaugeValue, float64(s.MaxOpenConnections))
}

// newOutbox tells how long events wait, as the relay saw it last.
func newOutbox(service string, relay *events.Relay) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mesh_outbox_oldest_seconds", Help: "Age of the oldest event that was not published yet; 0 where there is none.",
		ConstLabels: prometheus.Labels{"service": service},
	}, func() float64 {
		at := relay.Oldest()
		if at.IsZero() {
			return 0
		}
		return max(time.Since(at).Seconds(), 0) // clocks differ
	})
}
