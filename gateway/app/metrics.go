package app

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// measure adds the gateway's own metrics to those of the process, until Close. They are left to one gateway where two run in
// one process.
func (a *App) measure() error {
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mesh_gateway_table_age_seconds", Help: "How long ago it was last known that the routing table is the present one.",
	}, func() float64 { return a.entries.Age().Seconds() })
	err := a.host.Metrics.Register(age)
	if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return nil
	}
	if err == nil {
		a.age = age
	}
	return err
}
