package handler

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// route is the kind of a request's way.
type route int

const (
	routeNone route = iota // to nothing
	routeOwn               // to one of the gateway's own pages
	routeRPC               // to an RPC method
	routeSlug              // to an instance, by its slug
	routeHost              // to an instance, by a host route
	routeKinds
)

var routeNames = [routeKinds]string{"none", "own", "rpc", "slug", "host"}

// classes of statuses, 0xx for connections that ended without an answer of ours, such as tunnels, to 5xx.
const classes = 6

// metrics count requests by their way and their status, and measure how long they take. What a label may be is fixed:
// nothing that comes from outside can make more of them.
type metrics struct {
	seconds [routeKinds][classes]prometheus.Observer
	retries prometheus.Counter
}

// newMetrics registers the metrics, or takes up those that another gateway of the same process registered.
func newMetrics(reg prometheus.Registerer) *metrics {
	seconds := registered(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "mesh_gateway_seconds",
		Help:    "How long requests took in the gateway, by their way and the class of the answer's status.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
	}, []string{"route", "class"}))
	m := &metrics{retries: registered(reg, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "mesh_gateway_retries_total", Help: "Requests that were sent to another instance after one failed.",
	}))}
	for r := range m.seconds {
		for c := range m.seconds[r] {
			m.seconds[r][c] = seconds.WithLabelValues(routeNames[r], strconv.Itoa(c)+"xx")
		}
	}
	return m
}

func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	var are prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &are) {
		return are.ExistingCollector.(C)
	}
	return c
}

func (m *metrics) observe(r route, status int, took time.Duration) {
	class := status / 100
	if class < 0 || class >= classes {
		class = 0
	}
	m.seconds[r][class].Observe(took.Seconds())
}
