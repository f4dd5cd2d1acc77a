package host

import (
	"runtime"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newMetrics are those that every process has: of Go, of the process, of what was built, and of its connection to NATS.
func newMetrics(nc *nats.Conn) *prometheus.Registry {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mesh_build_info", Help: "1, with what this process was built of.",
		ConstLabels: prometheus.Labels{"version": Version, "go": runtime.Version()},
	})
	build.Set(1)
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mesh_nats_connected", Help: "Whether there is a connection to NATS: 1 or 0.",
	}, func() float64 {
		if nc.IsConnected() {
			return 1
		}
		return 0
	})
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, connected)
	return reg
}
