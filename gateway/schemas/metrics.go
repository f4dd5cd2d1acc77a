package schemas

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// How it can stand with a service's schema.
const (
	stateServed  = "served"
	stateMissing = "missing" // the newest schema could not be had yet
	stateRefused = "refused" // the newest schema
)

// metrics count services by how it stands with their schemas.
type metrics struct{ services *prometheus.GaugeVec }

// newMetrics registers the metrics, or takes up those that another gateway of the same process registered.
func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mesh_gateway_schemas", Help: "Services that describe their methods themselves, by what became of the newest description.",
	}, []string{"state"})}
	var are prometheus.AlreadyRegisteredError
	if err := reg.Register(m.services); errors.As(err, &are) {
		m.services = are.ExistingCollector.(*prometheus.GaugeVec)
	}
	m.set(nil)
	return m
}

func (m metrics) set(counts map[string]float64) {
	for _, state := range []string{stateServed, stateMissing, stateRefused} {
		m.services.WithLabelValues(state).Set(counts[state])
	}
}
