package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/pkg/errs"
)

// metrics counts calls by method and outcome, and measures how long they take.
type metrics struct {
	seconds *prometheus.HistogramVec
}

// newMetrics registers the metrics, or takes up those that another service of the same process registered.
func newMetrics(reg prometheus.Registerer, service string) *metrics {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "mesh_rpc_server_seconds",
		Help:    "How long calls took in the server, by service, method and code.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"service", "method", "code"})
	if err := reg.Register(seconds); err != nil {
		if are, ok := err.(prometheus.AlreadyRegisteredError); ok { //nolint:errorlint // returned as is
			seconds = are.ExistingCollector.(*prometheus.HistogramVec)
		}
	}
	return &metrics{seconds: seconds.MustCurryWith(prometheus.Labels{"service": service}).(*prometheus.HistogramVec)}
}

func (m *metrics) observe(method string, err *errs.Error, d time.Duration) {
	code := "OK"
	if err != nil {
		code = err.Code
	}
	m.seconds.WithLabelValues(method, code).Observe(d.Seconds())
}
